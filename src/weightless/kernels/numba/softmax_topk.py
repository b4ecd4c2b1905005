"""Softmax + top-k in compiled code: one pass over each row in blocks that stay in the first-level cache.

Per block of 1,024 logits, three loops over what was just read: largest value, sum of exp(z - m)
(numba/exponential.py), and, only if the block can change them, the k best.  The twin and its oracle:
ops/softmax_topk.py; float32 only.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.exponential import add_exp_below
from weightless.kernels.numba.lanes import (
    N_LANES,
    filled,
    lanes_above,
    larger,
    largest_lane,
    load_f32,
    load_f32_or,
    lowest_bit,
    sum_lanes,
    zero_lanes,
)
from weightless.kernels.numba.rows import KERNEL

BLOCK = 1024
MINUS_INFINITY = np.float32(-np.inf)


@njit(**KERNEL)
def largest(z, first, stop):  # type: ignore[no-untyped-def]
    """The largest of z[first:stop], NaN passed over (the sum of exponentials finds it); -inf if there is none.

    Four running maxima, since one would wait for itself.
    """
    e = f = g = h = filled(MINUS_INFINITY)
    fours = first + (stop - first) // (4 * N_LANES) * (4 * N_LANES)
    for i in range(first, fours, 4 * N_LANES):
        e, f = larger(load_f32(z, i), e), larger(load_f32(z, i + N_LANES), f)
        g, h = larger(load_f32(z, i + 2 * N_LANES), g), larger(load_f32(z, i + 3 * N_LANES), h)
    for i in range(fours, stop, N_LANES):
        e = larger(load_f32_or(z, i, stop - i, MINUS_INFINITY), e)
    return largest_lane(larger(larger(e, f), larger(g, h)))


@njit(**KERNEL)
def _sum_of_exp(z, first, stop, m):  # type: ignore[no-untyped-def]
    """Sum of exp(z - m) over z[first:stop]; NaN if one of them is."""
    total, other = zero_lanes(), zero_lanes()
    pairs = first + (stop - first) // (2 * N_LANES) * (2 * N_LANES)
    for i in range(first, pairs, 2 * N_LANES):
        total = add_exp_below(load_f32(z, i), m, total)
        other = add_exp_below(load_f32(z, i + N_LANES), m, other)
    for i in range(pairs, stop, N_LANES):
        total = add_exp_below(load_f32_or(z, i, stop - i, MINUS_INFINITY), m, total)
    return np.float64(sum_lanes(total)) + np.float64(sum_lanes(other))


@njit(**KERNEL)
def _insert(best, index, k, value, at):  # type: ignore[no-untyped-def]
    """Put a value that beats the last of the k best into its place; equal ones that came before stay before."""
    j = k - 1
    while j > 0 and best[j - 1] < value:
        best[j], index[j] = best[j - 1], index[j - 1]
        j -= 1
    best[j], index[j] = value, at


@njit(**KERNEL)
def _collect(z, start, stop, best, index, k):  # type: ignore[no-untyped-def]
    """Enter what beats the k best so far: few do, so sixteen at a time are compared and passed over."""
    for first in range(start, stop, N_LANES):
        if first + N_LANES <= stop:
            above = lanes_above(load_f32(z, first), best[k - 1])
        else:
            above = lanes_above(load_f32_or(z, first, stop - first, MINUS_INFINITY), best[k - 1])
        while above:
            i = first + lowest_bit(above)
            if z[i] > best[k - 1]:  # which may have risen since
                _insert(best, index, k, z[i], i)
            above &= above - np.uint32(1)


@njit(**KERNEL)
def softmax_topk_rows(z_RV, k, first_row, stop_row, index_RK, p_RK):  # type: ignore[no-untyped-def]
    """Fill rows first_row … stop_row - 1 of index_RK (int64) and p_RK; returns a row with NaN or +inf, or -1.

    float32 z_RV must be contiguous.
    """
    vocab_size = z_RV.shape[1]
    for row in range(first_row, stop_row):
        z, best, index = z_RV[row], p_RK[row], index_RK[row]
        best[:] = MINUS_INFINITY
        index[:] = -1
        m = MINUS_INFINITY
        total = 0.0
        for start in range(0, vocab_size, BLOCK):
            stop = min(vocab_size, start + BLOCK)
            top = largest(z, start, stop)
            if not top < np.float32(np.inf):
                return row
            if top > m:
                total *= np.exp(np.float64(m) - np.float64(top))
                m = top
            # while all is -inf, a shift of 0 leaves them there (and NaN is still found)
            total += _sum_of_exp(z, start, stop, m if m > MINUS_INFINITY else np.float32(0))
            if top > best[k - 1]:
                _collect(z, start, stop, best, index, k)
        if total != total:
            return row
        for j in range(k):
            p = 0.0 if index[j] < 0 else np.exp(np.float64(best[j]) - np.float64(m)) / total
            best[j] = np.float32(p)
    return -1
