"""A squeezed artifact (.wlz): the bytes of an artifact, compressed, so that size on disk is a question of entropy.

    "WLZ1" | SHA-256 of the artifact, 32 bytes | its length, u64 | a zlib stream

Opening it gives the artifact bit for bit, so bytes touched are those of the artifact that comes out.
Errors: CorruptFileError for what is damaged, WeightlessError for what cannot be read.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

from weightless.base.errors import CorruptFileError
from weightless.base.files import atomic_write

MAGIC = b"WLZ1"
_HEAD = struct.Struct("<4s32sQ")


def squeeze(source: Path, target: Path) -> int:
    """Write `source` (an artifact) compressed to `target`; the bytes of that file."""
    whole = source.read_bytes()
    packed = _HEAD.pack(MAGIC, hashlib.sha256(whole).digest(), len(whole)) + zlib.compress(whole, 9)
    atomic_write(target, packed)
    return len(packed)


def unsqueezed(squeezed: bytes, where: str) -> bytes:
    """The artifact inside; CorruptFileError when anything in it is damaged."""
    try:
        magic, digest, n_bytes = _HEAD.unpack_from(squeezed)
        decoder = zlib.decompressobj()
        whole = decoder.decompress(squeezed[_HEAD.size :], n_bytes + 1)
    except (struct.error, zlib.error) as error:
        raise CorruptFileError(f"{where} cannot be unpacked ({error}): fetch or squeeze it again") from None
    if magic != MAGIC or len(whole) != n_bytes or hashlib.sha256(whole).digest() != digest or decoder.unused_data:
        raise CorruptFileError(f"{where} is damaged (its checksum does not match): fetch or squeeze it again")
    return whole
