"""The compiled twins of `promise.py`: the window's counts, and the heads that walk through the tree (`walking.py`)."""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.context_hashes import word_behind
from weightless.kernels.numba.memory import READ, WRITE, load_id, store_id, stored, touch
from weightless.kernels.numba.rows import KERNEL
from weightless.ops import count_layout as layout
from weightless.program.operators.countmix.places import (
    byte_of,
    list_cell,
    number_of,
    pair_at,
    row_at,
    store_byte,
    token_row,
)
from weightless.program.operators.countmix.walking import (
    CHECK,
    CONFIDENCES,
    DENSE_MAP,
    EXACT,
    FOLLOWERS,
    GROUPS,
    HASHES,
    HISTORY,
    LINE,
    LIST_MAP,
    MAX_DEPTH,
    MIX_CONFIDENCE,
    MIX_DEPTH,
    MIX_INPUT,
    MIX_LAST,
    MIX_TOKEN,
    MIXERS,
    N_DENSE,
    N_LISTS,
    N_WINDOW,
    OUT,
    PAIR_MAP,
    PAIRS,
    RANK,
    RECORDS,
    ROOT,
    SLOT_RANKS,
    TOKENS,
    VOCAB,
    WINDOW_CONTEXTS,
    WORDS,
    begin_walk,
    child_of,
    context_hash,
    holds_context,
    logit_at,
    n_inputs,
    right_share,
    token_bits,
)
from weightless.program.registers import IN_CUM, IN_STATE, IN_SUFFIXES, IN_TEXT, IN_WORDS, STATUS, TARGET, T

_MOST, _HALF, _ONE = 255, np.uint64(32), np.uint64(1)
_STACK, _FRAME = 1024, 8


