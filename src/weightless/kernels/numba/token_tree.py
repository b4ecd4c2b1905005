"""Halving a set of tokens so that the half tells as much as it can of the context: exchanges, in whole numbers.

`rows` of counts are sparse: row s holds value[k] in column index[k] for k in start[s] .. start[s + 1] - 1.  The
information of the side S and the context P, times the total, is a sum of f(n) = n log2 n:

    I(S; P) = sum_P [f(a_P) + f(b_P)] - f(A) - f(B) + what no exchange changes        a, b: counts of the sides

f is evaluated in integers (24 bits behind the point), so that a decision does not hang on a machine's rounding.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.rows import KERNEL

LOG_BITS, TABLE_BITS = 24, 16


def log_table() -> np.ndarray:
    """int64 [2^16 + 1]: log2(n) in 1/2^24 for n = 0 .. 2^16; 0 for n = 0."""
    n = np.maximum(np.arange((1 << TABLE_BITS) + 1), 1)
    return np.round(np.log2(n) * (1 << LOG_BITS)).astype(np.int64)


@njit(**KERNEL)
def entropy_term(n, logs):  # type: ignore[no-untyped-def]
    """n log2 n in 1/2^24; between the entries of the table in a straight line."""
    shift, top = 0, n
    while top >= (1 << TABLE_BITS):
        top >>= 1
        shift += 1
    log = logs[top] + (shift << LOG_BITS)
    if shift > 0:
        log += (logs[top + 1] - logs[top]) * (n - (top << shift)) >> shift
    return n * log


@njit(**KERNEL)
def side_counts(members, side, start, index, value, totals, left, right):  # type: ignore[no-untyped-def]
    """Counts of both sides by column; (total of the left, of the right, members on the left)."""
    left[:] = 0
    right[:] = 0
    on_left, on_right, n_left = np.int64(0), np.int64(0), 0
    for i in range(len(members)):
        s = members[i]
        if side[i] == 0:
            n_left += 1
            on_left += totals[s]
        else:
            on_right += totals[s]
        for k in range(start[s], start[s + 1]):
            if side[i] == 0:
                left[index[k]] += value[k]
            else:
                right[index[k]] += value[k]
    return on_left, on_right, n_left


@njit(**KERNEL)
def _gain(s, start, index, value, here, there, logs):  # type: ignore[no-untyped-def]
    """What the columns gain when row s goes over."""
    gain = np.int64(0)
    for k in range(start[s], start[s + 1]):
        at, n = index[k], value[k]
        gain += entropy_term(here[at] - n, logs) - entropy_term(here[at], logs)
        gain += entropy_term(there[at] + n, logs) - entropy_term(there[at], logs)
    return gain


@njit(**KERNEL)
def exchange(members, side, start, index, value, totals, most, passes, left, right, logs):  # type: ignore[no-untyped-def]
    """Move members to the other side while that tells more, so that no side has more than `most` members."""
    on_left, on_right, n_left = side_counts(members, side, start, index, value, totals, left, right)
    n = len(members)
    for _ in range(passes):
        moved = 0
        for i in range(n):
            s, total = members[i], totals[members[i]]
            goes_right = side[i] == 0
            n_here = n_left if goes_right else n - n_left
            if n_here <= 1 or n - n_here >= most:
                continue
            here, there = (on_left, on_right) if goes_right else (on_right, on_left)
            gain = entropy_term(here, logs) - entropy_term(here - total, logs)
            gain += entropy_term(there, logs) - entropy_term(there + total, logs)
            if goes_right:
                gain += _gain(s, start, index, value, left, right, logs)
            else:
                gain += _gain(s, start, index, value, right, left, logs)
            if gain <= 0:
                continue
            sign = 1 if goes_right else -1
            for k in range(start[s], start[s + 1]):
                left[index[k]] -= sign * value[k]
                right[index[k]] += sign * value[k]
            on_left -= sign * total
            on_right += sign * total
            n_left -= sign
            side[i] = 1 if goes_right else 0
            moved += 1
        if moved == 0:
            break


@njit(**KERNEL)
def project(members, start, index, amplitude, weight, rounds, direction, gathered, scores):  # type: ignore[no-untyped-def]
    """scores [members]: their places along the principal direction of the rows of amplitudes, by power iteration.

    `amplitude` are square roots of shares in 1/1024, `weight` the importance of a row; all int64.  What is centred is
    the weighted mean.  direction, gathered: space of one number per column.
    """
    n, width, whole = len(members), len(direction), np.int64(0)
    for i in range(n):
        whole += weight[members[i]]
    for j in range(width):
        direction[j] = ((j * 40503) & 0x7FFF) - 0x4000
    for _ in range(rounds):
        mean = np.int64(0)
        for i in range(n):
            s, score = members[i], np.int64(0)
            for k in range(start[s], start[s + 1]):
                score += amplitude[k] * direction[index[k]]
            scores[i] = score >> 10
            mean += weight[s] * scores[i]
        mean //= whole
        gathered[:] = 0
        largest = np.int64(1)
        for i in range(n):
            scores[i] -= mean
            s, share = members[i], weight[members[i]] * (scores[i] >> 5)
            for k in range(start[s], start[s + 1]):
                gathered[index[k]] += share * amplitude[k]
        for j in range(width):
            largest = max(largest, abs(gathered[j]))
        shift = 0
        while largest >> shift >= 1 << 15:
            shift += 1
        for j in range(width):
            direction[j] = gathered[j] >> shift
