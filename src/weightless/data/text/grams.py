"""Hashes of n consecutive words (or token ids), for telling documents that repeat one another.

A word is a run of ASCII letters, digits or bytes >= 128, ASCII letters lower-cased; everything else separates.
With word hashes h_i = mix(sum_j byte_j R^j) and odd 64-bit constants R, Q (all arithmetic modulo 2^64),

    gram_i = mix(h_i Q^(n-1) + h_(i+1) Q^(n-2) + ... + h_(i+n-1))

A document of fewer than n words has one gram, made of all it has; one without words has none.
word_grams is compiled (gram_loop.py); twin_grams is the same in NumPy, and decides who is right.
Two different grams collide with probability about 2^-64: good for counting, not for proof.
"""

from __future__ import annotations

import functools

import numpy as np

N_WORDS = 13
_R = 0x9E3779B97F4A7C15
_Q = 0xD1342543DE82EF95
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_STRETCH = 1 << 16
_FILTER_BITS = 24


_FOLDED = bytes(b if b >= 128 else ord(chr(b).lower()) if chr(b).isalnum() else 0 for b in range(256))


@functools.cache
def _powers() -> tuple[np.ndarray, np.ndarray]:
    """R^i and R^-i for every position of a stretch."""
    inverse = pow(_R, -1, 1 << 64)
    steps = np.array([[1] + [base] * (_STRETCH - 1) for base in (_R, inverse)], np.uint64)
    up, down = np.cumprod(steps, axis=1)
    return up, down


def word_grams(document: bytes, n: int = N_WORDS) -> np.ndarray:
    """uint64 hashes of all runs of `n` words, in order."""
    from weightless.data.text import gram_loop  # numba only when something is compared

    text = np.frombuffer(document, np.uint8)
    hashes = np.empty(text.size // 2 + text.size // _STRETCH + 2, np.uint64)
    n_words = gram_loop.hash_words(text, _folded(), _STRETCH, np.uint64(_R), _MIX, hashes)
    return hashes[: gram_loop.combine(hashes, n_words, n, np.uint64(_Q), _MIX)].copy()


@functools.cache
def _folded() -> np.ndarray:
    return np.frombuffer(_FOLDED, np.uint8)


def twin_grams(document: bytes, n: int = N_WORDS) -> np.ndarray:
    """What word_grams returns, in NumPy."""
    return _combine(word_hashes(document), n)


def id_grams(ids: np.ndarray, n: int = N_WORDS) -> np.ndarray:
    """uint64 hashes of all runs of `n` token ids, in order."""
    return _combine(_mixed(ids.astype(np.uint64) + np.uint64(1)), n)


def word_hashes(document: bytes) -> np.ndarray:
    """uint64 hash of every word, in order."""
    folded = document.translate(_FOLDED)
    hashes, start = [], 0
    while start < len(folded):
        stop = start + _STRETCH
        if stop < len(folded):
            stop = folded.rfind(0, start, stop) + 1 or stop
        stop = min(stop, len(folded))
        hashes.append(_hashes_of_stretch(np.frombuffer(folded, np.uint8, stop - start, start)))
        start = stop
    return _mixed(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)


def _hashes_of_stretch(folded: np.ndarray) -> np.ndarray:
    """sum_j byte_j R^(j - start) of every word of at most `_STRETCH` bytes."""
    inside = folded != 0
    starts = np.flatnonzero(inside & ~np.concatenate(([False], inside[:-1])))
    if not len(starts):
        return np.zeros(0, np.uint64)
    up, down = _powers()
    return np.add.reduceat(folded * up[: len(folded)], starts) * down[starts]


def _combine(hashes: np.ndarray, n: int) -> np.ndarray:
    if not len(hashes):
        return hashes
    n = min(n, len(hashes))
    total = np.zeros(len(hashes) - n + 1, np.uint64)
    for j in range(n):
        total = total * np.uint64(_Q) + hashes[j : j + len(total)]
    return _mixed(total)


def _mixed(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * _MIX
    return values ^ (values >> np.uint64(27))


class GramSet:
    """A fixed set of grams that remembers which of them were met.

    A table of 2^24 flags answers most of the negative questions before the binary search does.
    """

    def __init__(self, grams: np.ndarray) -> None:
        self.grams = np.unique(grams)
        self.met = np.zeros(len(self.grams), bool)
        self._shift = np.uint64(64 - _FILTER_BITS)
        self._filter = np.zeros(1 << _FILTER_BITS, bool)
        self._filter[self.grams >> self._shift] = True

    def meet(self, grams: np.ndarray) -> None:
        """Mark those members that occur in `grams`."""
        likely = grams[self._filter[grams >> self._shift]]
        if not len(likely) or not len(self.grams):
            return
        at = np.minimum(np.searchsorted(self.grams, likely), len(self.grams) - 1)
        self.met[at[self.grams[at] == likely]] = True

    def share_met(self, grams: np.ndarray) -> float:
        """The share of `grams` (all members) that were met; 0 for none."""
        return float(self.met[np.searchsorted(self.grams, grams)].mean()) if len(grams) else 0.0