@njit(**KERNEL)
def countmix_window(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    t = R[T]
    token = load_id(S, c[HISTORY] + 4 * (t - 1))
    R[IN_STATE] += 4
    if token >= c[VOCAB]:
        R[STATUS] = 1
        return
    if t == 1:
        n_pairs = c[VOCAB] + layout.NEAR_PAIRS
        touch(S, c[PAIRS], 2 * n_pairs, WRITE)
        for k in range(2 * n_pairs):
            S[0][c[PAIRS] + k] = 0
        R[IN_WORDS] += 2 * n_pairs
    else:
        _enter_pairs(c, W, S, R, c[RECORDS] + layout.TOKEN * token)
        if R[STATUS] != 0:
            return
        rank = number_of(W, c[RECORDS] + layout.TOKEN * token + layout.RANK)
        R[IN_TEXT] += 2
        for w in range(c[N_WINDOW]):
            _enter_list(c, S, R, w, t - 2, rank)
    current, gap, before = np.uint64(0), _ONE, np.uint64(2)
    if c[WORDS] >= 0:
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
    at = c[RECORDS] + layout.TOKEN * token
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
def _enter_pairs(c, W, S, R, record):  # type: ignore[no-untyped-def]
    """One more on every side that the path took; the status is set where it is none."""
    touch(W, record + layout.CODE, 4, READ)
    R[IN_TEXT] += 4
    code, n_steps = np.int64(_field(W, record + layout.CODE)), 0
    while code >> n_steps > 1:
        n_steps += 1
    if not 1 <= n_steps <= MAX_DEPTH:
        R[STATUS] = 1
        return
    for depth in range(n_steps):
        node = np.int64(0)
        if depth >= layout.NEAR_LEVELS:
            node = number_of(W, record + layout.DEEP + 2 * (depth - layout.NEAR_LEVELS))
            R[IN_TEXT] += 2
        if node >= c[VOCAB]:
            R[STATUS] = 1
            return
        at = c[PAIRS] + 2 * pair_at(code >> (n_steps - depth), depth, node) + (code >> (n_steps - depth - 1) & 1)
        store_byte(S, at, min(byte_of(S, at) + 1, _MOST))
        R[IN_WORDS] += 2


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
    ranks_at, counts_at = at + SLOT_RANKS, at + SLOT_RANKS + 2 * K
    if not holds:
        _store_number(S, at, i)
        store_byte(S, at + CHECK, h & 255)
        _store_number(S, ranks_at, rank)
        for k in range(K):
            store_byte(S, counts_at + k, 1 if k == 0 else 0)
        R[IN_WORDS] += 5 + K
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
    node, low, high, depth, path, home, nats = c[ROOT], np.int64(0), c[VOCAB], 0, np.int64(1), c[ROOT], 0.0
    while R[STATUS] == 0:
        p = right_share(logit_at(c, W, S, R, scratch, words, node, low, high, depth, path, home, False))
        side = 1 if rank >= node else 0
        nats -= math.log(p if side else 1.0 - p)
        if side:
            low = node
        else:
            high = node
        if high - low < 2:
            break
        node = child_of(c, W, R, home, depth, path, side, low, high)
        home = home if depth % 2 == 0 else node
        depth, path = depth + 1, 2 * path + side
    stored(S, c[OUT], 1)[0] = nats
    R[IN_STATE] += 4


@njit(**KERNEL)
def countmix_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    words = begin_walk(c, W, S, R, scratch)
    node, low, high, depth, path, home, x = c[ROOT], np.int64(0), c[VOCAB], 0, np.int64(1), c[ROOT], u[0]
    while R[STATUS] == 0:
        p = right_share(logit_at(c, W, S, R, scratch, words, node, low, high, depth, path, home, False))
        side = 1 if x < p else 0
        if side:
            x, low = x / p, node
        else:
            x, high = (x - p) / (1.0 - p), node
        if high - low < 2:
            break
        node = child_of(c, W, R, home, depth, path, side, low, high)
        home = home if depth % 2 == 0 else node
        depth, path = depth + 1, 2 * path + side
    stored(S, c[OUT], 1)[0] = _number_of_token(c, W, R, c[TOKENS] + 2 * low)
    R[IN_STATE] += 4


@njit(**KERNEL)
def _push(scratch, at, node, low, high, depth, path, home, p):  # type: ignore[no-untyped-def]
    """A frame of the walk over all nodes; p in two float32, which together hold 48 of its bits."""
    frame = _STACK + _FRAME * at
    scratch[frame], scratch[frame + 1], scratch[frame + 2] = node, low, high
    scratch[frame + 3], scratch[frame + 4], scratch[frame + 7] = depth, path, home
    upper = np.float32(p)
    scratch[frame + 5], scratch[frame + 6] = upper, p - np.float64(upper)


@njit(**KERNEL)
def read_whole(c, W, S, R, n):  # type: ignore[no-untyped-def]
    """Where all nodes are visited, what they share is read once."""
    n_lists = c[N_LISTS] + c[N_WINDOW]
    for at, size in (
        (c[DENSE_MAP], max(c[N_DENSE], 1) * MAX_DEPTH * EXACT),
        (c[LIST_MAP], list_cell(max(n_lists, 1), 0, 0, 0, 0, False)),
        (c[PAIR_MAP], MAX_DEPTH * CONFIDENCES * CONFIDENCES),
    ):
        touch(W, at, size, READ)
        R[IN_CUM] += size
    n_mixers = 0
    for k in range(5):
        n_mixers += c[MIXERS] >> k & 1
    for at, size in (
        (c[MIX_LAST], MAX_DEPTH * n_mixers),
        (c[MIX_DEPTH], _lines_of((c[N_LISTS] + 1) * MAX_DEPTH, n)),
        (c[MIX_CONFIDENCE], _lines_of(MAX_DEPTH * CONFIDENCES * CONFIDENCES, n)),
        (c[MIX_INPUT], np.int64(LINE * (1 + 6 * max(n - 2, 0)))),
    ):
        if at >= 0:
            touch(W, at, size, READ)  # type: ignore[arg-type]
            R[IN_SUFFIXES] += size
    if c[MIX_TOKEN] >= 0:
        token = load_id(S, c[HISTORY] + 4 * (R[T] - 1))
        for group in range(GROUPS):
            touch(W, c[MIX_TOKEN] + row_at(token_row(token, group, c[VOCAB]), n), n, READ)
        R[IN_SUFFIXES] += GROUPS * n


@njit(**KERNEL)
def _lines_of(rows, n):  # type: ignore[no-untyped-def]
    """Bytes of so many rows."""
    return row_at(rows + LINE // n - 1, n) // LINE * LINE


@njit(**KERNEL)
def countmix_full(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    words = begin_walk(c, W, S, R, scratch)
    read_whole(c, W, S, R, n_inputs(c))
    out = S[1][c[OUT] // 4 : c[OUT] // 4 + c[VOCAB]]
    touch(S, c[OUT], 4 * c[VOCAB], WRITE)
    R[IN_STATE] += 4 * c[VOCAB]
    _push(scratch, 0, c[ROOT], 0, c[VOCAB], 0, 1, c[ROOT], 1.0)
    n = 1
    while n > 0 and R[STATUS] == 0:
        n -= 1
        frame = _STACK + _FRAME * n
        node, low, high = np.int64(scratch[frame]), np.int64(scratch[frame + 1]), np.int64(scratch[frame + 2])
        depth, path = np.int64(scratch[frame + 3]), np.int64(scratch[frame + 4])
        home = np.int64(scratch[frame + 7])
        p = np.float64(scratch[frame + 5]) + np.float64(scratch[frame + 6])
        right = right_share(logit_at(c, W, S, R, scratch, words, node, low, high, depth, path, home, True))
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
                child = child_of(c, W, R, home, depth, path, side, first, end)
                below = home if depth % 2 == 0 else child
                _push(scratch, n, child, first, end, depth + 1, 2 * path + side, below, share)
                n += 1
