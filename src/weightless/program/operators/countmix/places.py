"""Where bytes of count mixing lie, compiled, and loads of them; the oracle of all places is `ops/count_layout.py`."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import READ, WRITE, touch
from weightless.kernels.numba.rows import KERNEL
from weightless.ops import count_layout as layout
from weightless.ops import count_mixing as truth

LINE, MAX_DEPTH, GROUPS, HALF = layout.LINE, truth.MAX_DEPTH, truth.N_GROUPS, truth.MAX_DEPTH // 2
CONFIDENCES, SPREADS, CLASSES = truth.N_CONFIDENCES, truth.N_SPREADS, truth.N_CLASSES
UNORDERED, PAIR_ROWS, PAIR_COLS, NEAR = CLASSES * (CLASSES + 1) // 2, layout.PAIR_ROWS, layout.PAIR_COLS, layout.NEAR


@njit(**KERNEL)
def tree_line(n):  # type: ignore[no-untyped-def]
    return (layout.WEIGHTS + layout.MEMBERS * n + LINE - 1) // LINE * LINE


@njit(**KERNEL)
def heap_place(path, depth, levels):  # type: ignore[no-untyped-def]
    below = depth % levels
    return 1 << below | path & (1 << below) - 1


@njit(**KERNEL)
def list_cell(j, depth, spread, fewer, more, is_right):  # type: ignore[no-untyped-def]
    block = (j * SPREADS + spread) * UNORDERED + more * (more + 1) // 2 + fewer
    return (block * MAX_DEPTH + depth) * 2 + (1 if is_right else 0)


@njit(**KERNEL)
def pair_cell(depth, left, right):  # type: ignore[no-untyped-def]
    block = left // PAIR_ROWS * (CONFIDENCES // PAIR_COLS) + right // PAIR_COLS
    return ((block * MAX_DEPTH + depth) * PAIR_ROWS + left % PAIR_ROWS) * PAIR_COLS + right % PAIR_COLS


@njit(**KERNEL)
def row_at(row, n):  # type: ignore[no-untyped-def]
    per_line = LINE // n
    return row // per_line * LINE + row % per_line * n


@njit(**KERNEL)
def confidence_row(depth, sure, earlier):  # type: ignore[no-untyped-def]
    return (sure * CONFIDENCES + earlier) * MAX_DEPTH + depth


@njit(**KERNEL)
def token_row(token, group, vocab_size):  # type: ignore[no-untyped-def]
    return token * NEAR + group if group < NEAR else vocab_size * NEAR + token * (GROUPS - NEAR) + group - NEAR


@njit(**KERNEL)
def input_at(k, depth, sure, bias):  # type: ignore[no-untyped-def]
    if k == 0 or k == bias:
        return 2 * depth + (1 if k == bias else 0)
    part = 0 if sure < 2 else 1 if sure < 7 else 2
    within = (sure - (0 if part == 0 else 2 if part == 1 else 7)) * HALF + depth % HALF
    return LINE * (1 + ((k - (1 if k < bias else 2)) * 2 + depth // HALF) * 3 + part) + within


@njit(**KERNEL)
def pair_at(path, depth, node):  # type: ignore[no-untyped-def]
    if depth >= layout.NEAR_LEVELS:
        return layout.NEAR_PAIRS + node
    if depth < 5:
        return path
    return 32 + 32 * (path >> (depth - 5) & 31) + heap_place(path, depth, 5)


@njit(**KERNEL)
def member_of(depth, path):  # type: ignore[no-untyped-def]
    """Which of the three in its line a node is."""
    return 1 + (path & 1) if depth % 2 == 1 else 0


@njit(**KERNEL)
def byte_of(memory, at):  # type: ignore[no-untyped-def]
    touch(memory, at, 1, READ)
    return np.int64(memory[0][at])


@njit(**KERNEL)
def number_of(memory, at):  # type: ignore[no-untyped-def]
    """A u16."""
    touch(memory, at, 2, READ)
    return np.int64(memory[0][at]) | np.int64(memory[0][at + 1]) << 8


@njit(**KERNEL)
def store_byte(S, at, value):  # type: ignore[no-untyped-def]
    touch(S, at, 1, WRITE)
    S[0][at] = np.uint8(value)
