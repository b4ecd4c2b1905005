"""Count mixing in compiled code: walk the tree to every token of a window, mix, learn, count; `ops.count_mixing`.

    learn_window(tokens, ranks ...)     scores a window, and as it is told learns how to mix, or counts, or both

Everything comes in tuples: the tree, the tables (growing or packed: `_dense_inputs` and `_list_lookups` are compiled
for each), what is learned, and work space.  The window's own memory is part of the tables: it is emptied at the start.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from weightless.base.compiled import njit
from weightless.kernels.numba.count_tables import (
    MOST_IN_WINDOW,
    MOST_LISTED,
    N_LEVELS,
    NODES,
    bucket_of,
    check_of,
    count_in,
    followers,
    growing_bucket,
    growing_list,
    growing_slot,
    new_list,
    packed_check,
    packed_slot,
    visit,
)
from weightless.kernels.numba.rows import KERNEL
from weightless.kernels.numba.words import fetch_ahead
from weightless.ops import count_mixing as truth

LIMIT, LARGEST_P, LARGEST_N = truth.LIMIT, truth.LARGEST_P, truth.LARGEST_N
WEIGHT_BITS, RATE_BITS, BIAS = truth.WEIGHT_BITS, truth.RATE_BITS, truth.BIAS
N_CONFIDENCES, N_CLASSES = truth.N_CONFIDENCES, truth.N_CLASSES
MAX_DEPTH = truth.MAX_DEPTH
DEPTH, NODE, CONFIDENCE, INPUT, TOKEN = range(5)
_ALL = {**KERNEL, "_nrt": True}
_N, _HIGH, _P_SHIFT, _TOP, _LOW = np.uint32(1023), np.uint32(16), np.uint32(10), np.uint32(20), np.uint32(0xFFFF)
_LEVELS, _REACHES, _EXACT = truth.LEVELS, truth.REACHES, truth.EXACT_CODES
_LIST_COUNTS = truth.LIST_COUNTS


class Tree(NamedTuple):
    """rank int64 [V], child int64 [V, 2] (left, right; a node is named by the first rank on its right), root [1]."""

    rank: Any
    child: Any
    root: Any


class Tables(NamedTuple):
    """`regions` int64: (first line, lines) of packed nodes [contexts, groups, 2], `list_regions` of packed lists
    [lists, 2]; for growing ones of no use.  `places` int64 [V]: number of a node among those of its group.  `bits` =
    (of nodes, of lists).  The window: slots uint32 [W, S, 1 + K], pairs uint8 [V, 2]."""

    nodes: Any
    lists: Any
    regions: Any
    list_regions: Any
    places: Any
    bits: Any
    window: Any
    pairs: Any


class Learned(NamedTuple):
    """Counters uint32 of the maps and the order 0; weights int32 in 1/2^24 [rows, inputs], where a mixer's rows begin
    and which they are; the last sums int32 [MAX_DEPTH, mixers]; the tables of stretch, squash, reciprocals."""

    order0: Any
    dense_map: Any
    list_map: Any
    pair_map: Any
    weights: Any
    first_row: Any
    kinds: Any
    last: Any
    stretch: Any
    squash: Any
    reciprocals: Any


class Work(NamedTuple):
    """Space of one position; int64."""

    x: Any
    sure: Any
    slot: Any
    cell: Any
    list_slot: Any
    list_cell: Any
    n_left: Any
    spread: Any
    ranks: Any
    counts: Any
    sums: Any
    rows: Any
    state: Any


PAIR_CELL, DEEPEST, SEEN = range(3)


@njit(inline="always", **KERNEL)
def confidence(n):  # type: ignore[no-untyped-def]
    if n < 4:
        return n
    if n < 32:
        return 4 if n < 6 else 5 if n < 9 else 6 if n < 16 else 7
    return 8 if n < 64 else 9 if n < 128 else 10 if n < 400 else 11


@njit(inline="always", **KERNEL)
def count_class(n):  # type: ignore[no-untyped-def]
    return n if n < 5 else 5 if n < 8 else 6 if n < 16 else 7 if n < 64 else 8


@njit(inline="always", **KERNEL)
def stepped(value, y, most, reciprocals):  # type: ignore[no-untyped-def]
    p, n = np.int64(value >> _P_SHIFT), np.int64(value & _N)
    p += ((LARGEST_P if y else 0) - p) * reciprocals[n] >> 16
    p = min(max(p, 0), LARGEST_P)
    return np.uint32(p << 10 | (n + 1 if n < most else n))


@njit(inline="always", **KERNEL)
def limited(total, shift):  # type: ignore[no-untyped-def]
    return min(max((total + (np.int64(1) << (shift - 1))) >> shift, -LIMIT), LIMIT)


@njit(**KERNEL)
def coded_logit(code):  # type: ignore[no-untyped-def]
    """(confidence, logit) of a packed node; the logit of an exact code is its map's."""
    if code <= _EXACT:
        return 0 if code == 0 else 1 if code < 3 else 2 if code < 6 else 3, 0
    at, row = code - 1 - _EXACT, 0
    while at >= _LEVELS[row]:
        at -= _LEVELS[row]
        row += 1
    return 4 + row, 2 * _REACHES[row] * at // (_LEVELS[row] - 1) - _REACHES[row]


