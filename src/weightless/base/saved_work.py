"""One long computation, kept in a file while it runs: killed at any moment, it goes on from where it was last saved.

    FILE    MAGIC, then chunks: length (u64), CRC-32 (u32), bytes.  The first chunk is JSON: what the work is of, how
            far it has come, seconds so far; the others are the owner's.  An empty chunk ends the file.

A file is written beside and renamed, never oftener than every `every` seconds nor than a `share` of all time allows,
and only where the disk has room for it; where it has none, the work goes on.  One that is damaged, or of other work, is
told in a line and not used: the work begins anew, since it can be done again.  Where somebody has named the file, one
of other work is refused (`named`), since it is not to be replaced.  Nothing is pickled, and a chunk's length is checked
before it is read.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import atomic_writer
from weightless.base.units import human_bytes

MAGIC = b"weightless work 1\n"
EVERY, SHARE = 120.0, 0.04
LARGEST_CHUNK = 1 << 28
_HEAD = struct.Struct("<QI")
Chunk = bytes | memoryview


class SavedWork:
    """`seconds`: what earlier sessions of this work took, by `clock`; `identity`: what decides its result, in plain
    values."""

    def __init__(
        self,
        path: Path,
        every: float = EVERY,
        share: float = SHARE,
        named: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock, self._from = clock, clock()
        self.path, self.every, self.share, self.seconds, self.named = path, every, share, 0.0, named
        self.identity: dict[str, Any] = {}
        self._saved = time.monotonic()
        self._took = 0.0
        self._told = False

    def begin(self, identity: dict[str, Any], restore: Callable[[dict[str, Any], Iterator[bytes]], None]) -> bool:
        """Whether the file holds this very work; then `restore` has been given its state and its chunks.

        `restore` raises CorruptFileError for what cannot be; whatever it has filled by then is not to be used.
        ConfigError when a `named` file is of other work, or of none.
        """
        self.identity = identity
        if not self.path.exists():
            return False
        if self.named and not is_saved_work(self.path):
            raise ConfigError(f"{self.path} is no saved work, and would be replaced: name another file")
        try:
            chunks = read_chunks(self.path)
            state = _first(self.path, chunks)
            if state["of"] != identity:
                differing = sorted(key for key in identity if state["of"].get(key) != identity[key])
                told = f"{self.path} is of other work ({', '.join(differing)[:200]})"
                if self.named:
                    raise ConfigError(f"{told}: name another file, or remove it")
                self._tell(f"{told}: it begins anew")
                return False
            restore(state["at"], chunks)
            if next(chunks, None) is not None:
                raise CorruptFileError(f"{self.path} holds more than it should")
        except CorruptFileError as error:
            self._tell(f"{error}; the work begins anew")
            return False
        self.seconds = state["seconds"]
        return True

    def is_due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._saved >= max(self.every, self._took / self.share)

    def save(self, at: dict[str, Any], chunks: Iterator[Chunk], expected: int) -> bool:
        """Write the state `at` and the chunks, about `expected` bytes; False, told once, where that is not possible."""
        started = time.monotonic()
        free = shutil.disk_usage(self.path.parent).free
        state = {"of": self.identity, "at": at, "seconds": self.seconds + self.clock() - self._from}
        trouble = ""
        if free < expected:
            trouble = f"{self.path.parent} has {human_bytes(free)} free, saving takes {human_bytes(expected)}"
        else:
            try:
                with atomic_writer(self.path) as file:
                    file.write(MAGIC)
                    for chunk in chain([json.dumps(state).encode()], chunks, [b""]):
                        _write(file, chunk)
            except WeightlessError as error:
                trouble = str(error)
        if trouble and not self._told:
            self._told = True
            self._tell(f"{trouble}; the work goes on unsaved")
        self._saved = time.monotonic()
        self._took = self._saved - started
        return not trouble

    def forget(self) -> None:
        """The work is done."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise WeightlessError(f"cannot remove {self.path}: {error.strerror}") from error

    def _tell(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


def is_saved_work(path: Path) -> bool:
    """Whether a file begins as one of these; False for what cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _write(file: Any, chunk: Chunk) -> None:
    file.write(_HEAD.pack(len(chunk), zlib.crc32(chunk)))
    file.write(chunk)


def read_chunks(path: Path) -> Iterator[bytes]:
    """Chunk after chunk, each held against its checksum; CorruptFileError where the file is damaged or cut."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(len(MAGIC)) != MAGIC:
                raise CorruptFileError(f"{path} is no saved work")
            while True:
                head = file.read(_HEAD.size)
                length, check = _HEAD.unpack(head) if len(head) == _HEAD.size else (LARGEST_CHUNK + 1, 0)
                if length > min(LARGEST_CHUNK, size - file.tell()):
                    raise CorruptFileError(f"{path} is damaged: it ends in the middle")
                chunk = file.read(length)
                if zlib.crc32(chunk) != check:
                    raise CorruptFileError(f"{path} is damaged: a checksum differs")
                if not chunk:
                    return
                yield chunk
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror}") from error


def _first(path: Path, chunks: Iterator[bytes]) -> dict[str, Any]:
    """The state: {"of": ..., "at": ..., "seconds": ...}."""
    try:
        state = json.loads(next(chunks))
    except (StopIteration, ValueError, RecursionError):
        raise CorruptFileError(f"{path} is damaged: it does not begin with its state") from None
    if not isinstance(state, dict) or not all(isinstance(state.get(key), dict) for key in ("of", "at")):
        raise CorruptFileError(f"{path} is damaged: its state is none")
    seconds = state.get("seconds")
    if type(seconds) is not float or not 0 <= seconds < 1e9:
        raise CorruptFileError(f"{path} is damaged: its state is none")
    return state
