"""The first 128 bytes of an artifact: known values, lengths and checksums, written after everything else.

    offset  bytes  field
         0      8  magic, b"\\x89WL\\r\\n\\x1a\\n\\0" (a text-mode copy would change it); INCOMPLETE until the end
         8      4  version, little-endian like every number here
        12      4  header bytes, 128
        16     32  lengths in bytes of file, data region, meta, section table (4 x u64)
        48     32  SHA-256 of meta
        80     32  SHA-256 of the section table, which holds that of every section
       112     16  the first half of the SHA-256 of bytes 0 to 111

    file = header | data region | meta (JSON) | section table (JSON), without gaps

Errors: `Header.unpack` raises CorruptFileError for anything that is not this, NewerFileError for a later version.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from weightless.base.errors import CorruptFileError, NewerFileError

MAGIC = b"\x89WL\r\n\x1a\n\0"
INCOMPLETE = b"WL-PART\0"
VERSION = 1
HEADER_BYTES = 128
MAX_META_BYTES = 32 << 20
MAX_TABLE_BYTES = 16 << 20
REMEDY = "copy it again from its source, or pack it again with `weightless pack`"

_FIELDS = struct.Struct("<8sII4Q32s32s")
_DIGEST_BYTES = HEADER_BYTES - _FIELDS.size


@dataclass(frozen=True)
class Header:
    """Lengths in bytes and checksums; every offset follows from them."""

    data_bytes: int
    meta_bytes: int
    table_bytes: int
    meta_sha256: bytes
    table_sha256: bytes

    @property
    def meta_offset(self) -> int:
        return HEADER_BYTES + self.data_bytes

    @property
    def table_offset(self) -> int:
        return self.meta_offset + self.meta_bytes

    @property
    def file_bytes(self) -> int:
        return self.table_offset + self.table_bytes

    def pack(self) -> bytes:
        """The 128 bytes."""
        lengths = (self.file_bytes, self.data_bytes, self.meta_bytes, self.table_bytes)
        fields = _FIELDS.pack(MAGIC, VERSION, HEADER_BYTES, *lengths, self.meta_sha256, self.table_sha256)
        return fields + _digest(fields)

    @staticmethod
    def unpack(head: bytes, file_bytes: int, path: object) -> Header:
        """Read and check the header against the true size of the file."""
        _check_kind(head, file_bytes, path)
        fields = head[: _FIELDS.size]
        if head[_FIELDS.size : HEADER_BYTES] != _digest(fields):
            raise CorruptFileError(f"{path} has a damaged header (its checksum does not match): {REMEDY}")
        _, _, header_bytes, claimed, data, meta, table, meta_sha256, table_sha256 = _FIELDS.unpack(fields)
        header = Header(data, meta, table, meta_sha256, table_sha256)
        if header_bytes != HEADER_BYTES or header.file_bytes != claimed:
            raise CorruptFileError(f"{path} has a header whose lengths do not add up to {claimed} bytes: {REMEDY}")
        if claimed != file_bytes:
            what = "was cut short" if file_bytes < claimed else "has foreign bytes at its end"
            raise CorruptFileError(f"{path} {what}: it should hold {claimed} bytes but holds {file_bytes}; {REMEDY}")
        if meta > MAX_META_BYTES or table > MAX_TABLE_BYTES:
            raise CorruptFileError(
                f"{path} claims a description of {meta + table} bytes, too large to be true: {REMEDY}"
            )
        return header


def unfinished_header() -> bytes:
    """What stands at the start of the file until all else is written."""
    return INCOMPLETE.ljust(HEADER_BYTES, b"\0")


def _digest(fields: bytes) -> bytes:
    return hashlib.sha256(fields).digest()[:_DIGEST_BYTES]


def _check_kind(head: bytes, file_bytes: int, path: object) -> None:
    if head[:8] == INCOMPLETE:
        raise CorruptFileError(
            f"{path} was never finished (its writer was interrupted): pack it again with `weightless pack`"
        )
    if file_bytes < HEADER_BYTES and MAGIC.startswith(head[:8]):
        raise CorruptFileError(f"{path} was cut short: it holds {file_bytes} bytes, less than a header; {REMEDY}")
    if head[:8] != MAGIC:
        raise CorruptFileError(
            f"{path} is not a weightless artifact (wrong first bytes): give a file made by `weightless pack`"
        )
    version = int.from_bytes(head[8:12], "little")
    if version > VERSION:
        raise NewerFileError(
            f"{path} has format version {version}, and this version of weightless reads {VERSION}: update weightless"
        )
    if version != VERSION:
        raise CorruptFileError(f"{path} has format version {version}, this program reads {VERSION}: pack it again")
