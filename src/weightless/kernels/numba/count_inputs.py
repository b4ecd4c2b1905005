"""What every context says at a node of the tree, as inputs of the mixers, and the mixers' sums; compiled.

Everything comes in tuples: the tree, the tables (growing or packed: `dense_inputs` and `static_lists` are compiled for
each), what is learned, and work space.  The oracle is `ops.count_mixing`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from weightless.base.compiled import njit
from weightless.kernels.numba.count_tables import (
    N_LEVELS,
    bucket_of,
    check_of,
    followers,
    growing_list,
    growing_slot,
    packed_check,
    packed_slot,
)
from weightless.kernels.numba.rows import KERNEL
from weightless.ops import count_mixing as truth

LIMIT, LARGEST_P, LARGEST_N = truth.LIMIT, truth.LARGEST_P, truth.LARGEST_N
WEIGHT_BITS, RATE_BITS, BIAS = truth.WEIGHT_BITS, truth.RATE_BITS, truth.BIAS
STEP_BITS = truth.STEP_BITS
N_CONFIDENCES, N_CLASSES = truth.N_CONFIDENCES, truth.N_CLASSES
MAX_DEPTH = truth.MAX_DEPTH
DEPTH, NODE, CONFIDENCE, INPUT, TOKEN = range(5)
_UNCACHED = {key: value for key, value in KERNEL.items() if key != "cache"}
N_MASK, P_SHIFT, TOP = np.uint32(LARGEST_N), np.uint32(truth.N_BITS), np.uint32(truth.N_BITS + 10)
_LEVELS, _REACHES, _EXACT = truth.LEVELS, truth.REACHES, truth.EXACT_CODES
_LIST_COUNTS = truth.LIST_COUNTS
_SURENESS = truth.SURENESS


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


PAIR_CELL, DEEPEST = range(2)


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


@njit(**KERNEL)
def sureness(logit):  # type: ignore[no-untyped-def]
    found = 0
    for bound in _SURENESS:
        if abs(logit) >= bound:
            found += 1
    return found


@njit(**KERNEL)
def odds(left, right):  # type: ignore[no-untyped-def]
    """`ops.count_mixing.odds`."""
    if not (left > 0.0 and right > 0.0):
        return np.int64(LIMIT) if right > 0.0 else np.int64(-LIMIT) if left > 0.0 else np.int64(0)
    return np.int64(min(max(math.floor(256.0 * math.log(right / left) + 0.5), -LIMIT), LIMIT))


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


def dense_inputs(i, node, depth, place, H, tables, learned, work, grows):  # type: ignore[no-untyped-def]
    raise AssertionError("compiled code only")


@overload(dense_inputs, jit_options=_UNCACHED)
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
            n = np.int64(value & N_MASK)
            if n == 0:
                continue
            work.sure[1 + c] = confidence(n)
            if n > 3:
                work.x[1 + c] = learned.stretch[value >> TOP]
                continue
            # p = (right + 1/4) / (n + 1/2) while n is small
            right = min((np.int64(value >> P_SHIFT) * (4 * n + 2) + (1 << 22)) >> 24, n)
            cell = (c * MAX_DEPTH + depth) * _EXACT + n * (n + 1) // 2 + right - 1
            work.cell[c] = cell
            work.x[1 + c] = learned.stretch[learned.dense_map[cell] >> TOP]

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
                work.x[1 + c] = learned.stretch[learned.dense_map[cell] >> TOP]

    return growing if tables.types[0].dtype == types.uint32 else packed


def static_lists(i, H, n_dense, tables, work):  # type: ignore[no-untyped-def]
    raise AssertionError("compiled code only")


@overload(static_lists, jit_options=_UNCACHED)
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
def window_lists(i, H, n_dense, n_lists, tables, work):  # type: ignore[no-untyped-def]
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
def list_inputs(node, depth, n_dense, n_lists, learned, work):  # type: ignore[no-untyped-def]
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
        work.x[q] = learned.stretch[learned.list_map[cell] >> TOP]
        work.sure[q] = count_class(n_all) if left > 0 and right > 0 else min(count_class(n_all) + 2, N_CONFIDENCES - 1)
        if j < n_lists:
            work.state[DEEPEST] = j + 1


@njit(**KERNEL)
def pair_input(node, depth, q, tables, learned, work):  # type: ignore[no-untyped-def]
    """How often this window went left and right here."""
    left, right = np.int64(tables.pairs[node, 0]), np.int64(tables.pairs[node, 1])
    work.x[q], work.sure[q], work.state[PAIR_CELL] = 0, 0, -1
    if left + right > 0:
        cell = (depth * N_CONFIDENCES + confidence(left)) * N_CONFIDENCES + confidence(right)
        work.state[PAIR_CELL] = cell
        work.x[q] = learned.stretch[learned.pair_map[cell] >> TOP]
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
def sums(node, depth, token, n_dense, learned, work):  # type: ignore[no-untyped-def]
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
