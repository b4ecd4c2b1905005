"""The section table: where each array of bytes lies in the data region, every number checked before use.

An entry describes a table of shape (rows, cols): each row takes `row_bytes`, rows start `row_stride` bytes apart.
Sections stand in table order, each at the first multiple of 64 behind its predecessor, so that an offset is known
before it is read, two sections cannot overlap and no byte of the region belongs to nobody.
The meaning of `format` is not known on this floor.

Errors: ValueError with the reason (the caller knows which file and says so).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from weightless.artifact.strict_json import dump_strict, load_strict

ALIGNMENT = 64
MAX_SIZE = 1 << 48
_NAME = re.compile(r"[!-~]{1,200}")
_FORMAT = re.compile(r"[a-z0-9_@.]{1,48}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One stored array; `offset` (from the start of the data region) and `nbytes` = rows x row_stride in bytes."""

    name: str
    format: str
    shape: tuple[int, int]
    row_bytes: int
    row_stride: int
    offset: int
    nbytes: int
    sha256: str = ""

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


_KEYS = [field.name for field in fields(Entry)]


def align_up(n: int, alignment: int = ALIGNMENT) -> int:
    """The first multiple of `alignment` that is not below n."""
    return -(-n // alignment) * alignment


def dump_table(entries: Sequence[Entry]) -> bytes:
    """The table as JSON, a list of objects."""
    return dump_strict([asdict(entry) for entry in entries])


def load_table(text: bytes, data_bytes: int) -> list[Entry]:
    """Parse and check the whole table against the size of the data region."""
    rows = load_strict(text)
    if not isinstance(rows, list):
        raise ValueError("the section table is not a list")
    entries = [_entry(row, index) for index, row in enumerate(rows)]
    check_layout(entries, data_bytes)
    return entries


def check_layout(entries: Iterable[Entry], data_bytes: int) -> None:
    """Every entry sound, names unique, sections back to back on multiples of 64, filling the data region."""
    seen: set[str] = set()
    end = 0
    for entry in entries:
        check_entry(entry)
        if entry.name in seen:
            raise ValueError(f"two sections are called {entry.name!r}")
        seen.add(entry.name)
        if entry.offset != align_up(end):
            raise ValueError(f"section {entry.name!r} starts at byte {entry.offset} instead of {align_up(end)}")
        end = entry.end
    if align_up(end) != data_bytes:
        raise ValueError(f"the sections fill {align_up(end)} bytes but the data region has {data_bytes}")


def check_entry(entry: Entry) -> None:
    """One entry by itself: types, bounds, and sizes that agree with each other."""
    where = f"section {str(entry.name)[:200]!r}"
    _check_text(entry.name, _NAME, "name", where)
    _check_text(entry.format, _FORMAT, "format", where)
    _check_text(entry.sha256, _SHA256, "sha256", where)
    rows, cols = entry.shape
    sizes = {
        "rows": rows,
        "cols": cols,
        "row_bytes": entry.row_bytes,
        "row_stride": entry.row_stride,
        "offset": entry.offset,
        "nbytes": entry.nbytes,
    }
    for key, value in sizes.items():
        if type(value) is not int or not 0 <= value <= MAX_SIZE:
            raise ValueError(f"{where}: {key} is {value!r:.40}, not a size")
    if entry.row_bytes > entry.row_stride:
        raise ValueError(f"{where}: rows of {entry.row_bytes} bytes do not fit a stride of {entry.row_stride}")
    if rows * entry.row_stride != entry.nbytes:
        raise ValueError(f"{where}: {rows} rows of stride {entry.row_stride} are not {entry.nbytes} bytes")


def _check_text(value: Any, pattern: re.Pattern[str], key: str, where: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{where}: {key} {str(value)[:80]!r} does not match {pattern.pattern}")


def _entry(row: Any, index: int) -> Entry:
    if not isinstance(row, dict) or sorted(row) != sorted(_KEYS):
        raise ValueError(f"section {index} does not have exactly the keys {', '.join(_KEYS)}")
    if not isinstance(row["shape"], list) or len(row["shape"]) != 2:
        raise ValueError(f"section {index}: its shape is not [rows, cols]")
    return Entry(**{**row, "shape": tuple(row["shape"])})
