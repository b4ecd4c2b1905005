"""A squeezed artifact (.wlz): the sections of an artifact coded each by itself, and what it takes to write it anew.

    offset  bytes  field (numbers little-endian)
         0      4  magic, "WLZ1"
         4      1  coder of the description, by its place in `coders.CODERS`
         5      3  zeros
         8      4  bytes of the description as it is coded
        12      4  bytes of the description when opened
        16      8  bytes of the artifact
        24     32  SHA-256 of the artifact
        56     16  the first half of the SHA-256 of bytes 0 to 55 and of the description as it is coded

    file = head | description | parts in the order of the description, without gaps

The description is strict JSON, {"meta": that of the artifact, "sections": [[name, format, rows, cols, row_bytes,
row_stride, parts] …]}.  A part is a range of columns of a section's rows, [columns, transform, coder, bytes, CRC-32 of
these bytes]; the parts of a section add up to its stride.  Offsets and checksums of sections are not kept: they follow,
and so do header and table of the artifact.  Nothing is unpacked beyond what sizes say that were checked before, and
they are refused where they would make more than 64 MiB + 256 times the file.
Errors: CorruptFileError for what is damaged; WeightlessError naming the package of a coder that is not installed.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from weightless.artifact.coders import CODERS, TRANSFORMS, decoded, fits, restored
from weightless.artifact.header import HEADER_BYTES, MAX_META_BYTES, MAX_TABLE_BYTES, Header
from weightless.artifact.sections import Entry, align_up, check_layout, dump_table
from weightless.artifact.strict_json import dump_strict, load_strict
from weightless.base.errors import CorruptFileError

MAGIC = b"WLZ1"
HEAD_BYTES = 72
MOST_DESCRIBED = MAX_META_BYTES + MAX_TABLE_BYTES
MOST_OPENED, MOST_RATIO = 64 << 20, 256
"""An artifact has at most so many bytes, and so many times the bytes of its file more."""
REMEDY = "fetch it again, or squeeze it again with `weightless pack --golf`"
_FIELDS = struct.Struct("<4sB3xIIQ32s")


class Part(NamedTuple):
    """`columns` bytes of every row of a section, laid out and coded; `n_bytes` in the file, `crc32` of these."""

    columns: int
    transform: str
    coder: str
    n_bytes: int
    crc32: int


class Section(NamedTuple):
    """A section of the artifact without its offset and its checksum, and its parts from left to right."""

    entry: Entry
    parts: tuple[Part, ...]


class Head(NamedTuple):
    """The first bytes of the file; `coder` and lengths are those of the description."""

    coder: str
    coded_bytes: int
    described_bytes: int
    artifact_bytes: int
    sha256: bytes

    def pack(self, description: bytes) -> bytes:
        """The 72 bytes in front of the coded description."""
        numbers = (self.coded_bytes, self.described_bytes, self.artifact_bytes)
        fields = _FIELDS.pack(MAGIC, CODERS.index(self.coder), *numbers, self.sha256)
        return fields + _digest(fields, description)


def unsqueezed(squeezed: bytes | memoryview, where: str) -> np.ndarray:
    """The artifact inside, uint8 and read-only; CorruptFileError when anything in it is damaged."""
    whole = memoryview(squeezed)
    try:
        head, description = _opened_head(whole, where)
        meta, sections = loaded_description(description)
        placed = _checked(sections, head, len(whole))
        out = np.frombuffer(mmap.mmap(-1, max(1, head.artifact_bytes)), np.uint8)[: head.artifact_bytes]
        at = HEAD_BYTES + head.coded_bytes
        for section, entry in zip(sections, placed):
            at = _open_section(whole, at, section, out[HEADER_BYTES + entry.offset :], where)
        _write_around(out, meta, placed)
    except ValueError as error:
        raise CorruptFileError(f"{where} cannot be unpacked ({error}): {REMEDY}") from None
    if hashlib.sha256(out.data).digest() != head.sha256:
        raise CorruptFileError(f"{where} does not give the artifact that it was made of (checksum): {REMEDY}")
    out.flags.writeable = False
    return out


def _opened_head(whole: memoryview, where: str) -> tuple[Head, bytes]:
    """The head and the description, both checked."""
    if len(whole) < HEAD_BYTES:
        raise ValueError(f"cut short: {len(whole)} bytes are less than its head")
    magic, coder, *numbers, sha256 = _FIELDS.unpack(whole[: _FIELDS.size])
    coded_bytes, described_bytes, artifact_bytes = numbers
    if magic != MAGIC or coder >= len(CODERS):
        raise ValueError("it does not begin as a squeezed artifact does")
    if coded_bytes > len(whole) - HEAD_BYTES or described_bytes > MOST_DESCRIBED:
        raise ValueError(f"cut short, or a description of {coded_bytes} bytes that cannot be true")
    description = bytes(whole[HEAD_BYTES : HEAD_BYTES + coded_bytes])
    if bytes(whole[_FIELDS.size : HEAD_BYTES]) != _digest(bytes(whole[: _FIELDS.size]), description):
        raise ValueError("head or description are damaged, by their checksum")
    if artifact_bytes > most_opened(len(whole)):
        raise ValueError(f"{artifact_bytes} bytes in a file of {len(whole)} are more than any model needs")
    head = Head(CODERS[coder], coded_bytes, described_bytes, artifact_bytes, sha256)
    return head, decoded(description, head.coder, described_bytes, where)


def most_opened(file_bytes: int) -> int:
    """The largest artifact that a file of so many bytes may hold."""
    return MOST_OPENED + MOST_RATIO * file_bytes


def dumped_description(meta: dict[str, Any], sections: Iterable[Section]) -> bytes:
    """The description as JSON."""
    rows = [
        [e.name, e.format, *e.shape, e.row_bytes, e.row_stride, [list(part) for part in parts]] for e, parts in sections
    ]
    return dump_strict({"meta": meta, "sections": rows})


def loaded_description(text: bytes) -> tuple[dict[str, Any], list[Section]]:
    """(meta, sections) of a description, every name and number checked; ValueError otherwise."""
    found = load_strict(text)
    if not isinstance(found, dict) or set(found) != {"meta", "sections"}:
        raise ValueError("its description has other keys than meta and sections")
    meta, rows = found["meta"], found["sections"]
    if not isinstance(meta, dict) or not isinstance(rows, list):
        raise ValueError("its description does not hold an object and a list")
    return meta, [_section(row) for row in rows]


def _section(row: Any) -> Section:
    if not isinstance(row, list) or len(row) != 7 or not isinstance(row[6], list):
        raise ValueError("a section is not described by seven values")
    name, fmt, rows, cols, row_bytes, row_stride, parts = row
    for size in (rows, cols, row_bytes, row_stride):
        if type(size) is not int or not 0 <= size < 1 << 48:
            raise ValueError(f"section {str(name)[:80]!r}: {str(size)[:40]} is not a size")
    entry = Entry(name, fmt, (rows, cols), row_bytes, row_stride, 0, rows * row_stride)
    found = tuple(_part(part, rows, str(name)[:80]) for part in parts)
    if sum(part.columns for part in found) != row_stride or any(part.columns == 0 for part in found):
        raise ValueError(f"section {str(name)[:80]!r}: its parts do not add up to rows of {row_stride} bytes")
    return Section(entry, found)


def _part(part: Any, rows: int, name: str) -> Part:
    if not isinstance(part, list) or len(part) != 5:
        raise ValueError(f"section {name!r}: a part is not described by five values")
    columns, transform, coder, n_bytes, crc32 = part
    for size in (columns, n_bytes, crc32):
        if type(size) is not int or not 0 <= size < 1 << 48:
            raise ValueError(f"section {name!r}: {str(size)[:40]} is not a size")
    if transform not in TRANSFORMS or coder not in CODERS or not fits(transform, rows, columns):
        raise ValueError(f"section {name!r}: {str(transform)[:40]!r} and {str(coder)[:40]!r} cannot be undone")
    return Part(columns, transform, coder, n_bytes, crc32)


def _checked(sections: list[Section], head: Head, file_bytes: int) -> list[Entry]:
    """The entries with their places: parts fill the file, and sections what the artifact has for them, exactly."""
    parts = sum(part.n_bytes for section in sections for part in section.parts)
    if HEAD_BYTES + head.coded_bytes + parts != file_bytes:
        wanted = HEAD_BYTES + head.coded_bytes + parts
        raise ValueError(f"{'cut short' if wanted > file_bytes else 'foreign bytes at its end'}: not {wanted} bytes")
    placed, data_bytes = placed_entries([section.entry for section in sections], ["0" * 64] * len(sections))
    check_layout(placed, data_bytes)
    if HEADER_BYTES + data_bytes > head.artifact_bytes:
        raise ValueError(f"its sections are larger than an artifact of {head.artifact_bytes} bytes")
    return placed


def placed_entries(entries: Sequence[Entry], digests: Iterable[str]) -> tuple[list[Entry], int]:
    """The entries with their offsets and checksums, and the bytes of the data region that they fill."""
    found, at = [], 0
    for entry, digest in zip(entries, digests, strict=True):
        found.append(replace(entry, offset=at, sha256=digest))
        at += align_up(entry.nbytes)
    return found, at


def _open_section(whole: memoryview, at: int, section: Section, out: np.ndarray, where: str) -> int:
    """Unpack the parts of a section that begin at byte `at` to the beginning of `out`; where the next one begins."""
    entry, left = section.entry, 0
    rows = entry.shape[0]
    out_RB = out[: entry.nbytes].reshape(rows, entry.row_stride)
    for part in section.parts:
        packed = bytes(whole[at : at + part.n_bytes])
        if zlib.crc32(packed) != part.crc32:
            raise ValueError(f"section {entry.name!r} is damaged, by its checksum")
        try:
            content = decoded(packed, part.coder, rows * part.columns, where)
        except ValueError as error:
            raise ValueError(f"section {entry.name!r}: {error}") from None
        out_RB[:, left : left + part.columns] = restored(content, part.transform, rows, part.columns)
        at, left = at + part.n_bytes, left + part.columns
    return at


def _write_around(out: np.ndarray, meta: dict[str, Any], entries: list[Entry]) -> None:
    """Header, description and table of the artifact whose data region stands in `out`; ValueError if they differ in
    length from what is left."""
    parts = (out[HEADER_BYTES + entry.offset : HEADER_BYTES + entry.end] for entry in entries)
    placed, data_bytes = placed_entries(entries, (hashlib.sha256(part.data).hexdigest() for part in parts))
    meta_text, table_text = dump_strict(meta), dump_table(placed)
    header = Header(
        data_bytes,
        len(meta_text),
        len(table_text),
        hashlib.sha256(meta_text).digest(),
        hashlib.sha256(table_text).digest(),
    )
    if header.file_bytes != len(out):
        raise ValueError(f"it gives an artifact of {header.file_bytes} bytes instead of {len(out)}")
    out[:HEADER_BYTES] = np.frombuffer(header.pack(), np.uint8)
    out[header.meta_offset :] = np.frombuffer(meta_text + table_text, np.uint8)


def _digest(fields: bytes, description: bytes) -> bytes:
    return hashlib.sha256(fields + description).digest()[:16]