def _dense_inputs(i, node, depth, place, H, tables, learned, work, grows):  # type: ignore[no-untyped-def]
    raise AssertionError("compiled code only")


@overload(_dense_inputs, jit_options={key: value for key, value in KERNEL.items() if key != "cache"})
def _of_tables(i, node, depth, place, H, tables, learned, work, grows):  # type: ignore[no-untyped-def]
    """Inputs from the nodes of every dense context: their logits, or what a map makes of a count of 1, 2, 3."""

    def growing(i, node, depth, place, H, tables, learned, work, grows):  # type: ignore[no-untyped-def]
        for c in range(work.slot.shape[0]):
            if depth % N_LEVELS == 0:
                work.slot[c] = growing_slot(tables.nodes, tables.bits[0], H[i, c], node, c, depth // N_LEVELS, grows)
            work.x[1 + c], work.sure[1 + c], work.cell[c] = 0, 0, -1
            if work.slot[c] < 0:
                continue
            value = tables.nodes[work.slot[c], place]
            n = np.int64(value & _N)
            if n == 0:
                continue
            work.sure[1 + c] = confidence(n)
            if n > 3:
                work.x[1 + c] = learned.stretch[value >> _TOP]
                continue
            # p = (right + 3/4) / (n + 3/2) while n is small
            right = min(max(((np.int64(value >> _P_SHIFT) * (4 * n + 6) >> 22) - 3 + 2) // 4, 0), n)
            cell = (c * MAX_DEPTH + depth) * _EXACT + n * (n + 1) // 2 + right - 1
            work.cell[c] = cell
            work.x[1 + c] = learned.stretch[learned.dense_map[cell] >> _TOP]

    def packed(i, node, depth, place, H, tables, learned, work, grows):  # type: ignore[no-untyped-def]
        for c in range(work.slot.shape[0]):
            if depth % N_LEVELS == 0:
                group = depth // N_LEVELS
                first, n_lines = tables.regions[c, group, 0], tables.regions[c, group, 1]
                work.slot[c] = -1
                if n_lines > 0:
                    work.slot[c] = packed_slot(
                        tables.nodes, tables.bits[0], H[i, c], tables.places[node], first, n_lines
                    )
            work.x[1 + c], work.sure[1 + c], work.cell[c] = 0, 0, -1
            if work.slot[c] < 0:
                continue
            code = np.int64(tables.nodes[work.slot[c] + place])
            if code == 0:
                continue
            work.sure[1 + c], work.x[1 + c] = coded_logit(code)
            if code <= _EXACT:
                cell = (c * MAX_DEPTH + depth) * _EXACT + code - 1
                work.cell[c] = cell
                work.x[1 + c] = learned.stretch[learned.dense_map[cell] >> _TOP]

    return growing if tables.types[0].dtype == types.uint32 else packed


def _static_lists(i, H, n_dense, tables, work):  # type: ignore[no-untyped-def]
    raise AssertionError("compiled code only")


@overload(_static_lists, jit_options={key: value for key, value in KERNEL.items() if key != "cache"})
def _of_lists(i, H, n_dense, tables, work):  # type: ignore[no-untyped-def]
    """Followers of the list contexts."""

    def growing(i, H, n_dense, tables, work):  # type: ignore[no-untyped-def]
        for j in range(tables.lists.shape[0]):
            slot = growing_list(tables.lists[j], tables.bits[1], H[i, n_dense + j])
            work.list_slot[j], work.n_left[j] = slot, 0
            if slot >= 0:
                work.n_left[j] = followers(tables.lists[j, slot], work.ranks[j], work.counts[j])

    def packed(i, H, n_dense, tables, work):  # type: ignore[no-untyped-def]
        for j in range(tables.list_regions.shape[0]):
            h = H[i, n_dense + j]
            work.list_slot[j], work.n_left[j] = -1, 0
            first, n_lines = tables.list_regions[j, 0], tables.list_regions[j, 1]
            if n_lines == 0:
                continue
            line = first + (bucket_of(h, tables.bits[1]) * n_lines >> tables.bits[1])
            check = packed_check(check_of(h))
            for way in range(4):
                at = line * 64 + way * 16
                if tables.lists[at] == check:
                    n = 0
                    for k in range(6):
                        code = np.int64(tables.lists[at + 1 + k // 2] >> (4 * (k & 1))) & 15
                        if code == 0:
                            break
                        low, high = np.int64(tables.lists[at + 4 + 2 * k]), np.int64(tables.lists[at + 5 + 2 * k])
                        work.ranks[j, n], work.counts[j, n] = low | high << 8, _LIST_COUNTS[code]
                        n += 1
                    work.list_slot[j], work.n_left[j] = at, n
                    break

    return growing if tables.types[1].dtype == types.uint32 else packed


@njit(**KERNEL)
def _window_lists(i, H, n_dense, n_lists, tables, work):  # type: ignore[no-untyped-def]
    """Followers of the contexts that occurred in this window before; a slot says where it was made."""
    for w in range(tables.window.shape[0]):
        j = n_lists + w
        h = H[i, n_dense + j]
        slot = np.int64((h >> np.uint64(32)) * np.uint64(tables.window.shape[1]) >> np.uint64(32))
        made = np.int64(tables.window[w, slot, 0])
        work.list_slot[j], work.n_left[j] = slot, 0
        if made < i and H[made, n_dense + j] == h:
            work.n_left[j] = followers(tables.window[w, slot], work.ranks[j], work.counts[j])


@njit(**KERNEL)
def _list_inputs(node, depth, n_dense, n_lists, learned, work):  # type: ignore[no-untyped-def]
    """Inputs from the followers that are still on the path: how many to the left, to the right, of how many kinds."""
    work.state[DEEPEST] = 0
    for j in range(work.n_left.shape[0]):
        q, n_left = 1 + n_dense + j, work.n_left[j]
        work.x[q], work.sure[q], work.list_cell[j] = 0, 0, -1
        if n_left == 0:
            continue
        n_all = right = np.int64(0)
        for k in range(n_left):
            n_all += work.counts[j, k]
            if work.ranks[j, k] >= node:
                right += work.counts[j, k]
        left = n_all - right
        cell = ((j * MAX_DEPTH + depth) * 3 + work.spread[j]) * N_CLASSES + count_class(left)
        cell = cell * N_CLASSES + count_class(right)
        work.list_cell[j] = cell
        work.x[q] = learned.stretch[learned.list_map[cell] >> _TOP]
        work.sure[q] = count_class(n_all) if left > 0 and right > 0 else min(count_class(n_all) + 2, N_CONFIDENCES - 1)
        if j < n_lists:
            work.state[DEEPEST] = j + 1


@njit(**KERNEL)
def _pair_input(node, depth, q, tables, learned, work):  # type: ignore[no-untyped-def]
    """How often this window went left and right here."""
    left, right = np.int64(tables.pairs[node, 0]), np.int64(tables.pairs[node, 1])
    work.x[q], work.sure[q], work.state[PAIR_CELL] = 0, 0, -1
    if left + right > 0:
        cell = (depth * N_CONFIDENCES + confidence(left)) * N_CONFIDENCES + confidence(right)
        work.state[PAIR_CELL] = cell
        work.x[q] = learned.stretch[learned.pair_map[cell] >> _TOP]
        work.sure[q] = confidence(left + right)


@njit(**KERNEL)
def row_of(kind, node, depth, deepest, sure_last, sure_before, token):  # type: ignore[no-untyped-def]
    """Which row of a mixer's weights the situation selects; of INPUT the first of the twelve of this depth."""
    if kind == DEPTH:
        return deepest * MAX_DEPTH + depth
    if kind == NODE:
        return node
    if kind == CONFIDENCE:
        return (depth * N_CONFIDENCES + sure_last) * N_CONFIDENCES + sure_before
    if kind == INPUT:
        return depth * N_CONFIDENCES
    return token * (MAX_DEPTH // N_LEVELS) + depth // N_LEVELS


@njit(**KERNEL)
def _sums(node, depth, token, n_dense, learned, work):  # type: ignore[no-untyped-def]
    """The sum of every mixer, and the last one's."""
    x, total = work.x, np.int64(0)
    n = x.shape[0]
    for m in range(learned.kinds.shape[0]):
        kind = learned.kinds[m]
        row = learned.first_row[m] + row_of(
            kind, node, depth, work.state[DEEPEST], work.sure[n_dense], work.sure[n_dense - 1], token
        )
        work.rows[m] = row
        a = np.int64(0)
        if kind == INPUT:
            for k in range(n):
                a += np.int64(learned.weights[row + work.sure[k], k]) * x[k]
        else:
            for k in range(n):
                a += np.int64(learned.weights[row, k]) * x[k]
        work.sums[m] = limited(a, WEIGHT_BITS)
        total += np.int64(learned.last[depth, m]) * work.sums[m]
    return limited(total, WEIGHT_BITS)


@njit(**KERNEL)
def _learn(y, depth, P, rate, last_rate, most, learned, work):  # type: ignore[no-untyped-def]
    """Weights and maps behind the outcome y at this node."""
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


@overload(_count_nodes, jit_options={key: value for key, value in KERNEL.items() if key != "cache"})
def _of_counters(i, y, depth, place, tables, learned, work):  # type: ignore[no-untyped-def]
    def growing(i, y, depth, place, tables, learned, work):  # type: ignore[no-untyped-def]
        for c in range(work.slot.shape[0]):
            value = tables.nodes[work.slot[c], place]
            most = LARGEST_N
            if (value & _N) >= 512 and ((i * 40503 >> 4) ^ depth) & 15 != 0:
                most = 0
            tables.nodes[work.slot[c], place] = stepped(value, y, most, learned.reciprocals)

    def packed(i, y, depth, place, tables, learned, work):  # type: ignore[no-untyped-def]
        pass

    return growing if tables.types[0].dtype == types.uint32 else packed


@njit(**KERNEL)
def _drop(node, y, work):  # type: ignore[no-untyped-def]
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


@overload(_count_lists, jit_options={key: value for key, value in KERNEL.items() if key != "cache"})
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


@overload(_fetch, jit_options={key: value for key, value in KERNEL.items() if key != "cache"})
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
def _walk(i, rank, token, H, n_lists, tree, tables, learned, work, rates, counts, learns):  # type: ignore[no-untyped-def]
    """Nats of the token of that rank, in floats only for the record."""
    n_dense = work.slot.shape[0]
    node, low, high, depth, place = tree.root[0], np.int64(0), np.int64(tree.rank.shape[0]), 0, 1
    last = work.x.shape[0] - 1
    nats = 0.0
    for j in range(work.n_left.shape[0]):
        work.spread[j] = min(work.n_left[j], 3) - 1
    while high - low > 1:
        y = np.int64(1) if rank >= node else np.int64(0)
        if depth % N_LEVELS == 0:
            place = 1
        work.x[0], work.sure[0] = learned.stretch[learned.order0[node] >> _TOP], 0
        _dense_inputs(i, node, depth, place, H, tables, learned, work, counts)
        _list_inputs(node, depth, n_dense, n_lists, learned, work)
        _pair_input(node, depth, last - 1, tables, learned, work)
        work.x[last], work.sure[last] = BIAS, 0
        P = learned.squash[_sums(node, depth, token, n_dense, learned, work) + LIMIT]
        nats -= math.log((P if y else (1 << 22) - P) / 4194304.0)
        if learns:
            _learn(y, depth, P, rates[0], rates[1], rates[2], learned, work)
        if counts:
            _count_nodes(i, y, depth, place, tables, learned, work)
        if tables.pairs[node, y] < 255:
            tables.pairs[node, y] += 1
        _drop(node, y, work)
        place = 2 * place + y
        if y:
            low, node = node, tree.child[node, 1]
        else:
            high, node = node, tree.child[node, 0]
        depth += 1
    return nats


@njit(**KERNEL)
def learn_window(tokens, H, n_lists, tree, tables, learned, work, rates, counts, learns, nats):  # type: ignore[no-untyped-def]
    """nats[i] of tokens[i + 1] behind tokens[.. i], whose contexts hash to H[i]; a window begins with tokens[0].

    rates int64 = (of the weights, of the last sums, the most a map's n grows); `counts`, `learns`: what it may change.
    """
    n_dense, n = work.slot.shape[0], len(nats)
    tables.pairs[:] = 0
    for i in range(n):
        rank = tree.rank[tokens[i + 1]]
        if i + 1 < n:
            _fetch(i + 1, tree.rank[tokens[i + 2]], H, tree, tables)
        _static_lists(i, H, n_dense, tables, work)
        _window_lists(i, H, n_dense, n_lists, tables, work)
        nats[i] = _walk(i, rank, np.int64(tokens[i]), H, n_lists, tree, tables, learned, work, rates, counts, learns)
        if counts:
            _count_lists(rank, i, H, n_dense, tables, work)
        _enter_window(rank, i, H, n_dense, n_lists, tables, work)
