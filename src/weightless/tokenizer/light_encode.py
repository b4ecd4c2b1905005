"""Encoding in plain Python, for the first texts of a process: no compiled code is loaded for them.

    LightEncoder(...).encode(content, with_special) -> ids        the same as encoder.Encoder gives, fifty times slower
    .takes(n_bytes)                                               whether so much more may be encoded here

Words are kept with their ids, so that only new ones are merged: a heap of (rank, place) gives the pair of lowest rank,
leftmost first, in O(n log n) for a word of n bytes.  Twins: reference.encode, and the kernels.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from weightless.tokenizer.patterns import PATTERNS
from weightless.tokenizer.reference import split_special
from weightless.tokenizer.rules import Rules, composed

LIGHT_BYTES = 1 << 18
"""Text that one tokenizer encodes here in all: even if it is a single word, that takes less time than compiling."""


class LightEncoder:
    """Merges (pairs of bytes, in order) and the ids of tokens.  Threads may share one."""

    def __init__(
        self,
        ids: Mapping[bytes, int],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Mapping[str, int],
        pattern: str,
        dtype: np.dtype,
        rules: Rules,
    ) -> None:
        self.dtype, self.rules, self._ids = dtype, rules, ids
        texts = {name: ids[name.encode()] for name in rules.text_tokens}
        self._marks, self._texts = {**special_tokens, **texts}, texts
        self._ranks: dict[tuple[bytes, bytes], int] = {}
        for rank, pair in enumerate(merges):
            self._ranks.setdefault(pair, rank)
        self._kept: dict[str, list[int]] = {}
        self._left = LIGHT_BYTES
        self._words = _words_of(pattern)

    def takes(self, n_bytes: int) -> bool:
        """Whether this encoder should encode so many bytes more; counts them if so."""
        self._left -= n_bytes
        return self._left >= 0

    def encode(self, content: bytes, with_special: bool) -> np.ndarray:
        """Ids of a text; with_special=False treats special tokens as plain text."""
        names = self._marks if with_special else self._texts
        out: list[int] = []
        for piece, is_special in split_special(content, list(names)):
            if is_special:
                out.append(names[piece.decode()])
                continue
            if self.rules.normaliser:
                piece = composed(piece)
            for word in self._words(piece.decode("utf-8", "surrogateescape")):
                ids = self._kept.get(word)
                if ids is None:
                    ids = self._kept[word] = self._encode_word(word.encode("utf-8", "surrogateescape"))
                out += ids
        return np.array(out, dtype=self.dtype)

    def _encode_word(self, word: bytes) -> list[int]:
        if self.rules.whole_words and word in self._ids:
            return [self._ids[word]]
        return [self._ids[part] for part in merged(word, self._ranks)]


def merged(word: bytes, ranks: Mapping[tuple[bytes, bytes], int]) -> list[bytes]:
    """The tokens of a word: the pair of lowest rank is joined, leftmost first, until none is left."""
    n = len(word)
    parts = [word[i : i + 1] for i in range(n)]
    before, after = list(range(-1, n - 1)), list(range(1, n + 1))
    heap = [(ranks[pair], i) for i, pair in enumerate(zip(parts, parts[1:])) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        rank, i = heapq.heappop(heap)
        j = after[i]
        if not parts[i] or j >= n or ranks.get((parts[i], parts[j])) != rank:
            continue  # a part that has been joined to the one before it is empty
        parts[i], parts[j] = parts[i] + parts[j], b""
        after[i] = after[j]
        if after[i] < n:
            before[after[i]] = i
        for left in (before[i], i):
            if left >= 0 and after[left] < n:
                found = ranks.get((parts[left], parts[after[left]]))
                if found is not None:
                    heapq.heappush(heap, (found, left))
    return [part for part in parts if part]


def _words_of(pattern: str) -> Callable[[str], list[str]]:
    """The function that cuts a text without special tokens into words."""
    if pattern == "none":
        return lambda text: [text] if text else []
    import regex

    return regex.compile(PATTERNS[pattern]).findall
