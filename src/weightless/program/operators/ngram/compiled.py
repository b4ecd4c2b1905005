"""The compiled twins of `promise.py` and `unigram.py`: Kneser-Ney lists and unigrams.

Every address taken from data is checked against its table before use.
"""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import READ, WRITE, id_at, load_id, loaded, store_id, stored, touch, updated
from weightless.kernels.numba.ngram_walk import QUANTA, draw_entry, own_quanta, search
from weightless.kernels.numba.rows import KERNEL
from weightless.program.registers import IN_CONTEXT, IN_CUM, IN_STATE, IN_WORDS, STATUS, TARGET, T


@njit(**KERNEL)
def ngram_context(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    node_at, n_cols, n_rows, level = c[2], c[3], c[4], c[5]
    at = np.int64(-1)
    R[IN_STATE] += 16
    if level == 1:
        at = load_id(S, c[0] + 4 * (R[T] - 1))
        R[IN_STATE] += 4
    elif R[T] >= level:
        first, end = load_id(S, c[6]), load_id(S, c[6] + 4)
        R[IN_STATE] += 8
        if end > n_rows - 1:
            R[STATUS] = 1
            return
        if first < end:
            at, probes = search(W, c[7], c[8], first, end, load_id(S, c[0] + 4 * (R[T] - level)))
            R[IN_STATE] += 4
            R[IN_CONTEXT] += probes * c[8]
    if at >= n_rows - 1:
        R[STATUS] = 1
        return
    for field in range(4):
        store_id(S, c[1] + 4 * field, 0)
    if at >= 0:
        R[IN_CONTEXT] += 8 * n_cols
        first_cell = n_cols * at
        for field in range(4 - 2 * n_cols, 4):  # children (where there is a deeper level), then continuations
            column = n_cols - 1 if field >= 2 else 0
            store_id(S, c[1] + 4 * field, id_at(W, node_at, 4, first_cell + n_cols * (field & 1) + column))


@njit(**KERNEL)
def _list_range(c, S, R):  # type: ignore[no-untyped-def]
    """(first, end) of this level's continuation list; level 0 owns the whole table."""
    if c[3] == 0:
        return np.int64(0), c[2]
    first, end = load_id(S, c[4] + 8), load_id(S, c[4] + 12)
    R[IN_STATE] += 8
    if end > c[2]:
        R[STATUS] = 1
        return np.int64(0), np.int64(0)
    return first, end


@njit(**KERNEL)
def ngram_score(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    cum_at = c[1]
    first, end = _list_range(c, S, R)
    if c[3] == 0:
        stored(S, c[0], 1)[0] = np.float64(own_quanta(W, cum_at, 0, R[TARGET])) / QUANTA
        R[IN_STATE] += 4
        R[IN_CUM] += 8 if R[TARGET] > 0 else 4
        return
    if first >= end:
        return
    at, probes = search(W, c[5], c[6], first, end, R[TARGET])
    own, entries = np.int64(0), 1
    if at >= 0:
        own = own_quanta(W, cum_at, first, at)
        entries += (1 if at < end - 1 else 0) + (1 if at > first else 0)
    gamma, p = QUANTA - id_at(W, cum_at, 4, end - 1), updated(S, c[0], 1)
    p[0] = (np.float64(own) + np.float64(gamma) * np.float64(p[0])) / QUANTA
    R[IN_STATE] += 8
    R[IN_WORDS] += probes * c[6]
    R[IN_CUM] += 4 * entries


@njit(**KERNEL)
def ngram_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    is_first = c[7] != 0
    if not is_first:
        R[IN_STATE] += 4
        if loaded(S, c[0], 1)[0] >= 0:
            return
    first, end = _list_range(c, S, R)
    at, read = draw_entry(W, c[1], first, end, u[c[3]])
    R[IN_CUM] += 4 * read
    if at >= 0:
        stored(S, c[0], 1)[0] = id_at(W, c[5], c[6], at) if c[3] > 0 else at
        R[IN_WORDS] += c[6]
        R[IN_STATE] += 4
    elif is_first:
        stored(S, c[0], 1)[0] = -1.0
        R[IN_STATE] += 4


@njit(**KERNEL)
def ngram_full(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    vocab_size = c[7]
    p = S[1][c[0] // 4 : c[0] // 4 + vocab_size]
    first, end = _list_range(c, S, R)
    if c[3] == 0 or first < end:
        touch(S, c[0], 4 * vocab_size, WRITE)
    if c[3] == 0:
        R[IN_STATE] += 4 * vocab_size
        R[IN_CUM] += 4 * vocab_size
        for j in range(vocab_size):
            p[j] = np.float64(own_quanta(W, c[1], 0, j)) / QUANTA
        return
    if first >= end:
        return
    touch(S, c[0], 4 * vocab_size, READ)
    R[IN_STATE] += 8 * vocab_size
    R[IN_WORDS] += (end - first) * c[6]
    R[IN_CUM] += (end - first) * 4
    gamma = np.float64(QUANTA - id_at(W, c[1], 4, end - 1)) / QUANTA
    for j in range(vocab_size):
        p[j] = np.float64(p[j]) * gamma
    for i in range(first, end):
        word = id_at(W, c[5], c[6], i)
        if word >= vocab_size:
            R[STATUS] = 1
            return
        p[word] += np.float64(own_quanta(W, c[1], first, i)) / QUANTA


@njit(**KERNEL)
def unigram_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n = c[1]
    if c[3] == 0:
        R[IN_STATE] += 4
        if loaded(S, c[2], 1)[0] >= 0:
            return
    x = u[0] * n
    column = min(np.int64(x), n - 1)
    word = column
    touch(W, c[0] + 8 * column, 8, READ)  # a row is fetched whole
    if np.int64((x - column) * QUANTA) >= id_at(W, c[0], 4, 2 * column):
        word = id_at(W, c[0], 4, 2 * column + 1)
    stored(S, c[2], 1)[0] = word
    R[IN_CUM] += 8
    R[IN_STATE] += 4


@njit(**KERNEL)
def ngram_finish(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    stored(S, c[1], 1)[0] = -math.log(np.float64(loaded(S, c[0], 1)[0]))
