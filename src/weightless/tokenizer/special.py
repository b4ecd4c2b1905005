"""Special tokens in byte strings: found leftmost and longest first; and the places where a stream may be cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightless.tokenizer import scan
from weightless.tokenizer.patterns import PATTERN_CODES, character_classes


class SpecialFinder:
    """The special tokens of a vocabulary, prepared for the scanner; `tokens` are longest first."""

    def __init__(self, special_tokens: Sequence[str]) -> None:
        self.tokens = sorted(special_tokens, key=lambda token: len(token.encode()), reverse=True)
        encoded = [token.encode() for token in self.tokens]
        self.longest = len(encoded[0]) if encoded else 0
        self._begins = np.zeros(256, dtype=np.uint8)
        for token in encoded:
            self._begins[token[0]] = 1
        self._flat = np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8)
        self._offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def find(self, text: np.ndarray, limit: int | None = None) -> np.ndarray:
        """int64 [k, 3] = (start, end, index into `tokens`) of those starting below `limit`."""
        if not self.tokens:
            return np.empty((0, 3), dtype=np.int64)
        limit = text.size if limit is None else limit
        found = np.empty((1024, 3), dtype=np.int64)
        n, at = scan.find_special(text, limit, self._begins, self._flat, self._offsets, found)
        while at < limit:
            larger = np.empty((2 * len(found), 3), dtype=np.int64)
            more, at = self._find_from(text, at, limit, larger[n:])
            larger[:n] = found[:n]
            found, n = larger, n + more
        return found[:n]

    def _find_from(self, text: np.ndarray, at: int, limit: int, found: np.ndarray) -> tuple[int, int]:
        n, reached = scan.find_special(text[at:], limit - at, self._begins, self._flat, self._offsets, found)
        found[:n, :2] += at
        return n, reached + at

    def segments(self, content: bytes) -> tuple[np.ndarray, np.ndarray]:
        """(text uint8, segments int64 [k, 2]) of the stretches between special tokens."""
        text = np.frombuffer(content, dtype=np.uint8)
        found = self.find(text)
        return text, between(found, text.size)

    def safe_cut(self, content: bytes, pattern: int) -> int:
        """Length of the longest prefix known to be independent of what follows `content`; 0 when there is none."""
        high = len(content) - max(self.longest, 4)
        if high <= 0:
            return 0
        text = np.frombuffer(content, dtype=np.uint8)
        found = self.find(text, high)
        if len(found) and found[-1, 1] > high:  # a cut inside it would lose it; its start is a hard boundary
            return int(found[-1, 0])
        low = int(found[-1, 1]) if len(found) else 0
        if pattern == PATTERN_CODES["none"]:
            return low
        return int(scan.last_safe_cut(text, low, high, character_classes())) if high > low else low


def between(found: np.ndarray, size: int) -> np.ndarray:
    """The stretches int64 [k + 1, 2] around k found special tokens."""
    segments = np.empty((len(found) + 1, 2), dtype=np.int64)
    segments[0, 0], segments[-1, 1] = 0, size
    segments[1:, 0], segments[:-1, 1] = found[:, 1], found[:, 0]
    return segments
