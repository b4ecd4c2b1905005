"""The compiled side of a tokenizer: its merges as tables, its caches, and the loop over segments of a text."""

from __future__ import annotations

from collections.abc import Sequence
from queue import Empty, SimpleQueue

import numpy as np

from weightless.base.errors import ConfigError
from weightless.tokenizer import encode_loop
from weightless.tokenizer.patterns import character_classes
from weightless.tokenizer.special import SpecialFinder, between

CACHE_BITS = 16
OUT_ENTRIES = 1 << 18
LARGEST_WORD = 2**31 - 8


class Encoder:
    """Merges (pairs of bytes, in order) and the ids of tokens, made ready for the kernels.  Threads may share one."""

    def __init__(
        self,
        ids: dict[bytes, int],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: dict[str, int],
        pattern: int,
        dtype: np.dtype,
    ) -> None:
        self.pattern, self.dtype = pattern, dtype
        self.finder = SpecialFinder(list(special_tokens))
        self.special_ids = np.array([special_tokens[token] for token in self.finder.tokens], dtype=np.int64)
        self._model = _tables(ids, merges)
        self._caches: SimpleQueue[tuple[np.ndarray, np.ndarray]] = SimpleQueue()

    def encode(self, content: bytes, with_special: bool) -> np.ndarray:
        """Ids of a text; with_special=False treats special tokens as plain text."""
        if not content:
            return np.empty(0, dtype=self.dtype)
        text = np.frombuffer(content, dtype=np.uint8)
        found = self.finder.find(content) if with_special else np.empty((0, 3), dtype=np.int64)
        cache = self._take_cache()
        try:
            pieces = self._pieces(text, found, cache)
        finally:
            self._caches.put(cache)
        return np.concatenate(pieces) if len(pieces) != 1 else pieces[0]

    def _pieces(self, text: np.ndarray, found: np.ndarray, cache: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
        pieces: list[np.ndarray] = []
        out = np.empty(min(text.size, OUT_ENTRIES) + 8, dtype=np.uint32)
        classes = character_classes()
        for k, (start, end) in enumerate(between(found, text.size).tolist()):
            while start < end:
                n, reached = encode_loop.encode_segment(
                    text, start, end, classes, self.pattern, self._model, *cache, out
                )
                if n:
                    pieces.append(out[:n].astype(self.dtype))
                elif reached == start:
                    out = self._longer(out, end - start)
                start = reached
            if k < len(found):
                pieces.append(self.special_ids[found[k, 2] : found[k, 2] + 1].astype(self.dtype))
        return pieces or [np.empty(0, dtype=self.dtype)]

    @staticmethod
    def _longer(out: np.ndarray, needed: int) -> np.ndarray:
        if needed > LARGEST_WORD:
            raise ConfigError(f"a text of {needed:,} bytes without a word boundary is too long; cut it into parts")
        return np.empty(min(2 * out.size, needed + 8), dtype=np.uint32)

    def _take_cache(self) -> tuple[np.ndarray, np.ndarray]:
        try:
            return self._caches.get_nowait()
        except Empty:
            return np.zeros(4 << CACHE_BITS, dtype=np.uint64), np.empty((1 << CACHE_BITS, 16), dtype=np.uint32)


def _tables(ids: dict[bytes, int], merges: Sequence[tuple[bytes, bytes]]) -> tuple:
    """(pairs, shift, result, outer) of encode_loop; every part of a merge is a byte or made by an earlier merge."""
    inner = {bytes([byte]): byte for byte in range(256)}
    left, right = np.empty(len(merges), dtype=np.int64), np.empty(len(merges), dtype=np.int64)
    result = np.empty(len(merges), dtype=np.int32)
    outer = np.zeros(256 + len(merges), dtype=np.uint32)
    outer[:256] = [ids[bytes([byte])] for byte in range(256)]
    for rank, (a, b) in enumerate(merges):
        left[rank], right[rank] = inner[a], inner[b]
        result[rank] = inner.setdefault(a + b, 256 + rank)
        outer[256 + rank] = ids[a + b]
    bits = max(10, (2 * len(merges)).bit_length())
    pairs, shift = np.zeros(1 << bits, dtype=np.uint64), np.uint64(64 - bits)
    encode_loop.fill_pairs(left, right, pairs, shift)
    return pairs, shift, result, outer
