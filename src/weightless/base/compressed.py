"""Open a file for reading bytes, unpacking .gz .xz .zst on the way; damage is an error, never a short read.

The ending decides, in whatever case, and endings may follow one another (x.jsonl.gz.zst).  A file of no bytes is empty
text under every name.  gzip raises on a truncated stream and on what is no stream by itself; the reader of the
`zstandard` package returns what it has in silence, and `lzma.LZMAFile` ends in silence at whatever follows a stream
and is none (padding before another one, too), so `_FrameReader` drives both decompressors frame by frame and checks
the end.
Windows may be as long as the format allows (2 GiB, as `zstd --long=31` makes them, for public dumps do): that is the
memory that such a file can ask for.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import IO, Any

from weightless.base.errors import CorruptFileError, WeightlessError

COMPRESSED = (".gz", ".xz", ".zst")
_BLOCK = 1 << 18
_PACKED_BLOCK = 1 << 12  # packed bytes at a time: what they unpack to, 128 kB for every 4 at worst, is held at once
_LONGEST_WINDOW = 1 << 31


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """A buffered binary stream of the unpacked content.

    Errors raised here or while the block reads: WeightlessError (missing, not permitted), CorruptFileError (damaged).
    """
    try:
        with ExitStack() as stack:
            yield _opened(path, stack)
    except FileNotFoundError:
        raise WeightlessError(f"no such file: {path}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, _DamagedFrame) as error:
        kind = path.suffix.lstrip(".").lower()
        raise CorruptFileError(f"{path} cannot be unpacked as {kind} ({error}); fetch or compress it again") from None
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror or error}") from error


def without_packing(path: PurePath) -> PurePath:
    """The name of what is inside: x.TXT.gz -> x.TXT."""
    while path.suffix.lower() in COMPRESSED:
        path = path.with_suffix("")
    return path


def require_regular(path: Path) -> None:
    """WeightlessError for a pipe, a device or a socket, which can be read only once."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise WeightlessError(
            f"{path} is {kind}, and what is named here is read several times: write it into a file first"
        )


def _opened(path: Path, stack: ExitStack) -> IO[bytes]:
    stream: Any = stack.enter_context(open(path, "rb"))
    if os.fstat(stream.fileno()).st_size == 0:
        return stream
    inside: PurePath = path
    while (suffix := inside.suffix.lower()) in COMPRESSED:
        if suffix == ".gz":
            stream = gzip.GzipFile(fileobj=stream, mode="rb")
        else:
            stream = io.BufferedReader(_xz(stream) if suffix == ".xz" else _zstd(stream, path), _BLOCK)
        stack.enter_context(stream)
        inside = inside.with_suffix("")
    return stream


def _xz(packed: IO[bytes]) -> _FrameReader:
    return _FrameReader(packed, lzma.LZMADecompressor, lzma.LZMAError, padding=4)


def _zstd(packed: IO[bytes], path: Path) -> _FrameReader:
    try:
        import zstandard
    except ImportError:
        raise WeightlessError(f"reading {path} needs the package zstandard: pip install zstandard") from None

    def begin() -> Any:
        return zstandard.ZstdDecompressor(max_window_size=_LONGEST_WINDOW).decompressobj()

    return _FrameReader(packed, begin, zstandard.ZstdError)


class _DamagedFrame(Exception):
    """A packed stream that is none, or ends before its frame does."""


class _FrameReader(io.RawIOBase):
    """What frames that follow one another unpack to; `begin` makes the decompressor of one.

    Behind a frame there may be zeros, as many times `padding` bytes as one likes; none when it is 0.
    """

    def __init__(self, packed: IO[bytes], begin: Callable[[], Any], error: type[Exception], padding: int = 0) -> None:
        self._packed, self._begin, self._error, self._padding = packed, begin, error, padding
        self._decoder: Any = None
        self._is_behind_one = False
        self._n_zeros = 0
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            packed = self._packed.read(_PACKED_BLOCK)
            if not packed:
                if self._decoder is not None:
                    raise _DamagedFrame("the file ends inside a frame")
                self._end_padding()
                return 0
            self._pending = self._unpack(packed)
        n = min(len(buffer), len(self._pending))
        buffer[:n] = self._pending[:n]
        self._pending = self._pending[n:]
        return n

    def _unpack(self, packed: bytes) -> bytes:
        """One block; frames may follow one another in a file."""
        parts = []
        while packed := packed if self._decoder else self._without_padding(packed):
            if self._decoder is None:
                self._end_padding()
                self._decoder = self._begin()
            try:
                parts.append(self._decoder.decompress(packed))
            except self._error as error:
                raise _DamagedFrame(str(error)) from None
            packed = b""
            if self._decoder.eof:
                packed, self._decoder, self._is_behind_one = self._decoder.unused_data, None, True
        return b"".join(parts)

    def _without_padding(self, packed: bytes) -> bytes:
        if not (self._padding and self._is_behind_one):
            return packed
        rest = packed.lstrip(b"\0")
        self._n_zeros += len(packed) - len(rest)
        return rest

    def _end_padding(self) -> None:
        if self._padding and self._n_zeros % self._padding:
            raise _DamagedFrame(f"{self._n_zeros} zeros follow a frame, which is no multiple of {self._padding}")
        self._n_zeros = 0
