"""Read and write safetensors files: an 8-byte length, a JSON header, then the tensors' bytes, none behind another.

    u64 n | {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets": [first, end]}, …} | data

Files come from strangers: the header is bounded and read strictly, every size is checked against dtype and shape, and
the tensors must fill the data without gap, overlap or rest, before anything is read.  Nothing is executed.  A tensor is
mapped when it is asked for and unmapped when it is let go of, so that reading takes the memory of one at a time.

Errors: CorruptFileError in one line with the remedy; WeightlessError when the file cannot be read.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from weightless.artifact.strict_json import load_strict
from weightless.base.errors import CorruptFileError, WeightlessError, nearest

_NAMES = {1: "BOOL U8 I8 F8_E5M2 F8_E4M3", 2: "U16 I16 F16 BF16", 4: "U32 I32 F32", 8: "U64 I64 F64"}
SIZES = {name: size for size, names in _NAMES.items() for name in names.split()}
"""Bytes of an element; which of them are weights is for the reader to say."""
MAX_HEADER_BYTES = 100 * 10**6
MAX_AXES, MAX_ELEMENTS = 8, 1 << 48
LFS = b"version https://git-lfs"
AGAIN = "download it again"


class Entry(NamedTuple):
    """One tensor: its bytes are first..end of the data."""

    dtype: str
    shape: tuple[int, ...]
    first: int
    end: int


@dataclass(frozen=True)
class Safetensors:
    """An opened file, of which only the header has been read; `data` is where its tensors begin."""

    path: Path
    entries: Mapping[str, Entry]
    data: int

    def bytes_of(self, name: str) -> np.ndarray:
        """The bytes of one tensor, uint8, read-only, mapped from the file."""
        entry = self.entries[name]
        if entry.first == entry.end:
            return np.empty(0, np.uint8)
        at = self.data + entry.first
        page = at // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        try:
            with open(self.path, "rb") as file:
                mapped = mmap.mmap(file.fileno(), self.data + entry.end - page, access=mmap.ACCESS_READ, offset=page)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise WeightlessError(f"cannot read {self.path}: {reason}") from error
        return np.frombuffer(mapped, np.uint8, entry.end - entry.first, at - page)


def open_safetensors(path: str | Path) -> Safetensors:
    """Read and check the header; CorruptFileError for what contradicts itself or the size of the file."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            n_header = _header_bytes(file.read(64), size, path)
            file.seek(8)
            text = file.read(n_header)
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    try:
        return Safetensors(path, _entries(load_strict(text), size - 8 - n_header), 8 + n_header)
    except _CutShort as error:
        raise CorruptFileError(f"{path} was cut short: {error}; {AGAIN}") from None
    except ValueError as error:
        raise CorruptFileError(f"{path} describes its tensors wrongly ({error}): {AGAIN}") from None


class _CutShort(ValueError):
    pass


def _header_bytes(head: bytes, size: int, path: Path) -> int:
    if head.startswith(LFS):
        raise CorruptFileError(
            f"{path} is a pointer of git-lfs and not the file itself: fetch it with `git lfs pull`, or download it"
        )
    if size < 8:
        raise CorruptFileError(f"{path} was cut short: it holds {size} bytes, less than a safetensors header; {AGAIN}")
    n_header = int.from_bytes(head[:8], "little")
    if n_header > MAX_HEADER_BYTES:
        raise CorruptFileError(
            f"{path} claims a header of {n_header} bytes, too large to be true: it is no safetensors file, or damaged"
        )
    if 8 + n_header > size:
        raise CorruptFileError(
            f"{path} was cut short: its header alone takes {8 + n_header} bytes, it holds {size}; {AGAIN}"
        )
    return n_header


def _entries(values: Any, n_data: int) -> dict[str, Entry]:
    if not isinstance(values, dict):
        raise ValueError("its header is not an object")
    metadata = values.pop("__metadata__", {})
    if not isinstance(metadata, dict) or any(not isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not texts by name")
    entries = {name: _entry(name, value) for name, value in values.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].first, item[1].end)):
        if entry.first != end:
            what = "overlaps the one before" if entry.first < end else "leaves a gap before it"
            raise ValueError(f"tensor {name!r:.80} begins at byte {entry.first} instead of {end}: it {what}")
        end = entry.end
    if end > n_data:
        raise _CutShort(f"its tensors take {end} bytes, it holds {n_data} of them")
    if end < n_data:
        raise ValueError(f"{n_data - end} bytes behind its tensors belong to none")
    return entries


def _entry(name: str, value: Any) -> Entry:
    where = f"tensor {name!r:.80}"
    if not isinstance(value, dict) or sorted(value) != ["data_offsets", "dtype", "shape"]:
        raise ValueError(f"{where} should have dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise ValueError(f"{where} is of an unknown dtype {dtype!r:.40}, {nearest(str(dtype)[:40], SIZES)}")
    if not _whole_numbers(shape) or len(shape) > MAX_AXES or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"{where} has an impossible shape {shape!r:.80}")
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * SIZES[dtype]:
        wanted = math.prod(shape) * SIZES[dtype]
        raise ValueError(f"{where} lies at {offsets!r:.80}, and {dtype} of shape {shape!r:.80} takes {wanted} bytes")
    return Entry(dtype, tuple(shape), *offsets)


def _whole_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v <= MAX_ELEMENTS * 8 for v in values)


class Outgoing(NamedTuple):
    """A tensor to write: its bytes come in `blocks`, one after the other, made when they are written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    blocks: Iterable[np.ndarray]


def write_safetensors(file: IO[bytes], tensors: Sequence[Outgoing], program: str = "pt") -> None:
    """Write a whole file into `file`, tensor by tensor; the header's length is a multiple of 8, as others expect.

    `program`: whose tensors they are, as the header says it (pt, mlx).
    """
    header: dict[str, Any] = {"__metadata__": {"format": program}}
    end = 0
    for tensor in tensors:
        first, end = end, end + math.prod(tensor.shape) * SIZES[tensor.dtype]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [first, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors:
        written = sum(file.write(np.ascontiguousarray(block).tobytes()) for block in tensor.blocks)
        assert written == math.prod(tensor.shape) * SIZES[tensor.dtype], tensor.name
