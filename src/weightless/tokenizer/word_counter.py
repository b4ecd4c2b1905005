"""Counting the words of a stream: chunks cut where no word can be split, one table per worker, one table in the end.

Inputs are those of inputs.py; the end of a document is a hard boundary, as a special token is.
A chunk ends at a special token or where a letter or number ends (`scan.last_safe_cut`), so memory does not grow with
the input, except for text without letters and digits, and for pattern "none" without special tokens.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weightless.base.progress import Ticker
from weightless.tokenizer import word_table
from weightless.tokenizer.inputs import BLOCK_BYTES, blocks, documents
from weightless.tokenizer.memory import fresh
from weightless.tokenizer.patterns import character_classes
from weightless.tokenizer.scan import as_type
from weightless.tokenizer.special import SpecialFinder

BATCH = 256
EXPORTED = 1 << 16  # slots of the table at a time

Piece = tuple[bytes, np.ndarray]  # content, and segments [k, 2] of it


@dataclass(frozen=True)
class Words:
    """Distinct words: word k is text[offsets[k]:offsets[k + 1]], found counts[k] times."""

    text: np.ndarray
    offsets: np.ndarray
    counts: np.ndarray


class WordCounter:
    """A growing hash table of words (see word_table.py)."""

    def __init__(self, pattern: int) -> None:
        self.pattern = as_type(pattern)
        self.classes = character_classes()
        self._set_slots(fresh(3 << 15, np.uint64))
        self.spans = np.zeros(1 << 10, dtype=np.int64)
        self.arena = np.empty(1 << 15, dtype=np.uint8)
        self.state = np.zeros(3, dtype=np.int64)
        self.batch = np.empty(BATCH, dtype=np.int64), np.empty((BATCH, 3), dtype=np.uint64)

    def _set_slots(self, slots: np.ndarray) -> None:
        self.slots, self.shift = slots, np.uint64(64 - (len(slots) // 3 - 1).bit_length())

    def count(self, text: np.ndarray, segments: np.ndarray) -> None:
        """Count the words of the segments [k, 2] of a text."""
        cursor = np.zeros(2, dtype=np.int64)
        while full := word_table.count_words(
            text, segments, cursor, self.classes, self.pattern, *self.batch, *self._table()
        ):
            self._grow(full, text.size)

    def add(self, words: Words) -> None:
        """Add words counted elsewhere."""
        cursor = np.zeros(1, dtype=np.int64)
        words.text.flags.writeable = False
        while full := word_table.add_counted(words.text, words.offsets, words.counts, cursor, *self._table()):
            self._grow(full, words.text.size)

    def words(self) -> Words:
        """All distinct words, in the order of the table."""
        n, table = int(self.state[word_table.WORDS]), self.slots.reshape(-1, 3)
        offsets, counts = fresh(n + 1, np.int64), fresh(n, np.int64)
        parts, at = range(0, len(table), EXPORTED), 0
        for part in parts:
            used = table[part : part + EXPORTED]
            used = used[used[:, 2] != 0]
            counts[at : at + len(used)] = used[:, 2]
            offsets[at + 1 : at + len(used) + 1] = _lengths(used, self.spans)
            at += len(used)
        np.cumsum(offsets, out=offsets)
        text, at = fresh(int(offsets[n]), np.uint8), 0
        for part in parts:
            used = table[part : part + EXPORTED]
            used = used[used[:, 2] != 0]
            ends = offsets[at : at + len(used) + 1]
            _spell(used, self.spans, self.arena, text[ends[0] : ends[-1]], ends - ends[0])
            at += len(used)
        return Words(text, offsets, counts)

    @property
    def table(self) -> tuple:
        """(slots, shift, spans, arena) of word_table.find_word."""
        return self._table()[:-1]

    def _table(self) -> tuple:
        return self.slots, self.shift, self.spans, self.arena, self.state

    def _grow(self, full: int, longest: int) -> None:
        if full == word_table.TABLE_FULL:
            old = self.slots
            self._set_slots(fresh(2 * len(old), np.uint64))
            word_table.rehash(old, self.slots, self.shift)
        elif full == word_table.ARENA_FULL:
            used = int(self.state[word_table.ARENA])
            arena = fresh(2 * len(self.arena) + longest, np.uint8)
            arena[:used] = self.arena[:used]
            self.arena = arena
        else:
            self.spans = np.concatenate((self.spans, np.zeros(len(self.spans), dtype=np.int64)))


def _lengths(used: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Bytes of the words in the used slots [n, 3] of a table."""
    lengths = (used[:, 1] >> word_table.TOP).astype(np.int64)
    is_long = used[:, 1] >= word_table.LONG
    number = (used[is_long, 1] & ~word_table.LONG).astype(np.int64)
    lengths[is_long] = spans[number + 1] - spans[number]
    return lengths


