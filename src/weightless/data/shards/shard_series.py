"""Documents become shards: encoded in parallel, written in order, each finished shard noted in a journal.

    write_shards(folder, stems, journal, documents, tokenizer, workers)

`documents` are (split, text) in source order.  Threads encode blocks of documents (the encoder leaves the
interpreter's lock alone); at most two blocks per worker are waiting, about half a MB each or one longer document.
What is written does not depend on the number of workers.

The journal lists, for each split, the finished shards: file, tokens, sha256, the place where the next shard begins
(document of the split, tokens of it already written), a running hash of the documents up to there, and what the tokens
keep of them (tokenizer/kept_text.py).  It is
rewritten after every shard, so a preparation killed at any point goes on behind the last one.  A shard whose file no
longer matches is forgotten, with all later ones; when it is the documents that differ, all are, and that is an error.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.cores import cores
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import read_json, sha256_file, write_json
from weightless.data.shards.corpus import TextEncoder, check_shard
from weightless.data.shards.manifest import SPLITS
from weightless.data.shards.shards import ShardWriter, shard_writer
from weightless.tokenizer.kept_text import KeptText, kept

BLOCK_BYTES = 1 << 19
BLOCKS_PER_WORKER = 2

Labelled = tuple[str, bytes]  # (split, document)
Encoded = tuple[str, np.ndarray, bytes, KeptText]  # (split, ids, mark of the document, what the ids keep of it)


def worker_count(workers: int | None) -> int:
    """`workers`, or as many as there are cores for None."""
    if workers is None:
        return cores()
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
        wanted = ((split, text) for split, text in documents if series[split].wants(text))
        for split, ids, mark, own in encoded(wanted, tokenizer, worker_count(workers)):
            series[split].append(ids, mark, own)


def encoded(documents: Iterable[Labelled], tokenizer: TextEncoder, workers: int) -> Iterator[Encoded]:
    """Each document in order, <|endoftext|> before its tokens; `workers` > 1 are threads."""

    def encode_block(block: list[Labelled]) -> list[Encoded]:
        return [(split, *_encoded(text, tokenizer)) for split, text in block]

    blocks = _blocks(documents, BLOCK_BYTES)
    if workers == 1:
        for block in blocks:
            yield from encode_block(block)
        return
    tokenizer.encode_ordinary_array(b"")  # what the encoder builds at its first use, it builds once
    waiting: deque[Future[list[Encoded]]] = deque()
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


def _encoded(text: bytes, tokenizer: TextEncoder) -> tuple[np.ndarray, bytes, KeptText]:
    body = tokenizer.encode_ordinary_array(text)
    ids = np.concatenate((np.array([tokenizer.end_of_text], body.dtype), body))
    return ids, mark_of(text), kept(tokenizer, text, body)


def mark_of(document: bytes) -> bytes:
    """Eight bytes that tell documents apart, three times as fast as SHA-256 where there is no instruction for that."""
    return hashlib.blake2b(document, digest_size=8).digest()


class ShardSeries:
    """The shards of one split, one behind the other; used in a with block, which closes or abandons the last one."""

    def __init__(
        self, folder: Path, stem: str, split: str, journal: Journal, vocab_size: int, shard_tokens: int
    ) -> None:
        self._folder, self._stem, self._split, self._journal = folder, stem, split, journal
        self._vocab_size, self._shard_tokens = vocab_size, shard_tokens
        last = journal.shards[split][-1] if journal.shards[split] else {}
        self._first = last.get("next_document", 0)  # document of this split to begin with
        self._skip = last.get("next_token", 0)  # tokens of it that earlier shards hold
        self._expected = last.get("documents")  # hash of the documents that they hold, also in part
        self._kept = journal.kept(split)  # of the documents that they hold whole
        self._next, self._seen, self._marks = self._first, 0, hashlib.blake2b(digest_size=16)
        self._open = ExitStack()
        self._writer: ShardWriter | None = None
        self._path = folder

    def wants(self, document: bytes) -> bool:
        """Whether the next document of the split still has tokens to be written; show it every one, in order."""
        self._seen += 1
        if self._seen > self._first:
            return True
        self._marks.update(mark_of(document))
        return False

    def append(self, ids: np.ndarray, mark: bytes, own: KeptText) -> None:
        """The tokens of the next wanted document, and what they keep of it."""
        if not self._skip:
            self._check()
        self._marks.update(mark)
        if self._skip:
            self._check()
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
                self._finish(self._next + done, 0 if done else at, self._kept + own if done else self._kept)
        self._next += 1
        self._kept += own

    def _check(self) -> None:
        """Once: whether the documents that are skipped are those that were written."""
        if self._expected not in (None, self._marks.hexdigest()):
            self._journal.forget()
            raise WeightlessError(
                f"{self._folder}: the text is not the one that the first shards were made from; run the same command "
                "again to make them anew"
            )
        self._expected = None

    def _finish(self, next_document: int, next_token: int, whole: KeptText) -> None:
        """Give the shard its name, then note it."""
        assert self._writer is not None
        self._open.close()
        record = {
            "file": self._path.name,
            "tokens": self._writer.n_tokens,
            "sha256": sha256_file(self._path),
            "next_document": next_document,
            "next_token": next_token,
            "documents": self._marks.hexdigest(),
            "kept": whole.plain(),
        }
        self._writer = None
        self._journal.add(self._split, record)

    def __enter__(self) -> ShardSeries:
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._open.__exit__(*error)
            return
        self._check()
        if self._writer is not None:
            self._finish(self._next, 0, self._kept)


@dataclass
class Journal:
    """The finished shards of a piece of work that `head` identifies; `path` is a JSON file."""

    path: Path
    head: dict[str, Any]
    check_hashes: bool = True

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
        except (CorruptFileError, KeyError, TypeError, ValueError):
            self.shards = {split: [] for split in SPLITS}

    def add(self, split: str, shard: dict[str, Any]) -> None:
        """Note one more finished shard."""
        self.shards[split].append(shard)
        self._write()

    def finish(self) -> None:
        """Note that there are no more shards to come."""
        self.is_done = True
        self._write()

    def forget(self) -> None:
        """Have no finished shards any more."""
        self.shards, self.is_done = {split: [] for split in SPLITS}, False
        self.path.unlink(missing_ok=True)

    def kept(self, split: str) -> KeptText:
        """What the tokens keep of the documents that the finished shards hold whole."""
        return KeptText(**self.shards[split][-1]["kept"]) if self.shards[split] else KeptText()

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
                check_shard(self.path.parent, shard, self.check_hashes)
            except WeightlessError:
                break
            kept.append(shard)
        return kept


def _is_record(shard: Any) -> bool:
    """Whether an entry of a journal has what going on behind it needs, and names a file of its own folder."""
    numbers = [shard[key] for key in ("tokens", "next_document", "next_token")]
    KeptText(**shard["kept"])
    is_plain = Path(shard["file"]).name == shard["file"]
    return is_plain and all(type(n) is int and n >= 0 for n in numbers) and type(shard["documents"]) is str
