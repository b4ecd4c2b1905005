"""Strict configurations: TOML or JSON on one side, frozen dataclasses on the other.

A key that no field has is an error naming the nearest known one; a value of the wrong type is an
error naming the key.  Nothing is ever dropped in silence.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.base.files import atomic_write

T = TypeVar("T")


def from_dict(cls: type[T], values: dict[str, Any], where: str = "") -> T:
    """Build the frozen dataclass `cls` from `values`; raises ConfigError with the dotted key."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where or cls.__name__} should be a table of keys, not {values!r}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown key {f'{prefix}{key}'!r}: {nearest(str(key), fields)}")
    built = {key: _convert(value, hints[key], prefix + key) for key, value in values.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in built:
            raise ConfigError(f"missing key {prefix + name!r}")
    return cls(**built)


def to_dict(config: Any) -> dict[str, Any]:
    """The plain values of a config dataclass; None is left out because TOML has no null."""
    out: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is None or not field.init:
            continue
        out[field.name] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def load_toml(path: str | Path) -> dict[str, Any]:
    """Parse a TOML file; WeightlessError names the file and the line at fault."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightlessError(f"no such file: {path}") from None
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def save_toml(path: str | Path, config: Any) -> None:
    """Write a config dataclass as TOML, atomically; ConfigError for a name that is no text, which TOML cannot hold."""
    import tomli_w  # here, because a bare environment that only reads has none

    text = tomli_w.dumps(to_dict(config))
    check_text(text, str(path))
    atomic_write(path, text)


def put(table: dict[str, Any], path: Sequence[str], value: Any, where: str) -> None:
    """table[a][b][c] = value for the path a, b, c; tables on the way are copied, not changed, and made where missing.

    ConfigError, beginning with `where`, when something on the way is no table.
    """
    *way, last = path
    for step in way:
        inner = table.get(step, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{where}: {step} is no table but {inner!r}")
        table[step] = table = dict(inner)
    table[last] = value


def check_least(config: Any, names: str, least: int = 1) -> None:
    """ConfigError naming the first of the fields (one word each) that is below `least`."""
    for name in names.split():
        if (value := getattr(config, name)) < least:
            raise ConfigError(f"{name} = {value} should be at least {least}")


def check_text(text: str, where: str) -> None:
    """ConfigError if `text` holds bytes that are no UTF-8 (Python keeps them as lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        part = text[max(0, error.start - 20) : error.end + 20].strip()
        raise ConfigError(f"{part!r} is no UTF-8, and {where} cannot hold it: give the file another name") from None


def is_text(name: str) -> bool:
    """Whether a file's name is UTF-8, which other people's software may insist on."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _convert(value: Any, hint: Any, key: str) -> Any:
    """Check `value` against the type `hint` (bool, int, float, str, tuple, dict, dataclass, X | None, Literal)."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, args, key)
    if origin is typing.Literal:
        return _convert_literal(value, args, key)
    if origin is tuple or hint is tuple:
        return _convert_tuple(value, args, key)
    if origin is dict:
        table = _expect(value, dict, key)
        return {name: _convert(item, args[1], f"{key}.{name}") for name, item in table.items()}
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), _expect(value, dict, key), key)
    if hint is float and type(value) is int:
        return _as_float(value, key)
    return value if hint is Any else _expect(value, hint, key)


def _convert_union(value: Any, options: tuple[Any, ...], key: str) -> Any:
    problems = []
    for option in sorted(options, key=lambda option: option is type(None)):  # an error should not ask for None
        try:
            return _convert(value, option, key)
        except ConfigError as error:
            problems.append(error)
    raise problems[0]


def _convert_literal(value: Any, choices: tuple[Any, ...], key: str) -> Any:
    if not any(type(value) is type(choice) and value == choice for choice in choices):  # True == 1
        raise ConfigError(f"{key} = {value!r}: {nearest(str(value), map(str, choices))}")
    return value


def _convert_tuple(value: Any, args: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{key} should be a list, not {value!r}")
    if not args:
        return tuple(value)
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise ConfigError(f"{key} should have {len(args)} items, not {len(value)}")
    return tuple(_convert(item, kind, f"{key}[{i}]") for i, (item, kind) in enumerate(zip(value, args)))


def _as_float(value: int, key: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"{key}: an integer of {value.bit_length()} bits is too large") from None


def _expect(value: Any, kind: type, key: str) -> Any:
    if type(value) is not kind:  # bool is a subclass of int: exact types only
        raise ConfigError(f"{key} should be {kind.__name__}, not {value!r}")
    return value