def _spell(used: np.ndarray, spans: np.ndarray, arena: np.ndarray, out: np.ndarray, ends: np.ndarray) -> None:
    """Write the words of the used slots [n, 3] behind one another; word k ends at ends[k + 1]."""
    is_long = used[:, 1] >= word_table.LONG
    lengths = np.diff(ends)
    keys = np.ascontiguousarray(used[~is_long, :2]).view(np.uint8)
    own = np.arange(16) < lengths[~is_long, None]
    out[np.repeat(~is_long, lengths)] = keys[own]
    for k in np.flatnonzero(is_long).tolist():
        begin = spans[int(used[k, 1] & ~word_table.LONG)]
        out[ends[k] : ends[k + 1]] = arena[begin : begin + lengths[k]]


def count_inputs(
    inputs: object, special_tokens: Sequence[str], pattern: int, n_workers: int, tick: Ticker | None = None
) -> Words:
    """Count the words of all inputs with `n_workers` threads; the counts do not depend on how many."""
    counters = [WordCounter(pattern) for _ in range(n_workers)]
    free: queue.SimpleQueue[WordCounter] = queue.SimpleQueue()
    for counter in counters:
        free.put(counter)

    def work(counter: WordCounter, text: np.ndarray, segments: np.ndarray) -> None:
        try:
            counter.count(text, segments)
        finally:
            free.put(counter)

    with ThreadPoolExecutor(n_workers) as pool:
        jobs = []
        for text, segments in chunks(inputs, special_tokens, pattern):
            jobs.append(pool.submit(work, free.get(), text, segments))
            while len(jobs) > n_workers:  # raises what a worker raised
                jobs.pop(0).result()
            if tick:
                tick(text.size)
        for job in jobs:
            job.result()
    return _united(counters)


def _united(counters: list[WordCounter]) -> Words:
    largest = max(counters, key=lambda counter: int(counter.state[word_table.WORDS]))
    for counter in counters:
        if counter is not largest and counter.state[word_table.WORDS]:
            largest.add(counter.words())
    return largest.words()


def chunks(inputs: object, special_tokens: Sequence[str], pattern: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (text, segments [k, 2]): pieces that can be counted separately, special tokens left out.

    Small documents are put together, because starting a kernel takes longer than counting a few hundred words.
    """
    finder = SpecialFinder(special_tokens)
    waiting: list[Piece] = []
    n_waiting = 0
    for document in documents(inputs):
        for piece in _pieces(document, finder, pattern):
            waiting.append(piece)
            n_waiting += len(piece[0])
            if n_waiting >= BLOCK_BYTES // 2:
                yield _together(waiting)
                waiting, n_waiting = [], 0
    if waiting:
        yield _together(waiting)


def _together(pieces: list[Piece]) -> tuple[np.ndarray, np.ndarray]:
    content, segments = pieces[0]
    if len(pieces) > 1:
        starts = np.cumsum([0, *(len(content) for content, _ in pieces)]).tolist()
        segments = np.concatenate([segments + start for (_, segments), start in zip(pieces, starts)])
        content = b"".join(content for content, _ in pieces)
    return np.frombuffer(content, dtype=np.uint8), segments


def _pieces(document: Path | bytes, finder: SpecialFinder, pattern: int) -> Iterator[Piece]:
    """A document cut at safe places into pieces of about BLOCK_BYTES."""
    if isinstance(document, bytes) and len(document) <= BLOCK_BYTES:
        yield document, finder.segments(document)
        return
    pending, wanted = b"", 0
    for block in blocks(document, BLOCK_BYTES):
        pending += block
        if len(pending) < wanted:
            continue
        cut, segments = finder.safe_cut(pending, pattern)
        wanted = 0 if cut else 2 * len(pending)  # searching a growing buffer again and again would be quadratic
        if cut:
            yield pending[:cut], segments
            pending = pending[cut:]
    if pending:
        yield pending, finder.segments(pending)
