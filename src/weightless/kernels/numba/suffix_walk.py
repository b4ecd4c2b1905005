"""Binary searches over a packed suffix array, with pointers and words counted: the fast twin of `operators/suffix/`.

An index is five operands (where the text lies, bytes per word, words, where the suffixes lie) and the depth at which
words are compared.  `reads` are two registers that take the number of pointers and of words read.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import id_at
from weightless.kernels.numba.rows import KERNEL

END = -1


@njit(**KERNEL)
def word_behind(memory, index, depth, row, reads):  # type: ignore[no-untyped-def]
    """The word `depth` places into the suffix at `row`, END behind the end of the text."""
    at = id_at(memory, index[3], 4, row) + depth
    reads[0] += 4
    if at >= index[2]:
        return np.int64(END)
    reads[1] += index[1]
    return id_at(memory, index[0], index[1], at)


@njit(**KERNEL)
def lower_bound(memory, index, depth, low, high, word, reads):  # type: ignore[no-untyped-def]
    """First row of low..high-1 whose word is not below `word`, else high."""
    while low < high:
        middle = (low + high) // 2
        if word_behind(memory, index, depth, middle, reads) < word:
            low = middle + 1
        else:
            high = middle
    return low


@njit(**KERNEL)
def upper_bound(memory, index, depth, low, high, word, reads):  # type: ignore[no-untyped-def]
    """First row of low..high-1 whose word is above `word`, else high."""
    while low < high:
        middle = (low + high) // 2
        if word_behind(memory, index, depth, middle, reads) > word:
            high = middle
        else:
            low = middle + 1
    return low


@njit(**KERNEL)
def bounds(memory, index, depth, low, high, word, reads):  # type: ignore[no-untyped-def]
    """(first row, end row) of `word` among rows low..high-1, equal when it is not there."""
    while low < high:
        middle = (low + high) // 2
        found = word_behind(memory, index, depth, middle, reads)
        if found == word:
            first = lower_bound(memory, index, depth, low, middle, word, reads)
            return first, upper_bound(memory, index, depth, middle + 1, high, word, reads)
        if found < word:
            low = middle + 1
        else:
            high = middle
    return low, low


@njit(**KERNEL)
def count_word(memory, index, depth, first, end, lowest, highest, word, reads):  # type: ignore[no-untyped-def]
    """How many of the rows first..end-1 have `word`, the words of the first and the last row being known."""
    if word < lowest or word > highest:
        return 0
    if lowest == highest:
        return end - first
    if word == lowest:
        return upper_bound(memory, index, depth, first + 1, end - 1, word, reads) - first
    if word == highest:
        return end - lower_bound(memory, index, depth, first + 1, end - 1, word, reads)
    low, high = bounds(memory, index, depth, first + 1, end - 1, word, reads)
    return high - low


@njit(**KERNEL)
def log2_bucket(n, n_buckets):  # type: ignore[no-untyped-def]
    """floor(log2 n), at most n_buckets - 1."""
    bucket = 0
    while n > 1 and bucket < n_buckets - 1:
        n >>= 1
        bucket += 1
    return bucket
