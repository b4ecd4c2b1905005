"""Count mixing in compiled code: go through windows of text, learn how to mix, and count; `ops.count_mixing`.

    learn_window(tokens, hashes ...)     scores a window, and as it is told learns how to mix, or counts, or both

What stands in growing tables is counted, what is packed is only read (`count_inputs` says how).
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

from weightless.base.compiled import njit
from weightless.kernels.numba.count_inputs import (
    BIAS,
    INPUT,
    LARGEST_N,
    LARGEST_P,
    LIMIT,
    N_MASK,
    P_SHIFT,
    PAIR_CELL,
    RATE_BITS,
    STEP_BITS,
    TOP,
    dense_inputs,
    list_inputs,
    pair_input,
    static_lists,
    sums,
    sureness,
    window_lists,
)
from weightless.kernels.numba.count_tables import (
    MOST_IN_WINDOW,
    MOST_LISTED,
    N_LEVELS,
    NODES,
    bucket_of,
    count_in,
    growing_bucket,
    new_list,
    visit,
)
from weightless.kernels.numba.rows import KERNEL
from weightless.kernels.numba.words import fetch_ahead

_UNCACHED = {key: value for key, value in KERNEL.items() if key != "cache"}


@njit(inline="always", **KERNEL)
def stepped(value, y, most, reciprocals):  # type: ignore[no-untyped-def]
    p, n = np.int64(value >> P_SHIFT), np.int64(value & N_MASK)
    p += ((LARGEST_P if y else 0) - p) * reciprocals[n] >> STEP_BITS
    p = min(max(p, 0), LARGEST_P)
    return np.uint32(p << 10 | (n + 1 if n < most else n))


@njit(**KERNEL)
def learn_weights(y, depth, P, rate, last_rate, learned, work):  # type: ignore[no-untyped-def]
    """Weights behind the outcome y at this node."""
    x = work.x
    n, half = x.shape[0], np.int64(1) << (RATE_BITS - 1)
    error = ((y << 22) - P) >> 6
    for m in range(learned.kinds.shape[0]):
        learned.last[depth, m] += np.int32((error * work.sums[m] * last_rate + half) >> RATE_BITS)
        step = (((y << 22) - learned.squash[work.sums[m] + LIMIT]) >> 6) * rate
        row = work.rows[m]
        if learned.kinds[m] == INPUT:
            for k in range(n):
                learned.weights[row + work.sure[k], k] += np.int32((step * x[k] + half) >> RATE_BITS)
        else:
            for k in range(n):
                learned.weights[row, k] += np.int32((step * x[k] + half) >> RATE_BITS)


@njit(**KERNEL)
def _learn_maps(y, most, learned, work):  # type: ignore[no-untyped-def]
    for c in range(work.cell.shape[0]):
        if work.cell[c] >= 0:
            learned.dense_map[work.cell[c]] = stepped(learned.dense_map[work.cell[c]], y, most, learned.reciprocals)
    for j in range(work.list_cell.shape[0]):
        if work.list_cell[j] >= 0:
            at = work.list_cell[j]
            learned.list_map[at] = stepped(learned.list_map[at], y, most, learned.reciprocals)
    at = work.state[PAIR_CELL]
    if at >= 0:
        learned.pair_map[at] = stepped(learned.pair_map[at], y, most, learned.reciprocals)


def _count_nodes(i, y, depth, place, tables, learned, work):  # type: ignore[no-untyped-def]
    raise AssertionError("compiled code only")


@overload(_count_nodes, jit_options=_UNCACHED)
def _of_counters(i, y, depth, place, tables, learned, work):  # type: ignore[no-untyped-def]
    def growing(i, y, depth, place, tables, learned, work):  # type: ignore[no-untyped-def]
        for c in range(work.slot.shape[0]):
            value = tables.nodes[work.slot[c], place]
            most = LARGEST_N
            if (value & N_MASK) >= 512 and ((i * 40503 >> 4) ^ depth) & 15 != 0:
                most = 0
            tables.nodes[work.slot[c], place] = stepped(value, y, most, learned.reciprocals)

    def packed(i, y, depth, place, tables, learned, work):  # type: ignore[no-untyped-def]
        pass

    return growing if tables.types[0].dtype == types.uint32 else packed


@njit(**KERNEL)
def drop(node, y, work):  # type: ignore[no-untyped-def]
    """Forget the followers that left the path."""
    for j in range(work.n_left.shape[0]):
        n = 0
        for k in range(work.n_left[j]):
            if (1 if work.ranks[j, k] >= node else 0) == y:
                work.ranks[j, n], work.counts[j, n] = work.ranks[j, k], work.counts[j, k]
                n += 1
        work.n_left[j] = n


def _count_lists(rank, i, H, n_dense, tables, work):  # type: ignore[no-untyped-def]
    raise AssertionError("compiled code only")


@overload(_count_lists, jit_options=_UNCACHED)
def _of_followers(rank, i, H, n_dense, tables, work):  # type: ignore[no-untyped-def]
    def growing(rank, i, H, n_dense, tables, work):  # type: ignore[no-untyped-def]
        for j in range(tables.lists.shape[0]):
            slot = work.list_slot[j]
            if slot < 0:
                slot = new_list(tables.lists[j], tables.bits[1], H[i, n_dense + j])
            visit(tables.lists[j, slot])
            count_in(tables.lists[j, slot], rank, MOST_LISTED)

    def packed(rank, i, H, n_dense, tables, work):  # type: ignore[no-untyped-def]
        pass

    return growing if tables.types[1].dtype == types.uint32 else packed


@njit(**KERNEL)
def _enter_window(rank, i, H, n_dense, n_lists, tables, work):  # type: ignore[no-untyped-def]
    """Count the token in the window's own lists."""
    for w in range(tables.window.shape[0]):
        j = n_lists + w
        row = tables.window[w, work.list_slot[j]]
        made = np.int64(row[0])
        if not (made < i and H[made, n_dense + j] == H[i, n_dense + j]):
            row[0] = np.uint32(i)
            for k in range(1, row.shape[0]):
                row[k] = 0
        count_in(row, rank, MOST_IN_WINDOW)


