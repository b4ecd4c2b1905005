"""Products of a packed matrix with a float32 vector: what decoding spends its time on.

    out[i] = sum_j W[i, j] x[j]

W is `n_rows` rows of `stride` bytes from byte `offset` on, in a layout of `quant.formats` (the readable twin, and the
oracle of these loops).  Codes of int8 and int4 are multiplied in float32 and summed per group of 64; the group's scale
is applied once, an int4 code's offset of 8 is taken from the sum of x.

Four rows are multiplied at a time, one from each of four runs of rows: x is loaded once for the four, and four streams
from memory are faster than one (12.3 against 10.9 GB/s from beyond the caches, one core of a Cascade Lake).  Where the
rows are no multiple of four, runs overlap by a row, which is computed twice instead of handled apart.

Packed rows take so many instructions per byte that few of them are under way at a time, and scales lie behind their
codes, where no stream leads: lines are asked for AHEAD bytes before their turn, scales a row before (`python
benchmarks/decode.py`, 134 M parameters from beyond the caches, one core of an EPYC: int8 from 104 to 129 tokens per
second, int4 from 149 to 206 with longer passes).  Never beyond the last row: of stacked matrices (experts) the next one
may be none that this token reads, and the page of a line that is asked for is visited.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.lanes import (
    N_LANES,
    add_product,
    add_scaled,
    lanes_at,
    load_bf16_part,
    load_f16_fours,
    load_f16_part,
    load_f32,
    load_f32_part,
    load_int8,
    load_int8_part,
    number_at,
    put,
    scaled,
    shelf,
    sum_four,
    zero_lanes,
)
from weightless.kernels.numba.rows import FAST, GROUP, KERNEL
from weightless.kernels.numba.words import (
    NIBBLES,
    bf16_of,
    deal,
    fetch_ahead,
    load_words,
    load_words_part,
    nibble_sums,
    pair_at,
    put_number,
    split,
)

_FAST_KERNEL = {**KERNEL, "fastmath": FAST}
AHEAD = 2048
STRETCH = (
    64  # groups multiplied in one pass over the rows; wider rows take another, which finds them gone from the cache
)
# Places on the shelf behind four rows of STRETCH scales: eight lanes of int4's x, and one, per pair of groups.
PAIRS, LIFTED = 4 * STRETCH // N_LANES, 4 * STRETCH // N_LANES + NIBBLES * STRETCH // 2


@njit(inline="always", **KERNEL)
def runs(n_rows):  # type: ignore[no-untyped-def]
    """(rows of a run, where the second, third and fourth run begin): together they cover all rows."""
    size = (n_rows + 3) // 4
    rest = n_rows - size
    return size, rest // 3, 2 * rest // 3, rest


@njit(**_FAST_KERNEL)
def matvec_f32(memory, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
    """The product with rows of f32."""
    stored, offset, stride = memory[1], offset // 4, stride // 4
    whole = cols // N_LANES * N_LANES
    n = cols - whole
    size, second, third, fourth = runs(n_rows)
    out_b, out_c, out_d = out[second : second + size], out[third : third + size], out[fourth : fourth + size]
    for i in range(size):
        a = offset + i * stride
        b, c, d = a + second * stride, a + third * stride, a + fourth * stride
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
        out[i], out_b[i], out_c[i], out_d[i] = sum_four(p, q, r, s)


@njit(**_FAST_KERNEL)
def matvec_bf16(memory, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
    """The product with rows of bf16."""
    stored, offset, stride = memory[2], offset // 2, stride // 2
    pairs = cols // (2 * N_LANES) * (2 * N_LANES)
    size, second, third, fourth = runs(n_rows)
    out_b, out_c, out_d = out[second : second + size], out[third : third + size], out[fourth : fourth + size]
    for i in range(size):
        a = offset + i * stride
        b, c, d = a + second * stride, a + third * stride, a + fourth * stride
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        for j in range(0, pairs, 2 * N_LANES):
            even, odd = split(load_f32(x, j), load_f32(x, j + N_LANES))
            low, high = bf16_of(load_words(stored, a + j))
            p = add_product(high, odd, add_product(low, even, p))
            low, high = bf16_of(load_words(stored, b + j))
            q = add_product(high, odd, add_product(low, even, q))
            low, high = bf16_of(load_words(stored, c + j))
            r = add_product(high, odd, add_product(low, even, r))
            low, high = bf16_of(load_words(stored, d + j))
            s = add_product(high, odd, add_product(low, even, s))
        for j in range(pairs, cols, N_LANES):
            n = min(N_LANES, cols - j)
            part = load_f32_part(x, j, n)
            p = add_product(load_bf16_part(stored, a + j, n), part, p)
            q = add_product(load_bf16_part(stored, b + j, n), part, q)
            r = add_product(load_bf16_part(stored, c + j, n), part, r)
            s = add_product(load_bf16_part(stored, d + j, n), part, s)
        out[i], out_b[i], out_c[i], out_d[i] = sum_four(p, q, r, s)


@njit(**_FAST_KERNEL)
def matvec_f16(memory, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
    """The product with rows of f16."""
    stored, offset, stride = memory[2], offset // 2, stride // 2
    size, second, third, fourth = runs(n_rows)
    out_b, out_c, out_d = out[second : second + size], out[third : third + size], out[fourth : fourth + size]
    for i in range(size):
        a = offset + i * stride
        b, c, d = a + second * stride, a + third * stride, a + fourth * stride
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        for j in range(0, cols, N_LANES):
            n = min(N_LANES, cols - j)
            part = load_f32_part(x, j, n)
            p = add_product(load_f16_part(stored, a + j, n), part, p)
            q = add_product(load_f16_part(stored, b + j, n), part, q)
            r = add_product(load_f16_part(stored, c + j, n), part, r)
            s = add_product(load_f16_part(stored, d + j, n), part, s)
        out[i], out_b[i], out_c[i], out_d[i] = sum_four(p, q, r, s)


@njit(**_FAST_KERNEL)
def fetch_rows(codes, a, b, c, d):  # type: ignore[no-untyped-def]
    """Ask for what four rows will be read at soon."""
    fetch_ahead(codes, a)
    fetch_ahead(codes, b)
    fetch_ahead(codes, c)
    fetch_ahead(codes, d)


@njit(**_FAST_KERNEL)
def lay_scales(halves, a, b, c, d, n, close, room):  # type: ignore[no-untyped-def]
    """n scales of each of four rows, which begin at these bytes, onto the shelf; returns how far apart rows are there.

    Zeros lie behind them.  Rows of four groups are common (d_model 256) and short: their scales are converted together,
    with nothing between (`close`), unless who reads them reads on.
    """
    if n == 4 and close:
        put(room, 0, load_f16_fours(halves, a // 2, b // 2, c // 2, d // 2))
        return 4
    places = (n + N_LANES - 1) // N_LANES
    for k in range(places):
        first, size = k * N_LANES, min(N_LANES, n - k * N_LANES)
        put(room, k, load_f16_part(halves, a // 2 + first, size))
        put(room, places + k, load_f16_part(halves, b // 2 + first, size))
        put(room, 2 * places + k, load_f16_part(halves, c // 2 + first, size))
        put(room, 3 * places + k, load_f16_part(halves, d // 2 + first, size))
    return places * N_LANES


@njit(**_FAST_KERNEL)
def matvec_int8(memory, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
    """The product with rows of int8."""
    codes, halves = memory[0], memory[2]
    room, n_whole, n_groups, scale_at = shelf(), cols // GROUP, (cols + GROUP - 1) // GROUP, cols + (cols & 1)
    size, second, third, fourth = runs(n_rows)
    out_b, out_c, out_d = out[second : second + size], out[third : third + size], out[fourth : fourth + size]
    for i in range(size):
        a = offset + i * stride
        b, c, d = a + second * stride, a + third * stride, a + fourth * stride
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        apart, below = N_LANES, (size - 1 - i) * stride
        ahead = min(AHEAD, below)
        for block in range(0, n_groups, N_LANES):
            at = scale_at + 2 * block
            n = min(N_LANES, n_groups - block)
            apart = lay_scales(halves, a + at, b + at, c + at, d + at, n, True, room)
            at += min(stride, below)
            fetch_rows(codes, a + at, b + at, c + at, d + at)  # the next scales: no stream of codes leads there
            for group in range(min(N_LANES, n_whole - block)):
                j = (block + group) * GROUP
                fetch_rows(codes, a + j + ahead, b + j + ahead, c + j + ahead, d + j + ahead)
                e, f, g, h = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
                for k in range(j, j + GROUP, N_LANES):
                    part = load_f32(x, k)
                    e = add_product(load_int8(codes, a + k), part, e)
                    f = add_product(load_int8(codes, b + k), part, f)
                    g = add_product(load_int8(codes, c + k), part, g)
                    h = add_product(load_int8(codes, d + k), part, h)
                p = add_scaled(e, number_at(room, group), p)
                q = add_scaled(f, number_at(room, group + apart), q)
                r = add_scaled(g, number_at(room, group + 2 * apart), r)
                s = add_scaled(h, number_at(room, group + 3 * apart), s)
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
            q = add_scaled(f, number_at(room, group + apart), q)
            r = add_scaled(g, number_at(room, group + 2 * apart), r)
            s = add_scaled(h, number_at(room, group + 3 * apart), s)
        out[i], out_b[i], out_c[i], out_d[i] = sum_four(p, q, r, s)


@njit(**_FAST_KERNEL)
def _deal_pair(x, at, place, room):  # type: ignore[no-untyped-def]
    """x[at:at+128], two groups, to eight places: lane i of the k-th is what nibble k of word i is multiplied by."""
    half, next_ = GROUP // 2, GROUP
    for odd in range(2):  # lower codes of a byte belong to the first half of a group, higher ones to the second
        i = at + odd * half
        j = i + next_
        a, b, c, d = deal(load_f32(x, i), load_f32(x, i + 16), load_f32(x, j), load_f32(x, j + 16))
        put(room, place + odd, a)
        put(room, place + 2 + odd, b)
        put(room, place + 4 + odd, c)
        put(room, place + 6 + odd, d)


@njit(**_FAST_KERNEL)
def _deal_rest(x, at, last, place, room):  # type: ignore[no-untyped-def]
    """The same for x[at:last], less than two groups: zeros beside it."""
    for k in range(NIBBLES):
        put(room, place + k, zero_lanes())
    for first in range(at, last, GROUP):
        half, lane = min(GROUP, last - first) // 2, 0 if first == at else N_LANES // 2
        for byte in range(half):
            low = (place + byte % 4 * 2) * N_LANES + lane + byte // 4
            put_number(room, low, x[first + byte])
            put_number(room, low + N_LANES, x[first + half + byte])


@njit(**_FAST_KERNEL)
def _prepare_int4(x, first, last, room):  # type: ignore[no-untyped-def]
    """Lay out x[first:last] (up to STRETCH groups) for words of eight codes, each code 8 too large (numba/words.py).

    Two groups fill sixteen words.  Per pair of groups eight lanes of x_k 16^-k (but x_7), and -8 times the sum of x_k.
    """
    for at in range(first, last, 2 * GROUP):
        pair = (at - first) // (2 * GROUP)
        place = PAIRS + NIBBLES * pair
        if at + 2 * GROUP <= last:
            _deal_pair(x, at, place, room)
        else:
            _deal_rest(x, at, last, place, room)
        lifted, unit = zero_lanes(), np.float32(1)
        for k in range(NIBBLES):
            y = lanes_at(room, place + k)
            lifted = add_scaled(y, np.float32(-8), lifted)
            put(room, place + k, scaled(y, unit if k < NIBBLES - 1 else np.float32(1)))
            unit *= np.float32(0.0625)
        put(room, LIFTED + pair, lifted)


@njit(**_FAST_KERNEL)
def matvec_int4(memory, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
    """The product with rows of int4."""
    codes, halves = memory[0], memory[2]
    room, block, scale_at = shelf(), STRETCH * GROUP, (cols // 2 + 1) // 2 * 2
    for first in range(0, cols, block):
        last = min(first + block, cols)
        _prepare_int4(x, first, last, room)
        at = scale_at + first // GROUP * 2
        _multiply_int4(
            codes, halves, offset + first // 2, offset + at, stride, n_rows, last - first, first > 0, room, out
        )


@njit(**_FAST_KERNEL)
def _multiply_int4(codes, halves, offset, scales, stride, n_rows, cols, add, room, out):  # type: ignore[no-untyped-def]
    """out = (or +=) the rows of up to STRETCH groups from byte `offset` on, times what is on the shelf."""
    n_pairs, n_groups = cols // (2 * GROUP), (cols + GROUP - 1) // GROUP
    rest = (cols - n_pairs * 2 * GROUP + 7) // 8  # the last word can reach into the scales: its x are zeros
    size, second, third, fourth = runs(n_rows)
    out_b, out_c, out_d = out[second : second + size], out[third : third + size], out[fourth : fourth + size]
    in_b, in_c, in_d = second * stride, third * stride, fourth * stride
    for i in range(size):
        a, at = offset + i * stride, scales + i * stride
        b, c, d = a + in_b, a + in_c, a + in_d
        p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
        apart = lay_scales(halves, at, at + in_b, at + in_c, at + in_d, n_groups, True, room)
        below = (size - 1 - i) * stride
        ahead = min(AHEAD, below)
        at += min(stride, below)
        fetch_rows(codes, at, at + in_b, at + in_c, at + in_d)
        for pair in range(n_pairs):
            j, g, place = 64 * pair, 2 * pair, PAIRS + NIBBLES * pair
            fetch_rows(codes, a + j + ahead, b + j + ahead, c + j + ahead, d + j + ahead)
            e, f = load_words(codes, a + j), load_words(codes, b + j)
            h, k = load_words(codes, c + j), load_words(codes, d + j)
            e, f, h, k = nibble_sums(e, f, h, k, room, place, lanes_at(room, LIFTED + pair))
            p, q = add_product(e, pair_at(room, g), p), add_product(f, pair_at(room, g + apart), q)
            r, s = add_product(h, pair_at(room, g + 2 * apart), r), add_product(k, pair_at(room, g + 3 * apart), s)
        if rest > 0:
            j, g, place = 64 * n_pairs, 2 * n_pairs, PAIRS + NIBBLES * n_pairs
            e, f = load_words_part(codes, a + j, rest), load_words_part(codes, b + j, rest)
            h, k = load_words_part(codes, c + j, rest), load_words_part(codes, d + j, rest)
            e, f, h, k = nibble_sums(e, f, h, k, room, place, lanes_at(room, LIFTED + n_pairs))
            p, q = add_product(e, pair_at(room, g), p), add_product(f, pair_at(room, g + apart), q)
            r, s = add_product(h, pair_at(room, g + 2 * apart), r), add_product(k, pair_at(room, g + 3 * apart), s)
        sums = sum_four(p, q, r, s)
        if add:  # a row of two runs is added to by the second of them only
            out[i] += sums[0] if i < second else np.float32(0)
            out_b[i] += sums[1] if second + i < third else np.float32(0)
            out_c[i] += sums[2] if third + i < fourth else np.float32(0)
            out_d[i] += sums[3]
        else:
            out[i], out_b[i], out_c[i], out_d[i] = sums


MATVEC = {"f32": matvec_f32, "bf16": matvec_bf16, "f16": matvec_f16, "int8": matvec_int8, "int4": matvec_int4}
"""out[i] = sum_j W[i, j] x[j] by format: (memory as in `numba.rows.views`, offset, stride, n_rows, cols, x, out)."""
