"""Attention of one new position over a cache of stored rows, with a running maximum (Milakov & Gimelshein 2018).

    out_h = sum_i softmax_i(q_h k_i^T / sqrt(d_head)) v_i        for every query head h, its key/value head shared

Rows [k | v] are taken in blocks of at most 16, scored four at a time, and mixed into the output with one rescaling per
block.  f32 and bf16 are read where they lie.  So are int8 rows whose heads are whole groups of 64: a group's scale
multiplies its sum of codes, or the weight of its row; others are decoded once for all heads.  The readable twin is
`ops.attention`.
"""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.lanes import (
    N_LANES,
    add_product,
    add_scaled,
    load_f16_part,
    load_f32,
    load_f32_part,
    load_int8,
    load_stored,
    load_stored_part,
    number_at,
    put,
    scaled,
    shelf,
    store,
    store_part,
    sum_four,
    zero_lanes,
)
from weightless.kernels.numba.layers import exp
from weightless.kernels.numba.rows import FAST, GROUP, KERNEL, decode_int8

BLOCK = 16
DECODED_FLOATS = 4096  # 16 KiB: half of a first-level cache


@njit(**KERNEL)
def attend_f32(q, n_heads, n_kv_heads, d_head, cache, offset, stride, first, t, scratch, out):  # type: ignore[no-untyped-def]
    """softmax(q k^T / sqrt(d_head)) v over cache rows first..t-1 of f32.

    `scratch` holds 2 n_heads + 16 floats and at least one decoded row of 2 n_kv_heads d_head.
    """
    _attend_stored(q, n_heads, n_kv_heads, d_head, cache[1], offset // 4, stride // 4, first, t, scratch, out)


@njit(**KERNEL)
def attend_bf16(q, n_heads, n_kv_heads, d_head, cache, offset, stride, first, t, scratch, out):  # type: ignore[no-untyped-def]
    """The same over rows of bf16."""
    _attend_stored(q, n_heads, n_kv_heads, d_head, cache[2], offset // 2, stride // 2, first, t, scratch, out)


@njit(**KERNEL)
def _attend_stored(q, n_heads, n_kv_heads, d_head, rows, offset, stride, first, t, scratch, out):  # type: ignore[no-untyped-def]
    """Over rows of numbers that are read where they lie."""
    inv = np.float32(1.0 / math.sqrt(d_head))
    tops, totals, weights = (
        scratch[:n_heads],
        scratch[n_heads : 2 * n_heads],
        scratch[2 * n_heads : 2 * n_heads + BLOCK],
    )
    tops[:], totals[:], out[:] = np.float32(-np.inf), np.float32(0), np.float32(0)
    for block in range(first, t, BLOCK):
        n, at = min(BLOCK, t - block), offset + block * stride
        _block_of_rows(q, n_heads, n_kv_heads, d_head, rows, at, stride, n, inv, weights, tops, totals, out)
    _divide(totals, n_heads, d_head, out)


@njit(**KERNEL)
def attend_int8(q, n_heads, n_kv_heads, d_head, cache, offset, stride, first, t, scratch, out):  # type: ignore[no-untyped-def]
    """The same over rows of int8: as codes, where the heads are whole groups, else decoded."""
    width, inv = 2 * n_kv_heads * d_head, np.float32(1.0 / math.sqrt(d_head))
    tops, totals = scratch[:n_heads], scratch[n_heads : 2 * n_heads]
    weights, decoded = scratch[2 * n_heads : 2 * n_heads + BLOCK], scratch[2 * n_heads + BLOCK :]
    as_codes = d_head % GROUP == 0 and width <= N_LANES * GROUP
    size = BLOCK if as_codes else max(1, min(BLOCK, min(DECODED_FLOATS, len(decoded)) // width))
    tops[:], totals[:], out[:] = np.float32(-np.inf), np.float32(0), np.float32(0)
    for block in range(first, t, size):
        n, at = min(size, t - block), offset + block * stride
        if as_codes:
            _block_of_codes(q, n_heads, n_kv_heads, d_head, cache, at, stride, n, inv, weights, tops, totals, out)
        else:
            for i in range(n):
                decode_int8(cache, at + i * stride, width, decoded[i * width : (i + 1) * width])
            _block_of_rows(q, n_heads, n_kv_heads, d_head, decoded, 0, width, n, inv, weights, tops, totals, out)
    _divide(totals, n_heads, d_head, out)


@njit(**KERNEL)
def _divide(totals, n_heads, d_head, out):  # type: ignore[no-untyped-def]
    """Weighted sums become means."""
    for head in range(n_heads):
        scale = np.float32(1) / totals[head]
        for j in range(head * d_head, (head + 1) * d_head):
            out[j] *= scale


@njit(**KERNEL)
def _block_of_rows(q, n_heads, n_kv_heads, d_head, rows, at, step, n, inv, weights, tops, totals, out):  # type: ignore[no-untyped-def]
    """Bring maxima, sums and outputs of all heads up to date with n rows of float32 or bf16."""
    shared = n_heads // n_kv_heads
    for head in range(n_heads):
        k_at, v_at = at + head // shared * d_head, at + (n_kv_heads + head // shared) * d_head
        _score(q[head * d_head : (head + 1) * d_head], rows, k_at, step, n, d_head, weights)
        shrink = _weigh(weights, n, inv, head, tops, totals)
        _mix(weights, rows, v_at, step, n, d_head, shrink, out[head * d_head : (head + 1) * d_head])


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
            p, q = add_product(load_stored(rows, a + j), part, p), add_product(load_stored(rows, b + j), part, q)
            r, s = add_product(load_stored(rows, c + j), part, r), add_product(load_stored(rows, d + j), part, s)
        if rest > 0:
            part = load_f32_part(query, whole, rest)
            p = add_product(load_stored_part(rows, a + whole, rest), part, p)
            q = add_product(load_stored_part(rows, b + whole, rest), part, q)
            r = add_product(load_stored_part(rows, c + whole, rest), part, r)
            s = add_product(load_stored_part(rows, d + whole, rest), part, s)
        scores[i], scores[i + 1], scores[i + 2], scores[i + 3] = sum_four(p, q, r, s)


@njit(**KERNEL)
def _block_of_codes(q, n_heads, n_kv_heads, d_head, cache, at, step, n, inv, weights, tops, totals, out):  # type: ignore[no-untyped-def]
    """The same with n int8 rows of at most sixteen groups, whose scales are laid on the shelf."""
    room, width, shared, codes = shelf(), 2 * n_kv_heads * d_head, n_heads // n_kv_heads, cache[0]
    for i in range(n):
        put(room, i, load_f16_part(cache[2], (at + i * step + width) // 2, width // GROUP))
    for head in range(n_heads):
        k, v, first = head // shared * d_head, (n_kv_heads + head // shared) * d_head, head * d_head
        _score_codes(q[first : first + d_head], codes, at + k, step, n, d_head, room, k // GROUP, weights)
        shrink = _weigh(weights, n, inv, head, tops, totals)
        _mix_codes(weights, codes, at + v, step, n, d_head, room, v // GROUP, shrink, out[first : first + d_head])


@njit(fastmath=FAST, **KERNEL)
def _score_codes(query, codes, at, step, n, d_head, room, group, scores):  # type: ignore[no-untyped-def]
    """`_score` of rows of codes; row i's scales lie in place i of the shelf, those of this head from `group` on."""
    for i in range(0, n, 4):
        k, m, o = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
        a, b, c, d = at + i * step, at + k * step, at + m * step, at + o * step
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        for first in range(0, d_head, GROUP):
            e, f, g, h = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
            for j in range(first, first + GROUP, N_LANES):
                part = load_f32(query, j)
                e, f = add_product(load_int8(codes, a + j), part, e), add_product(load_int8(codes, b + j), part, f)
                g, h = add_product(load_int8(codes, c + j), part, g), add_product(load_int8(codes, d + j), part, h)
            place = group + first // GROUP
            p = add_scaled(e, number_at(room, i * N_LANES + place), p)
            q = add_scaled(f, number_at(room, k * N_LANES + place), q)
            r = add_scaled(g, number_at(room, m * N_LANES + place), r)
            s = add_scaled(h, number_at(room, o * N_LANES + place), s)
        scores[i], scores[i + 1], scores[i + 2], scores[i + 3] = sum_four(p, q, r, s)


@njit(fastmath=FAST, **KERNEL)
def _mix_codes(weights, codes, at, step, n, d_head, room, group, shrink, out):  # type: ignore[no-untyped-def]
    """`_mix` of rows of codes."""
    for j in range(0, d_head, GROUP):
        p, q = scaled(load_f32(out, j), shrink), scaled(load_f32(out, j + N_LANES), shrink)
        r, s = scaled(load_f32(out, j + 2 * N_LANES), shrink), scaled(load_f32(out, j + 3 * N_LANES), shrink)
        for i in range(n):
            a, weight = at + i * step + j, weights[i] * number_at(room, i * N_LANES + group + j // GROUP)
            p, q = add_scaled(load_int8(codes, a), weight, p), add_scaled(load_int8(codes, a + N_LANES), weight, q)
            r = add_scaled(load_int8(codes, a + 2 * N_LANES), weight, r)
            s = add_scaled(load_int8(codes, a + 3 * N_LANES), weight, s)
        store(out, j, p)
        store(out, j + N_LANES, q)
        store(out, j + 2 * N_LANES, r)
        store(out, j + 3 * N_LANES, s)


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
    whole, fours = d_head // N_LANES * N_LANES, d_head // GROUP * GROUP
    for j in range(0, fours, GROUP):  # four sums: one would wait for itself at every row
        p, q = scaled(load_f32(out, j), shrink), scaled(load_f32(out, j + N_LANES), shrink)
        r, s = scaled(load_f32(out, j + 2 * N_LANES), shrink), scaled(load_f32(out, j + 3 * N_LANES), shrink)
        for i in range(n):
            a, weight = at + i * step + j, weights[i]
            p, q = add_scaled(load_stored(rows, a), weight, p), add_scaled(load_stored(rows, a + N_LANES), weight, q)
            r = add_scaled(load_stored(rows, a + 2 * N_LANES), weight, r)
            s = add_scaled(load_stored(rows, a + 3 * N_LANES), weight, s)
        store(out, j, p)
        store(out, j + N_LANES, q)
        store(out, j + 2 * N_LANES, r)
        store(out, j + 3 * N_LANES, s)
    for j in range(fours, whole, N_LANES):
        mixed = add_scaled(load_f32(out, j), shrink, zero_lanes())
        for i in range(n):
            mixed = add_scaled(load_stored(rows, at + i * step + j), weights[i], mixed)
        store(out, j, mixed)
    if whole < d_head:
        rest = d_head - whole
        mixed = add_scaled(load_f32_part(out, whole, rest), shrink, zero_lanes())
        for i in range(n):
            mixed = add_scaled(load_stored_part(rows, at + i * step + whole, rest), weights[i], mixed)
        store_part(out, whole, rest, mixed)


ATTEND = {"f32": attend_f32, "bf16": attend_bf16, "int8": attend_int8}
"""By format of the cache: (q, n_heads, n_kv_heads, d_head, cache, offset, stride, first, t, scratch, out)."""
