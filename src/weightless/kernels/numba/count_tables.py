"""What count mixing counts in: slots of tree nodes and lists of followers, found by hash; growing and packed.

    growing   nodes   uint32 [2 << bits, 16]: check | context << 10 | group << 13 | node << 16, then 15 counters
              lists   uint32 [lists, 2 << bits, 8]: check | visits << 16, then 7 of rank << 16 | count
    packed    nodes   uint8, lines of 64: four slots of a check and 15 codes           (`ops.count_mixing.node_code`)
              lists   uint8, lines of 64: four of a check, 6 counts of four bits, 6 ranks of 16 bits

Growing tables have two ways a bucket.  A slot of nodes holds four levels of the tree below one node, numbered 1; 2, 3;
4 .. 7; 8 .. 15 as in a heap.  Packed, every context and every fourth level (group) has a stretch of lines of its own,
in which the nodes of a group lie side by side from where the context's hash points: so no token, and no whole
distribution, meets a byte twice.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.rows import KERNEL
from weightless.ops import count_mixing as truth

N_LEVELS, NODES, WAYS = truth.N_LEVELS, 15, 2
LISTED, PACKED_LISTED, PACKED_WAYS, SLOT = 7, 6, 4, 16
FRESH = np.uint32(1 << 31)
_CHECK, _N, _HIGH, _ONE_N = np.uint32(0xFFFF), np.uint32(truth.LARGEST_N), np.uint32(16), np.uint32(1 << 16)
_CHECK_64, _SHORT, _ALL = np.uint64(0xFFFF), np.uint64(0x1FF), np.uint64(64)
_APART = 0x9E3779B1
"""Odd: the nodes of one context lie far apart while its table grows."""
MOST_LISTED, MOST_IN_WINDOW = np.uint32(60_000), np.uint32(255)


@njit(**KERNEL)
def check_of(h):  # type: ignore[no-untyped-def]
    """16 bits that tell a list's owner, never 0; int64."""
    check = np.int64(h & _CHECK_64)
    return check if check != 0 else 1


@njit(**KERNEL)
def packed_check(check):  # type: ignore[no-untyped-def]
    """The same in a byte."""
    return check % 255 + 1


@njit(**KERNEL)
def bucket_of(h, bits):  # type: ignore[no-untyped-def]
    """The first `bits` bits of a hash; int64."""
    return np.int64(h >> (_ALL - np.uint64(bits)))


@njit(**KERNEL)
def growing_bucket(h, bits, node):  # type: ignore[no-untyped-def]
    """The first of two slots that (context, node) may have."""
    return (bucket_of(h, bits) + node * _APART & (np.int64(1) << bits) - 1) * WAYS


@njit(**KERNEL)
def growing_home(slot, bits, node):  # type: ignore[no-untyped-def]
    """The bucket that the context's hash alone points to, of a slot of (context, node)."""
    return slot // WAYS - node * _APART & (np.int64(1) << bits) - 1


@njit(**KERNEL)
def growing_slot(nodes, bits, h, node, context, group, grows):  # type: ignore[no-untyped-def]
    """The slot of (context, node), or -1; where it `grows`, the one of fewer visits makes room."""
    first = growing_bucket(h, bits, node)
    key = np.uint32(np.int64(h & _SHORT) | 1 << 9 | context << 10 | group << 13 | node << 16)
    if nodes[first, 0] == key:
        return first
    if nodes[first + 1, 0] == key:
        return first + 1
    if not grows:
        return np.int64(-1)
    slot = first + 1 if (nodes[first + 1, 1] & _N) < (nodes[first, 1] & _N) else first
    nodes[slot, 0] = key
    for k in range(1, NODES + 1):
        nodes[slot, k] = FRESH
    return slot


@njit(**KERNEL)
def packed_line(bucket, bits, place, first, n_lines):  # type: ignore[no-untyped-def]
    """The line of the group's node number `place`, from that on which the bucket points to."""
    return first + ((bucket * n_lines >> bits) + place) % n_lines


@njit(**KERNEL)
def packed_slot(nodes, bits, h, place, first, n_lines):  # type: ignore[no-untyped-def]
    """Byte of the slot in `nodes` (uint8, flat), or -1."""
    line = packed_line(bucket_of(h, bits), bits, place, first, n_lines)
    check = packed_check(np.int64(h & _SHORT))
    for way in range(PACKED_WAYS):
        if nodes[line * 64 + way * SLOT] == check:
            return line * 64 + way * SLOT
    return np.int64(-1)


@njit(**KERNEL)
def growing_list(lists, bits, h):  # type: ignore[no-untyped-def]
    """The slot of a context's list, or -1."""
    first, check = bucket_of(h, bits) * WAYS, np.uint32(check_of(h))
    if (lists[first, 0] & _CHECK) == check:
        return first
    return first + 1 if (lists[first + 1, 0] & _CHECK) == check else np.int64(-1)


@njit(**KERNEL)
def new_list(lists, bits, h):  # type: ignore[no-untyped-def]
    """Room for a context's list, where the one of fewer visits was."""
    first = bucket_of(h, bits) * WAYS
    slot = first + 1 if (lists[first + 1, 0] >> _HIGH) < (lists[first, 0] >> _HIGH) else first
    lists[slot, 0] = np.uint32(check_of(h))
    for k in range(1, LISTED + 1):
        lists[slot, k] = 0
    return slot


@njit(**KERNEL)
def visit(row):  # type: ignore[no-untyped-def]
    """Count one visit of a list."""
    if (row[0] >> _HIGH) < _CHECK:
        row[0] += _ONE_N


@njit(**KERNEL)
def count_in(row, rank, most):  # type: ignore[no-untyped-def]
    """Count a follower, at most so often; where no place is free, the last of the least frequent goes.

    More frequent ones move ahead.
    """
    least, fewest = 1, _CHECK
    for k in range(1, row.shape[0]):
        value = row[k]
        if value == 0:
            row[k] = np.uint32(rank << 16 | 1)
            return
        if np.int64(value >> _HIGH) == rank:
            if (value & _CHECK) < most:
                row[k] = value + np.uint32(1)
            if k > 1 and (row[k] & _CHECK) > (row[k - 1] & _CHECK):
                row[k], row[k - 1] = row[k - 1], row[k]
            return
        if (value & _CHECK) <= fewest:
            fewest, least = value & _CHECK, k
    row[least] = np.uint32(rank << 16 | 1)


@njit(**KERNEL)
def followers(row, ranks, counts):  # type: ignore[no-untyped-def]
    """Copy a growing list; how many there are."""
    n = 0
    for k in range(1, row.shape[0]):
        if row[k] == 0:
            break
        ranks[n], counts[n] = np.int64(row[k] >> _HIGH), np.int64(row[k] & _CHECK)
        n += 1
    return n
