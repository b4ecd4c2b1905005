"""The compiled twin of `promise.py`: operands as its `lower` lists them."""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import loaded, stored
from weightless.kernels.numba.rows import KERNEL
from weightless.program.registers import EXIT


@njit(**KERNEL)
def exit_test(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    width = c[5]
    x, w = loaded(S, c[0], width), loaded(W, c[1], width)
    squares, product = 0.0, 0.0
    for j in range(width):
        squares += np.float64(x[j]) * np.float64(x[j])
        product += np.float64(x[j]) * np.float64(w[j])
    z = product / math.sqrt(squares / width + f[0]) + np.float64(loaded(W, c[2], 1)[0])
    sure = np.float32(1.0 / (1.0 + math.exp(-z)))
    stored(S, c[4], 1)[0] = sure
    R[EXIT] = 1 if sure >= loaded(W, c[3], 1)[0] else 0