def _fetch(i, rank, H, tree, tables):  # type: ignore[no-untyped-def]
    raise AssertionError("compiled code only")


@overload(_fetch, jit_options=_UNCACHED)
def _of_fetch(i, rank, H, tree, tables):  # type: ignore[no-untyped-def]
    """Ask for the slots that position i will need: while learning the path is known."""

    def growing(i, rank, H, tree, tables):  # type: ignore[no-untyped-def]
        n_dense = H.shape[1] - tables.lists.shape[0] - tables.window.shape[0]
        node, low, high, depth = tree.root[0], 0, tree.rank.shape[0], 0
        while high - low > 1:
            if depth % N_LEVELS == 0:
                for c in range(n_dense):
                    at = growing_bucket(H[i, c], tables.bits[0], node)
                    fetch_ahead(tables.nodes, at * (NODES + 1))
                    fetch_ahead(tables.nodes, (at + 1) * (NODES + 1))
            if rank >= node:
                low, node = node, tree.child[node, 1]
            else:
                high, node = node, tree.child[node, 0]
            depth += 1
        for j in range(tables.lists.shape[0]):
            at = j * tables.lists.shape[1] + bucket_of(H[i, n_dense + j], tables.bits[1]) * 2
            fetch_ahead(tables.lists, at * tables.lists.shape[2])

    def packed(i, rank, H, tree, tables):  # type: ignore[no-untyped-def]
        pass

    return growing if tables.types[0].dtype == types.uint32 else packed


@njit(**KERNEL)
def _walk(i, rank, token, H, said, n_lists, tree, tables, learned, work, rates, counts, learns):  # type: ignore[no-untyped-def]
    """Nats of the token of that rank, in floats only for the record."""
    n_dense = work.slot.shape[0]
    node, low, high, depth, place = tree.root[0], np.int64(0), np.int64(tree.rank.shape[0]), 0, 1
    last = n_dense + work.n_left.shape[0] + 2
    nats = 0.0
    for j in range(work.n_left.shape[0]):
        work.spread[j] = min(work.n_left[j], 3) - 1
    while high - low > 1:
        y = np.int64(1) if rank >= node else np.int64(0)
        if depth % N_LEVELS == 0:
            place = 1
        work.x[0], work.sure[0] = learned.stretch[learned.order0[node] >> TOP], 0
        dense_inputs(i, node, depth, place, H, tables, learned, work, counts)
        list_inputs(node, depth, n_dense, n_lists, learned, work)
        pair_input(node, depth, last - 1, tables, learned, work)
        work.x[last], work.sure[last] = BIAS, 0
        if work.x.shape[0] > last + 1:
            work.x[last + 1], work.sure[last + 1] = said[i, depth], sureness(said[i, depth])
        P = learned.squash[sums(node, depth, token, n_dense, learned, work) + LIMIT]
        nats -= math.log((P if y else (1 << 22) - P) / 4194304.0)
        if learns:
            learn_weights(y, depth, P, rates[0], rates[1], learned, work)
            _learn_maps(y, rates[2], learned, work)
        if counts:
            _count_nodes(i, y, depth, place, tables, learned, work)
        if tables.pairs[node, y] < 255:
            tables.pairs[node, y] += 1
        drop(node, y, work)
        place = 2 * place + y
        if y:
            low, node = node, tree.child[node, 1]
        else:
            high, node = node, tree.child[node, 0]
        depth += 1
    return nats


@njit(**KERNEL)
def learn_window(tokens, H, said, n_lists, tree, tables, learned, work, rates, counts, learns, nats):  # type: ignore[no-untyped-def]
    """nats[i] of tokens[i + 1] behind tokens[.. i], whose contexts hash to H[i]; a window begins with tokens[0].

    said int64 [n, MAX_DEPTH]: what a neural model says at every node of the path, if there is an input for it.
    rates int64 = (of the weights, of the last sums, the most a map's n grows); `counts`, `learns`: what it may change.
    """
    n_dense, n = work.slot.shape[0], len(nats)
    tables.pairs[:] = 0
    for i in range(n):
        rank = tree.rank[tokens[i + 1]]
        if i + 1 < n:
            _fetch(i + 1, tree.rank[tokens[i + 2]], H, tree, tables)
        static_lists(i, H, n_dense, tables, work)
        window_lists(i, H, n_dense, n_lists, tables, work)
        nats[i] = _walk(
            i, rank, np.int64(tokens[i]), H, said, n_lists, tree, tables, learned, work, rates, counts, learns
        )
        if counts:
            _count_lists(rank, i, H, n_dense, tables, work)
        _enter_window(rank, i, H, n_dense, n_lists, tables, work)
