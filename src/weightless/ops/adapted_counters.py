"""Counters and lists that go on counting beside a packed model, readable; `ops.count_adapting` walks over them.

A number is read and written through a `Column`, which counts its bytes.

    unpacked      the counter that a packed node's code stands for: p as it says, n as STANDING says
    nudged        p += (y - p) / (min(n, slowest) + 1.5), n += 1: what happens now matters more than what once did
    count_often   a list's follower counted several times, passing rarer ones
"""

from __future__ import annotations

import numpy as np

from weightless.ops.count_mixing import (
    EXACT_CODES,
    LARGEST_N,
    LARGEST_P,
    LIMIT,
    N_BITS,
    ONE_P,
    STEP_BITS,
    node_of_code,
)

SCORING, LEARNING, WRITTEN = range(3)
"""What bytes are spent on: read to score, read to learn, written."""
SLOWEST, ORDER0_SLOWEST, TIMES = 11, 30, 3
STANDING = (4, 7, 12, 22, 45, 90, 200, 600)
"""How often a packed counter of confidence 4 .. 11 was seen, as its copy takes it."""
FRESH = 1 << 31
LISTED, PACKED_LISTED, PACKED_WAYS, SLOT, WAYS, NODES = 7, 6, 4, 16, 2, 15
MOST_LISTED, MOST_IN_WINDOW = 60_000, 255
APART = 0x9E3779B1


class Spent:
    """Bytes so far; `now` is SCORING or LEARNING."""

    def __init__(self) -> None:
        self.bytes, self.now = [0, 0, 0], SCORING


class Column:
    """Numbers of `width` bytes in a row, which count what is touched."""

    def __init__(self, values: np.ndarray, width: int, spent: Spent) -> None:
        self.values, self.width, self.spent = values.reshape(-1), width, spent

    def __getitem__(self, at: int) -> int:
        self.spent.bytes[self.spent.now] += self.width
        return int(self.values[at])

    def __setitem__(self, at: int, value: int) -> None:
        self.spent.bytes[WRITTEN] += self.width
        self.values[at] = value


def unpacked(code: int, squash: np.ndarray) -> int:
    """The counter that a packed node's code stands for."""
    if code == 0:
        return FRESH
    sure, logit = node_of_code(code)
    if code <= EXACT_CODES:
        right = code - sure * (sure + 1) // 2
        return (4 * right + 1) * ONE_P // (4 * sure + 2) << N_BITS | sure
    return counter_of_logit(logit, STANDING[sure - 4], squash)


def counter_of_logit(logit: int, n: int, squash: np.ndarray) -> int:
    """A counter that has seen n outcomes and says this logit."""
    return min(max(int(squash[logit + LIMIT]), 1), LARGEST_P - 1) << N_BITS | n


def nudged(value: int, y: int, slowest: int, reciprocals: np.ndarray) -> int:
    """A counter behind one more outcome, which moves as if it had seen no more than `slowest`."""
    p, n = value >> N_BITS, value & LARGEST_N
    p += ((LARGEST_P if y else 0) - p) * int(reciprocals[min(n, slowest)]) >> STEP_BITS
    return min(max(p, 0), LARGEST_P) << N_BITS | min(n + 1, LARGEST_N)


def count_often(row: Column, first: int, room: int, rank: int, times: int, most: int, moves: int) -> None:
    """Count a follower `times` more among `room` from `first` on; it passes rarer ones ahead, at most so many.

    Where no place is free, the last of the least frequent goes.
    """
    at, fewest, found = first, 0xFFFF, 0
    for k in range(first, first + room):
        value = row[k]
        if value == 0 or value >> 16 == rank:
            at, found = k, value & 0xFFFF
            break
        if value & 0xFFFF <= fewest:
            at, fewest = k, value & 0xFFFF
    mine = rank << 16 | min(found + times, most)
    row[at] = mine
    while at > first and moves > 0:
        ahead = row[at - 1]
        if ahead & 0xFFFF >= mine & 0xFFFF:
            return
        row[at], row[at - 1] = ahead, mine
        at, moves = at - 1, moves - 1


def followers_of(row: Column, first: int, room: int) -> list[tuple[int, int]]:
    found = []
    for k in range(first, first + room):
        value = row[k]
        if value == 0:
            break
        found.append((value >> 16, value & 0xFFFF))
    return found


def way_of(table: Column, line: int, check: int) -> int:
    """The slot of a packed line with this check, or -1."""
    for way in range(PACKED_WAYS):
        at = (line * PACKED_WAYS + way) * SLOT
        if table[at] == check:
            return at
    return -1
