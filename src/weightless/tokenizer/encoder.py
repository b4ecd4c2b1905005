"""The compiled side of a tokenizer: its merges as tables, its caches, and the loop over segments of a text.

Special tokens are found in the text as it came; what lies between two of them is composed, cut, looked up and merged
by itself (rules.py says which of these are done).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from queue import Empty, SimpleQueue

import numpy as np

from weightless.base.errors import ConfigError
from weightless.tokenizer import encode_loop
from weightless.tokenizer.encode_loop import HEAPED
from weightless.tokenizer.patterns import OTHER, character_classes
from weightless.tokenizer.rules import Rules, composed_between, stable
from weightless.tokenizer.scan import as_type
from weightless.tokenizer.special import SpecialFinder, between
from weightless.tokenizer.word_counter import WordCounter, Words

CACHE_BITS = 16
OUT_ENTRIES = 1 << 18
LARGEST_WORD = 2**31 - 8
FIRST_THAT_MAY_COMPOSE = 0x80  # no ASCII character is ever joined to one before it
NEVER = 2**21 - 1  # no inner id: there are at most so many tokens


class Encoder:
    """Merges (pairs of bytes, in order) and the ids of tokens, made ready for the kernels.  Threads may share one."""

    def __init__(
        self,
        ids: dict[bytes, int],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: dict[str, int],
        pattern: int,
        dtype: np.dtype,
        rules: Rules,
    ) -> None:
        self.pattern, self.dtype, self.rules = pattern, dtype, rules
        self._pattern = as_type(pattern)
        texts = {name: ids[name.encode()] for name in rules.text_tokens}
        self._marks, self._texts = _Marks({**special_tokens, **texts}), _Marks(texts)
        self._model = (*_tables(ids, merges), _words(ids if rules.whole_words else {}, pattern))
        self._caches: SimpleQueue[tuple[np.ndarray, np.ndarray]] = SimpleQueue()

    def encode(self, content: bytes, with_special: bool) -> np.ndarray:
        """Ids of a text; with_special=False treats special tokens as plain text."""
        if not content:
            return np.empty(0, dtype=self.dtype)
        marks = self._marks if with_special else self._texts
        found = marks.finder.find(content)
        if self.rules.normaliser:
            content, found = composed_between(content, found)
        cache = self._take_cache()
        try:
            pieces = self._pieces(np.frombuffer(content, dtype=np.uint8), found, marks.ids, cache)
        finally:
            self._caches.put(cache)
        return np.concatenate(pieces) if len(pieces) != 1 else pieces[0]

    def safe_cut(self, content: bytes) -> int:
        """Bytes from the start of a stream whose ids, special tokens recognised, do not depend on what follows."""
        if not self.rules.normaliser:
            return self._marks.finder.safe_cut(content, self.pattern)[0]
        return self._marks.finder.safe_cut(content, self.pattern, self._stable, FIRST_THAT_MAY_COMPOSE)[0]

    @cached_property
    def _stable(self) -> np.ndarray:
        return stable(character_classes(), OTHER)

    def _pieces(
        self, text: np.ndarray, found: np.ndarray, ids: np.ndarray, cache: tuple[np.ndarray, np.ndarray]
    ) -> list[np.ndarray]:
        pieces: list[np.ndarray] = []
        out, scratch = _room(max(HEAPED, min(text.size, OUT_ENTRIES)) + 8)
        classes = character_classes()
        for k, (start, end) in enumerate(between(found, text.size).tolist()):
            while start < end:
                n, reached = encode_loop.encode_segment(
                    text, start, end, classes, self._pattern, self._model, *cache, scratch, out
                )
                if n:
                    pieces.append(out[:n].astype(self.dtype))
                elif reached == start:
                    out, scratch = self._longer(out, end - start)
                start = reached
            if k < len(found):
                pieces.append(ids[found[k, 2] : found[k, 2] + 1].astype(self.dtype))
        return pieces or [np.empty(0, dtype=self.dtype)]

    @staticmethod
    def _longer(out: np.ndarray, needed: int) -> tuple[np.ndarray, np.ndarray]:
        if needed > LARGEST_WORD:
            raise ConfigError(f"a text of {needed:,} bytes without a word boundary is too long; cut it into parts")
        return _room(min(2 * out.size, needed + 8))

    def _take_cache(self) -> tuple[np.ndarray, np.ndarray]:
        try:
            return self._caches.get_nowait()
        except Empty:
            return np.zeros(4 << CACHE_BITS, dtype=np.uint64), np.empty((1 << CACHE_BITS, 16), dtype=np.uint32)


def _room(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for n ids, and for what merging a word of as many bytes needs; what is not touched takes no memory."""
    return np.empty(n, dtype=np.uint32), np.empty(encode_loop.SCRATCH * n, dtype=np.int64)


class _Marks:
    """Names that are found in a text, and their ids in the order of the finder."""

    def __init__(self, names: Mapping[str, int]) -> None:
        self.finder = SpecialFinder(list(names))
        self.ids = np.array([names[token] for token in self.finder.tokens], dtype=np.int64)


def _words(ids: Mapping[bytes, int], pattern: int) -> tuple:
    """The table `tokens` of encode_loop; empty without tokens."""
    if not ids:
        return ()
    text, offsets = np.frombuffer(b"".join(ids), dtype=np.uint8), np.cumsum([0, *map(len, ids)], dtype=np.int64)
    counter = WordCounter(pattern)
    counter.add(Words(text, offsets, np.array(list(ids.values()), dtype=np.int64) + 1))
    return counter.table


def _tables(ids: dict[bytes, int], merges: Sequence[tuple[bytes, bytes]]) -> tuple:
    """(pairs, shift, result, outer) of encode_loop; a merge of what no merge makes is listed under no id."""
    inner = {bytes([byte]): byte for byte in range(256)}
    for rank, (a, b) in enumerate(merges):
        inner.setdefault(a + b, 256 + rank)
    left, right = np.empty(len(merges), dtype=np.int64), np.empty(len(merges), dtype=np.int64)
    result = np.empty(len(merges), dtype=np.int32)
    outer = np.zeros(256 + len(merges), dtype=np.uint32)
    outer[:256] = [ids[bytes([byte])] for byte in range(256)]
    for rank, (a, b) in enumerate(merges):
        left[rank], right[rank] = inner.get(a, NEVER), inner.get(b, NEVER)
        result[rank] = inner[a + b]
        outer[256 + rank] = ids[a + b]
    bits = max(10, (2 * len(merges)).bit_length())
    pairs, shift = np.zeros(1 << bits, dtype=np.uint64), np.uint64(64 - bits)
    encode_loop.fill_pairs(left, right, pairs, shift)
    return pairs, shift, result, outer
