"""Growing tables into packed ones: a census of what was counted, then every kept slot into its line, in bytes."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.count_inputs import confidence
from weightless.kernels.numba.count_tables import (
    LISTED,
    NODES,
    PACKED_LISTED,
    PACKED_WAYS,
    SLOT,
    WAYS,
    growing_home,
    packed_check,
    packed_line,
)
from weightless.kernels.numba.rows import KERNEL
from weightless.ops import count_mixing as truth

_LEVELS, _REACHES, _EXACT, _LIST_COUNTS = truth.LEVELS, truth.REACHES, truth.EXACT_CODES, truth.LIST_COUNTS
_N, _P_SHIFT, _TOP, _HIGH, _LOW = (
    np.uint32(truth.LARGEST_N),
    np.uint32(10),
    np.uint32(20),
    np.uint32(16),
    np.uint32(0xFFFF),
)
_MOST_VISITS = 1023
_CODES = 16


@njit(**KERNEL)
def node_census(nodes, found):  # type: ignore[no-untyped-def]
    """found[c, level, n] += 1 for every slot of context c that was visited n times (1023 and more are one)."""
    for slot in range(nodes.shape[0]):
        if nodes[slot, 0] != 0:
            key = np.int64(nodes[slot, 0])
            found[key >> 10 & 7, key >> 13 & 7, np.int64(nodes[slot, 1] & _N)] += 1


@njit(**KERNEL)
def list_census(lists, found):  # type: ignore[no-untyped-def]
    """found[j, visits] += 1 for every list."""
    for j in range(lists.shape[0]):
        for slot in range(lists.shape[1]):
            if lists[j, slot, 0] != 0:
                found[j, min(np.int64(lists[j, slot, 0] >> _HIGH), _MOST_VISITS)] += 1


@njit(**KERNEL)
def node_code(value, stretch):  # type: ignore[no-untyped-def]
    """`ops.count_mixing.node_code`."""
    n = np.int64(value & _N)
    if n == 0:
        return 0
    if n < 4:
        right = (np.int64(value >> _P_SHIFT) * (4 * n + 2) + (1 << 22)) >> 24
        return n * (n + 1) // 2 + min(right, n)
    row, before = confidence(n) - 4, 0
    for k in range(row):
        before += _LEVELS[k]
    reach, levels = _REACHES[row], _LEVELS[row]
    level = ((stretch[value >> _TOP] + reach) * (levels - 1) + reach) // (2 * reach)
    return 1 + _EXACT + before + min(max(level, 0), levels - 1)


@njit(**KERNEL)
def _way(packed, visits, line, n):  # type: ignore[no-untyped-def]
    """The slot of a line that takes one of n visits: a free one, or the least visited if that is less; else -1."""
    least = line * PACKED_WAYS
    for way in range(PACKED_WAYS):
        slot = line * PACKED_WAYS + way
        if packed[slot * SLOT] == 0:
            return slot
        if visits[slot] < visits[least]:
            least = slot
    return least if visits[least] < n else np.int64(-1)


@njit(**KERNEL)
def pack_nodes(nodes, bits, fewest, regions, places, stretch, packed, visits):  # type: ignore[no-untyped-def]
    """Slots visited at least fewest[c, level] times into `packed` (uint8, flat); how many found no room."""
    lost = 0
    for slot in range(nodes.shape[0]):
        if nodes[slot, 0] == 0:
            continue
        key, n = np.int64(nodes[slot, 0]), np.int64(nodes[slot, 1] & _N)
        context, level, node = key >> 10 & 7, key >> 13 & 7, key >> 16
        n_lines = regions[context, level, 1]
        if n < fewest[context, level] or n_lines == 0:
            continue
        bucket = growing_home(slot, bits, node)
        line = packed_line(bucket, bits, places[node], regions[context, level, 0], n_lines)
        at = _way(packed, visits, line, n)
        if at < 0 or packed[at * SLOT] != 0:
            lost += 1
        if at >= 0:
            visits[at] = n
            packed[at * SLOT] = packed_check(key & 0x1FF)
            for k in range(1, NODES + 1):
                packed[at * SLOT + k] = node_code(nodes[slot, k], stretch)
    return lost


@njit(**KERNEL)
def pack_lists(lists, bits, fewest, regions, packed, visits):  # type: ignore[no-untyped-def]
    """Lists visited at least fewest[j] times, their most frequent followers; how many found no room."""
    lost = 0
    for j in range(lists.shape[0]):
        first, n_lines = regions[j, 0], regions[j, 1]
        for slot in range(lists.shape[1]):
            n = min(np.int64(lists[j, slot, 0] >> _HIGH), _MOST_VISITS)
            if lists[j, slot, 0] == 0 or n < fewest[j] or n_lines == 0:
                continue
            at = _way(packed, visits, first + (np.int64(slot // WAYS) * n_lines >> bits), n)
            if at < 0 or packed[at * SLOT] != 0:
                lost += 1
            if at >= 0:
                visits[at] = n
                _write_list(lists[j, slot], packed, at * SLOT)
    return lost


@njit(**KERNEL)
def _write_list(row, packed, at):  # type: ignore[no-untyped-def]
    """Six of seven followers, the most frequent first; of equals the one that stands ahead."""
    for k in range(SLOT):
        packed[at + k] = 0
    packed[at] = packed_check(np.int64(row[0] & _LOW))
    before, taken = np.int64(1 << 20), 0
    while taken < PACKED_LISTED:
        most = np.int64(0)
        for k in range(1, LISTED + 1):
            n = np.int64(row[k] & _LOW)
            if n < before and n > most:
                most = n
        if most == 0:
            return
        for k in range(1, LISTED + 1):
            if np.int64(row[k] & _LOW) == most and taken < PACKED_LISTED:
                _write_follower(packed, at, taken, np.int64(row[k] >> _HIGH), most)
                taken += 1
        before = most


@njit(**KERNEL)
def _write_follower(packed, at, place, rank, n):  # type: ignore[no-untyped-def]
    code = 1
    while code < _CODES - 1 and _LIST_COUNTS[code + 1] <= n:
        code += 1
    packed[at + 1 + place // 2] |= np.uint8(code << (4 * (place & 1)))
    packed[at + 4 + 2 * place] = np.uint8(rank & 255)
    packed[at + 5 + 2 * place] = np.uint8(rank >> 8)
