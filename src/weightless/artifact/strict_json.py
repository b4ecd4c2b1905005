"""JSON read as if an enemy had written it: bounded in depth, no duplicate keys, no NaN, only finite numbers.

Errors: ValueError with the reason (the caller knows which file and says so).
"""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 64


def dump_strict(value: Any) -> bytes:
    """Compact ASCII JSON; ValueError for what JSON would change or cannot hold."""
    check_plain(value)
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def load_strict(text: bytes) -> Any:
    """Parse UTF-8 JSON; ValueError for anything doubtful, a bomb of nested brackets included."""
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    check_plain(value)
    return value


def check_plain(value: Any) -> None:
    """Walk the value without recursion: known types, finite numbers, text keys, at most MAX_DEPTH levels."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        below: list[Any] = []
        for item in level:
            below.extend(_children(item))
        level, depth = below, depth + 1


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        for key in item:
            if not isinstance(key, str):
                raise ValueError(f"key {key!r} is not text")
        return list(item.values())
    if isinstance(item, (list, tuple)):
        return list(item)
    if isinstance(item, float) and not math.isfinite(item):
        raise ValueError(f"{item} is not a finite number")
    if item is not None and not isinstance(item, (str, int, float, bool)):
        raise ValueError(f"{type(item).__name__} is not plain data")
    return []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return built


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a finite number")
