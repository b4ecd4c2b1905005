"""The compiled twins of `promise.py`: operands as its `lower` lists them, packed matrices first (`operator.packed`)."""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.codes import HALF_SPLIT, INTERLEAVED
from weightless.kernels.numba.calls import call
from weightless.kernels.numba.layers import multiply_heads, normalise_heads, rotate_heads
from weightless.kernels.numba.memory import READ, WRITE, loaded, stored, touch_rows, updated
from weightless.kernels.numba.rows import KERNEL
from weightless.program.operators.products import (
    add_bias,
    join,
    normed_or_centred,
    product,
    product_of_rows,
    sum_of_rows,
)
from weightless.program.registers import T


@njit(**KERNEL)
def norm_matvec(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    transposed = c[9] != 0
    n_in, n_out = (c[2], c[3]) if transposed else (c[3], c[13])
    h = scratch[:n_in]
    normed_or_centred(W, c[6], c[10], loaded(S, c[7], n_in), n_in, f[0], h)
    y = stored(S, c[8] + 4 * c[12], n_out)
    if transposed:
        sum_of_rows(W, c, h, scratch[n_in : n_in + n_out], y)
    else:
        product_of_rows(W, c, c[0] + c[12] * c[1], n_out, h, y)
    if c[11] >= 0:
        add_bias(W, c[11] + 4 * c[12], n_out, y)
    if f[1] > 0.0:
        for j in range(n_out):
            y[j] = f[1] * math.tanh(np.float64(y[j]) / f[1])


@njit(**KERNEL)
def rope_append(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    cache, stride, width, form, n_heads, n_kv, d_head, qk_norm = c[0], c[1], c[3], c[4], c[7], c[8], c[9], c[10]
    rotary, q_norm, k_norm, q_gain = c[11], c[12], c[13], c[14]
    n_q = n_heads * d_head
    asking = n_heads if c[16] != 0 else 0
    given = loaded(S, c[6] + 4 * n_q, width)
    kv = scratch[:width]  # k is rotated in scratch: only the cache row keeps it
    for j in range(width):
        kv[j] = given[j]
    q = scratch[width:width]
    if c[15] != 0:
        q = updated(S, c[6], n_q)
    if qk_norm:
        normalise_heads(q, asking, d_head, f[1])
        normalise_heads(kv, n_kv, d_head, f[1])
        if q_norm >= 0 and asking > 0:
            multiply_heads(q, asking, d_head, loaded(W, q_norm, d_head))
        if k_norm >= 0:
            multiply_heads(kv, n_kv, d_head, loaded(W, k_norm, d_head))
    if rotary == HALF_SPLIT:
        rotate_heads(q, asking, kv, n_kv, d_head, R[T] - 1, f[0], 1, d_head // 2, f[2:6])
    elif rotary == INTERLEAVED:
        rotate_heads(q, asking, kv, n_kv, d_head, R[T] - 1, f[0], 2, 1, f[2:6])
    if q_gain >= 0 and asking > 0:
        gains = loaded(W, q_gain, n_heads)
        for head in range(asking):
            for j in range(head * d_head, (head + 1) * d_head):
                q[j] *= gains[head]
    at = cache + (R[T] - 1) * stride
    touch_rows(S, at, stride, 1, width, form, WRITE)
    call(c[5], (kv, width, S[:3], at))


@njit(**KERNEL)
def attend(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    cache, stride, width, form, n_heads, n_kv, d_head, window = c[0], c[1], c[3], c[4], c[8], c[9], c[10], c[11]
    q, out = loaded(S, c[6], n_heads * d_head), stored(S, c[7], n_heads * d_head)
    first = max(0, R[T] - window) if window > 0 else 0
    touch_rows(S, cache + first * stride, stride, R[T] - first, width, form, READ)
    call(c[5], (q, n_heads, n_kv, d_head, S[:3], cache, stride, first, R[T], scratch, out))


@njit(**KERNEL)
def matvec_add(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    rows, cols = c[2], c[3]
    out = scratch[:rows]
    product(W, c, loaded(S, c[6], cols), out)
    add_bias(W, c[11], rows, out)
    join(W, updated(S, c[7], rows), out, rows, c[7:11], f)
