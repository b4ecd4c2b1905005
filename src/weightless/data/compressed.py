"""Open a file for reading bytes, unpacking .gz .xz .zst on the way; damage is an error, never a short read.

gzip and lzma raise on a truncated stream by themselves; the Zstandard reader of the `zstandard` package
returns what it has in silence, so `_ZstdReader` drives its decompressor frame by frame and checks the end.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from weightless.base.errors import CorruptFileError, WeightlessError

COMPRESSED = (".gz", ".xz", ".zst")
_BLOCK = 1 << 18


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """A buffered binary stream of the unpacked content.

    Errors raised here or while the block reads: WeightlessError (missing, not permitted), CorruptFileError (damaged).
    """
    try:
        with _opened(path) as stream:
            yield stream
    except FileNotFoundError:
        raise WeightlessError(f"no such file: {path}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, _DamagedFrame) as error:
        kind = path.suffix.lstrip(".")
        raise CorruptFileError(f"{path} cannot be unpacked as {kind} ({error}); fetch or compress it again") from None
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror or error}") from error


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return cast(IO[bytes], lzma.open(path, "rb"))
    if path.suffix == ".zst":
        return io.BufferedReader(_ZstdReader(path), _BLOCK)
    return open(path, "rb")


class _DamagedFrame(Exception):
    """A Zstandard stream that is not one, or ends before its frame does."""


class _ZstdReader(io.RawIOBase):
    def __init__(self, path: Path) -> None:
        try:
            import zstandard
        except ImportError:
            raise WeightlessError(f"reading {path} needs the package zstandard: pip install zstandard") from None
        self._zstandard = zstandard
        self._file = io.FileIO(path)
        self._decoder: Any = None
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            packed = self._file.read(_BLOCK)
            if not packed:
                if self._decoder is not None:
                    raise _DamagedFrame("the file ends inside a frame")
                return 0
            self._pending = self._unpack(packed)
        n = min(len(buffer), len(self._pending))
        buffer[:n] = self._pending[:n]
        self._pending = self._pending[n:]
        return n

    def _unpack(self, packed: bytes) -> bytes:
        """One block; frames may follow one another in a file."""
        parts = []
        while packed:
            if self._decoder is None:
                self._decoder = self._zstandard.ZstdDecompressor().decompressobj()
            try:
                parts.append(self._decoder.decompress(packed))
            except self._zstandard.ZstdError as error:
                raise _DamagedFrame(str(error)) from None
            packed = b""
            if self._decoder.eof:
                packed, self._decoder = self._decoder.unused_data, None
        return b"".join(parts)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
