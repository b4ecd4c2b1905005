"""The compiled twins of `promise.py`: operands as its `lower` lists them, packed matrices first (`operator.packed`)."""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.codes import SWIGLU
from weightless.kernels.numba.layers import activate, exp_shifted, log_sum_exp
from weightless.kernels.numba.memory import loaded, stored, updated
from weightless.kernels.numba.rows import KERNEL
from weightless.program.operators.products import add_into, join, normed, product, product_of_rows
from weightless.program.registers import STATUS

SMALLEST_SUM = 1e-20  # as in ops.experts


@njit(**KERNEL)
def route(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    E, width, k = c[2], c[3], c[10]
    h, p, wanted = scratch[:width], scratch[width : width + E], scratch[width + E : width + 2 * E]
    normed(W, c[6], loaded(S, c[8], width), width, f[0], h)
    product(W, c, h, p)
    if c[11] == 0:
        exp_shifted(p, log_sum_exp(p, E), E, p)
    else:
        for j in range(E):
            p[j] = 1.0 / (1.0 + math.exp(-np.float64(p[j])))
    for j in range(E):
        wanted[j] = p[j]
    if c[7] >= 0:
        add_into(wanted, loaded(W, c[7], E), E)
    out, total = stored(S, c[9], 2 * k), 0.0
    for i in range(k):
        best = -1
        for j in range(E):
            if wanted[j] > (wanted[best] if best >= 0 else np.float32(-np.inf)):
                best = j
        if best < 0:  # NaN is larger than nothing
            R[STATUS] = 1
            return
        out[i], out[k + i] = best, p[best]
        total += np.float64(p[best])
        wanted[best] = np.float32(-np.inf)
    if k > 1:
        for i in range(k):
            out[k + i] = np.float64(out[k + i]) / max(total, SMALLEST_SUM)


@njit(**KERNEL)
def experts_add(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    E, k, d_e, kind = c[20], c[19], c[9], c[13]
    width, n_up = c[8] // E, c[2] // E
    x = updated(S, c[14], width)
    h, out, part = scratch[:width], scratch[width : 2 * width], scratch[2 * width : 3 * width]
    room = scratch[3 * width :]
    normed(W, c[12], x, width, f[0], h)
    chosen = loaded(S, c[18], 2 * k)
    for j in range(width):
        out[j] = np.float32(0)
    for i in range(k):
        if not (chosen[i] >= 0 and chosen[i] < E):
            R[STATUS] = 1
            return
        expert, gate = np.int64(chosen[i]), chosen[k + i]
        product_of_rows(W, c[0:6], c[0] + expert * n_up * c[1], n_up, h, room[:n_up])
        activate(room, d_e, kind, room[n_up : n_up + d_e])
        product_of_rows(W, c[6:12], c[6] + expert * width * c[7], width, room[n_up : n_up + d_e], part)
        for j in range(width):
            out[j] += gate * part[j]
    if c[21] >= 0:
        d_s = c[30]
        n_up = 2 * d_s if kind == SWIGLU else d_s
        product(W, c[21:27], h, room[:n_up])
        activate(room, d_s, kind, room[n_up : n_up + d_s])
        product(W, c[27:33], room[n_up : n_up + d_s], part)
        add_into(out, part, width)
    join(W, x, out, width, c[14:18], f)
