"""The compiled twin of `promise.py`: operands as its `lower` lists them, the stored state first (`operator.packed`)."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.calls import call
from weightless.kernels.numba.memory import READ, WRITE, loaded, stored, touch_rows
from weightless.kernels.numba.rows import FAST, KERNEL
from weightless.kernels.numba.scan import decays, sigmoid
from weightless.program.registers import T

UNIT_EPS = 1e-6  # as in ops.linear_attention


@njit(fastmath=FAST, **KERNEL)
def taken(x, n, is_unit, out):  # type: ignore[no-untyped-def]
    """out = x / sqrt(sum(x^2) + n eps), or x as it is."""
    scale = np.float32(1)
    if is_unit:
        total = np.float32(0)
        for i in range(n):
            total += x[i] * x[i]
        scale = np.float32(1) / np.sqrt(total + np.float32(UNIT_EPS * n))
    for i in range(n):
        out[i] = x[i] * scale


@njit(fastmath=FAST, **KERNEL)
def gated_norm(y, o, eps):  # type: ignore[no-untyped-def]
    """y = y / sqrt(mean(y^2) + eps) silu(o), in place."""
    n, total = len(y), np.float32(0)
    for j in range(n):
        total += y[j] * y[j]
    scale = np.float32(1) / np.sqrt(total / np.float32(n) + np.float32(eps))
    for j in range(n):
        y[j] = y[j] * scale * o[j] * sigmoid(o[j])


@njit(**KERNEL)
def linear_attend(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    at, stride, form, H, K, V, is_delta = c[0], c[1], c[4], c[10], c[11], c[12], c[13] != 0
    n_k, n_v, is_first, answers = H * K, H * V, R[T] <= 1, c[14] != 0
    keys, decay = loaded(S, c[7] + 4 * n_k, n_k + n_v), loaded(W, c[8], H)
    values, gates = keys[n_k:], loaded(S, c[7] + 8 * (n_k + n_v), H + is_delta * H)
    queries, o, y = keys[:0], keys[:0], keys[:0]
    if answers:
        queries, o = loaded(S, c[7], n_k), loaded(S, c[7] + 4 * (2 * n_k + n_v), n_v)
        y = stored(S, c[9], n_v)
    if not is_first:
        touch_rows(S, at, stride, n_k, V, form, READ)
    touch_rows(S, at, stride, n_k, V, form, WRITE)
    q, k, row, w = scratch[:K], scratch[K : 2 * K], scratch[2 * K : 2 * K + V], scratch[2 * K + V : 2 * K + 2 * V]
    for h in range(H):
        a, rest = decays(gates[h] + decay[h])
        v, out = values[h * V : (h + 1) * V], y[h * V : (h + 1) * V]
        taken(keys[h * K : (h + 1) * K], K, is_delta, k)
        if answers:
            taken(queries[h * K : (h + 1) * K], K, is_delta, q)
            for j in range(V):
                out[j] = np.float32(0)
        for j in range(V):
            w[j] = np.float32(0)
        if is_delta and not is_first:
            for i in range(K):
                call(c[5], (S[:3], at + (h * K + i) * stride, V, row))
                for j in range(V):
                    w[j] += k[i] * row[j]
        for j in range(V):
            w[j] = sigmoid(gates[H + h]) * (v[j] - a * w[j]) if is_delta else v[j]
        for i in range(K):
            if is_first:
                for j in range(V):
                    row[j] = k[i] * w[j]
            else:
                call(c[5], (S[:3], at + (h * K + i) * stride, V, row))
                for j in range(V):
                    row[j] = a * row[j] + k[i] * w[j]
            if answers:
                for j in range(V):
                    out[j] += q[i] * row[j]
            call(c[6], (row, V, S[:3], at + (h * K + i) * stride))
        if answers:
            gated_norm(out, o[h * V : (h + 1) * V], f[0])
