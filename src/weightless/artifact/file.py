"""Write an artifact in one pass, open it as one read-only memory map, and let nothing in it change unnoticed.

Every byte is covered: the header by its own checksum, meta and table by the header's, each section (row padding
included) by the table's, and the fill bytes between sections must be zero.  `open_artifact(verify=False)` skips only
the two last, which read all the data.

Errors: WeightlessError (cannot read or write), CorruptFileError (the bytes contradict the format), ConfigError (the
writer was asked for something the format cannot hold).  A file that shrinks while it is mapped kills the process
(the operating system's rule): replace artifacts by renaming, as `write_artifact` does, never in place.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from operator import index
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np

from weightless.artifact.header import (
    HEADER_BYTES,
    MAX_META_BYTES,
    MAX_TABLE_BYTES,
    REMEDY,
    Header,
    unfinished_header,
)
from weightless.artifact.sections import Entry, align_up, check_layout, dump_table, load_table
from weightless.artifact.strict_json import dump_strict, load_strict
from weightless.artifact.unsqueezing import MAGIC, unsqueezed
from weightless.base.cores import cores
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError, nearest
from weightless.base.files import atomic_writer
from weightless.base.progress import Ticker, progress

PROGRESS_FROM_BYTES = 256 * 10**6
THREADS_FROM_BYTES = 32 * 10**6
BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class StoredTensor:
    """One array to write: `data` holds rows x row_stride bytes (uint8), whole or as consecutive arrays.

    These may be made when they are asked for, which is once.
    """

    name: str
    format: str
    shape: tuple[int, int]
    row_bytes: int
    row_stride: int
    data: np.ndarray | Iterable[np.ndarray]

    def parts(self) -> Iterator[np.ndarray]:
        """The data as flat, contiguous byte arrays."""
        for part in [self.data] if isinstance(self.data, np.ndarray) else self.data:
            if part.dtype != np.uint8:
                raise ConfigError(f"tensor {self.name!r}: its data must be uint8, got {part.dtype}")
            yield np.ascontiguousarray(part).reshape(-1)


@dataclass(frozen=True)
class Artifact:
    """An open artifact; `data` is the whole data region, mapped read-only.

    `file_bytes` are those of the file, squeezed or not; all else is of the artifact inside.
    """

    path: Path
    meta: dict[str, Any]
    entries: MappingProxyType[str, Entry]
    data: np.ndarray
    file_bytes: int

    def entry(self, name: str) -> Entry:
        """The entry of that name; WeightlessError naming the nearest one."""
        try:
            return self.entries[name]
        except KeyError:
            raise WeightlessError(f"{self.path} has no tensor {name!r}: {nearest(name, self.entries)}") from None

    def view(self, name: str) -> np.ndarray:
        """uint8 [rows, row_stride] of one tensor, without copying."""
        entry = self.entry(name)
        return self.data[entry.offset : entry.end].reshape(entry.shape[0], entry.row_stride)


def write_artifact(path: str | Path, meta: dict[str, Any], tensors: Sequence[StoredTensor]) -> None:
    """Write the file atomically: data first, then meta and table, the header last of all."""
    meta_text = _packed_meta(meta)
    with atomic_writer(path) as file:
        file.write(unfinished_header())
        entries, data_bytes = _write_sections(file, tensors)
        table_text = _packed_table(entries, data_bytes)
        file.write(meta_text)
        file.write(table_text)
        file.flush()
        os.fsync(file.fileno())
        digests = hashlib.sha256(meta_text).digest(), hashlib.sha256(table_text).digest()
        file.seek(0)
        file.write(Header(data_bytes, len(meta_text), len(table_text), *digests).pack())


def open_artifact(path: str | Path, verify: bool = True) -> Artifact:
    """Map the file and check it; `verify=False` leaves the data region unread."""
    path = Path(path)
    whole = opened_bytes(path)
    header = Header.unpack(whole[:HEADER_BYTES].tobytes(), len(whole), path)
    meta_text = whole[header.meta_offset : header.table_offset].tobytes()
    table_text = whole[header.table_offset :].tobytes()
    for text, digest, what in (
        (meta_text, header.meta_sha256, "description"),
        (table_text, header.table_sha256, "section table"),
    ):
        if hashlib.sha256(text).digest() != digest:
            raise CorruptFileError(f"{path} has a damaged {what} (its checksum does not match): {REMEDY}")
    meta, entries = _unpacked(path, meta_text, table_text, header.data_bytes)
    data = whole[HEADER_BYTES : header.meta_offset]
    if verify:
        _verify(path, data, entries)
    return Artifact(path, meta, MappingProxyType({entry.name: entry for entry in entries}), data, path.stat().st_size)


def _packed_meta(meta: dict[str, Any]) -> bytes:
    if not isinstance(meta, dict):
        raise ConfigError(f"an artifact's meta is a dict, got {type(meta).__name__}")
    try:
        text = dump_strict(meta)
    except ValueError as error:
        raise ConfigError(f"an artifact's meta must be plain JSON: {error}") from None
    if len(text) > MAX_META_BYTES:
        raise ConfigError(f"an artifact's meta takes {len(text)} bytes, {MAX_META_BYTES} is the limit: store a tensor")
    return text


def _packed_table(entries: list[Entry], data_bytes: int) -> bytes:
    try:
        check_layout(entries, data_bytes)
        text = dump_table(entries)
    except ValueError as error:
        raise ConfigError(f"this cannot be packed: {error}") from None
    if len(text) > MAX_TABLE_BYTES:
        raise ConfigError(f"{len(entries)} tensors are too many for one artifact: join some of them")
    return text


def _write_sections(file: IO[bytes], tensors: Sequence[StoredTensor]) -> tuple[list[Entry], int]:
    entries: list[Entry] = []
    offset = 0
    total = sum(tensor.shape[0] * tensor.row_stride for tensor in tensors)
    with _shown("writing", total) as tick:
        for tensor in tensors:
            digest, nbytes = hashlib.sha256(), 0
            for part in tensor.parts():
                for block in _blocks(part):
                    digest.update(block)
                    file.write(block)
                    tick(len(block))
                nbytes += len(part)
            rows, cols, row_bytes, row_stride = map(index, (*tensor.shape, tensor.row_bytes, tensor.row_stride))
            entries.append(
                Entry(
                    tensor.name, tensor.format, (rows, cols), row_bytes, row_stride, offset, nbytes, digest.hexdigest()
                )
            )
            file.write(bytes(align_up(nbytes) - nbytes))
            offset += align_up(nbytes)
    return entries, offset


def opened_bytes(path: Path) -> np.ndarray:
    """The bytes of an artifact, mapped read-only, or unpacked where it is squeezed (`unsqueezing.py`).

    What is not a regular file is refused: it could block or never end.  Nothing but its size is checked here.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise WeightlessError(f"cannot read {path}: it is not a file; give a file made by `weightless pack`")
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise CorruptFileError(f"{path} is empty: {REMEDY}")
            whole = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        if whole[: len(MAGIC)].tobytes() == MAGIC:
            return unsqueezed(whole.data, str(path))
        return whole
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WeightlessError(f"cannot read {path}: {reason}") from error


