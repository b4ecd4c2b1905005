"""The compiled twin of `beside.py`: operands as its `operands_beside` lists them, from c[c[BESIDE]] on.

scratch holds which block of each level the walk has come to, and from ABOVE on the weights of the classes, then of the
parts of that block, level after level.
"""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import READ, loaded, row_bytes, touch
from weightless.kernels.numba.node_odds import side_odds
from weightless.kernels.numba.rows import KERNEL
from weightless.program.operators.products import product_of_rows
from weightless.program.registers import IN_HEAD, IN_STATE

AT, CLASSES, BLOCK, H, N_LEVELS, LEVELS = 0, 1, 2, 3, 4, 5
COLS, FORM, UNIT, SIZE, LEVEL = 3, 4, 6, 7, 8
CAME_TO, ABOVE = 2040, 2048


@njit(**KERNEL)
def begin_beside(c, S, R, scratch, k):  # type: ignore[no-untyped-def]
    """Weights of the classes; no block has been come to."""
    n, width = c[k + CLASSES], c[k + LEVELS + COLS]
    log_p = loaded(S, c[k + AT], n)
    for j in range(n):
        scratch[ABOVE + j] = math.exp(np.float64(log_p[j]))
    touch(S, c[k + H], 4 * width, READ)
    R[IN_STATE] += 4 * (n + width)
    for level in range(c[k + N_LEVELS]):
        scratch[CAME_TO + level] = -1


@njit(**KERNEL)
def _come_to(c, W, S, R, scratch, k, m, block, at, vocab):  # type: ignore[no-untyped-def]
    """Weights of the parts of a block into scratch[at:], from rows that are read now."""
    per_block, cols = c[m + SIZE] // c[m + UNIT], c[m + COLS]
    n = min(per_block, (vocab - block * c[m + SIZE] + c[m + UNIT] - 1) // c[m + UNIT])
    h, scores = S[1][c[k + H] // 4 : c[k + H] // 4 + cols], scratch[at : at + n]
    product_of_rows(W, c[m : m + 6], c[m] + block * per_block * c[m + 1], n, h, scores)
    R[IN_HEAD] += n * row_bytes(cols, c[m + FORM])
    most = scores[0]
    for j in range(n):
        most = max(most, scores[j])
    for j in range(n):
        scores[j] = math.exp(np.float64(scores[j] - most))


@njit(**KERNEL)
def odds_beside(c, W, S, R, scratch, k, node, low, high, vocab):  # type: ignore[no-untyped-def]
    """ln(p right / p left) of the neural model at a node, in whole 1/256."""
    unit, base, at, below = c[k + BLOCK], np.int64(0), np.int64(ABOVE), ABOVE + c[k + CLASSES]
    for level in range(c[k + N_LEVELS]):
        m = k + LEVELS + LEVEL * level
        size = c[m + SIZE]
        block = low // size
        if block != (high - 1) // size:
            break
        if np.int64(scratch[CAME_TO + level]) != block:
            _come_to(c, W, S, R, scratch, k, m, block, below, vocab)
            scratch[CAME_TO + level] = block
        unit, base, at = c[m + UNIT], block * size, below
        below += size // c[m + UNIT]
    return side_odds(scratch, at, unit, base, node, low, high)
