"""A packed matrix times a vector whose numbers are rounded to eight bits first, for codes of 1, 2, 4 and 8 bits.

    out[i] = sum_b s_x[b] sum_(groups g in b) s_w[i, g] sum_j (u[i, j] - m) a[j]

`ops/integer_activations.py` says what a and s_x are (the readable twin, and the oracle of these loops).  They are made
once per product and laid out in the order in which the bytes of words meet them; then rows go four at a time, as in
`numba/packed.py`, whose shelf, scales and runs of rows these are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from weightless.base.compiled import njit
from weightless.base.format_names import LEVELS, has_integer_product, parse_format
from weightless.kernels.codes import code_bits
from weightless.kernels.numba.code_words import span_columns
from weightless.kernels.numba.integer_words import (
    add_integers,
    arrange,
    arrange_halves,
    lift,
    move_byte,
    put_rounded,
)
from weightless.kernels.numba.lanes import (
    N_LANES,
    filled,
    larger,
    largest_lane,
    load_f32_part,
    number_at,
    put,
    scaled,
    shelf,
    sum_four,
    sum_lanes,
    zero_lanes,
)
from weightless.kernels.numba.matvec import fetch_rows, runs
from weightless.kernels.numba.memory import n_words as words_of_row
from weightless.kernels.numba.packed import ORDERED_KERNEL, SCALES, STRETCH, keep_sums, lay_rows
from weightless.kernels.numba.words import fetch_far, put_number
from weightless.ops.integer_activations import BLOCK, LEAST

ACTIVATIONS = SCALES + 8
"""Places on the shelf: scales of four rows, room for a chunk in order, the stretch as bytes; then lifts and scales."""
LIFTS = ACTIVATIONS + STRETCH // BLOCK
X_SCALES = LIFTS + STRETCH // BLOCK
LONG, FAR = 512, 12_288
"""Rows of so many bytes are asked for that many bytes ahead, and only into the second cache: codes are used up so fast
that the first one's requests would be the limit.  Shorter rows the processor foresees by itself."""


@njit(**ORDERED_KERNEL)
def _fetch_far(codes, a, b, c, d):  # type: ignore[no-untyped-def]
    """Ask for what four rows will be read at later."""
    fetch_far(codes, a)
    fetch_far(codes, b)
    fetch_far(codes, c)
    fetch_far(codes, d)


@njit(**ORDERED_KERNEL)
def _round_block(x, first, last, byte, room):  # type: ignore[no-untyped-def]
    """Round x[first:first + 64], zeros from `last` on, to bytes of the shelf; returns the scale."""
    p, q = load_f32_part(x, first, min(16, last - first)), load_f32_part(x, first + 16, min(16, last - first - 16))
    r, s = load_f32_part(x, first + 32, min(16, last - first - 32)), load_f32_part(x, first + 48, last - first - 48)
    down = np.float32(-1)
    most = larger(larger(p, scaled(p, down)), larger(q, scaled(q, down)))
    most = larger(most, larger(larger(r, scaled(r, down)), larger(s, scaled(s, down))))
    m = largest_lane(most)
    inverse = np.float32(127) / m if m >= np.float32(LEAST) else np.float32(0)
    put_rounded(room, byte, scaled(p, inverse))
    put_rounded(room, byte + 16, scaled(q, inverse))
    put_rounded(room, byte + 32, scaled(r, inverse))
    put_rounded(room, byte + 48, scaled(s, inverse))
    nothing = (sum_lanes(scaled(p, np.float32(0))) + sum_lanes(scaled(q, np.float32(0)))) + (
        sum_lanes(scaled(r, np.float32(0))) + sum_lanes(scaled(s, np.float32(0)))
    )
    scale = m * np.float32(1 / 127) if m >= np.float32(LEAST) else np.float32(0)
    return scale + nothing  # NaN where any of them is not finite


@njit(**ORDERED_KERNEL)
def _deal_halves(n, place, room):  # type: ignore[no-untyped-def]
    """The end of a row, n < 128 columns, byte by byte to where the halves of bytes meet them; zeros beside."""
    for k in range(2):
        put(room, place + k, zero_lanes())
    for group in range(2):
        size = max(0, min(BLOCK, n - group * BLOCK))
        half = size // 2
        for j in range(size):
            to = j if j < half else 64 + j - half
            move_byte(room, SCALES * 64 + group * BLOCK + j, place * 64 + group * 32 + to)


@njit(**ORDERED_KERNEL)
def _scaled_by_row(sums, apart, room):  # type: ignore[no-untyped-def]
    """Four sums times the only scale of each row."""
    return (
        sums[0] * number_at(room, 0),
        sums[1] * number_at(room, apart),
        sums[2] * number_at(room, 2 * apart),
        sums[3] * number_at(room, 3 * apart),
    )


