"""Numba kernels that look patterns up in a suffix array, many at a time.

One binary search waits for memory at every step.  LANES searches therefore go step by step side by side, and the
processor fetches for all of them at once.  Oracle: `ops/suffix_array.py`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LANES = 32


@njit(cache=True, nogil=True)
def _sign(text, at, pattern, begin, length):
    """-1, 0 or 1 as the suffix at `at`, cut to `length` words, is below, equal to or above the pattern."""
    n = min(length, text.size - at)
    for k in range(n):
        word, wanted = text[at + k], pattern[begin + k]
        if word != wanted:
            return -1 if word < wanted else 1
    return 0 if n == length else -1


@njit(cache=True, nogil=True)
def ranges(text, suffixes, first_row, pattern, begins, lengths, low, high):
    """low[q], high[q] = rows of the suffixes that begin with pattern[begins[q] : begins[q] + lengths[q]]."""
    left, right = np.empty(LANES, dtype=np.int64), np.empty(LANES, dtype=np.int64)
    for q0 in range(0, begins.size, LANES):
        n = min(LANES, begins.size - q0)
        for above in range(2):  # 0: the first row not below the pattern; 1: the first row above it
            for i in range(n):
                word = np.int64(pattern[begins[q0 + i]]) if lengths[q0 + i] > 0 else 0
                left[i] = np.int64(first_row[word]) if lengths[q0 + i] > 0 else 0
                right[i] = np.int64(first_row[word + 1]) if lengths[q0 + i] > 0 else suffixes.size
                if lengths[q0 + i] < 2:
                    left[i] = right[i] if above else left[i]
                    right[i] = left[i]
                elif above:
                    left[i] = low[q0 + i]
            _narrow(text, suffixes, pattern, begins[q0 : q0 + n], lengths[q0 : q0 + n], above, left, right)
            for i in range(n):
                if above:
                    high[q0 + i] = left[i]
                else:
                    low[q0 + i] = left[i]


@njit(cache=True, nogil=True)
def _narrow(text, suffixes, pattern, begins, lengths, above, left, right):
    """Halve every lane's interval until none is left."""
    busy = True
    while busy:
        busy = False
        for i in range(begins.size):
            if left[i] < right[i]:
                middle = (left[i] + right[i]) >> 1
                sign = _sign(text, np.int64(suffixes[middle]), pattern, begins[i], lengths[i])
                if sign < above:
                    left[i] = middle + 1
                else:
                    right[i] = middle
                busy = True
