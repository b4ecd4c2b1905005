"""Rows of codes in words, or five to a byte: their product with a vector, and a row decoded, for every such format.

    out[i] = sum_g scale[i, g] sum_(j in g) (u[i, j] - m) x[j]

The layouts are those of `quant/words.py` and `quant/formats.py` (the readable twins, and the oracles of these loops).
As in `numba/matvec.py` four rows are multiplied at a time, from four runs of rows; x is laid out once per product, by
the lanes that words lie in, and m is taken from its sums.  A kernel is made for each format when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from weightless.base.compiled import njit
from weightless.base.format_names import LEVELS, FormatName, parse_format
from weightless.kernels.codes import code_bits
from weightless.kernels.numba.code_words import (
    PERIODS,
    add_chunk,
    add_fives,
    add_span,
    lay_span,
    lay_span_of_shelf,
    parts_of_word,
    span_columns,
)
from weightless.kernels.numba.lanes import (
    N_LANES,
    add_scaled,
    load_int8,
    load_int8_part,
    load_uint8_part,
    number_at,
    put,
    scaled,
    shelf,
    sum_four,
    zero_lanes,
)
from weightless.kernels.numba.matvec import AHEAD, fetch_rows, lay_scales, runs
from weightless.kernels.numba.matvec import MATVEC as FIRST_MATVEC
from weightless.kernels.numba.memory import n_words as words_of_row
from weightless.kernels.numba.rows import DECODE_ROW as FIRST_DECODE
from weightless.kernels.numba.rows import KERNEL, half_at
from weightless.kernels.numba.words import put_number

# No reassociation: sums here are ordered by hand, and it would undo the rounding of shares of five digits.
ORDERED_KERNEL: dict[str, Any] = {**KERNEL, "fastmath": {"contract", "nsz"}}
STRETCH = 4096
"""Columns multiplied in one pass over the rows."""
SCALES = 4 * STRETCH // 32 // N_LANES
"""Places on the shelf for the scales of four rows."""


@njit(**ORDERED_KERNEL)
def _lay_bytes(bytes_, units, a, b, c, d, n, room):  # type: ignore[no-untyped-def]
    """The same for scales of 8 bits; `units` = where the fp16 unit of each row lies."""
    places = (n + N_LANES - 1) // N_LANES
    p, q, r, s = (
        half_at(bytes_, units[0]),
        half_at(bytes_, units[1]),
        half_at(bytes_, units[2]),
        half_at(bytes_, units[3]),
    )
    for k in range(places):
        first, size = k * N_LANES, min(N_LANES, n - k * N_LANES)
        put(room, k, scaled(load_uint8_part(bytes_, a + first, size), p))
        put(room, places + k, scaled(load_uint8_part(bytes_, b + first, size), q))
        put(room, 2 * places + k, scaled(load_uint8_part(bytes_, c + first, size), r))
        put(room, 3 * places + k, scaled(load_uint8_part(bytes_, d + first, size), s))
    return places * N_LANES


@njit(**ORDERED_KERNEL)
def lay_rows(memory, a, b, c, d, first, n, eight, close, room):  # type: ignore[no-untyped-def]
    """Scales `first` to `first + n` of four rows, whose scales begin at bytes a … d."""
    if not eight:
        at = 2 * first
        return lay_scales(memory[2], a + at, b + at, c + at, d + at, n, close, room)
    at = 2 + first
    return _lay_bytes(memory[0], (a, b, c, d), a + at, b + at, c + at, d + at, n, room)


@njit(**ORDERED_KERNEL)
def keep_sums(out, sums, i, second, third, fourth, add):  # type: ignore[no-untyped-def]
    """The sums of four rows, or added to what there is: a row of two runs by the later of them only."""
    if add:
        out[i] += sums[0] if i < second else np.float32(0)
        out[second + i] += sums[1] if second + i < third else np.float32(0)
        out[third + i] += sums[2] if third + i < fourth else np.float32(0)
        out[fourth + i] += sums[3]
    else:
        out[i], out[second + i], out[third + i], out[fourth + i] = sums


@njit(**ORDERED_KERNEL)
def _lay_rest(x, first, last, place, n_places, room):  # type: ignore[no-untyped-def]
    """x[first:last], and zeros behind it, to places of the shelf."""
    for k in range(n_places):
        put(room, place + k, zero_lanes())
    for j in range(first, last):
        put_number(room, place * N_LANES + j - first, x[j])


def _words_matvec(bits: int, levels: int, group: int, eight: bool) -> Any:
    """The product for codes of `bits` bits and `levels` values, a scale for `group` columns (0: all)."""
    n_words, span = PERIODS[bits][1], span_columns(bits)
    per_span = len(parts_of_word(bits)) * n_words
    lifted = SCALES + STRETCH // span * per_span
    spare = lifted + STRETCH // span * n_words
    per_group = group if group else STRETCH  # columns per scale of a stretch
    close = not group or 4 % max(1, span // group) == 0  # whether the spans of four groups read no scale but theirs

    @njit(**ORDERED_KERNEL)
    def matvec(memory, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
        codes, room = memory[0], shelf()
        size, second, third, fourth = runs(n_rows)
        in_b, in_c, in_d = second * stride, third * stride, fourth * stride
        scale_at = offset + 4 * words_of_row(cols, bits)
        for first in range(0, cols, STRETCH):
            last = min(first + STRETCH, cols)
            n_whole = (last - first) // span
            for k in range(n_whole):
                lay_span(x, first + k * span, room, (SCALES + k * per_span, lifted + k * n_words), bits, levels)
            left = words_of_row(last - first - n_whole * span, bits)
            if left > 0:
                _lay_rest(x, first + n_whole * span, last, spare, span // N_LANES, room)
                k = n_whole
                lay_span_of_shelf(spare, room, (SCALES + k * per_span, lifted + k * n_words), bits, levels)
            n_groups = (last - first + per_group - 1) // per_group if group else 1
            first_group = first // per_group if group else 0
            start = offset + 4 * words_of_row(first, bits)
            for i in range(size):
                a, at, below = start + i * stride, scale_at + i * stride, (size - 1 - i) * stride
                ahead, next_ = min(AHEAD, below), min(stride, below) + 2 * first_group
                apart = lay_rows(memory, at, at + in_b, at + in_c, at + in_d, first_group, n_groups, eight, close, room)
                fetch_rows(codes, at + next_, at + in_b + next_, at + in_c + next_, at + in_d + next_)
                sums = (zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes())
                for k in range(n_whole):
                    b = a + ahead
                    for j in range(n_words):
                        fetch_rows(codes, b + 64 * j, b + in_b + 64 * j, b + in_c + 64 * j, b + in_d + 64 * j)
                    four, places = (a, a + in_b, a + in_c, a + in_d), (SCALES + k * per_span, lifted + k * n_words)
                    at = k * span // group if group else 0
                    sums = add_span(codes, four, room, places, at, apart, sums, bits, group)
                    a += 64 * n_words
                k = n_whole
                four, places = (a, a + in_b, a + in_c, a + in_d), (SCALES + k * per_span, lifted + k * n_words)
                at = k * span // group if group else 0
                if left > 0:
                    sums = add_chunk(codes, four, left, room, places, at, apart, sums, bits, group, 0)
                if left > N_LANES:
                    sums = add_chunk(codes, four, left, room, places, at, apart, sums, bits, group, 1)
                if left > 2 * N_LANES:
                    sums = add_chunk(codes, four, left, room, places, at, apart, sums, bits, group, 2)
                if left > 3 * N_LANES:
                    sums = add_chunk(codes, four, left, room, places, at, apart, sums, bits, group, 3)
                if left > 4 * N_LANES:
                    sums = add_chunk(codes, four, left, room, places, at, apart, sums, bits, group, 4)
                keep_sums(out, sum_four(sums[0], sums[1], sums[2], sums[3]), i, second, third, fourth, first > 0)

    return matvec


def _fives_matvec(group: int, eight: bool) -> Any:
    """The same for ternary codes, five to a byte; rows of one scale are read in units of 80 columns."""
    unit = group if group else 5 * N_LANES
    chunks = -(-unit // (5 * N_LANES))
    n_bytes = -(-unit // 5)
    stretch = STRETCH // 2 if group else 32 * unit

    @njit(**ORDERED_KERNEL)
    def matvec(memory, offset, stride, n_rows, cols, x, out):  # type: ignore[no-untyped-def]
        codes, room = memory[0], shelf()
        size, second, third, fourth = runs(n_rows)
        in_b, in_c, in_d = second * stride, third * stride, fourth * stride
        whole = cols // unit * n_bytes + (cols % unit + 4) // 5
        scale_at = offset + whole + (whole & 1)
        for first in range(0, cols, stretch):
            last = min(first + stretch, cols)
            n_units = (last - first + unit - 1) // unit
            for k in range(n_units):
                _lay_fives(
                    x, first + k * unit, min(last, first + (k + 1) * unit), SCALES + 5 * chunks * k, chunks, room
                )
            first_group, n_groups = (first // unit, n_units) if group else (0, 1)
            start = offset + first // unit * n_bytes
            for i in range(size):
                a, at, below = start + i * stride, scale_at + i * stride, (size - 1 - i) * stride
                ahead, next_ = min(AHEAD, below), min(stride, below) + 2 * first_group
                apart = lay_rows(memory, at, at + in_b, at + in_c, at + in_d, first_group, n_groups, eight, True, room)
                fetch_rows(codes, at + next_, at + in_b + next_, at + in_c + next_, at + in_d + next_)
                p, q, r, s = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
                for k in range(n_units):
                    fetch_rows(codes, a + ahead, a + in_b + ahead, a + in_c + ahead, a + in_d + ahead)
                    e, f, g, h = zero_lanes(), zero_lanes(), zero_lanes(), zero_lanes()
                    left = (min(unit, last - first - k * unit) + 4) // 5
                    for c in range(chunks):
                        place, j = SCALES + 5 * (chunks * k + c), N_LANES * c
                        if first + (k + 1) * unit < cols:  # what lies behind these bytes belongs to the row
                            e = add_fives(load_int8(codes, a + j), room, place, e)
                            f = add_fives(load_int8(codes, a + in_b + j), room, place, f)
                            g = add_fives(load_int8(codes, a + in_c + j), room, place, g)
                            h = add_fives(load_int8(codes, a + in_d + j), room, place, h)
                        else:
                            n = left - j
                            e = add_fives(load_int8_part(codes, a + j, n), room, place, e)
                            f = add_fives(load_int8_part(codes, a + in_b + j, n), room, place, f)
                            g = add_fives(load_int8_part(codes, a + in_c + j, n), room, place, g)
                            h = add_fives(load_int8_part(codes, a + in_d + j, n), room, place, h)
                    k_scale = k if group else 0
                    p = add_scaled(e, number_at(room, k_scale), p)
                    q = add_scaled(f, number_at(room, k_scale + apart), q)
                    r = add_scaled(g, number_at(room, k_scale + 2 * apart), r)
                    s = add_scaled(h, number_at(room, k_scale + 3 * apart), s)
                    a += n_bytes
                keep_sums(out, sum_four(p, q, r, s), i, second, third, fourth, first > 0)

    return matvec


@njit(**ORDERED_KERNEL)
def _lay_fives(x, first, last, place, chunks, room):  # type: ignore[no-untyped-def]
    """What meets the rounded shares of sixteen bytes per chunk: y_0 = x_0, y_k = x_k - 3 x_(k-1), from `place` on."""
    for k in range(5 * chunks):
        put(room, place + k, zero_lanes())
    for j in range(first, last):
        byte, digit = (j - first) // 5, (j - first) % 5
        at = (place + byte // N_LANES * 5 + digit) * N_LANES + byte % N_LANES
        put_number(room, at, number_at(room, at) + x[j])
        if digit < 4:
            put_number(room, at + N_LANES, np.float32(-3) * x[j])


def _words_decode(bits: int, levels: int, group: int, eight: bool) -> Any:
    """A row of codes in words, decoded."""
    n_codes, n_words = PERIODS[bits]
    per_word, mask, half = 32 // bits, (1 << bits) - 1, np.float32((levels - 1) / 2)

    @njit(**KERNEL)
    def decode(memory, at, cols, out):  # type: ignore[no-untyped-def]
        bytes_ = memory[0]
        scale_at = at + 4 * words_of_row(cols, bits)
        size = group if group else cols
        for j in range(cols):
            period, k = j // n_codes, j % n_codes
            first = at + 4 * period * n_words
            if k < per_word * n_words:
                low = bits * (k % per_word)
                word = first + 4 * (k // per_word)
                code = (_word_at(bytes_, word) >> low) & mask
            else:
                code, bit = 0, bits * (k - per_word * n_words)
                for n in range(bits):
                    word = first + 4 * ((bit + n) // 2)
                    code |= ((_word_at(bytes_, word) >> (30 + (bit + n) % 2)) & 1) << n
            out[j] = (np.float32(code) - half) * _scale_at(bytes_, scale_at, j // size, eight)

    return decode


def _fives_decode(group: int, eight: bool) -> Any:
    """A row of ternary codes, five to a byte, decoded."""

    @njit(**KERNEL)
    def decode(memory, at, cols, out):  # type: ignore[no-untyped-def]
        bytes_ = memory[0]
        size = group if group else cols
        per_group = (size + 4) // 5
        whole = cols // size * per_group + (cols % size + 4) // 5
        scale_at = at + whole + (whole & 1)
        for j in range(cols):
            k = j % size % 5
            v = np.int64(np.int8(bytes_[at + j // size * per_group + j % size // 5]))
            power = 3**k
            lower, upper = (2 * v + power) // (2 * power), (2 * v + 3 * power) // (6 * power)
            digit = lower - 3 * upper if k < 4 else lower
            out[j] = np.float32(digit) * _scale_at(bytes_, scale_at, j // size, eight)

    return decode


@njit(**KERNEL)
def _word_at(bytes_, at):  # type: ignore[no-untyped-def]
    """The word of 32 bits at a byte, as int64."""
    low = np.int64(bytes_[at]) | np.int64(bytes_[at + 1]) << 8
    return low | np.int64(bytes_[at + 2]) << 16 | np.int64(bytes_[at + 3]) << 24


@njit(**KERNEL)
def _scale_at(bytes_, at, group, eight):  # type: ignore[no-untyped-def]
    """One scale of a row whose scales begin at byte `at`."""
    if eight:
        return half_at(bytes_, at) * np.float32(bytes_[at + 2 + group])
    return half_at(bytes_, at + 2 * group)


def _made(parts: FormatName, words: Any, fives: Any) -> Any:
    eight = parts.scale_bits == 8
    if parts.base == "t5":
        return fives(parts.group, eight)
    return words(code_bits(parts.base), LEVELS[parts.base], parts.group, eight)


class OnDemand(Mapping[str, Any]):
    """Kernels by storage format: those that are given, and others made from the format's parts when asked for."""

    def __init__(self, given: Mapping[str, Any], words: Any, fives: Any) -> None:
        self._given, self._makers = dict(given), (words, fives)

    def __getitem__(self, name: str) -> Any:
        if name not in self._given:
            parts = parse_format(name)
            if not parts.scale_bits or parts.rule:
                raise KeyError(name)
            self._given[name] = _made(parts, *self._makers)
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)


MATVEC = OnDemand(FIRST_MATVEC, _words_matvec, _fives_matvec)
"""out[i] = sum_j W[i, j] x[j] by format: (memory as in `numba.rows.views`, offset, stride, n_rows, cols, x, out)."""
DECODE_ROW = OnDemand(FIRST_DECODE, _words_decode, _fives_decode)
"""A stored row's values by format: (memory, byte where the row begins, cols, out)."""
