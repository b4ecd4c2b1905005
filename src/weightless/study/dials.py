"""Floor 9.  The dials of a family's configuration: which there are, what values each may take, and how it is turned.

    d_ff, d_expert   width of a feed-forward block (of an expert), in steps of 1, or of what its format packs together;
                     from an eighth of d_model to eight times that
    rows             of all hashed tables together, in their proportion, in steps of 16
    n_slots          of a memory, which are a square
    d_model          in steps of 8, where the heads part it; d_ff follows in proportion
    n_layers         one by one

The first three are fine: a value of them is found that comes near to nearly any target.  The last two are coarse.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.lab.fit import width_of
from weightless.models.catalog import family
from weightless.program.operators.memory.promise import MOST_SLOTS

FINE, COARSE = ("d_ff", "d_expert", "rows", "n_slots"), ("d_model", "n_layers")
UNBOUNDED = ("rows", "n_slots")
WIDEST, DEEPEST = 4096, 96
MOST_ROWS, ROW_STEP = 1 << 24, 16
STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Numbers that a format may pack together; the first of them that it takes."""


def dials_of(config: Any) -> list[str]:
    """The dials that a configuration has, the one to be turned first at the head."""
    return [*_width_dial(config), *(["rows"] if tables(config) else []), *_fields(config, "n_slots", *COARSE)]


def _width_dial(config: Any) -> list[str]:
    """d_expert or d_ff; none where every block has a memory in its place."""
    names = _fields(config, "d_expert") or _fields(config, "d_ff")
    return [name for name in names if _is_config(config, name, value_of(config, name) + STEPS[-1])]


def _fields(config: Any, *names: str) -> list[str]:
    return [name for name in names if hasattr(config, name)]


def tables(config: Any) -> list[str]:
    """The fields that hold rows of hashed tables in use."""
    return [f.name for f in dataclasses.fields(config) if "rows" in f.name.split("_") and getattr(config, f.name)]


def check_dials(config: Any, free: Sequence[str], where: str) -> None:
    """ConfigError for the name of a dial that this configuration does not have."""
    for name in free:
        if name not in (known := dials_of(config)):
            raise ConfigError(f"{where}: no dial {name!r} of this family may move: {nearest(name, known)}")


def values_of(family_name: str, config: Any, name: str) -> Sequence[int]:
    """All values of a dial, ascending, of those that the configuration takes."""
    match name:
        case "d_ff" | "d_expert":
            width = width_of(config, name)
            low, high = min(width, -(-config.d_model // 8)), max(width, 8 * config.d_model)
            step = next((s for s in STEPS if _packs(family_name, config, name, s)), STEPS[-1])
            return range(-(-low // step) * step, high + 1, step)
        case "rows":
            return range(ROW_STEP, MOST_ROWS + 1, ROW_STEP)
        case "n_slots":
            return range(max(2, config.top_k), math.isqrt(MOST_SLOTS // config.memory_heads) + 1)
        case "d_model":
            candidates = range(8, WIDEST + 1, 8)
        case _:
            candidates = range(1, DEEPEST + 1)
    return [value for value in candidates if _is_config(config, name, value)]


def _is_config(config: Any, name: str, value: int) -> bool:
    try:
        turned(config, name, value)
    except ConfigError:
        return False
    return True


def _packs(family_name: str, config: Any, name: str, step: int) -> bool:
    """Whether odd multiples of the step can be packed."""
    try:
        for odd in (3, 5):
            family(family_name).decode_program(turned(config, name, odd * step))
    except WeightlessError:
        return False
    return True


def value_of(config: Any, name: str) -> int:
    """Where a dial stands."""
    match name:
        case "rows":
            return getattr(config, tables(config)[0])
        case "n_slots":
            return math.isqrt(config.n_slots)
        case "d_ff" | "d_expert":
            return width_of(config, name)
    return getattr(config, name)


def turned(config: Any, name: str, value: int) -> Any:
    """The configuration with a dial at a value; ConfigError where there is none."""
    if value == value_of(config, name):
        return config
    match name:
        case "rows":
            first = value_of(config, name)
            rows = {table: max(1, round(value * getattr(config, table) / first)) for table in tables(config)}
            return dataclasses.replace(config, **rows)
        case "n_slots":
            return dataclasses.replace(config, n_slots=value * value)
    return dataclasses.replace(config, **{name: value})


def scaled(family_name: str, config: Any, name: str, value: int) -> Any:
    """The same, and with d_model the width of the blocks in proportion, where it is written down."""
    fine = next((dial for dial in _width_dial(config) if getattr(config, dial)), None)
    made = turned(config, name, value)
    if name != "d_model" or fine is None:
        return made
    width = round(getattr(config, fine) * value / config.d_model)
    step = next((s for s in STEPS if _packs(family_name, config, fine, s)), STEPS[-1])
    return turned(made, fine, max(1, round(width / step)) * step)
