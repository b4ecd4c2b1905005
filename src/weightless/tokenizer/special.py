"""Special tokens in byte strings: found leftmost and longest first; and the places where a stream may be cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightless.tokenizer import scan
from weightless.tokenizer.patterns import PATTERN_CODES, character_classes

FEW = 4  # up to so many special tokens, asking whether any occurs is cheaper than looking at every byte


class SpecialFinder:
    """The special tokens of a vocabulary, prepared for the scanner; `tokens` are longest first."""

    def __init__(self, special_tokens: Sequence[str]) -> None:
        self.tokens = sorted(special_tokens, key=lambda token: len(token.encode()), reverse=True)
        encoded = [token.encode() for token in self.tokens]
        self.longest = len(encoded[0]) if encoded else 0
        self._few = encoded[:FEW]
        self._begins = np.zeros(256, dtype=np.uint8)
        for token in encoded:
            self._begins[token[0]] = 1
        self._flat = np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8)
        self._offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def find(self, content: bytes, limit: int | None = None) -> np.ndarray:
        """int64 [k, 3] = (start, end, index into `tokens`) of those starting below `limit`."""
        limit = len(content) if limit is None else limit
        if len(self.tokens) == 1:
            return _find_only(content, self.tokens[0].encode(), limit)
        if len(self._few) == len(self.tokens) and not any(token in content for token in self._few):
            return np.empty((0, 3), dtype=np.int64)
        text = np.frombuffer(content, dtype=np.uint8)
        found = np.empty((1024, 3), dtype=np.int64)
        n, at = scan.find_special(text, limit, self._begins, self._flat, self._offsets, found)
        while at < limit:
            larger = np.empty((2 * len(found), 3), dtype=np.int64)
            more, at = self._find_from(text, int(at), limit, larger[n:])
            larger[:n] = found[:n]
            found, n = larger, n + more
        return found[:n]

    def _find_from(self, text: np.ndarray, at: int, limit: int, found: np.ndarray) -> tuple[int, int]:
        n, reached = scan.find_special(text[at:], limit - at, self._begins, self._flat, self._offsets, found)
        found[:n, :2] += at
        return int(n), int(reached) + at

    def segments(self, content: bytes) -> np.ndarray:
        """int64 [k, 2]: the stretches between special tokens."""
        return between(self.find(content), len(content))

    def safe_cut(
        self, content: bytes, pattern: int, classes: np.ndarray | None = None, limit: int = 256
    ) -> tuple[int, np.ndarray]:
        """(n, segments of content[:n]) for the longest prefix known not to depend on what follows; n = 0 when none.

        `classes` and `limit` (bytes that may begin what is cut off) say where, if not wherever a word ends.
        """
        high = max(0, len(content) - max(self.longest, 4))
        found = self.find(content, high)
        if len(found) and found[-1, 1] > high:  # a cut inside it would lose it; its start is a hard boundary
            cut, found = int(found[-1, 0]), found[:-1]
        else:
            cut = int(found[-1, 1]) if len(found) else 0
            if pattern != PATTERN_CODES["none"] and high > cut:
                text = np.frombuffer(content, dtype=np.uint8)
                classes = character_classes() if classes is None else classes
                cut = int(scan.last_safe_cut(text, cut, high, classes, limit))
        return cut, between(found, cut)


def _find_only(content: bytes, token: bytes, limit: int) -> np.ndarray:
    """`find` for a single token, by bytes.find, which is twice as fast."""
    found, at = [], 0
    while 0 <= (at := content.find(token, at)) < limit:
        found.append((at, at + len(token), 0))
        at += len(token)
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def between(found: np.ndarray, size: int) -> np.ndarray:
    """The stretches int64 [k + 1, 2] around k found special tokens."""
    segments = np.empty((len(found) + 1, 2), dtype=np.int64)
    segments[0, 0], segments[-1, 1] = 0, size
    segments[1:, 0], segments[:-1, 1] = found[:, 1], found[:, 0]
    return segments
