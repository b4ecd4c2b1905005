"""wl.count: what a model costs before it exists, as `weightless count X --json` says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError


def count(
    what: str | PathLike[str],
    *,
    set: Mapping[str, Any] | None = None,
    head: str = "",
    positions: int = 512,
    text: str | PathLike[str] = "",
    tokens: float | None = None,
    training: bool = False,
    flops: bool = False,
    context: int = 0,
    causal: bool = False,
    batch_size: int = 0,
    optimizer: str = "",
    device_memory: str = "",
    flops_per_second: float = 0.0,
    mfu: float = 0.5,
    activations: str = "",
) -> dict[str, Any]:
    """{name: ledger} of an artifact, recipe, folder or family, as `weightless count WHAT --json` prints it.

    For a published model (gpt2-xl, tinystories-10k …), and with `training` or `flops`, it is the account of
    parameters, FLOPs, memory and time of `weightless count WHAT --training --json`.  `set` gives fields of the
    configuration; the other arguments are the flags of that name.  ConfigError for one that does nothing there.
    """
    here = locals()
    given = {name: here[name] for name, default in (count.__kwdefaults__ or {}).items() if here[name] != default}
    if text:
        given["text"] = str(fspath(text))
    if set is not None:
        given["set"] = tuple(f"{name}={_toml(value, name)}" for name, value in _table(set).items())
    if not isinstance(what, (str, PathLike)):
        raise ConfigError(f"count({what!r:.60}): give a path, a family or a published model")
    return _accounted(str(fspath(what)), given) if _is_account(what, given) else _ledgers(str(fspath(what)), given)


def _is_account(what: Any, given: dict[str, Any]) -> bool:
    from weightless.ledger.presets import presets

    return bool(given.get("training") or given.get("flops") or what in presets())


def _ledgers(what: str, given: dict[str, Any]) -> dict[str, Any]:
    from weightless.cli.count import Count, check, counted
    from weightless.cli.count_subjects import named_models

    options = _options(Count, what, given, "count", "it is for training=True or flops=True")
    check(options)
    return _plain({model.name: counted(model, options) for model in named_models(what, options.set)})


def _accounted(what: str, given: dict[str, Any]) -> dict[str, Any]:
    from weightless.cli.accounting import Accounting, accounted, subjects

    options = _options(Accounting, what, given, "count --training", "an account of training is of shapes alone")
    return _plain({named.name: accounted(named, options) for named in subjects(options)})


def _options(kind: type, what: str, given: dict[str, Any], verb: str, why: str) -> Any:
    """The options of the command line, checked; what they do not know, or what does nothing, is refused."""
    import dataclasses

    from weightless.cli.conflicts import refuse_unused

    idle = [name for name in given if name not in {f.name for f in dataclasses.fields(kind)}]
    if idle:
        raise ConfigError(f"{idle[0]} does nothing for {what}: {why}")
    options = from_dict(kind, {"what": what, "json": True, **given})
    refuse_unused(verb, options, [f"--{name}" for name in given])
    return options


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it, so that it is the command's output to the byte."""
    return json.loads(json.dumps(found))


def _table(set: Any) -> Mapping[str, Any]:
    if not isinstance(set, Mapping):
        raise ConfigError(f"set = {set!r:.60} should be a table of fields, as {{'d_model': 128}}")
    return set


def _toml(value: Any, name: str) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return json.dumps(value) if isinstance(value, str) else repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(item, name)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item, name) for item in value) + "]"
    raise ConfigError(f"set: {name} = {value!r:.60} is no text, number, truth, list or table")
