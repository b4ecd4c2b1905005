"""Command lines from dataclasses (tyro): dashes or underscores, unknown flags refused with the nearest known one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.cli.conflicts import refuse_unused
from weightless.cli.flags import described

T = TypeVar("T")


def parse(options: type[T], verb: str, arguments: Sequence[str]) -> T:
    """An instance of the dataclass `options`; prints help and exits on --help, exits with 2 on a wrong flag.

    A flag that does nothing beside the others is a ConfigError (conflicts.py), and so is one of several values that is
    repeated, because the last one would replace the others in silence.
    """
    import tyro

    _refuse_repeated(options, arguments)
    made = tyro.cli(described(options), prog=f"weightless {verb}", args=list(arguments))
    found = options(**{f.name: getattr(made, f.name) for f in dataclasses.fields(made)})
    _refuse_negative(made)
    refuse_unused(verb.partition(" [")[0], found, arguments)
    return found


def _refuse_repeated(options: type, arguments: Sequence[str]) -> None:
    """A flag of one value may come again, and the last one counts, as everywhere."""
    words = [word.partition("=")[0].replace("-", "_") for word in arguments[: _end(arguments)]]
    for f in dataclasses.fields(options):
        if type(f.default) is tuple and words.count(f"__{f.name}") > 1:
            raise ConfigError(f"--{f.name} is given more than once: give all its values behind one, --{f.name} A B")


def _end(arguments: Sequence[str]) -> int:
    """Where flags end: at a bare --."""
    return list(arguments).index("--") if "--" in arguments else len(arguments)


def _refuse_negative(options: Any) -> None:
    """No count is negative (a seed is no count; where -1 has a meaning it is the default)."""
    for f in dataclasses.fields(options):
        value = getattr(options, f.name)
        is_count = type(value) is int and f.name != "seed"
        if is_count and value < 0 and not (type(f.default) is int and f.default < 0):
            raise ConfigError(f"--{f.name} {value} should not be negative")


def pick(verb: str, arguments: Sequence[str], known: Mapping[str, tuple[Any, str]]) -> tuple[Any, list[str]]:
    """Split off a sub-verb (`weightless tokenizer train`) of {name: (what does it, a line about it)}.

    ConfigError naming the nearest one.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        lines = [f"  {name:<10} {line}" for name, (_, line) in known.items()]
        print(f"usage: weightless {verb} VERB [options]     (weightless {verb} VERB --help)\n", *lines, sep="\n")
        raise SystemExit(0)
    if arguments[0] not in known:
        raise ConfigError(f"no such verb {arguments[0]!r}: {nearest(arguments[0], known)}")
    return known[arguments[0]][0], list(arguments[1:])


def settings(config_class: type | None, pairs: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs with values as TOML writes them (text may go without quotes), checked against a dataclass."""
    import tomllib

    out: dict[str, Any] = {}
    for pair in pairs:
        given, equals, text = pair.partition("=")
        if not equals:
            raise WeightlessError(f"--set {pair!r}: write NAME=VALUE, for example d_model=128")
        name = given.replace("-", "_") if config_class is not None else given  # names of arms may hold dashes
        if name in out:
            raise ConfigError(f"--set gives {given} twice: give it once")
        try:
            out[name] = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            out[name] = text
    if config_class is not None:
        from_dict(config_class, out, config_class.__module__.rsplit(".", 1)[-1])
    return out
