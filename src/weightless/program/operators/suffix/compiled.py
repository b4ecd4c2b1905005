"""The compiled twins of `promise.py`: operators over a suffix array.

Operands begin with the index (text, bytes per word, words, suffixes), then found, matched, the level and the rows of
found.  Every range taken from data is checked before use, and a pointer behind the text reads nothing.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import id_at, load_id, loaded, store_id, stored, updated
from weightless.kernels.numba.rows import KERNEL
from weightless.kernels.numba.suffix_walk import END, bounds, count_word, log2_bucket, word_behind
from weightless.ops import infinigram
from weightless.program.registers import IN_CUM, IN_STATE, IN_SUFFIXES, STATUS, TARGET, T

N_BUCKETS = infinigram.N_BUCKETS
_N, _FOUND, _MATCHED, _LEVEL, _LEVELS, _REST = 2, 4, 5, 6, 7, 8


@njit(**KERNEL)
def suffix_extend(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    t, level = R[T], c[_LEVEL]
    if t < level:
        return
    before = np.int64(-1)
    if t > 1:
        before = load_id(S, c[_MATCHED])
        R[IN_STATE] += 4
        if before >= c[_LEVELS]:
            R[STATUS] = 1
        if level > before + 1 or R[STATUS] != 0:
            return
    word = load_id(S, c[_REST] + 4 * (t - 1))
    R[IN_STATE] += 4
    if level == 1:
        if word >= c[_REST + 2] - 1:
            R[STATUS] = 1
            return
        first, end = id_at(W, c[_REST + 1], 4, word), id_at(W, c[_REST + 1], 4, word + 1)
        R[IN_SUFFIXES] += 8
    else:
        shorter = c[_FOUND] + 8 * (level - 1)
        first, end = load_id(S, shorter), load_id(S, shorter + 4)
        R[IN_STATE] += 8
        if first > end or end > c[_N]:
            R[STATUS] = 1
            return
        first, end = bounds(W, c[:4], level - 1, first, end, word, R[IN_SUFFIXES:])
    if first > end or end > c[_N]:
        R[STATUS] = 1
        return
    now = before
    if first < end:
        store_id(S, c[_FOUND] + 8 * level, first)
        store_id(S, c[_FOUND] + 8 * level + 4, end)
        R[IN_STATE] += 8
        now = max(level, before)
    elif before < 0 or before == level:
        now = level - 1
    if now != before:
        store_id(S, c[_MATCHED], now)
        R[IN_STATE] += 4


@njit(**KERNEL)
def _range(c, S, R):  # type: ignore[no-untyped-def]
    """Rows of the suffixes that begin with the last `level` words; (0, 0) when there are none."""
    matched = load_id(S, c[_MATCHED])
    R[IN_STATE] += 4
    if c[_LEVEL] > matched:
        return np.int64(0), np.int64(0)
    found = c[_FOUND] + 8 * c[_LEVEL]
    first, end = load_id(S, found), load_id(S, found + 4)
    R[IN_STATE] += 8
    if first >= end or end > c[_N] or matched >= c[_LEVELS]:
        R[STATUS] = 1
        return np.int64(0), np.int64(0)
    return first, end


@njit(**KERNEL)
def _occurrences(c, W, S, R):  # type: ignore[no-untyped-def]
    """(first row that a word follows, end, lowest word, highest word) of the last `level` words; first = end: none."""
    first, end = _range(c, S, R)
    if first == end:
        return first, end, np.int64(END), np.int64(END)
    lowest = word_behind(W, c[:4], c[_LEVEL], first, R[IN_SUFFIXES:])
    if lowest == END:
        first += 1
        if first == end:
            return end, end, lowest, lowest
        lowest = word_behind(W, c[:4], c[_LEVEL], first, R[IN_SUFFIXES:])
    highest = lowest
    if end - first > 1:
        highest = word_behind(W, c[:4], c[_LEVEL], end - 1, R[IN_SUFFIXES:])
    if lowest == END or highest == END:  # two suffixes cannot end at the same place
        R[STATUS] = 1
        return end, end, lowest, highest
    return first, end, lowest, highest


@njit(**KERNEL)
def _weight(c, W, R, n, several):  # type: ignore[no-untyped-def]
    row = ((c[_LEVEL] - 1) * 2 + (1 if several else 0)) * N_BUCKETS + log2_bucket(n, N_BUCKETS)
    R[IN_CUM] += 4
    return np.float64(loaded(W, c[_REST] + 4 * row, 1)[0])


@njit(**KERNEL)
def suffix_score(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    first, end, lowest, highest = _occurrences(c, W, S, R)
    if first == end:
        return
    n = end - first
    hits = count_word(W, c[:4], c[_LEVEL], first, end, lowest, highest, R[TARGET], R[IN_SUFFIXES:])
    w, p = _weight(c, W, R, n, lowest != highest), updated(S, c[_REST + 1], 1)
    p[0] = w * (np.float64(hits) / n) + (1.0 - w) * np.float64(p[0])
    R[IN_STATE] += 8


@njit(**KERNEL)
def suffix_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    is_first = c[_REST + 3] != 0
    if not is_first:
        R[IN_STATE] += 4
        if loaded(S, c[_REST + 1], 1)[0] >= 0:
            return
    first, end, lowest, highest = _occurrences(c, W, S, R)
    if first == end:
        if is_first:
            stored(S, c[_REST + 2], 1)[0] = 1.0
            stored(S, c[_REST + 1], 1)[0] = -1.0
            R[IN_STATE] += 8
        return
    n = end - first
    rest = 1.0
    if not is_first:
        rest = np.float64(loaded(S, c[_REST + 2], 1)[0])
        R[IN_STATE] += 4
    rest *= 1.0 - _weight(c, W, R, n, lowest != highest)
    R[IN_STATE] += 4  # either the outcome or what is left
    if 1.0 - u[1] > rest:
        row = first + min(np.int64(u[0] * n), n - 1)
        word = lowest
        if row == end - 1:
            word = highest
        elif row > first:
            word = word_behind(W, c[:4], c[_LEVEL], row, R[IN_SUFFIXES:])
        stored(S, c[_REST + 1], 1)[0] = word
        return
    stored(S, c[_REST + 2], 1)[0] = rest
    if is_first:
        stored(S, c[_REST + 1], 1)[0] = -1.0
        R[IN_STATE] += 4


@njit(**KERNEL)
def suffix_full(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    vocab_size = c[_REST + 2]
    first, end = _range(c, S, R)
    if first == end:
        return
    lowest = highest = word_behind(W, c[:4], c[_LEVEL], first, R[IN_SUFFIXES:])
    ended = 1 if lowest == END else 0
    n = end - first - ended
    if n == 0:
        return
    if n + ended > 1:
        lowest = lowest if ended == 0 else word_behind(W, c[:4], c[_LEVEL], first + 1, R[IN_SUFFIXES:])
        highest = lowest
    reads = R[IN_SUFFIXES:]
    p = updated(S, c[_REST + 1], vocab_size)
    # The words come in ascending order, so a first look at the last one tells whether they differ.
    if n > 1:
        highest = word_behind(W, c[:4], c[_LEVEL], end - 1, reads)
    w = _weight(c, W, R, n, lowest != highest)
    R[IN_STATE] += 8 * vocab_size
    for j in range(vocab_size):
        p[j] = (1.0 - w) * np.float64(p[j])
    word, run = lowest, np.int64(0)
    for i in range(n):
        here = lowest
        if i == n - 1:
            here = highest
        elif i > 0:
            here = word_behind(W, c[:4], c[_LEVEL], first + ended + i, reads)
        if here < 0 or here >= vocab_size:
            R[STATUS] = 1
            return
        if here != word:
            p[word] += w * (np.float64(run) / n)
            word, run = here, np.int64(0)
        run += 1
    p[word] += w * (np.float64(run) / n)
