"""A packed model of count mixing that goes on counting, compiled; `ops.count_adapting` has the rules and is the oracle.

    adapt_window(tokens, hashes, first, ...)      every token is scored with what stands, then everything learns from it
    all_nats(...)                                 the nats of every token at one position: nothing changes

What is packed is only read.  What is counted anew stands in tables that grow (`Own`), and is asked first.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.count_inputs import (
    BIAS,
    LARGEST_N,
    LARGEST_P,
    LIMIT,
    MAX_DEPTH,
    N_MASK,
    P_SHIFT,
    STEP_BITS,
    TOP,
    coded_logit,
    confidence,
    dense_inputs,
    list_inputs,
    pair_input,
    static_lists,
    sums,
    window_lists,
)
from weightless.kernels.numba.count_mixing import drop, learn_weights
from weightless.kernels.numba.count_tables import (
    FRESH,
    LISTED,
    MOST_IN_WINDOW,
    MOST_LISTED,
    N_LEVELS,
    NODES,
    PACKED_LISTED,
    PACKED_WAYS,
    SLOT,
    WAYS,
    followers,
    growing_list,
    growing_slot,
    new_list,
    visit,
)
from weightless.kernels.numba.rows import KERNEL
from weightless.ops import adapted_counters as rule
from weightless.ops import count_mixing as truth

SCORING, LEARNING, WRITTEN = rule.SCORING, rule.LEARNING, rule.WRITTEN
_EXACT, _LIST_COUNTS, _STANDING = truth.EXACT_CODES, truth.LIST_COUNTS, rule.STANDING
_SLOWEST, _ORDER0_SLOWEST, _TIMES = rule.SLOWEST, rule.ORDER0_SLOWEST, rule.TIMES
_HIGH, _CHECK = np.uint32(16), np.uint32(0xFFFF)
_LINE = PACKED_WAYS * SLOT


class Own(NamedTuple):
    """What is counted anew: nodes uint32 [2 << bits, 16] and lists uint32 [L, 2 << bits, 8] as while a model is
    counted, order0 uint32 [V] (0: what is packed stands), `bits` of both; the slots of one position; the table of
    stretch."""

    nodes: Any
    lists: Any
    order0: Any
    bits: Any
    slot: Any
    list_slot: Any
    stretch: Any


@njit(**KERNEL)
def _bucket_bytes(slot):  # type: ignore[no-untyped-def]
    """Bytes of the keys that were looked at to find a slot, or to find none (-1)."""
    return 4 if slot >= 0 and slot % WAYS == 0 else 8


@njit(**KERNEL)
def _line_bytes(at):  # type: ignore[no-untyped-def]
    """Bytes of the checks of a packed line that were looked at."""
    return at % _LINE // SLOT + 1 if at >= 0 else PACKED_WAYS


@njit(**KERNEL)
def _own_lists(i, H, n_dense, tables, work, own, spent, reads):  # type: ignore[no-untyped-def]
    """Followers as they were counted anew, in the place of those that are packed."""
    static_lists(i, H, n_dense, tables, work)
    for j in range(own.list_slot.shape[0]):
        if tables.list_regions[j, 1] > 0:
            spent[reads] += _line_bytes(work.list_slot[j])
            if work.list_slot[j] >= 0:
                spent[reads] += 3 + 2 * work.n_left[j]
        slot = growing_list(own.lists[j], own.bits[1], H[i, n_dense + j])
        own.list_slot[j] = slot
        spent[reads] += _bucket_bytes(slot)
        if slot >= 0:
            n = followers(own.lists[j, slot], work.ranks[j], work.counts[j])
            work.n_left[j] = n
            spent[reads] += 4 * min(n + 1, LISTED)


@njit(**KERNEL)
def _window(i, H, n_dense, n_lists, tables, work, spent, reads):  # type: ignore[no-untyped-def]
    window_lists(i, H, n_dense, n_lists, tables, work)
    for w in range(tables.window.shape[0]):
        j = n_lists + w
        made = np.int64(tables.window[w, work.list_slot[j], 0])
        spent[reads] += 4 + (8 if made < i else 0)
        if work.n_left[j] > 0:
            spent[reads] += 4 * min(work.n_left[j] + 1, tables.window.shape[2] - 1)


@njit(**KERNEL)
def _own_nodes(i, node, depth, place, H, tables, learned, work, own, spent, reads):  # type: ignore[no-untyped-def]
    """Inputs from the nodes that were counted anew, in the place of those that are packed."""
    dense_inputs(i, node, depth, place, H, tables, learned, work, False)
    for c in range(work.slot.shape[0]):
        if depth % N_LEVELS == 0:
            if tables.regions[c, depth // N_LEVELS, 1] > 0:
                spent[reads] += _line_bytes(work.slot[c])
            own.slot[c] = growing_slot(own.nodes, own.bits[0], H[i, c], node, c, depth // N_LEVELS, False)
            spent[reads] += _bucket_bytes(own.slot[c])
        if work.slot[c] >= 0:
            spent[reads] += 2 if work.cell[c] >= 0 else 1
        if own.slot[c] < 0:
            continue
        value = own.nodes[own.slot[c], place]
        n = np.int64(value & N_MASK)
        work.x[1 + c], work.sure[1 + c], work.cell[c] = 0, confidence(n), -1
        spent[reads] += 4
        if n > 3:
            work.x[1 + c] = own.stretch[value >> TOP]
        elif n > 0:
            right = min((np.int64(value >> P_SHIFT) * (4 * n + 2) + (1 << 22)) >> 24, n)
            cell = (c * MAX_DEPTH + depth) * _EXACT + n * (n + 1) // 2 + right - 1
            work.x[1 + c] = learned.stretch[learned.dense_map[cell] >> TOP]
            spent[reads] += 1


@njit(**KERNEL)
def unpacked(code, squash):  # type: ignore[no-untyped-def]
    """The counter that a packed node's code stands for."""
    if code == 0:
        return FRESH
    sure, logit = coded_logit(code)
    if code <= _EXACT:
        right = code - sure * (sure + 1) // 2
        return np.uint32(((4 * right + 1) << 22) // (4 * sure + 2) << 10 | sure)
    return np.uint32(min(max(squash[logit + LIMIT], 1), LARGEST_P - 1) << 10 | _STANDING[sure - 4])


@njit(**KERNEL)
def nudged(value, y, slowest, reciprocals):  # type: ignore[no-untyped-def]
    """A counter behind one more outcome, which moves as if it had seen no more than `slowest`."""
    p, n = np.int64(value >> P_SHIFT), np.int64(value & N_MASK)
    p += ((LARGEST_P if y else 0) - p) * reciprocals[min(n, slowest)] >> STEP_BITS
    return np.uint32(min(max(p, 0), LARGEST_P) << 10 | min(n + 1, LARGEST_N))


@njit(**KERNEL)
def _count_nodes(i, y, node, depth, place, H, tables, learned, work, own, spent):  # type: ignore[no-untyped-def]
    """Order 0 and every dense context count y; what was packed is copied when it is first changed."""
    value = own.order0[node]
    if value == 0:
        logit = learned.stretch[learned.order0[node] >> TOP]
        value = np.uint32(min(max(learned.squash[logit + LIMIT], 1), LARGEST_P - 1) << 10 | _ORDER0_SLOWEST)
    own.order0[node] = nudged(value, y, _ORDER0_SLOWEST, learned.reciprocals)
    spent[WRITTEN] += 4
    for c in range(work.slot.shape[0]):
        if own.slot[c] < 0:
            slot = growing_slot(own.nodes, own.bits[0], H[i, c], node, c, depth // N_LEVELS, True)
            spent[LEARNING] += 16
            spent[WRITTEN] += 4 + 4 * NODES
            if work.slot[c] >= 0:
                for k in range(1, NODES + 1):
                    own.nodes[slot, k] = unpacked(np.int64(tables.nodes[work.slot[c] + k]), learned.squash)
                spent[LEARNING] += NODES
                spent[WRITTEN] += 4 * NODES
            own.slot[c] = slot
        own.nodes[own.slot[c], place] = nudged(own.nodes[own.slot[c], place], y, _SLOWEST, learned.reciprocals)
        spent[LEARNING] += 4
        spent[WRITTEN] += 4


@njit(**KERNEL)
def count_often(row, rank, times, most, moves):  # type: ignore[no-untyped-def]
    """Count a follower `times` more in a list from its second place on, and let it pass rarer ones, at most so many.

    Bytes (read, written).  Where no place is free, the last of the least frequent goes.
    """
    at, fewest, read, found = 1, np.int64(_CHECK), 0, np.int64(0)
    for k in range(1, row.shape[0]):
        value = row[k]
        read += 4
        if value == 0 or np.int64(value >> _HIGH) == rank:
            at, found = k, np.int64(value & _CHECK)
            break
        if np.int64(value & _CHECK) <= fewest:
            fewest, at = np.int64(value & _CHECK), k
    n, written = min(found + times, most), 4
    row[at] = np.uint32(rank << 16 | n)
    while at > 1 and moves > 0:
        read += 4
        if np.int64(row[at - 1] & _CHECK) >= n:
            break
        row[at], row[at - 1] = row[at - 1], row[at]
        written += 8
        at, moves = at - 1, moves - 1
    return read, written


@njit(**KERNEL)
def _count_lists(rank, i, H, n_dense, tables, work, own, spent):  # type: ignore[no-untyped-def]
    for j in range(own.list_slot.shape[0]):
        slot = own.list_slot[j]
        if slot < 0:
            slot = new_list(own.lists[j], own.bits[1], H[i, n_dense + j])
            spent[LEARNING] += 8
            spent[WRITTEN] += 4 + 4 * LISTED
            if work.list_slot[j] >= 0:
                n = _copy_list(tables.lists, work.list_slot[j], own.lists[j, slot])
                spent[LEARNING] += 3 + 2 * n
                spent[WRITTEN] += 4 * n
        visit(own.lists[j, slot])
        read, written = count_often(own.lists[j, slot], rank, _TIMES, np.int64(MOST_LISTED), LISTED)
        spent[LEARNING] += 4 + read
        spent[WRITTEN] += 4 + written


@njit(**KERNEL)
def _copy_list(packed, at, row):  # type: ignore[no-untyped-def]
    """A packed list into a growing one; how many followers."""
    for k in range(PACKED_LISTED):
        code = np.int64(packed[at + 1 + k // 2] >> (4 * (k & 1))) & 15
        if code == 0:
            return k
        rank = np.int64(packed[at + 4 + 2 * k]) | np.int64(packed[at + 5 + 2 * k]) << 8
        row[1 + k] = np.uint32(rank << 16 | _LIST_COUNTS[code])
    return PACKED_LISTED


@njit(**KERNEL)
def _enter_window(rank, i, H, n_dense, n_lists, tables, work, spent):  # type: ignore[no-untyped-def]
    """Count the token in the window's own lists, as a frozen model does."""
    for w in range(tables.window.shape[0]):
        j = n_lists + w
        row = tables.window[w, work.list_slot[j]]
        made = np.int64(row[0])
        spent[LEARNING] += 4 + (8 if made < i else 0)
        if not (made < i and H[made, n_dense + j] == H[i, n_dense + j]):
            row[0] = np.uint32(i)
            for k in range(1, row.shape[0]):
                row[k] = 0
            spent[WRITTEN] += 4 * row.shape[0]
        read, written = count_often(row, rank, 1, np.int64(MOST_IN_WINDOW), 1)
        spent[LEARNING] += read
        spent[WRITTEN] += written


@njit(**KERNEL)
def _walk(i, rank, token, H, n_lists, tree, tables, learned, work, own, rates, spent, learns):  # type: ignore[no-untyped-def]
    """Nats of the token of that rank; where it `learns`, everything learns from it on the way."""
    n_dense, m, n = work.slot.shape[0], learned.kinds.shape[0], work.x.shape[0]
    node, low, high, depth, place = tree.root[0], np.int64(0), np.int64(tree.rank.shape[0]), 0, 1
    last, nats, reads = n - 1, 0.0, LEARNING if learns else SCORING
    _own_lists(i, H, n_dense, tables, work, own, spent, reads)
    _window(i, H, n_dense, n_lists, tables, work, spent, reads)
    for j in range(work.n_left.shape[0]):
        work.spread[j] = min(work.n_left[j], 3) - 1
    spent[reads] += 2
    while high - low > 1:
        y = np.int64(1) if rank >= node else np.int64(0)
        if depth % N_LEVELS == 0:
            place = 1
            spent[reads] += 2
        if own.order0[node] == 0:
            work.x[0] = learned.stretch[learned.order0[node] >> TOP]
            spent[reads] += 1
        else:
            work.x[0] = own.stretch[own.order0[node] >> TOP]
        work.sure[0] = 0
        _own_nodes(i, node, depth, place, H, tables, learned, work, own, spent, reads)
        list_inputs(node, depth, n_dense, n_lists, learned, work)
        pair_input(node, depth, last - 1, tables, learned, work)
        for j in range(work.n_left.shape[0]):
            spent[reads] += 1 if work.list_cell[j] >= 0 else 0
        work.x[last], work.sure[last] = BIAS, 0
        P = learned.squash[sums(node, depth, token, n_dense, learned, work) + LIMIT]
        # order 0's own counter, two counts of the pairs and the cell of their map, weights, the child
        spent[reads] += 4 + 2 + (1 if work.state[0] >= 0 else 0) + 4 * m * (n + 1) + 2
        nats -= math.log((P if y else (1 << 22) - P) / 4194304.0)
        if learns:
            learn_weights(y, depth, P, rates[0], rates[1], learned, work)
            spent[WRITTEN] += 4 * m * (n + 1)
            _count_nodes(i, y, node, depth, place, H, tables, learned, work, own, spent)
            if tables.pairs[node, y] < 255:
                tables.pairs[node, y] += 1
                spent[WRITTEN] += 1
        drop(node, y, work)
        place = 2 * place + y
        if y:
            low, node = node, tree.child[node, 1]
        else:
            high, node = node, tree.child[node, 0]
        depth += 1
    return nats


@njit(**KERNEL)
def adapt_window(tokens, H, first, n_lists, tree, tables, learned, work, own, rates, nats, spent):  # type: ignore[no-untyped-def]
    """nats[i] of tokens[i + 1] behind tokens[.. i] of one window for i >= first, each scored before it is learned.

    rates int64 = (of the weights, of the last sums).  spent int64 [n, 3]: bytes by position.
    """
    n_dense = work.slot.shape[0]
    if first == 0:
        tables.pairs[:] = 0
        if len(nats) > 0:
            spent[0, WRITTEN] += 2 * tables.pairs.shape[0]
    for i in range(first, len(nats)):
        rank, token, at = tree.rank[tokens[i + 1]], np.int64(tokens[i]), spent[i]
        nats[i] = _walk(i, rank, token, H, n_lists, tree, tables, learned, work, own, rates, at, False)
        _walk(i, rank, token, H, n_lists, tree, tables, learned, work, own, rates, at, True)
        _count_lists(rank, i, H, n_dense, tables, work, own, at)
        _enter_window(rank, i, H, n_dense, n_lists, tables, work, at)


@njit(**KERNEL)
def all_nats(i, token, H, n_lists, tree, tables, learned, work, own, rates, nats, spent):  # type: ignore[no-untyped-def]
    """Nats of every token behind position i of a window, of which what stands before it has been learned; `spent` [3]
    gathers their bytes."""
    for target in range(tree.rank.shape[0]):
        rank = tree.rank[target]
        nats[target] = _walk(i, rank, token, H, n_lists, tree, tables, learned, work, own, rates, spent, False)
