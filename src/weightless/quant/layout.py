"""How many bytes a row of a format has, and which of them hold what (`quant/formats.py` says how they are laid)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.format_names import LEVELS, ROW, FormatName, is_table, parse_format
from weightless.quant.words import FIVE, n_words, places_in_words

_BITS = {"f32": 32, "f16": 16, "bf16": 16, "u8": 8, "u16": 16, "u32": 32, "i32": 32, "t2": 2, "binary": 1}
_DTYPES = {"f32": "<f4", "f16": "<f2", "u8": "|u1", "u16": "<u2", "u32": "<u4", "i32": "<i4"}
FIRST_LAYOUTS = ("int8", "int4")
"""Formats whose codes lie in bytes of their own kind."""
NIBBLE_GROUP = 64
"""Columns whose codes int4 lays into the halves of the same bytes."""


@dataclass(frozen=True)
class Format:
    """One row format by its name; `levels` values of a code (0: no codes), `group` columns per scale (ROW: all)."""

    name: str
    parts: FormatName

    @property
    def is_integer_table(self) -> bool:
        """True for indices and counts (u8 u16 u32 i32), which are never rounded."""
        return is_table(self.name)

    @property
    def levels(self) -> int:
        return LEVELS.get(self.parts.base, 0)

    @property
    def group(self) -> int:
        return self.parts.group

    @property
    def dtype(self) -> str:
        """NumPy's name of an element where it has one."""
        return _DTYPES.get(self.name, "")

    @property
    def bits(self) -> float:
        """Of an element, without scales and filling."""
        base = self.parts.base
        return 8 / FIVE if base == "t5" else float(_BITS[base] if base in _BITS else int(base[3:]))

    def group_size(self, cols: int) -> int:
        """Columns that share a scale."""
        return max(1, cols) if self.group == ROW else self.group

    def bits_per_element(self, cols: int) -> float:
        """Bits per element of a row so wide, with its scales and what fills it up: int4 has 4.25."""
        return 8 * row_bytes(self.name, cols) / max(1, cols)


@functools.cache
def format_named(name: str) -> Format:
    """The format of that name; ConfigError naming the nearest one."""
    return Format(name, parse_format(name))


def is_quantised(fmt: str) -> bool:
    """True for formats with codes and scales."""
    return format_named(fmt).levels > 0


def n_groups(fmt: str, cols: int) -> int:
    """Scales per row."""
    return -(-cols // format_named(fmt).group_size(cols))


@functools.cache
def code_bytes(fmt: str, cols: int) -> int:
    """Bytes of one row before its scales, the even padding included; the scales start here."""
    n = used_code_bytes(fmt, cols)
    return n + n % 2 if is_quantised(fmt) else n


def used_code_bytes(fmt: str, cols: int) -> int:
    """The same without the byte that makes their number even."""
    described = format_named(fmt)
    storage = described.parts.storage
    if storage == "int4" and cols % 2:
        raise ConfigError(
            f"int4 packs two columns per byte and cannot hold {cols} columns: make it even, or use int4_g32 or int8"
        )
    if storage in FIRST_LAYOUTS or not described.levels:
        return int(cols * described.bits) // 8
    if described.parts.base == "t5":
        return sum(-(-size // FIVE) for size in group_sizes(fmt, cols))
    return 4 * n_words(int(described.bits), cols)


def group_sizes(fmt: str, cols: int) -> list[int]:
    """Columns of every group."""
    size = format_named(fmt).group_size(cols)
    return [min(size, cols - first) for first in range(0, cols, size)]


def scale_bytes(fmt: str, cols: int) -> int:
    """Bytes of the scales of one row."""
    if not is_quantised(fmt):
        return 0
    n = n_groups(fmt, cols)
    return 2 * n if format_named(fmt).parts.scale_bits == 16 else 2 + n + n % 2


@functools.cache
def row_bytes(fmt: str, cols: int) -> int:
    """Bytes of one stored row."""
    if cols < 0:
        raise ConfigError(f"a row cannot have {cols} columns")
    return code_bytes(fmt, cols) + scale_bytes(fmt, cols)


def stored_bytes(fmt: str, rows: int, cols: int) -> int:
    """Bytes of `rows` stored rows without row padding."""
    return rows * row_bytes(fmt, cols)


@functools.cache
def column_bytes(fmt: str, cols: int) -> tuple[tuple[int, ...], ...]:
    """The bytes of a row of codes that every column's value depends on: its code's, then its scale's."""
    described = format_named(fmt)
    storage, size, start = described.parts.storage, described.group_size(cols), code_bytes(fmt, cols)
    if storage == "int8":
        places = [(j,) for j in range(cols)]
    elif storage == "int4":
        places = [_nibble(j, cols) for j in range(cols)]
    elif described.parts.base == "t5":
        places = [(j // size * -(-size // FIVE) + j % size // FIVE,) for j in range(cols)]
    else:
        places = places_in_words(int(described.bits), cols)
    if described.parts.scale_bits == 16:
        scales = [(start + 2 * g, start + 2 * g + 1) for g in range(n_groups(fmt, cols))]
    else:
        scales = [(start, start + 1, start + 2 + g) for g in range(n_groups(fmt, cols))]
    return tuple((*place, *scales[j // size]) for j, place in enumerate(places))


def _nibble(j: int, cols: int) -> tuple[int]:
    first = j // NIBBLE_GROUP * NIBBLE_GROUP
    half = (min(first + NIBBLE_GROUP, cols) - first) // 2
    return (first // 2 + (j - first) % half,)


def filling(fmt: str, cols: int) -> np.ndarray:
    """Mask bool [row_bytes] of the bytes that no value depends on."""
    mask = np.zeros(row_bytes(fmt, cols), bool)
    if is_quantised(fmt):
        mask[:] = True
        mask[[at for places in column_bytes(fmt, cols) for at in places]] = False
    return mask
