"""Strict configurations: TOML or JSON on one side, frozen dataclasses on the other.

A key that no field has is an error naming the nearest known one; a value of the wrong type is an
error naming the key.  Nothing is ever dropped in silence.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.base.files import atomic_write

T = TypeVar("T")


def from_dict(cls: type[T], values: dict[str, Any], where: str = "") -> T:
    """Build the frozen dataclass `cls` from `values`; raises ConfigError with the dotted key."""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown key {prefix + key!r}: {nearest(key, fields)}")
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
        if value is None:
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
        raise WeightlessError(f"no such recipe: {path}") from None
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def save_toml(path: str | Path, config: Any) -> None:
    """Write a config dataclass as TOML, atomically."""
    atomic_write(path, tomli_w.dumps(to_dict(config)))


def _convert(value: Any, hint: Any, key: str) -> Any:
    """Check `value` against the type `hint` (bool, int, float, str, tuple, dict, dataclass, X | None, Literal)."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, typing.get_args(hint), key)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise ConfigError(f"{key} = {value!r}: {nearest(str(value), map(str, choices))}")
        return value
    if origin is tuple:
        return _convert_tuple(value, typing.get_args(hint), key)
    if origin is dict or hint is dict:
        return _expect(value, dict, key)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), _expect(value, dict, key), key)
    if hint is float and type(value) is int:
        return float(value)
    if hint is Any:
        return value
    return _expect(value, hint, key)


def _convert_union(value: Any, options: tuple[Any, ...], key: str) -> Any:
    problems = []
    for option in options:
        if option is type(None):
            if value is None:
                return None
            continue
        try:
            return _convert(value, option, key)
        except ConfigError as error:
            problems.append(error)
    raise problems[0]


def _convert_tuple(value: Any, args: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{key} should be a list, not {value!r}")
    return tuple(_convert(item, args[0], f"{key}[{i}]") for i, item in enumerate(value))


def _expect(value: Any, kind: type, key: str) -> Any:
    if type(value) is not kind:  # bool is a subclass of int: exact types only
        raise ConfigError(f"{key} should be {kind.__name__}, not {value!r}")
    return value
