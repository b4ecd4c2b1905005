"""Token ids that somebody else made, as a stream that can be left and entered anywhere.

    source.blocks(place) -> Block, Block, …       ids in order, from `place` on; every id checked against the vocabulary
    block.place_after(n) -> Place                 where the stream stands when n ids of the block are taken

A Place is four integers (file, row group, row, token of the row that is next), so a journal can hold it.  Sources:

    FlatFiles      shards (header of llm.c) and headerless uint16 (nanoGPT): one row, token = offset in the file
    ParquetRows    token_parquet.py: lists of ids, with or without a mask, and text
    RowStream      reads a source as one sequence, and knows its place and how much padding it left out

Errors: CorruptFileError for a file that contradicts its format or holds an id >= vocab_size, with file and position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.base.files import sha256_file
from weightless.data.shards.shards import read_shard

BLOCK_TOKENS = 1 << 21


class Place(NamedTuple):
    """The next token of a source: number of the file, its row group, row of the group, kept token of the row."""

    file: int = 0
    group: int = 0
    row: int = 0
    token: int = 0


START = Place()


@dataclass(frozen=True)
class Block:
    """Consecutive rows: kept ids; kept ids and paddings up to the end of each row; the places before and after."""

    ids: np.ndarray
    ends: np.ndarray
    pad_ends: np.ndarray
    place: Place
    after: Place

    def rows_passed(self, n: int) -> int:
        """Rows that are over when n ids are taken."""
        return int(np.searchsorted(self.ends, n, side="right"))

    def pads_passed(self, n: int) -> int:
        """Padding of the rows that are over when n ids are taken."""
        passed = self.rows_passed(n)
        return int(self.pad_ends[passed - 1]) if passed else 0

    def place_after(self, n: int) -> Place:
        """Where the source stands when n ids of this block are taken."""
        passed = self.rows_passed(n)
        if passed == len(self.ends):
            return self.after
        token = n - int(self.ends[passed - 1]) if passed else n + self.place.token
        return self.place._replace(row=self.place.row + passed, token=token)


class TokenSource(Protocol):
    """What an import needs of a source of rows; `description` identifies its content in the manifest."""

    @property
    def description(self) -> dict[str, Any]: ...

    @property
    def n_tokens(self) -> int | None: ...

    def blocks(self, place: Place = START) -> Iterator[Block]: ...


class FlatFiles:
    """Files of uint16 ids one after another; `header` says whether they are shards."""

    def __init__(self, paths: Sequence[Path], vocab_size: int, header: bool) -> None:
        self.paths, self.vocab_size, self.header = list(paths), vocab_size, header
        self.description = {"layout": "shards" if header else "uint16", "files": [identity_of(p) for p in self.paths]}
        self.n_tokens: int | None = sum(len(self._open(path)) for path in self.paths)

    def blocks(self, place: Place = START) -> Iterator[Block]:
        for number in range(place.file, len(self.paths)):
            tokens = self._open(self.paths[number])
            first = place.token if number == place.file else 0
            for start in range(first, len(tokens), BLOCK_TOKENS):
                ids = np.asarray(tokens[start : start + BLOCK_TOKENS])
                check_ids(ids, self.vocab_size, f"{self.paths[number]}, tokens from {start}")
                end = start + len(ids)
                after = Place(number, token=end) if end < len(tokens) else Place(number + 1)
                yield Block(ids, np.array([len(ids)]), np.zeros(1, np.int64), Place(number, token=start), after)

    def _open(self, path: Path) -> np.ndarray:
        return read_shard(path) if self.header else read_headerless(path)


def read_headerless(path: Path) -> np.ndarray:
    """The ids of a nanoGPT file, as a read-only memory map; CorruptFileError for an odd number of bytes."""
    try:
        size = path.stat().st_size
        if size % 2:
            raise CorruptFileError(f"{path} has {size} bytes, an odd number: no file of uint16 ids, or cut short")
        return np.memmap(path, "<u2", "r") if size else np.zeros(0, np.uint16)
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error


def check_ids(ids: np.ndarray, vocab_size: int, where: str) -> None:
    """CorruptFileError naming the first id outside 0..vocab_size-1."""
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        wrong = int(ids[np.argmax((ids < 0) | (ids >= vocab_size))])
        raise CorruptFileError(
            f"{where}: id {wrong}, but the vocabulary has {vocab_size}; "
            "name the tokenizer or the vocabulary size that the ids were made with"
        )


def identity_of(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256: tells files apart by every byte."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    return {"file": path.name, "bytes": size, "sha256": sha256_file(path)}


class RowStream:
    """A source as one sequence of ids from a place on; `n_pads` is the padding of the rows that are over."""

    def __init__(self, source: TokenSource, place: Place = START, n_pads: int = 0) -> None:
        self._blocks, self._block, self._taken = source.blocks(place), None, 0
        self._place, self._pads = place, n_pads

    @property
    def place(self) -> Place:
        return self._block.place_after(self._taken) if self._block else self._place

    @property
    def n_pads(self) -> int:
        return self._pads + (self._block.pads_passed(self._taken) if self._block else 0)

    def ready(self) -> np.ndarray:
        """The ids that stand ready, at least one; an empty array at the end of the source."""
        while self._block is None or self._taken >= len(self._block.ids):
            self._place, self._pads = self.place, self.n_pads
            self._block, self._taken = next(self._blocks, None), 0
            if self._block is None:
                return np.zeros(0, np.uint16)
        return self._block.ids[self._taken :]

    def advance(self, n: int) -> None:
        """Take the first n of the ids that stand ready."""
        self._taken += n