def _unpacked(path: Path, meta_text: bytes, table_text: bytes, data_bytes: int) -> tuple[dict[str, Any], list[Entry]]:
    try:
        meta = load_strict(meta_text)
        if not isinstance(meta, dict):
            raise ValueError("its description is not an object")
        return meta, load_table(table_text, data_bytes)
    except ValueError as error:
        raise CorruptFileError(f"{path} describes itself wrongly ({error}): {REMEDY}") from None


def _verify(path: Path, data: np.ndarray, entries: list[Entry]) -> None:
    """Checksum of every section (on threads when there is much to read) and zeros between them."""
    for entry in entries:
        if data[entry.end : align_up(entry.end)].any():
            raise CorruptFileError(f"{path} has nonzero fill bytes behind {entry.name!r}: {REMEDY}")
    with _shown(f"checking {path.name}", len(data)) as tick, _mapper(len(data)) as each:
        for entry, sound in zip(entries, each(lambda entry: _is_sound(data, entry, tick), entries), strict=True):
            if not sound:
                raise CorruptFileError(f"{path} has damaged bytes in {entry.name!r} (checksum): {REMEDY}")


@contextmanager
def _mapper(n_bytes: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map` itself, or one over threads where there is enough to hash (hashing frees the interpreter's lock)."""
    if n_bytes < THREADS_FROM_BYTES:
        yield map
        return
    pool = ThreadPoolExecutor(min(4, cores()))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _is_sound(data: np.ndarray, entry: Entry, tick: Ticker) -> bool:
    digest = hashlib.sha256()
    for block in _blocks(data[entry.offset : entry.end]):
        digest.update(block)
        tick(len(block))
    return digest.hexdigest() == entry.sha256


def _blocks(part: np.ndarray) -> Iterator[memoryview]:
    flat = part.data
    for start in range(0, len(part), BLOCK_BYTES):
        yield flat[start : start + BLOCK_BYTES]


def _shown(label: str, total: int) -> AbstractContextManager[Ticker]:
    """A progress bar when there is enough to wait for, silence otherwise."""
    return progress(label, total, "B") if total >= PROGRESS_FROM_BYTES else nullcontext(_silent)


def _silent(amount: float = 1, note: str = "") -> None:
    pass
