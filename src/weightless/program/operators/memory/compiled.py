"""The compiled twins of `promise.py`: operands as its `lower` lists them, packed matrices first (`operator.packed`)."""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.calls import call
from weightless.kernels.numba.layers import activate, exp_shifted, log_sum_exp, normalise_heads
from weightless.kernels.numba.memory import READ, loaded, stored, touch_rows, updated
from weightless.kernels.numba.rows import KERNEL
from weightless.program.operators.products import join, normed, product, product_of_rows
from weightless.program.registers import STATUS


@njit(**KERNEL)
def choose_slots(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    width, heads, k = c[3], c[15], c[16]
    d_half, n = c[9], c[8] // (2 * heads)
    h, q = scratch[:width], scratch[width : width + c[2]]
    room = scratch[width + c[2] :]
    scores, best, room = room[:n], room[n : n + 4 * k], room[n + 4 * k :]
    at, sums = room[:k], room[k : 2 * k]
    normed(W, c[12], loaded(S, c[13], width), width, f[0], h)
    product(W, c, h, q)
    if c[18] != 0:
        normalise_heads(q, heads, 2 * d_half, f[1])
    out = stored(S, c[14], 2 * heads * k)
    for head in range(heads):
        for half in range(2):
            first = 2 * head + half
            part = q[first * d_half : (first + 1) * d_half]
            product_of_rows(W, c[6:12], c[6] + first * n * c[7], n, part, scores)
            if not _best(scores, n, k, best[2 * half * k :], best[(2 * half + 1) * k :]):
                R[STATUS] = 1
                return
        found = 0
        for a in range(k):
            for b in range(k // (a + 1)):
                slot = np.int64(best[a]) * n + np.int64(best[2 * k + b])
                found = _enter(at, sums, found, k, slot, best[k + a] + best[3 * k + b])
        if found < k or not sums[0] < np.float32(np.inf):  # sums beyond float32
            R[STATUS] = 1
            return
        for i in range(k):
            out[head * k + i] = np.float32(head * n * n + np.int64(at[i]))
        gates = out[(heads + head) * k : (heads + head + 1) * k]
        if c[17] == 0:
            exp_shifted(sums, log_sum_exp(sums, k), k, gates)
        else:
            for i in range(k):
                gates[i] = 1.0 / (1.0 + math.exp(-np.float64(sums[i])))


@njit(**KERNEL)
def _best(scores, n, k, at, value):  # type: ignore[no-untyped-def]
    """The k largest of scores[:n] in order, the first of equal ones first; False when k of them are no numbers."""
    found = 0
    for j in range(n):
        found = _enter(at, value, found, k, j, scores[j])
    return found == k and value[0] < np.float32(np.inf)


@njit(**KERNEL)
def _enter(at, value, found, k, number, score):  # type: ignore[no-untyped-def]
    """Put a score where it belongs among the best so far, at most k; how many there are then."""
    if not score > np.float32(-np.inf):
        return found
    place = found
    while place > 0 and (
        score > value[place - 1] or (score == value[place - 1] and np.float32(number) < at[place - 1])
    ):
        place -= 1
    if place == k:
        return found
    last = found if found < k else k - 1
    for j in range(last, place, -1):
        at[j], value[j] = at[j - 1], value[j - 1]
    at[place], value[place] = np.float32(number), score
    return last + 1


@njit(**KERNEL)
def add_slots(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    width, n_rows, kind, n_chosen = c[3], c[2], c[13], c[19]
    h, out, row = scratch[:width], scratch[width : 2 * width], scratch[2 * width : 3 * width]
    hidden, active = scratch[3 * width : 3 * width + 1], scratch[3 * width + 1 : 3 * width + 2]
    x = updated(S, c[14], width)
    chosen = loaded(S, c[18], 2 * n_chosen)
    if kind >= 0:
        normed(W, c[12], x, width, f[0], h)
    for j in range(width):
        out[j] = np.float32(0)
    for i in range(n_chosen):
        if not (chosen[i] >= 0 and chosen[i] < n_rows):
            R[STATUS] = 1
            return
        slot, weight = np.int64(chosen[i]), chosen[n_chosen + i]
        if kind >= 0:
            product_of_rows(W, c[6:12], c[6] + slot * c[7], 1, h, hidden)
            activate(hidden, 1, kind, active)
            weight *= active[0]
        at = c[0] + slot * c[1]
        touch_rows(W, at, c[1], 1, width, c[4], READ)
        call(c[5], (W[:3], at, width, row))
        for j in range(width):
            out[j] += weight * row[j]
    join(W, x, out, width, c[14:18], f)
