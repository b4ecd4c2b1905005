"""Where bytes of count mixing lie, compiled: the functions of `ops/count_layout.py` as they stand there, and loads."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import READ, WRITE, touch
from weightless.kernels.numba.rows import KERNEL
from weightless.ops import count_layout as layout

list_cell, pair_cell = njit(**KERNEL)(layout.list_cell), njit(**KERNEL)(layout.pair_cell)
row_at, input_at = njit(**KERNEL)(layout.row_at), njit(**KERNEL)(layout.input_at)
confidence_row, token_row = njit(**KERNEL)(layout.confidence_row), njit(**KERNEL)(layout.token_row)
tree_line, heap_place = njit(**KERNEL)(layout.tree_line), njit(**KERNEL)(layout.heap_place)


@njit(**KERNEL)
def pair_at(path, depth, node):  # type: ignore[no-untyped-def]
    """`count_layout.pair_at`, which calls another of its functions."""
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
