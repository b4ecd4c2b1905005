"""Numba kernels that look patterns up in a suffix array, many at a time.

One binary search waits for memory at every step.  LANES searches therefore go step by step side by side, and the
processor fetches for all of them at once.  Oracle: `ops/suffix_array.py`.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit

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
    """low[q], high[q] = rows of the suffixes that begin with pattern[begins[q] : begins[q] + lengths[q]].

    The first word is looked up; then the first row not below the pattern is searched, and from there the first above
    it, short of the lowest row that the first search has found to be above.
    """
    left, right = np.empty(LANES, dtype=np.int64), np.empty(LANES, dtype=np.int64)
    beyond = np.empty(LANES, dtype=np.int64)
    for q in range(0, begins.size, LANES):
        n = min(LANES, begins.size - q)
        for i in range(n):
            left[i], right[i] = 0, suffixes.size
            if lengths[q + i] > 0:
                word = np.int64(pattern[begins[q + i]])
                left[i], right[i] = np.int64(first_row[word]), np.int64(first_row[word + 1])
            beyond[i] = right[i]
            if lengths[q + i] < 2:
                right[i] = left[i]
        _narrow(text, suffixes, pattern, begins[q : q + n], lengths[q : q + n], 0, left, right, beyond)
        for i in range(n):
            low[q + i] = left[i]
            right[i] = beyond[i]
            if lengths[q + i] < 2:
                left[i] = beyond[i]
        _narrow(text, suffixes, pattern, begins[q : q + n], lengths[q : q + n], 1, left, right, beyond)
        high[q : q + n] = left[:n]


@njit(cache=True, nogil=True)
def _narrow(text, suffixes, pattern, begins, lengths, least, left, right, beyond):
    """Halve every lane's interval until none is left: left = its first row with a sign >= `least`."""
    busy = True
    while busy:
        busy = False
        for i in range(begins.size):
            if left[i] < right[i]:
                middle = (left[i] + right[i]) >> 1
                sign = _sign(text, np.int64(suffixes[middle]), pattern, begins[i], lengths[i])
                if sign < least:
                    left[i] = middle + 1
                else:
                    right[i] = middle
                if sign > 0:
                    beyond[i] = middle
                busy = True
