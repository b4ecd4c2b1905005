"""Layer norm in compiled code, float32: the backward reads dy and xhat once from memory and writes dx once.

Twin and oracle: ops/layer_norm.py.  A row is small enough for the first-level cache, so its two sums and its result
are separate loops over cached data.  dgamma and dbeta are summed in float32 over a strip of 32 rows, then added to
float64.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.rows import FAST, KERNEL

STRIP = 32


@njit(**KERNEL, fastmath=FAST)
def layer_norm_rows(x_ND, gamma, beta, eps, first, stop, y_ND, xhat_ND, r_N):  # type: ignore[no-untyped-def]
    """y, xhat and r of rows first … stop - 1; two passes over each row, statistics in float64."""
    width = x_ND.shape[1]
    for row in range(first, stop):
        x, y, xhat = x_ND[row], y_ND[row], xhat_ND[row]
        total = 0.0
        for i in range(width):
            total += np.float64(x[i])
        mean = total / width
        square = 0.0
        for i in range(width):
            d = np.float64(x[i]) - mean
            square += d * d
        r = 1.0 / np.sqrt(square / width + eps)
        r_N[row] = r
        for i in range(width):
            v = np.float32((np.float64(x[i]) - mean) * r)
            xhat[i] = v
            y[i] = gamma[i] * v + beta[i]


@njit(**KERNEL, fastmath=FAST)
def layer_norm_backward_rows(  # type: ignore[no-untyped-def]
    dy_ND, xhat_ND, r_N, gamma, first, stop, dx_ND, strip_2D, sums_2D
):
    """dx of rows first … stop - 1; adds their share to sums_2D = (dgamma, dbeta) in float64.

    `strip_2D` is float32 scratch of the same shape.
    """
    width = dy_ND.shape[1]
    for begin in range(first, stop, STRIP):
        strip_2D[:] = np.float32(0)
        dgamma, dbeta = strip_2D[0], strip_2D[1]
        for row in range(begin, min(stop, begin + STRIP)):
            dy, xhat, dx = dy_ND[row], xhat_ND[row], dx_ND[row]
            a, b = np.float32(0), np.float32(0)
            for i in range(width):
                g = dy[i] * gamma[i]
                a += g
                b += g * xhat[i]
            a, b, r = a / np.float32(width), b / np.float32(width), np.float32(r_N[row])
            for i in range(width):
                d, h = dy[i], xhat[i]
                dx[i] = r * (d * gamma[i] - a - h * b)
                dgamma[i] += d * h
                dbeta[i] += d
        for i in range(width):
            sums_2D[0, i] += np.float64(dgamma[i])
            sums_2D[1, i] += np.float64(dbeta[i])
