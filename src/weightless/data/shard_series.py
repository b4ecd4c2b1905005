"""Documents become shards: encoded in parallel, written in order, each finished shard noted in a journal.

    write_shards(folder, stems, journal, documents, tokenizer, workers)

`documents` are (split, text) in source order.  Threads encode blocks of documents (the encoder leaves the
interpreter's lock alone); at most two blocks per worker are waiting, about half a MB each or one longer document.
What is written does not depend on the number of workers.

The journal lists, for each split, the finished shards: file, tokens, sha256, and the place where the next shard
begins (document of the split, tokens of it already written).  It is rewritten after every shard, so a preparation
killed at any point goes on behind the last one; a shard whose file no longer matches is forgotten, with all later ones.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import read_json, sha256_file, write_json
from weightless.data.corpus import SPLITS, TextEncoder, check_shard
from weightless.data.shards import ShardWriter, shard_writer

BLOCK_BYTES = 1 << 19
BLOCKS_PER_WORKER = 2

Labelled = tuple[str, bytes]  # (split, document)


def worker_count(workers: int | None) -> int:
    """`workers`, or as many as there are cores for None."""
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 1:
        raise ConfigError(f"workers = {workers} should be at least 1")
    return workers


def write_shards(
    folder: Path,
    stems: dict[str, str],
    journal: Journal,
    documents: Iterable[Labelled],
    tokenizer: TextEncoder,
    workers: int | None,
    shard_tokens: int,
) -> None:
    """Write the shards STEM_000000.bin … of every split that the journal does not list yet."""
    with ExitStack() as stack:
        series = {
            split: stack.enter_context(
                ShardSeries(folder, stems[split], split, journal, tokenizer.vocab_size, shard_tokens)
            )
            for split in SPLITS
        }
        wanted = ((split, text) for split, text in documents if series[split].wants_next())
        for split, ids in encoded(wanted, tokenizer, worker_count(workers)):
            series[split].append(ids)


def encoded(
    documents: Iterable[Labelled], tokenizer: TextEncoder, workers: int, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[str, np.ndarray]]:
    """(split, ids) of each document in order, <|endoftext|> before its tokens; `workers` > 1 are threads."""

    def encode_block(block: list[Labelled]) -> list[tuple[str, np.ndarray]]:
        return [(split, _ids_of(text, tokenizer)) for split, text in block]

    blocks = _blocks(documents, block_bytes)
    if workers == 1:
        for block in blocks:
            yield from encode_block(block)
        return
    tokenizer.encode_ordinary_array(b"")  # what the encoder builds at its first use, it builds once
    waiting: deque[Future[list[tuple[str, np.ndarray]]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for block in blocks:
            waiting.append(pool.submit(encode_block, block))
            if len(waiting) >= BLOCKS_PER_WORKER * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _blocks(documents: Iterable[Labelled], block_bytes: int) -> Iterator[list[Labelled]]:
    block: list[Labelled] = []
    size = 0
    for document in documents:
        block.append(document)
        size += len(document[1])
        if size >= block_bytes:
            yield block
            block, size = [], 0
    if block:
        yield block


def _ids_of(text: bytes, tokenizer: TextEncoder) -> np.ndarray:
    body = tokenizer.encode_ordinary_array(text)
    return np.concatenate((np.array([tokenizer.end_of_text], body.dtype), body))


class ShardSeries:
    """The shards of one split, one behind the other; used in a with block, which closes or abandons the last one."""

    def __init__(
        self, folder: Path, stem: str, split: str, journal: Journal, vocab_size: int, shard_tokens: int
    ) -> None:
        self._folder, self._stem, self._split, self._journal = folder, stem, split, journal
        self._vocab_size, self._shard_tokens = vocab_size, shard_tokens
        kept = journal.shards[split]
        self._first = kept[-1]["next_document"] if kept else 0  # document of this split to begin with
        self._skip = kept[-1]["next_token"] if kept else 0  # tokens of it that earlier shards hold
        self._next, self._seen = self._first, 0
        self._open = ExitStack()
        self._writer: ShardWriter | None = None
        self._path = folder

    def wants_next(self) -> bool:
        """Whether the next document of the split still has tokens to be written; call it once per document."""
        self._seen += 1
        return self._seen > self._first

    def append(self, ids: np.ndarray) -> None:
        """The tokens of the next wanted document."""
        at, self._skip = self._skip, 0
        while at < len(ids):
            if self._writer is None:
                self._path = self._folder / f"{self._stem}_{len(self._journal.shards[self._split]):06d}.bin"
                self._writer = self._open.enter_context(shard_writer(self._path, self._vocab_size))
            taken = ids[at : at + self._shard_tokens - self._writer.n_tokens]
            self._writer.append(taken)
            at += len(taken)
            if self._writer.n_tokens == self._shard_tokens:
                done = at == len(ids)
                self._finish(self._next + done, 0 if done else at)
        self._next += 1

    def _finish(self, next_document: int, next_token: int) -> None:
        """Give the shard its name, then note it."""
        assert self._writer is not None
        self._open.close()
        record = {"file": self._path.name, "tokens": self._writer.n_tokens, "sha256": sha256_file(self._path),
                  "next_document": next_document, "next_token": next_token}  # fmt: skip
        self._writer = None
        self._journal.add(self._split, record)

    def __enter__(self) -> ShardSeries:
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._open.__exit__(*error)
        elif self._writer is not None:
            self._finish(self._next, 0)


@dataclass
class Journal:
    """The finished shards of a piece of work that `head` identifies; `path` is a JSON file."""

    path: Path
    head: dict[str, Any]

    def __post_init__(self) -> None:
        self.shards: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        self.is_done = False
        if not self.path.exists():
            return
        try:
            found = read_json(self.path)
            if found["head"] == self.head:
                listed = {split: found["shards"][split] for split in SPLITS}
                self.shards = {split: self._intact(shards) for split, shards in listed.items()}
                self.is_done = found.get("done") is True and self.shards == listed
        except (CorruptFileError, KeyError, TypeError):
            self.shards = {split: [] for split in SPLITS}

    def add(self, split: str, shard: dict[str, Any]) -> None:
        """Note one more finished shard."""
        self.shards[split].append(shard)
        self._write()

    def finish(self) -> None:
        """Note that there are no more shards to come."""
        self.is_done = True
        self._write()

    def plain_shards(self, split: str) -> list[dict[str, Any]]:
        """The entries of a manifest."""
        return [{key: shard[key] for key in ("file", "tokens", "sha256")} for shard in self.shards[split]]

    def _write(self) -> None:
        write_json(self.path, {"head": self.head, "done": self.is_done, "shards": self.shards})

    def _intact(self, shards: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = []
        for shard in shards:
            if not _is_record(shard):
                break
            try:
                check_shard(self.path.parent, shard, check_hash=True)
            except WeightlessError:
                break
            kept.append(shard)
        return kept


def _is_record(shard: Any) -> bool:
    """Whether an entry of a journal has what going on behind it needs, and names a file of its own folder."""
    numbers = [shard[key] for key in ("tokens", "next_document", "next_token")]
    return all(type(n) is int and n >= 0 for n in numbers) and Path(shard["file"]).name == shard["file"]
