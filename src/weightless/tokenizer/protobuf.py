"""The wire format of Protocol Buffers, read and written without a dependency: enough for SentencePiece's .model files.

A message is a sequence of fields.  A field is a tag (varint: number << 3 | kind) and a value; kinds:

    0 VARINT     base-128 number, low groups first, at most ten bytes, 64 bits
    1 FIXED64    eight bytes, little-endian
    2 BYTES      varint length, then so many bytes (strings, nested messages)
    5 FIXED32    four bytes, little-endian

Kinds 3 and 4 (groups) were abandoned before the files existed that are read here; they count as damage, as every
length that leads beyond the end does.  Source: "Encoding", the protobuf documentation.
Files come from strangers: nothing is allocated by a number that the file states, and every error is a CorruptFileError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from weightless.base.errors import CorruptFileError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10
HIGHEST_NUMBER = 2**29 - 1

Value = int | bytes
_WIDTH = {FIXED64: 8, FIXED32: 4}


def fields(message: bytes, where: str) -> Iterator[tuple[int, int, Value]]:
    """Yield (number, kind, value) of every field: an int for VARINT, raw bytes for the others.

    `where` names the file (and part) in errors; CorruptFileError for anything that is not the wire format.
    """
    at = 0
    while at < len(message):
        tag, after = _varint(message, at, where)
        number, kind = tag >> 3, tag & 7
        if not 1 <= number <= HIGHEST_NUMBER:
            raise CorruptFileError(f"{where}: field number {number} at byte {at} cannot be; the file is damaged")
        if kind == VARINT:
            value, at = _varint(message, after, where)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, after = _varint(message, after, where)
        elif kind in _WIDTH:
            size = _WIDTH[kind]
        else:
            raise CorruptFileError(f"{where}: field {number} at byte {at} is of unknown kind {kind}")
        if size > len(message) - after:
            raise CorruptFileError(
                f"{where}: field {number} at byte {at} has {size:,} bytes, but {len(message) - after:,} are left"
            )
        at = after + size
        yield number, kind, message[after:at]


def _varint(message: bytes, at: int, where: str) -> tuple[int, int]:
    """(number, place behind it)."""
    value = 0
    for k, byte in enumerate(message[at : at + LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at + k + 1
    raise CorruptFileError(f"{where}: the number at byte {at} does not end, or has more than 64 bits")


def expect(kind: int, wanted: int, value: Value, what: str, where: str) -> Value:
    """The value, when the field has the kind its meaning asks for; else CorruptFileError."""
    if kind != wanted:
        raise CorruptFileError(f"{where}: {what} is of kind {kind}, should be {wanted}")
    return value


def signed(value: int) -> int:
    """A VARINT read as int32, as protobuf writes negative ones: 64-bit two's complement, upper half ignored."""
    low = value & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def float32(value: bytes) -> float:
    """A FIXED32 read as IEEE single precision."""
    return struct.unpack("<f", value)[0]


def number_field(number: int, value: int) -> bytes:
    """A VARINT field; negative values as protobuf writes them, in ten bytes."""
    return _written(number << 3 | VARINT) + _written(value & (1 << 64) - 1)


def bytes_field(number: int, content: bytes) -> bytes:
    """A BYTES field: a string, or a nested message."""
    return _written(number << 3 | BYTES) + _written(len(content)) + content


def float_field(number: int, value: float) -> bytes:
    """A FIXED32 field with an IEEE single."""
    return _written(number << 3 | FIXED32) + struct.pack("<f", value)


def _written(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
