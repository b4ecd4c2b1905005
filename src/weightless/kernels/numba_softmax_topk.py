"""Softmax + top-k in compiled code: one pass over each row in blocks that stay in the first-level cache.

Per block of 1,024 logits, three loops over what was just read: largest value,
sum of exp(z - m), and, only if the block can change them, the k best.  The twin and its oracle: ops/softmax_topk.py;
float32 only.

exp of x <= 0 is 2^n 2^f with n the whole number nearest to x log2 e and |f| <= 1/2, 2^f by a polynomial of degree 6
(relative error below 2e-7): arithmetic that fills vector lanes, which a library call per number does not.  Below -87
it is taken at -87 (1.6e-38): nothing that a sum of float32 above 1e-33 would notice.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from weightless.kernels.numba_rows import KERNEL, bits_of_float, float_of_bits

BLOCK = 1024
LOG2_E = 1.4426950408889634
# 2^f = sum of (f ln 2)^i / i!: Taylor to degree 6 is good to 1.2e-7 for |f| <= 1/2
C1, C2, C3 = 0.6931471805599453, 0.2402265069591007, 0.05550410866482158
C4, C5, C6 = 0.009618129107628477, 0.0013333558146428443, 0.00015403530393381608
PIECE = 64
MINUS_INFINITY_KEY = -0x7F800001


@njit(**KERNEL)
def largest(z, first, stop):  # type: ignore[no-untyped-def]
    """The largest value.  As integers, because a maximum of floats fills no vector lanes while NaN has a meaning.

    The bits of a float order like a sign and magnitude; flipping the magnitude of negative ones makes them an int32 of
    the same order.  (NaN becomes larger than +inf or smaller than -inf; the sum of exponentials finds it.)
    """
    best = np.int32(MINUS_INFINITY_KEY)
    block = z[first:stop]
    for i in range(block.size):
        bits = np.int32(bits_of_float(block[i]))
        key = np.int32(bits ^ np.int32(np.int32(bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))
        best = max(best, key)
    return float_of_bits(np.uint32(best ^ np.int32(np.int32(best >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@njit(**KERNEL, fastmath={"reassoc", "contract", "nsz"})
def _sum_of_exp(z, first, stop, m):  # type: ignore[no-untyped-def]
    """Sum of exp(z - m) in float32 lanes; NaN if one of them is."""
    total = np.float32(0)
    block = z[first:stop]
    for i in range(block.size):
        x = block[i] - m
        x = np.float32(-87.0) if x < np.float32(-87.0) else x  # NaN stays NaN
        t = x * np.float32(LOG2_E)
        n = np.int32(t - np.float32(0.5))  # towards zero: t <= 0
        f = t - np.float32(n)
        p = np.float32(C5) + f * np.float32(C6)
        p = np.float32(C4) + f * p
        p = np.float32(C3) + f * p
        p = np.float32(C2) + f * p
        p = np.float32(C1) + f * p
        p = np.float32(1.0) + f * p
        total += p * float_of_bits(np.uint32((n + np.int32(127)) << np.int32(23)))
    return total


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
    """Enter what beats the k best so far; pieces of 64 that hold nothing such are passed over by their maximum."""
    for first in range(start, stop, PIECE):
        last = min(stop, first + PIECE)
        if largest(z, first, last) > best[k - 1]:
            for i in range(first, last):
                if z[i] > best[k - 1]:
                    _insert(best, index, k, z[i], i)


@njit(**KERNEL)
def softmax_topk_rows(z_RV, k, first_row, stop_row, index_RK, p_RK):  # type: ignore[no-untyped-def]
    """Fill rows first_row … stop_row - 1 of index_RK (int64) and p_RK; returns a row with NaN or +inf, or -1.

    float32 z_RV must be contiguous.
    """
    vocab_size = z_RV.shape[1]
    for row in range(first_row, stop_row):
        z, best, index = z_RV[row], p_RK[row], index_RK[row]
        best[:] = np.float32(-np.inf)
        index[:] = -1
        m = np.float32(-np.inf)
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
            total += _sum_of_exp(z, start, stop, m if m > np.float32(-np.inf) else np.float32(0))
            if top > best[k - 1]:
                _collect(z, start, stop, best, index, k)
        if total != total:
            return row
        for j in range(k):
            p = 0.0 if index[j] < 0 else np.exp(np.float64(best[j]) - np.float64(m)) / total
            best[j] = np.float32(p)
    return -1
