"""Read and write GGUF files, little-endian, version 3: the container of llama.cpp's models.

    "GGUF" | u32 version | u64 n_tensors | u64 n_keys | keys | descriptions | zeros up to the alignment | data

    key            text name, u32 kind, value         text = u64 length, UTF-8          list = u32 kind, u64 n, values
    description    text name, u32 n_axes, u64 sizes (the innermost first), u32 type, u64 offset in the data
    data           tensor behind tensor, each filled up with zeros to `general.alignment` (32 when nothing is said)

Files come from strangers.  Counts, lengths, kinds, shapes, types and offsets are checked against the file's size before
they are used; no name may come twice; tensors must fill the data in order without gap, overlap or rest, as llama.cpp
writes them and demands it.  Nothing is executed.  A tensor is mapped when it is asked for.

Shapes are given the way NumPy says them, rows first: the file's sizes turned around.  A type's numbers come in blocks
along a row; what the blocks hold is told in quant/gguf_blocks.py.
Errors: CorruptFileError in one line with the remedy; WeightlessError when the file cannot be read.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from weightless.base.errors import CorruptFileError, WeightlessError

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
TEXT, LIST, BOOL = 8, 9, 7
KINDS: Mapping[int, str] = {0: "u1", 1: "i1", 2: "u2", 3: "i2", 4: "u4", 5: "i4", 6: "f4", 10: "u8", 11: "i8", 12: "f8"}
"""NumPy's names of the numbers that a key may hold; bools and texts stand apart."""
ALIGNMENT_KEY = "general.alignment"
MOST_HEADER = 1 << 29
MOST_NAME, MOST_AXES, MOST_ELEMENTS = 65_535, 4, 1 << 48
MOST_ALIGNMENT = 1 << 20
AGAIN = "download it again, or convert the model anew"


class BlockType(NamedTuple):
    """`size` numbers of a row lie in `n_bytes` bytes."""

    name: str
    size: int
    n_bytes: int


TYPES: Mapping[int, BlockType] = {
    number: BlockType(name, size, n_bytes)
    for number, name, size, n_bytes in (
        (0, "F32", 1, 4),
        (1, "F16", 1, 2),
        (2, "Q4_0", 32, 18),
        (3, "Q4_1", 32, 20),
        (6, "Q5_0", 32, 22),
        (7, "Q5_1", 32, 24),
        (8, "Q8_0", 32, 34),
        (10, "Q2_K", 256, 84),
        (11, "Q3_K", 256, 110),
        (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176),
        (14, "Q6_K", 256, 210),
        (16, "IQ2_XXS", 256, 66),
        (17, "IQ2_XS", 256, 74),
        (18, "IQ3_XXS", 256, 98),
        (19, "IQ1_S", 256, 50),
        (20, "IQ4_NL", 32, 18),
        (21, "IQ3_S", 256, 110),
        (22, "IQ2_S", 256, 82),
        (23, "IQ4_XS", 256, 136),
        (24, "I8", 1, 1),
        (25, "I16", 1, 2),
        (26, "I32", 1, 4),
        (27, "I64", 1, 8),
        (28, "F64", 1, 8),
        (29, "IQ1_M", 256, 56),
        (30, "BF16", 1, 2),
        (34, "TQ1_0", 256, 54),
        (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17),
        (40, "NVFP4", 64, 36),
        (41, "Q1_0", 128, 18),
        (42, "Q2_0", 64, 18),
    )
}
"""By llama.cpp's numbers; a tensor of an unknown type has no known size, so a file that holds one is refused."""


class GgufEntry(NamedTuple):
    """One tensor: its bytes are first..end of the data."""

    type: str
    shape: tuple[int, ...]
    first: int
    end: int


