"""Products of a packed matrix with a float32 vector: what decoding spends its time on.

    out[i] = sum_j W[i, j] x[j]

W is `n_rows` rows of `stride` bytes from byte `offset` on, in a layout of `quant.formats` (the readable twin, and the
oracle of these loops).  Codes of int8 and int4 are multiplied in float32 and summed per group of 64; the group's scale
is applied once, an int4 code's offset of 8 is taken from the sum of x.

Four rows are multiplied at a time, one from each quarter of the matrix: x is loaded once for the four, and four streams
from memory are faster than one (12.3 against 10.9 GB/s from beyond the caches, one core of a Cascade Lake).  Where the
rows are no multiple of four, the last one is computed again instead of handled apart.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from weightless.kernels.numba_lanes import (
    N_LANES,
    add_product,
    add_scaled,
    load_bf16,
    load_bf16_part,
    load_f16,
    load_f16_part,
    load_f32,
    load_f32_part,
    load_high,
    load_high_part,
    load_int8,
    load_int8_part,
    load_low,
    load_low_part,
    number_at,
    put,
    shelf,
    sum_four,
    zero_lanes,
)
from weightless.kernels.codes import BF16, F16, F32, INT8
from weightless.kernels.numba_rows import FAST, GROUP, KERNEL

_FAST_KERNEL = {**KERNEL, "fastmath": FAST}


@njit(**KERNEL)
def matvec(memory, offset, stride, n_rows, cols, form, x, out):  # type: ignore[no-untyped-def]
    """out[i] = sum_j W[i, j] x[j] for a packed matrix W; `memory` as in `numba_rows.views`."""
    bytes_, floats, halves = memory
    if form == F32:
        _matvec_f32(floats, offset // 4, stride // 4, n_rows, cols, x, out)
    elif form == BF16:
        _matvec_bf16(halves, offset // 2, stride // 2, n_rows, cols, x, out)
    elif form == F16:
        _matvec_f16(halves, offset // 2, stride // 2, n_rows, cols, x, out)
    elif form == INT8:
        _matvec_int8(bytes_, halves, offset, stride, n_rows, cols, x, out)
    else:
        _matvec_int4(bytes_, halves, offset, stride, n_rows, cols, x, out)


@njit(inline="always", **KERNEL)
def _four_rows(i, n_rows):  # type: ignore[no-untyped-def]
    """Row i of every quarter of the matrix."""
    quarter, last = (n_rows + 3) // 4, n_rows - 1
    return i, min(i + quarter, last), min(i + 2 * quarter, last), min(i + 3 * quarter, last)


@njit(**_FAST_KERNEL)
def _matvec_f32(stored, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
    whole = cols // N_LANES * N_LANES
    n = cols - whole
    for i in range((n_rows + 3) // 4):
        first, second, third, fourth = _four_rows(i, n_rows)
        a, b, c, d = (
            offset + first * stride,
            offset + second * stride,
            offset + third * stride,
            offset + fourth * stride,
        )
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        for j in range(0, whole, N_LANES):
            part = load_f32(x, j)
            p = add_product(load_f32(stored, a + j), part, p)
            q = add_product(load_f32(stored, b + j), part, q)
            r = add_product(load_f32(stored, c + j), part, r)
            s = add_product(load_f32(stored, d + j), part, s)
        if n > 0:
            part = load_f32_part(x, whole, n)
            p = add_product(load_f32_part(stored, a + whole, n), part, p)
            q = add_product(load_f32_part(stored, b + whole, n), part, q)
            r = add_product(load_f32_part(stored, c + whole, n), part, r)
            s = add_product(load_f32_part(stored, d + whole, n), part, s)
        out[first], out[second], out[third], out[fourth] = sum_four(p, q, r, s)


@njit(**_FAST_KERNEL)
def _matvec_bf16(stored, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
    whole = cols // N_LANES * N_LANES
    n = cols - whole
    for i in range((n_rows + 3) // 4):
        first, second, third, fourth = _four_rows(i, n_rows)
        a, b, c, d = (
            offset + first * stride,
            offset + second * stride,
            offset + third * stride,
            offset + fourth * stride,
        )
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        for j in range(0, whole, N_LANES):
            part = load_f32(x, j)
            p = add_product(load_bf16(stored, a + j), part, p)
            q = add_product(load_bf16(stored, b + j), part, q)
            r = add_product(load_bf16(stored, c + j), part, r)
            s = add_product(load_bf16(stored, d + j), part, s)
        if n > 0:
            part = load_f32_part(x, whole, n)
            p = add_product(load_bf16_part(stored, a + whole, n), part, p)
            q = add_product(load_bf16_part(stored, b + whole, n), part, q)
            r = add_product(load_bf16_part(stored, c + whole, n), part, r)
            s = add_product(load_bf16_part(stored, d + whole, n), part, s)
        out[first], out[second], out[third], out[fourth] = sum_four(p, q, r, s)


@njit(**_FAST_KERNEL)
def _matvec_f16(stored, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
    for i in range((n_rows + 3) // 4):
        first, second, third, fourth = _four_rows(i, n_rows)
        a, b, c, d = (
            offset + first * stride,
            offset + second * stride,
            offset + third * stride,
            offset + fourth * stride,
        )
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        for j in range(0, cols, N_LANES):
            n = min(N_LANES, cols - j)
            part = load_f32_part(x, j, n)
            p = add_product(load_f16_part(stored, a + j, n), part, p)
            q = add_product(load_f16_part(stored, b + j, n), part, q)
            r = add_product(load_f16_part(stored, c + j, n), part, r)
            s = add_product(load_f16_part(stored, d + j, n), part, s)
        out[first], out[second], out[third], out[fourth] = sum_four(p, q, r, s)


@njit(**_FAST_KERNEL)
def _lay_scales(halves, a, b, c, d, n, room):  # type: ignore[no-untyped-def]
    """n scales of each of four rows, which begin at these bytes, onto the shelf."""
    put(room, 0, load_f16_part(halves, a // 2, n))
    put(room, 1, load_f16_part(halves, b // 2, n))
    put(room, 2, load_f16_part(halves, c // 2, n))
    put(room, 3, load_f16_part(halves, d // 2, n))


@njit(**_FAST_KERNEL)
def _matvec_int8(codes, halves, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
    room, n_whole, n_groups, scale_at = shelf(), cols // GROUP, (cols + GROUP - 1) // GROUP, cols + (cols & 1)
    for i in range((n_rows + 3) // 4):
        first, second, third, fourth = _four_rows(i, n_rows)
        a, b, c, d = (
            offset + first * stride,
            offset + second * stride,
            offset + third * stride,
            offset + fourth * stride,
        )
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        for block in range(0, n_groups, N_LANES):
            at = scale_at + 2 * block
            _lay_scales(halves, a + at, b + at, c + at, d + at, min(N_LANES, n_groups - block), room)
            for group in range(min(N_LANES, n_whole - block)):
                j = (block + group) * GROUP
                e, f, g, h = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
                for k in range(j, j + GROUP, N_LANES):
                    part = load_f32(x, k)
                    e = add_product(load_int8(codes, a + k), part, e)
                    f = add_product(load_int8(codes, b + k), part, f)
                    g = add_product(load_int8(codes, c + k), part, g)
                    h = add_product(load_int8(codes, d + k), part, h)
                p = add_scaled(e, number_at(room, group), p)
                q = add_scaled(f, number_at(room, group + N_LANES), q)
                r = add_scaled(g, number_at(room, group + 2 * N_LANES), r)
                s = add_scaled(h, number_at(room, group + 3 * N_LANES), s)
        if n_whole < n_groups:
            e, f, g, h = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
            for k in range(n_whole * GROUP, cols, N_LANES):
                n = min(N_LANES, cols - k)
                part = load_f32_part(x, k, n)
                e = add_product(load_int8_part(codes, a + k, n), part, e)
                f = add_product(load_int8_part(codes, b + k, n), part, f)
                g = add_product(load_int8_part(codes, c + k, n), part, g)
                h = add_product(load_int8_part(codes, d + k, n), part, h)
            group = n_whole % N_LANES
            p = add_scaled(e, number_at(room, group), p)
            q = add_scaled(f, number_at(room, group + N_LANES), q)
            r = add_scaled(g, number_at(room, group + 2 * N_LANES), r)
            s = add_scaled(h, number_at(room, group + 3 * N_LANES), s)
        out[first], out[second], out[third], out[fourth] = sum_four(p, q, r, s)


@njit(**_FAST_KERNEL)
def _matvec_int4(codes, halves, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
    room, n_whole, n_groups = shelf(), cols // GROUP, (cols + GROUP - 1) // GROUP
    scale_at, minus_8 = (cols // 2 + 1) // 2 * 2, np.float32(-8)
    for i in range((n_rows + 3) // 4):
        first, second, third, fourth = _four_rows(i, n_rows)
        a, b, c, d = (
            offset + first * stride,
            offset + second * stride,
            offset + third * stride,
            offset + fourth * stride,
        )
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        for block in range(0, n_groups, N_LANES):
            at = scale_at + 2 * block
            _lay_scales(halves, a + at, b + at, c + at, d + at, min(N_LANES, n_groups - block), room)
            for group in range(min(N_LANES, n_whole - block)):
                j = (block + group) * GROUP
                lifted = zero_lanes()
                for k in range(j, j + GROUP, N_LANES):
                    lifted = add_scaled(load_f32(x, k), minus_8, lifted)
                e, f, g, h = lifted, lifted, lifted, lifted
                for k in range(0, GROUP // 2, N_LANES):
                    low, high, at = load_f32(x, j + k), load_f32(x, j + k + GROUP // 2), j // 2 + k
                    e = add_product(load_high(codes, a + at), high, add_product(load_low(codes, a + at), low, e))
                    f = add_product(load_high(codes, b + at), high, add_product(load_low(codes, b + at), low, f))
                    g = add_product(load_high(codes, c + at), high, add_product(load_low(codes, c + at), low, g))
                    h = add_product(load_high(codes, d + at), high, add_product(load_low(codes, d + at), low, h))
                p = add_scaled(e, number_at(room, group), p)
                q = add_scaled(f, number_at(room, group + N_LANES), q)
                r = add_scaled(g, number_at(room, group + 2 * N_LANES), r)
                s = add_scaled(h, number_at(room, group + 3 * N_LANES), s)
        if n_whole < n_groups:
            j, half = n_whole * GROUP, (cols - n_whole * GROUP) // 2
            lifted = zero_lanes()
            for k in range(j, cols, N_LANES):
                lifted = add_scaled(load_f32_part(x, k, min(N_LANES, cols - k)), minus_8, lifted)
            e, f, g, h = lifted, lifted, lifted, lifted
            for k in range(0, half, N_LANES):
                n, at = min(N_LANES, half - k), j // 2 + k
                low, high = load_f32_part(x, j + k, n), load_f32_part(x, j + half + k, n)
                e = _add_int4(codes, a + at, n, low, high, e)
                f = _add_int4(codes, b + at, n, low, high, f)
                g = _add_int4(codes, c + at, n, low, high, g)
                h = _add_int4(codes, d + at, n, low, high, h)
            group = n_whole % N_LANES
            p = add_scaled(e, number_at(room, group), p)
            q = add_scaled(f, number_at(room, group + N_LANES), q)
            r = add_scaled(g, number_at(room, group + 2 * N_LANES), r)
            s = add_scaled(h, number_at(room, group + 3 * N_LANES), s)
        out[first], out[second], out[third], out[fourth] = sum_four(p, q, r, s)


@njit(**_FAST_KERNEL)
def _add_int4(codes, at, n, low, high, z):  # type: ignore[no-untyped-def]
    return add_product(load_high_part(codes, at, n), high, add_product(load_low_part(codes, at, n), low, z))