def _laying(bits: int, levels: int, first_layout: bool) -> Any:
    """lay(x, first, last, k, room): lay out chunk k, which begins at x[first], for codes of this kind."""
    span, nibbles = span_columns(bits), first_layout and bits == 4
    n_parts, n_blocks = 8 // bits, span // BLOCK
    lanes_per_block = N_LANES // n_blocks

    @njit(**ORDERED_KERNEL)
    def lay(x, first, last, k, room):  # type: ignore[no-untyped-def]
        for b in range(n_blocks):
            scale = _round_block(x, first + b * BLOCK, last, (SCALES + b) * 64, room)
            if lanes_per_block == N_LANES:
                put(room, X_SCALES + k, filled(scale))
            else:
                for lane in range(lanes_per_block):
                    put_number(room, (X_SCALES + k) * N_LANES + b * lanes_per_block + lane, scale)
        place = ACTIVATIONS + k * n_parts
        if not nibbles:
            arrange(room, SCALES, place, bits)
        elif last - first >= span:
            arrange_halves(room, SCALES, place)
        else:
            _deal_halves(last - first, place, room)
        lift(room, place, LIFTS + k, bits, levels, first_layout)

    return lay


def _integer_matvec(name: str) -> Any:
    """The product for a storage format."""
    parts = parse_format(name)
    bits, levels, group, eight = code_bits(parts.base), LEVELS[parts.base], parts.group, parts.scale_bits == 8
    first_layout, span, n_parts = name in ("int8", "int4"), span_columns(bits), 8 // bits
    lay = _laying(bits, levels, first_layout)
    per_group = group if group else STRETCH
    close = not group or 4 % max(1, span // group) == 0  # whether the chunks of four groups read no scale but theirs
    shape, last_shape = (bits, levels, group, first_layout, True), (bits, levels, group, first_layout, False)

    @njit(**ORDERED_KERNEL)
    def matvec(memory, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
        codes, room, is_long = memory[0], shelf(), stride >= LONG
        size, second, third, fourth = runs(n_rows)
        in_b, in_c, in_d = second * stride, third * stride, fourth * stride
        n_bytes = cols * bits // 8 if first_layout else 4 * words_of_row(cols, bits)
        scale_at = offset + n_bytes + (n_bytes & 1)
        for first in range(0, cols, STRETCH):
            last = min(first + STRETCH, cols)
            n_whole = (last - first) // span
            rest = last - first - n_whole * span
            for k in range(n_whole + (rest > 0)):
                lay(x, first + k * span, last, k, room)
            n_groups = (last - first + per_group - 1) // per_group if group else 1
            first_group = first // per_group if group else 0
            start = offset + first * bits // 8
            for i in range(size):
                a, at, below = start + i * stride, scale_at + i * stride, (size - 1 - i) * stride
                ahead, next_ = min(FAR, below), min(stride, below) + 2 * first_group
                apart = lay_rows(memory, at, at + in_b, at + in_c, at + in_d, first_group, n_groups, eight, close, room)
                fetch_rows(codes, at + next_, at + in_b + next_, at + in_c + next_, at + in_d + next_)
                sums = (zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes())
                for k in range(n_whole):
                    if is_long:
                        b = a + ahead
                        _fetch_far(codes, b, b + in_b, b + in_c, b + in_d)
                    four = (a, a + in_b, a + in_c, a + in_d)
                    places, scale = _places(k, n_parts), k * span // group if group else 0
                    sums = add_integers(codes, four, N_LANES, room, places, scale, apart, sums, shape)
                    a += 64
                if rest > 0:
                    four, left = (a, a + in_b, a + in_c, a + in_d), (rest * bits + 31) // 32
                    places, scale = _places(n_whole, n_parts), n_whole * span // group if group else 0
                    sums = add_integers(codes, four, left, room, places, scale, apart, sums, last_shape)
                found = sum_four(sums[0], sums[1], sums[2], sums[3])
                if not group:
                    found = _scaled_by_row(found, apart, room)
                keep_sums(out, found, i, second, third, fourth, first > 0)

    return matvec


@njit(**ORDERED_KERNEL)
def _places(k, n_parts):  # type: ignore[no-untyped-def]
    """Where chunk k lies on the shelf: its activations, its lift, the scales of its activations."""
    return ACTIVATIONS + k * n_parts, LIFTS + k, X_SCALES + k


class IntegerKernels(Mapping[str, Any]):
    """Products with rounded activations by storage format, made when first asked for; KeyError where there is none."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            parts = parse_format(name)
            if parts.rule or not has_integer_product(name):
                raise KeyError(name)
            self._made[name] = _integer_matvec(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


INTEGER_MATVEC = IntegerKernels()
"""out[i] = sum_j W[i, j] x'[j] by format: (memory as in `numba.rows.views`, offset, stride, n_rows, cols, x, out)."""