@dataclass(frozen=True)
class Gguf:
    """An opened file of which the header has been read; `data` is where its tensors begin."""

    path: Path
    keys: Mapping[str, Any]
    entries: Mapping[str, GgufEntry]
    data: int

    def rows(self, name: str) -> np.ndarray:
        """The stored rows of a tensor, uint8 [rows, bytes of a row], read-only, mapped; a vector is one row."""
        entry = self.entries[name]
        at = self.data + entry.first
        page = at // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        try:
            with open(self.path, "rb") as file:
                mapped = mmap.mmap(file.fileno(), self.data + entry.end - page, access=mmap.ACCESS_READ, offset=page)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise WeightlessError(f"cannot read {self.path}: {reason}") from error
        flat = np.frombuffer(mapped, np.uint8, entry.end - entry.first, at - page)
        return flat.reshape(math.prod(entry.shape[:-1]), -1)


def open_gguf(path: str | Path) -> Gguf:
    """Read and check all but the tensors' numbers."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            text = mmap.mmap(file.fileno(), min(size, MOST_HEADER), access=mmap.ACCESS_READ) if size else b""
    except (OSError, ValueError) as error:
        raise WeightlessError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        return _opened(path, _Reader(text, size), size)
    except _CutShort as error:
        raise CorruptFileError(f"{path} was cut short, or is damaged: {error}; {AGAIN}") from None
    except ValueError as error:
        raise CorruptFileError(f"{path}: {error}; {AGAIN}") from None


class _CutShort(ValueError):
    pass


class _Reader:
    """A place in the header that moves on; nothing is read beyond its end."""

    def __init__(self, text: bytes | mmap.mmap, file_size: int) -> None:
        self.text, self.at, self.file_size = text, 0, file_size

    def take(self, n: int, what: str) -> bytes:
        left = len(self.text) - self.at
        if n > left:
            if self.file_size > len(self.text):
                raise ValueError(f"its header goes on behind {len(self.text)} bytes, too long to be true ({what})")
            raise _CutShort(f"{what} takes {n} bytes, and {left} are left")
        self.at += n
        return self.text[self.at - n : self.at]

    def number(self, code: str, what: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(code), what))[0]

    def words(self, what: str, most: int) -> str:
        n = self.number("Q", f"the length of {what}")
        if n > most:
            raise ValueError(f"{what} claims {n} bytes, too long to be true")
        try:
            return self.take(n, what).decode()
        except UnicodeDecodeError:
            raise ValueError(f"{what} is not UTF-8 text") from None

    def count(self, code: str, what: str, least_bytes: int) -> int:
        """A number of things of which each takes at least so many bytes."""
        n, left = self.number(code, f"the number of {what}"), self.file_size - self.at
        if n * least_bytes > left:
            raise _CutShort(f"it claims {n} {what}, and {left} bytes are left")
        return n


def _opened(path: Path, header: _Reader, size: int) -> Gguf:
    if header.text[:4] != MAGIC:
        raise ValueError("it is no GGUF file: it does not begin with that word")
    header.take(4, "the magic word")
    version = header.number("I", "the version")
    if version != VERSION:
        big = int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3)
        told = "its numbers are big-endian" if big else f"it is of version {version}"
        raise ValueError(f"{told}, and only version {VERSION}, little-endian, can be read")
    n_tensors = header.count("Q", "tensors", 24)
    n_keys = header.count("Q", "keys", 13)
    keys: dict[str, Any] = {}
    for i in range(n_keys):
        name = header.words(f"the name of key {i}", MOST_NAME)
        if name in keys:
            raise ValueError(f"the key {name!r:.80} comes twice")
        keys[name] = _value(header, f"the key {name!r:.80}")
    alignment = _alignment(keys)
    entries = _entries(header, n_tensors, alignment)
    data = _aligned(header.at, alignment)
    _check_fill(entries, max(0, size - data), alignment)
    return Gguf(path, keys, entries, data)


def _value(header: _Reader, what: str) -> Any:
    kind = header.number("I", f"the kind of {what}")
    if kind != LIST:
        return _scalar(header, kind, what)
    kind = header.number("I", f"the kind of {what}")
    if kind == TEXT:
        n = header.count("Q", f"texts of {what}", 8)
        return [header.words(f"text {i} of {what}", MOST_HEADER) for i in range(n)]
    if kind not in KINDS and kind != BOOL:
        raise ValueError(f"{what} is a list of kind {kind}, which none can be read of")
    dtype = np.dtype("u1" if kind == BOOL else f"<{KINDS[kind]}")
    n = header.count("Q", f"numbers of {what}", dtype.itemsize)
    values = np.frombuffer(header.take(n * dtype.itemsize, what), dtype)
    if kind != BOOL:
        return values
    if values.size and values.max() > 1:
        raise ValueError(f"{what} holds a truth value of {values.max()}")
    return values.astype(bool)


def _scalar(header: _Reader, kind: int, what: str) -> Any:
    if kind == TEXT:
        return header.words(what, MOST_HEADER)
    if kind == BOOL:
        value = header.number("B", what)
        if value > 1:
            raise ValueError(f"{what} is a truth value of {value}")
        return bool(value)
    if kind not in KINDS:
        raise ValueError(f"{what} is of kind {kind}, which there is none of")
    dtype = np.dtype(f"<{KINDS[kind]}")
    return np.frombuffer(header.take(dtype.itemsize, what), dtype)[0].item()


def _alignment(keys: Mapping[str, Any]) -> int:
    value = keys.get(ALIGNMENT_KEY, ALIGNMENT)
    if type(value) is not int or not 1 <= value <= MOST_ALIGNMENT or value & (value - 1):
        raise ValueError(f"{ALIGNMENT_KEY} is {value!r:.40}, no power of two up to {MOST_ALIGNMENT}")
    return value


def _entries(header: _Reader, n_tensors: int, alignment: int) -> dict[str, GgufEntry]:
    entries: dict[str, GgufEntry] = {}
    for i in range(n_tensors):
        name = header.words(f"the name of tensor {i}", MOST_NAME)
        if name in entries:
            raise ValueError(f"the tensor {name!r:.80} comes twice")
        what = f"tensor {name!r:.80}"
        n_axes = header.number("I", f"the number of axes of {what}")
        if not 1 <= n_axes <= MOST_AXES:
            raise ValueError(f"{what} has {n_axes} axes; 1 to {MOST_AXES} are possible")
        sizes = [header.number("Q", f"the shape of {what}") for _ in range(n_axes)]
        number, first = header.number("I", f"the type of {what}"), header.number("Q", f"the offset of {what}")
        n_bytes = _bytes_of(what, number, sizes)
        if first % alignment:
            raise ValueError(f"{what} begins at byte {first} of the data, no multiple of the alignment {alignment}")
        entries[name] = GgufEntry(TYPES[number].name, tuple(reversed(sizes)), first, first + n_bytes)
    return entries


def _bytes_of(what: str, number: int, sizes: list[int]) -> int:
    if number not in TYPES:
        raise ValueError(f"{what} is of a type {number} that is not known: its size cannot be checked")
    kind = TYPES[number]
    if min(sizes) < 1 or math.prod(sizes) > MOST_ELEMENTS:
        raise ValueError(f"{what} has an impossible shape {sizes[::-1]}")
    if sizes[0] % kind.size:
        raise ValueError(f"{what} has rows of {sizes[0]} numbers, and {kind.name} holds {kind.size} in a block")
    return math.prod(sizes) // kind.size * kind.n_bytes


def _check_fill(entries: Mapping[str, GgufEntry], n_data: int, alignment: int) -> None:
    """Tensors lie in order, each filled up to the alignment (the last may be, too), and nothing is left over."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].first):
        if entry.first != _aligned(end, alignment):
            what = "overlaps the one before" if entry.first < end else "leaves a gap before it"
            raise ValueError(f"tensor {name!r:.80} begins at byte {entry.first} instead of {end}: it {what}")
        end = entry.end
        if end > n_data:
            raise _CutShort(f"tensor {name!r:.80} ends at byte {end} of the data, and there are {n_data} bytes of it")
    if n_data > _aligned(end, alignment):
        raise ValueError(f"{n_data - end} bytes behind its tensors belong to none")


def _aligned(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment
