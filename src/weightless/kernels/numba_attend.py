"""Attention of one new position over a cache of stored rows, with a running maximum (Milakov & Gimelshein 2018).

    out_h = sum_i softmax_i(q_h k_i^T / sqrt(d_head)) v_i        for every query head h, its key/value head shared

Rows [k | v] are taken in blocks of at most 16: decoded once for all heads (f32 rows are read where they lie), scored
four at a time, and mixed into the output with one rescaling per block.  The readable twin is `ops.attention`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from weightless.kernels.codes import F32
from weightless.kernels.numba_lanes import (
    N_LANES,
    add_product,
    add_scaled,
    load_f32,
    load_f32_part,
    store,
    store_part,
    sum_four,
    zero_lanes,
)
from weightless.kernels.numba_layers import exp
from weightless.kernels.numba_rows import FAST, KERNEL, decode_row

BLOCK = 16
DECODED_FLOATS = 4096  # 16 KiB: half of a first-level cache


@njit(**KERNEL)
def attend(q, n_heads, n_kv_heads, d_head, cache, offset, stride, form, first, t, scratch, out):  # type: ignore[no-untyped-def]
    """softmax(q k^T / sqrt(d_head)) v over cache rows first..t-1.

    `scratch` holds 2 n_heads + 16 floats and at least one decoded row of 2 n_kv_heads d_head.
    """
    width, shared, inv = 2 * n_kv_heads * d_head, n_heads // n_kv_heads, np.float32(1.0 / math.sqrt(d_head))
    tops, totals = scratch[:n_heads], scratch[n_heads : 2 * n_heads]
    weights, decoded = scratch[2 * n_heads : 2 * n_heads + BLOCK], scratch[2 * n_heads + BLOCK :]
    size = BLOCK if form == F32 else max(1, min(BLOCK, min(DECODED_FLOATS, len(decoded)) // width))
    tops[:], totals[:], out[:] = np.float32(-np.inf), np.float32(0), np.float32(0)
    for block in range(first, t, size):
        n, rows, at, step = min(size, t - block), cache[1], (offset + block * stride) // 4, stride // 4
        if form != F32:
            rows, at, step = decoded, 0, width
            for i in range(n):
                decode_row(cache, offset + (block + i) * stride, width, form, decoded[i * width : (i + 1) * width])
        for head in range(n_heads):
            k_at, v_at = at + head // shared * d_head, at + (n_kv_heads + head // shared) * d_head
            _score(q[head * d_head : (head + 1) * d_head], rows, k_at, step, n, d_head, weights)
            shrink = _weigh(weights, n, inv, head, tops, totals)
            _mix(weights, rows, v_at, step, n, d_head, shrink, out[head * d_head : (head + 1) * d_head])
    for head in range(n_heads):
        scale = np.float32(1) / totals[head]
        for j in range(head * d_head, (head + 1) * d_head):
            out[j] *= scale


@njit(fastmath=FAST, **KERNEL)
def _score(query, rows, at, step, n, d_head, scores):  # type: ignore[no-untyped-def]
    """scores[i] = query . rows[at + i step : + d_head] for n rows, four at a time."""
    whole = d_head // N_LANES * N_LANES
    rest = d_head - whole
    for i in range(0, n, 4):
        a, b = at + i * step, at + min(i + 1, n - 1) * step
        c, d = at + min(i + 2, n - 1) * step, at + min(i + 3, n - 1) * step
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        for j in range(0, whole, N_LANES):
            part = load_f32(query, j)
            p, q = add_product(load_f32(rows, a + j), part, p), add_product(load_f32(rows, b + j), part, q)
            r, s = add_product(load_f32(rows, c + j), part, r), add_product(load_f32(rows, d + j), part, s)
        if rest > 0:
            part = load_f32_part(query, whole, rest)
            p = add_product(load_f32_part(rows, a + whole, rest), part, p)
            q = add_product(load_f32_part(rows, b + whole, rest), part, q)
            r = add_product(load_f32_part(rows, c + whole, rest), part, r)
            s = add_product(load_f32_part(rows, d + whole, rest), part, s)
        scores[i], scores[i + 1], scores[i + 2], scores[i + 3] = sum_four(p, q, r, s)


@njit(fastmath=FAST, **KERNEL)
def _weigh(scores, n, inv, head, tops, totals):  # type: ignore[no-untyped-def]
    """Scores become weights exp(score - maximum so far); returns what earlier weights shrink by."""
    before = top = tops[head]
    for i in range(n):
        top = scores[i] * inv if scores[i] * inv > top else top
    added = np.float32(0)
    for i in range(n):
        scores[i] = exp(scores[i] * inv - top)
        added += scores[i]
    shrink = exp(before - top)
    tops[head], totals[head] = top, totals[head] * shrink + added
    return shrink


@njit(fastmath=FAST, **KERNEL)
def _mix(weights, rows, at, step, n, d_head, shrink, out):  # type: ignore[no-untyped-def]
    """out = out * shrink + sum_i weights[i] rows[at + i step : + d_head]."""
    whole = d_head // N_LANES * N_LANES
    for j in range(0, whole, N_LANES):
        mixed = add_scaled(load_f32(out, j), shrink, zero_lanes())
        for i in range(n):
            mixed = add_scaled(load_f32(rows, at + i * step + j), weights[i], mixed)
        store(out, j, mixed)
    if whole < d_head:
        rest = d_head - whole
        mixed = add_scaled(load_f32_part(out, whole, rest), shrink, zero_lanes())
        for i in range(n):
            mixed = add_scaled(load_f32_part(rows, at + i * step + whole, rest), weights[i], mixed)
        store_part(out, whole, rest, mixed)
