"""The compiled twins of `promise.py`: the window's counts, and the heads that walk through the tree (`walking.py`)."""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.context_hashes import word_behind
from weightless.kernels.numba.memory import READ, WRITE, load_id, store_id, stored, touch
from weightless.kernels.numba.rows import KERNEL
from weightless.program.operators.countmix import walking as walk
from weightless.program.operators.countmix.walking import (
    FOLLOWERS,
    HASHES,
    HISTORY,
    LEVELS,
    MAX_DEPTH,
    N_WINDOW,
    OUT,
    PAIRS,
    RANK,
    RECORDS,
    ROOT,
    TOKENS,
    VOCAB,
    WINDOW_CONTEXTS,
    WORDS,
    begin_walk,
    byte_of,
    child_of,
    context_hash,
    holds_context,
    logit_at,
    n_inputs,
    number_of,
    read_whole,
    right_share,
    store_byte,
    token_bits,
)
from weightless.program.registers import IN_STATE, IN_TEXT, IN_WORDS, STATUS, TARGET, T

_MOST, _HALF, _ONE = 255, np.uint64(32), np.uint64(1)
_STACK, _FRAME = 1024, 8
_RECORD = walk.RECORD


@njit(**KERNEL)
def countmix_window(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    t = R[T]
    token = load_id(S, c[HISTORY] + 4 * (t - 1))
    R[IN_STATE] += 4
    if token >= c[VOCAB]:
        R[STATUS] = 1
        return
    if t == 1:
        touch(S, c[PAIRS], 2 * c[VOCAB], WRITE)
        for k in range(2 * c[VOCAB]):
            S[0][c[PAIRS] + k] = 0
        R[IN_WORDS] += 2 * c[VOCAB]
    else:
        rank = number_of(W, c[RANK] + 2 * token)
        R[IN_TEXT] += 2
        _enter_pairs(c, W, S, R, rank)
        for w in range(c[N_WINDOW]):
            _enter_list(c, S, R, w, t - 2, rank)
    current, gap, before = np.uint64(0), _ONE, np.uint64(2)
    if c[RECORDS] >= 0:
        current, gap, before = _words(c, W, S, R, t, token)
    bits = token_bits(c, WINDOW_CONTEXTS, c[N_WINDOW])
    for back in range(1, 8):
        if back < t and bits >> back & 1:
            R[IN_STATE] += 4
    for w in range(c[N_WINDOW]):
        h = context_hash(c, S, t, c[WINDOW_CONTEXTS + w], current, gap, before) >> _HALF
        store_id(S, c[HASHES] + 4 * ((t - 1) * c[N_WINDOW] + w), h)
        R[IN_WORDS] += 4


@njit(**KERNEL)
def _words(c, W, S, R, t, token):  # type: ignore[no-untyped-def]
    current, gap, before = np.uint64(0), _ONE, np.uint64(2)
    if t > 1:
        current, gap = np.uint64(load_id(S, c[WORDS])), np.uint64(load_id(S, c[WORDS] + 4))
        before = np.uint64(load_id(S, c[WORDS] + 8))
        R[IN_STATE] += 12
    at = c[RECORDS] + 20 * token
    touch(W, at, 20, READ)
    R[IN_TEXT] += 20
    current, gap, before = word_behind(
        current,
        gap,
        before,
        _field(W, at),
        _field(W, at + 4),
        _field(W, at + 8),
        _field(W, at + 12),
        np.int64(_field(W, at + 16)),
    )
    store_id(S, c[WORDS], current)
    store_id(S, c[WORDS] + 4, gap)
    store_id(S, c[WORDS] + 8, before)
    R[IN_STATE] += 12
    return current, gap, before


@njit(**KERNEL)
def _field(W, at):  # type: ignore[no-untyped-def]
    """A u32 of a record that was charged as a whole."""
    low = np.uint64(W[0][at]) | np.uint64(W[0][at + 1]) << np.uint64(8)
    return low | np.uint64(W[0][at + 2]) << np.uint64(16) | np.uint64(W[0][at + 3]) << np.uint64(24)


@njit(**KERNEL)
def _enter_pairs(c, W, S, R, rank):  # type: ignore[no-untyped-def]
    """One more on every side that the path took."""
    node, low, high = c[ROOT], np.int64(0), c[VOCAB]
    for _ in range(MAX_DEPTH):
        side = 1 if rank >= node else 0
        at = c[PAIRS] + 2 * node + side
        store_byte(S, at, min(byte_of(S, at) + 1, _MOST))
        R[IN_WORDS] += 2
        if side:
            low = node
        else:
            high = node
        if high - low < 2:
            return
        node = child_of(c, W, R, node, side, low, high)
        if R[STATUS] != 0:
            return
    R[STATUS] = 1


@njit(**KERNEL)
def _store_number(S, at, value):  # type: ignore[no-untyped-def]
    store_byte(S, at, value & 255)
    store_byte(S, at + 1, value >> 8)


@njit(**KERNEL)
def _enter_list(c, S, R, w, i, rank):  # type: ignore[no-untyped-def]
    """One more behind the window's context w of index i."""
    K = c[FOLLOWERS]
    h = load_id(S, c[HASHES] + 4 * (i * c[N_WINDOW] + w))
    R[IN_WORDS] += 4
    at, holds = holds_context(c, S, R, w, i, h)
    ranks_at, counts_at = at + 2, at + 2 + 2 * K
    if not holds:
        _store_number(S, at, i)
        _store_number(S, ranks_at, rank)
        for k in range(K):
            store_byte(S, counts_at + k, 1 if k == 0 else 0)
        R[IN_WORDS] += 4 + K
        return
    least, fewest = 0, _MOST + 1
    for k in range(K):
        n = byte_of(S, counts_at + k)
        R[IN_WORDS] += 1
        if n == 0:
            _store_number(S, ranks_at + 2 * k, rank)
            store_byte(S, counts_at + k, 1)
            R[IN_WORDS] += 3
            return
        R[IN_WORDS] += 2
        if number_of(S, ranks_at + 2 * k) == rank:
            _raise(S, R, ranks_at, counts_at, k, min(n + 1, _MOST))
            return
        if n <= fewest:
            fewest, least = n, k
    _store_number(S, ranks_at + 2 * least, rank)
    store_byte(S, counts_at + least, 1)
    R[IN_WORDS] += 3


@njit(**KERNEL)
def _raise(S, R, ranks_at, counts_at, k, n):  # type: ignore[no-untyped-def]
    """Place k has n now, and changes places with the one ahead where that has fewer."""
    ahead = np.int64(S[0][counts_at + k - 1]) if k > 0 else _MOST
    if n <= ahead:
        store_byte(S, counts_at + k, n)
        R[IN_WORDS] += 1
        return
    one, other = np.int64(S[0][ranks_at + 2 * k]), np.int64(S[0][ranks_at + 2 * k + 1])
    for b in range(2):
        store_byte(S, ranks_at + 2 * k + b, S[0][ranks_at + 2 * (k - 1) + b])
    store_byte(S, ranks_at + 2 * (k - 1), one)
    store_byte(S, ranks_at + 2 * (k - 1) + 1, other)
    store_byte(S, counts_at + k, ahead)
    store_byte(S, counts_at + k - 1, n)
    R[IN_WORDS] += 6


@njit(**KERNEL)
def _number_of_token(c, W, R, at):  # type: ignore[no-untyped-def]
    R[IN_TEXT] += 2
    return number_of(W, at)


@njit(**KERNEL)
def countmix_score(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    words = begin_walk(c, W, S, R, scratch)
    rank = _number_of_token(c, W, R, c[RANK] + 2 * R[TARGET])
    node, low, high, depth, place, nats = c[ROOT], np.int64(0), c[VOCAB], 0, 1, 0.0
    while R[STATUS] == 0:
        p = right_share(logit_at(c, W, S, R, scratch, words, node, low, high, depth, place, False))
        side = 1 if rank >= node else 0
        nats -= math.log(p if side else 1.0 - p)
        if side:
            low = node
        else:
            high = node
        if high - low < 2:
            break
        depth += 1
        place = 1 if depth % LEVELS == 0 else 2 * place + side
        node = child_of(c, W, R, node, side, low, high)
    stored(S, c[OUT], 1)[0] = nats
    R[IN_STATE] += 4


@njit(**KERNEL)
def countmix_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    words = begin_walk(c, W, S, R, scratch)
    node, low, high, depth, place, x = c[ROOT], np.int64(0), c[VOCAB], 0, 1, u[0]
    while R[STATUS] == 0:
        p = right_share(logit_at(c, W, S, R, scratch, words, node, low, high, depth, place, False))
        side = 1 if x < p else 0
        if side:
            x, low = x / p, node
        else:
            x, high = (x - p) / (1.0 - p), node
        if high - low < 2:
            break
        depth += 1
        place = 1 if depth % LEVELS == 0 else 2 * place + side
        node = child_of(c, W, R, node, side, low, high)
    stored(S, c[OUT], 1)[0] = _number_of_token(c, W, R, c[TOKENS] + 2 * low)
    R[IN_STATE] += 4


@njit(**KERNEL)
def _push(scratch, at, node, low, high, depth, place, p):  # type: ignore[no-untyped-def]
    """A frame of the walk over all nodes; p in two float32, which together hold 48 of its bits."""
    frame = _STACK + _FRAME * at
    scratch[frame], scratch[frame + 1], scratch[frame + 2] = node, low, high
    scratch[frame + 3], scratch[frame + 4] = depth, place
    upper = np.float32(p)
    scratch[frame + 5], scratch[frame + 6] = upper, p - np.float64(upper)


@njit(**KERNEL)
def countmix_full(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    words = begin_walk(c, W, S, R, scratch)
    read_whole(c, W, S, R, n_inputs(c))
    out = S[1][c[OUT] // 4 : c[OUT] // 4 + c[VOCAB]]
    touch(S, c[OUT], 4 * c[VOCAB], WRITE)
    R[IN_STATE] += 4 * c[VOCAB]
    _push(scratch, 0, c[ROOT], 0, c[VOCAB], 0, 1, 1.0)
    n = 1
    while n > 0 and R[STATUS] == 0:
        n -= 1
        frame = _STACK + _FRAME * n
        node, low, high = np.int64(scratch[frame]), np.int64(scratch[frame + 1]), np.int64(scratch[frame + 2])
        depth, place = np.int64(scratch[frame + 3]), np.int64(scratch[frame + 4])
        p = np.float64(scratch[frame + 5]) + np.float64(scratch[frame + 6])
        right = right_share(logit_at(c, W, S, R, scratch, words, node, low, high, depth, place, True))
        for side in (1, 0):
            first, end = (node, high) if side else (low, node)
            share = p * (right if side else 1.0 - right)
            if end - first < 2:
                token = _number_of_token(c, W, R, c[TOKENS] + 2 * first)
                if token < c[VOCAB]:
                    out[token] = share
                else:
                    R[STATUS] = 1
            else:
                child = child_of(c, W, R, node, side, first, end)
                below = 1 if (depth + 1) % LEVELS == 0 else 2 * place + side
                _push(scratch, n, child, first, end, depth + 1, below, share)
                n += 1
