"""What happens to a tile of attention scores between two matrix products, in one pass over it (float32).

The products stay in BLAS; exp, maxima and sums in NumPy would each go over the tile again.  Twin and oracle: the same
steps in ops/flash_attention.py.  Causality needs no mask array: row r sees the first r + ahead + 1 columns.
The exponential is the polynomial of numba_softmax_topk.py.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from weightless.kernels.numba_rows import KERNEL, float_of_bits
from weightless.kernels.numba_softmax_topk import C1, C2, C3, C4, C5, C6, LOG2_E, largest

FAST_LANES = {"reassoc", "contract", "nsz"}


@njit(**KERNEL, fastmath=FAST_LANES)
def _exp_row(row, shift):  # type: ignore[no-untyped-def]
    """row <- exp(row - shift), for row <= shift; returns the sum."""
    total = np.float32(0)
    for i in range(row.size):
        x = row[i] - shift
        x = np.float32(-87.0) if x < np.float32(-87.0) else x
        t = x * np.float32(LOG2_E)
        n = np.int32(t - np.float32(0.5))
        f = t - np.float32(n)
        p = np.float32(C5) + f * np.float32(C6)
        p = np.float32(C4) + f * p
        p = np.float32(C3) + f * p
        p = np.float32(C2) + f * p
        p = np.float32(C1) + f * p
        p = np.float32(1.0) + f * p
        p *= float_of_bits(np.uint32((n + np.int32(127)) << np.int32(23)))
        row[i] = p
        total += p
    return total


@njit(**KERNEL, fastmath=FAST_LANES)
def _times_difference(p, dp, d):  # type: ignore[no-untyped-def]
    """dp <- p (dp - d)."""
    for i in range(p.size):
        dp[i] = p[i] * (dp[i] - d)


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
            l_T[r] = l_T[r] * c_T[r] + _exp_row(row[:n], m)
            m_T[r] = m


@njit(**KERNEL)
def gradient_tile(s_TC, dp_TC, ahead, L_T, D_T):  # type: ignore[no-untyped-def]
    """s becomes P = exp(s - L), dp becomes dS = P (dp - D); what a row does not see becomes 0 in both."""
    n_columns = s_TC.shape[1]
    for r in range(s_TC.shape[0]):
        n = min(n_columns, max(0, r + ahead + 1)) if L_T[r] > np.float32(-np.inf) else 0
        row, grad = s_TC[r], dp_TC[r]
        row[n:] = np.float32(0)
        grad[n:] = np.float32(0)
        if n > 0:
            _exp_row(row[:n], L_T[r])
            _times_difference(row[:n], grad[:n], D_T[r])
