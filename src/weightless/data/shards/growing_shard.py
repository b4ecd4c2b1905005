"""A shard that grows over several sessions: what was written before a kill is kept, and nothing half looks whole.

The tokens go into a hidden file `.NAME.bin.part` whose header stays zero.  `checkpoint` brings them to the disk and
says how many there are and their SHA-256; given both back, a later session cuts off what came after and goes on.
`finish` writes the header, then gives the file its name.  Layout: shards.py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import WeightlessError
from weightless.base.files import sha256_file
from weightless.data.shards.shards import HEADER_BYTES, MAGIC, VERSION

_READ = 1 << 22


def part_of(path: Path) -> Path:
    """The hidden file that becomes `path`."""
    return path.parent / f".{path.name}.part"


def is_intact(path: Path, checkpoint: dict[str, Any]) -> bool:
    """Whether the hidden file of `path` still holds the tokens of a checkpoint, byte for byte."""
    digest, left = hashlib.sha256(), 2 * checkpoint["tokens"]
    with suppress(OSError), open(part_of(path), "rb") as file:
        file.seek(HEADER_BYTES)
        while left and (block := file.read(min(left, _READ))):
            digest.update(block)
            left -= len(block)
    return left == 0 and digest.hexdigest() == checkpoint["sha256"]


class GrowingShard:
    """The shard that will be `path`; `n_tokens` of it are written (those of a checkpoint that is intact)."""

    def __init__(self, path: Path, n_tokens: int = 0) -> None:
        self.path, self.n_tokens, self._digest = path, 0, hashlib.sha256()
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(part_of(path), "r+b" if n_tokens else "w+b")
            if n_tokens:
                self._read_back(n_tokens)
            else:
                self._file.write(bytes(HEADER_BYTES))

    def _read_back(self, n_tokens: int) -> None:
        """Bring the digest up to the checkpoint and cut off what was written after it, a header included."""
        self._file.write(bytes(HEADER_BYTES))
        left = 2 * n_tokens
        while left and (block := self._file.read(min(left, _READ))):
            self._digest.update(block)
            left -= len(block)
        self._file.truncate(HEADER_BYTES + 2 * n_tokens)
        self._file.seek(0, os.SEEK_END)
        self.n_tokens = n_tokens

    def append(self, ids: np.ndarray) -> None:
        """Add ids that were checked against the vocabulary."""
        data = np.ascontiguousarray(ids, "<u2").data
        with _told(self.path):
            self._file.write(data)
        self._digest.update(data)
        self.n_tokens += len(ids)

    def checkpoint(self) -> dict[str, Any]:
        """Bring everything to the disk; {"tokens", "sha256"} is what the next session needs."""
        with _told(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
        return {"tokens": self.n_tokens, "sha256": self._digest.hexdigest()}

    def finish(self) -> dict[str, Any]:
        """Write the header, give the file its name; the entry of the manifest."""
        header = np.zeros(HEADER_BYTES // 4, "<i4")
        header[:3] = MAGIC, VERSION, self.n_tokens
        with _told(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())  # the tokens first: a header may never stand before tokens that are lost
            self._file.seek(0)
            self._file.write(header.data)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(part_of(self.path), self.path)
        return {"file": self.path.name, "tokens": self.n_tokens, "sha256": sha256_file(self.path)}

    def close(self) -> None:
        """Leave the hidden file as it is."""
        with suppress(OSError):
            self._file.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeightlessError(
            f"cannot write {path}: {reason}; the last checkpoint is kept, so the same command goes on from there"
        ) from error
