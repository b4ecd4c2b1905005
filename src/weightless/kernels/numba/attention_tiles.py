"""What happens to a tile of attention scores between two matrix products, in one pass over it (float32).

The products stay in BLAS; exp, maxima and sums in NumPy would each go over the tile again.  Twin and oracle: the same
steps in ops/flash_attention.py.  Causality needs no mask array: row r sees the first r + ahead + 1 columns.
The exponential is that of numba/exponential.py.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.exponential import exp_below
from weightless.kernels.numba.lanes import (
    N_LANES,
    add_scaled,
    less,
    load_f32,
    load_f32_or,
    product,
    store,
    store_part,
    sum_lanes,
    zero_lanes,
)
from weightless.kernels.numba.rows import KERNEL
from weightless.kernels.numba.softmax_topk import MINUS_INFINITY, largest


@njit(**KERNEL)
def _exp_row(row, n, shift):  # type: ignore[no-untyped-def]
    """row[:n] <- exp(row[:n] - shift), for row <= shift; returns the sum."""
    total, other = zero_lanes(), zero_lanes()
    one = np.float32(1)
    pairs = n // (2 * N_LANES) * (2 * N_LANES)
    for i in range(0, pairs, 2 * N_LANES):
        p, q = exp_below(load_f32(row, i), shift), exp_below(load_f32(row, i + N_LANES), shift)
        store(row, i, p)
        store(row, i + N_LANES, q)
        total, other = add_scaled(p, one, total), add_scaled(q, one, other)
    for i in range(pairs, n, N_LANES):
        p = exp_below(load_f32_or(row, i, n - i, MINUS_INFINITY), shift)
        store_part(row, i, n - i, p)
        total = add_scaled(p, one, total)
    return sum_lanes(add_scaled(other, one, total))


@njit(**KERNEL)
def _gradient_row(row, grad, n, shift, d):  # type: ignore[no-untyped-def]
    """p = exp(row - shift) and p (grad - d) take the place of row and grad, in the first n columns."""
    whole = n // N_LANES * N_LANES
    for i in range(0, whole, N_LANES):
        p = exp_below(load_f32(row, i), shift)
        store(row, i, p)
        store(grad, i, product(p, less(load_f32(grad, i), d)))
    if whole < n:
        p = exp_below(load_f32_or(row, whole, n - whole, MINUS_INFINITY), shift)
        dp = load_f32_or(grad, whole, n - whole, d)
        store_part(row, whole, n - whole, p)
        store_part(grad, whole, n - whole, product(p, less(dp, d)))


@njit(**KERNEL)
def softmax_tile(s_TC, ahead, m_T, l_T, c_T):  # type: ignore[no-untyped-def]
    """Scores become exp(s - m) with the running maximum m and sum l brought up to date; c = exp(m_old - m_new)."""
    n_columns = s_TC.shape[1]
    for r in range(s_TC.shape[0]):
        n = min(n_columns, max(0, r + ahead + 1))
        row = s_TC[r]
        row[n:] = np.float32(0)
        c_T[r] = np.float32(1)
        if n > 0:
            m = max(m_T[r], largest(row, 0, n))
            c_T[r] = np.exp(m_T[r] - m)
            l_T[r] = l_T[r] * c_T[r] + _exp_row(row, n, m)
            m_T[r] = m


@njit(**KERNEL)
def gradient_tile(s_TC, dp_TC, ahead, L_T, D_T):  # type: ignore[no-untyped-def]
    """s becomes P = exp(s - L), dp becomes dS = P (dp - D); what a row does not see becomes 0 in both."""
    n_columns = s_TC.shape[1]
    for r in range(s_TC.shape[0]):
        n = min(n_columns, max(0, r + ahead + 1)) if L_T[r] > MINUS_INFINITY else 0
        row, grad = s_TC[r], dp_TC[r]
        row[n:] = np.float32(0)
        grad[n:] = np.float32(0)
        _gradient_row(row, grad, n, L_T[r], D_T[r])
