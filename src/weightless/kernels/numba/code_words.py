"""Sums over words of packed codes, for any number of bits: the vector code behind `numba/packed.py`.

Sixteen words are one value.  The bits of a code alone, wherever they lie in their word, are a whole number u 2^k, which
float32 holds exactly, and x 2^-k is laid out beforehand: a mask, a conversion, a fused product, whatever the width.  A
code that lies in the left-over bits of several words (`quant/words.py`) is summed by its parts.  A chunk is sixteen
words; W of them, with W words in a period, are a span of sixteen periods, in which every group of columns begins with a
word.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from weightless.kernels.numba.lanes import FLAGS, FLOATS, N_LANES, every_lane, lanes, masked, sixteen_from

PERIODS = {1: (32, 1), 2: (16, 1), 3: (32, 3), 4: (8, 1), 5: (32, 5), 6: (16, 3), 8: (4, 1)}
"""Codes and words of a period by bits, as in `quant/words.py`."""
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_WORDS = ir.VectorType(_I32, N_LANES)


def parts_of_word(bits: int) -> list[tuple[int, int]]:
    """(lowest bit, bits) of what a word is taken apart into: its codes, then what is left over."""
    per_word = 32 // bits
    own = [(bits * j, bits) for j in range(per_word)]
    if per_word * bits == 32:
        return own
    return [*own, (30, 2)] if bits == 6 else [*own, (30, 1), (31, 1)]


def span_columns(bits: int) -> int:
    """Columns of a span."""
    return N_LANES * PERIODS[bits][0]


def _alone(builder: ir.IRBuilder, words: ir.Value, first: int, n: int) -> ir.Value:
    """Some bits of every word as float32, where they lie; the highest ones shifted down, where they are no sign."""
    if first + n == 32:
        bits = builder.lshr(words, every_lane(first)) if first else words
    else:
        bits = builder.and_(words, every_lane(((1 << n) - 1) << first))
    return builder.sitofp(bits, FLOATS)


def factor(first: int, n: int) -> float:
    """What a number is multiplied by that meets these bits where they lie."""
    return 1.0 if first + n == 32 else 2.0**-first


@intrinsic(prefer_literal=True)
def add_span(typingctx, codes, at, room, places, scale_at, apart, sums, bits, group):  # type: ignore[no-untyped-def]
    """`sums` of four rows plus a span of each, whose words begin at the four bytes `at`: sum of u_j x_j, by lanes.

    places    (of the numbers that meet the parts of every word, chunk by chunk; of what the sums of chunks begin with)
    scale_at  number on the shelf of the span's first scale of the first row; those of the next one are `apart` from it
    bits, group   constants; group 0: one scale for all columns
    """

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        codes, at, room, places, scale_at, apart, sums = args[:7]
        totals = context_tuple(builder, sums)
        for chunk in range(PERIODS[bits.literal_value][1]):
            rows = _chunk(context, builder, signature.args[0], codes, at, chunk, None)
            where = (room, places, scale_at, apart)
            _add_chunk(builder, rows, where, totals, bits.literal_value, group.literal_value, chunk)
        return context.make_tuple(builder, signature.return_type, totals)

    result = types.UniTuple(lanes, 4)
    given = (codes, types.UniTuple(types.intp, 4), room, types.UniTuple(types.intp, 2), types.intp, types.intp, result)
    return result(*given, bits, group), generate


@intrinsic(prefer_literal=True)
def add_chunk(typingctx, codes, at, left, room, places, scale_at, apart, sums, bits, group, chunk):  # type: ignore[no-untyped-def]
    """The same for one chunk of a span that has `left` words: the rest counts as zeros and is not read.

    A chunk that spans of so many bits do not have adds nothing."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        codes, at, left, room, places, scale_at, apart, sums = args[:8]
        totals = context_tuple(builder, sums)
        if chunk.literal_value < PERIODS[bits.literal_value][1]:
            rows = _chunk(context, builder, signature.args[0], codes, at, chunk.literal_value, left)
            where = (room, places, scale_at, apart)
            _add_chunk(builder, rows, where, totals, bits.literal_value, group.literal_value, chunk.literal_value)
        return context.make_tuple(builder, signature.return_type, totals)

    four, two, result = types.UniTuple(types.intp, 4), types.UniTuple(types.intp, 2), types.UniTuple(lanes, 4)
    given = (codes, four, types.intp, room, two, types.intp, types.intp, result, bits, group, chunk)
    return result(*given), generate


def _add_chunk(builder, rows, where, totals, bits, group, chunk):  # type: ignore[no-untyped-def]
    """Add to `totals` what the words of four rows say of a chunk, row after row: a row's sum waits for itself."""
    room, places, scale_at, apart = where
    place, table = context_tuple(builder, places), builder.bitcast(room, ir.PointerType(FLOATS))
    parts = parts_of_word(bits)
    begin = builder.add(place[1], ir.Constant(_I64, chunk))
    found = [builder.load(builder.gep(table, [begin]), align=4)] * 4
    for j, (first, n) in enumerate(parts):
        at = builder.add(place[0], ir.Constant(_I64, chunk * len(parts) + j))
        x = builder.load(builder.gep(table, [at]), align=4)
        for i, words in enumerate(rows):
            product = builder.fmul(_alone(builder, words, first, n), x, flags=FLAGS)
            found[i] = builder.fadd(product, found[i], flags=FLAGS)
    for i in range(4):
        at = builder.add(scale_at, builder.mul(apart, ir.Constant(_I64, i)))
        scales = scales_of_words(builder, room, at, bits, group, chunk)
        totals[i] = builder.fadd(builder.fmul(found[i], scales, flags=FLAGS), totals[i], flags=FLAGS)


def context_tuple(builder: ir.IRBuilder, value: ir.Value) -> list[ir.Value]:
    """The items of a tuple of one type."""
    return [builder.extract_value(value, i) for i in range(value.type.count)]


def _chunk(context, builder, kind, codes, at, chunk, left):  # type: ignore[no-untyped-def]
    """Sixteen words of each of four rows; zeros for those that are not among the `left` of the span (None: all are)."""
    out = []
    for start in context_tuple(builder, at):
        first = builder.add(start, ir.Constant(_I64, 64 * chunk))
        pointer = sixteen_from(context, builder, kind, codes, first, _I32)
        if left is None:
            out.append(builder.load(pointer, align=1))
        else:
            n = builder.sub(left, ir.Constant(_I64, N_LANES * chunk))
            out.append(masked(builder, pointer, n, _I32, 1))
    return out


def scales_of_words(builder, room, at, bits, group, chunk):  # type: ignore[no-untyped-def]
    """The scale that belongs to every word of a chunk, from the span's first on."""
    n_codes, n_words = PERIODS[bits]
    start = builder.gep(room, [at])
    places = [(N_LANES * chunk + lane) // n_words * n_codes // group for lane in range(N_LANES)] if group else [0]
    if len(set(places)) == 1:
        number = builder.load(builder.gep(start, [ir.Constant(_I64, places[0])]), align=4)
        unset = ir.Constant(FLOATS, ir.Undefined)
        return builder.shuffle_vector(builder.insert_element(unset, number, ir.Constant(_I32, 0)), unset, every_lane(0))
    low = min(places)
    size = next(n for n in (2, 4, 8, 16) if n >= max(places) - low + 1)
    few = ir.VectorType(ir.FloatType(), size)
    first = builder.bitcast(builder.gep(start, [ir.Constant(_I64, low)]), ir.PointerType(few))
    numbers = builder.load(first, align=4)
    return builder.shuffle_vector(numbers, numbers, ir.Constant(_WORDS, [place - low for place in places]))


def _meeting(bits: int, chunk: int, part: int) -> tuple[list[int], list[float], list[bool]]:
    """For the sixteen words of a chunk: the column of a span that a part of each belongs to, what its number is
    multiplied by, and whether the code begins here."""
    n_codes, n_words = PERIODS[bits]
    per_word, (first, n) = 32 // bits, parts_of_word(bits)[part]
    columns, factors, begins = [], [], []
    for lane in range(N_LANES):
        period, word = divmod(N_LANES * chunk + lane, n_words)
        code, skipped = word * per_word + part, 0
        if part >= per_word:  # what is left over of a period's words is one string of bits
            code, skipped = divmod(2 * word + part - per_word, bits)
            code += per_word * n_words
        columns.append(period * n_codes + code)
        factors.append(factor(first, n) * 2.0**skipped)
        begins.append(skipped == 0)
    return columns, factors, begins


def _lay_span(builder, x, room, places, bits, half_levels):  # type: ignore[no-untyped-def]
    """From `x` on: what meets each part of each word, and what the sums of chunks begin with, onto the shelf."""
    table, place = builder.bitcast(room, ir.PointerType(FLOATS)), context_tuple(builder, places)
    n_parts = len(parts_of_word(bits))
    for chunk in range(PERIODS[bits][1]):
        lifted = ir.Constant(FLOATS, [0.0] * N_LANES)
        for part in range(n_parts):
            columns, factors, begins = _meeting(bits, chunk, part)
            numbers = ir.Constant(FLOATS, ir.Undefined)
            for lane, column in enumerate(columns):
                number = builder.load(builder.gep(x, [ir.Constant(_I64, column)]), align=4)
                numbers = builder.insert_element(numbers, number, ir.Constant(_I32, lane))
            weights = ir.Constant(FLOATS, [-half_levels if begin else 0.0 for begin in begins])
            lifted = builder.fadd(builder.fmul(numbers, weights, flags=FLAGS), lifted, flags=FLAGS)
            where = builder.add(place[0], ir.Constant(_I64, chunk * n_parts + part))
            laid = builder.fmul(numbers, ir.Constant(FLOATS, factors))
            builder.store(laid, builder.gep(table, [where]), align=4)
        where = builder.add(place[1], ir.Constant(_I64, chunk))
        builder.store(lifted, builder.gep(table, [where]), align=4)


@intrinsic(prefer_literal=True)
def lay_span(typingctx, x, start, room, places, bits, levels):  # type: ignore[no-untyped-def]
    """Lay x[start:] out for a whole span of codes of so many levels; `places` as for `add_span`."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        half = (levels.literal_value - 1) / 2
        _lay_span(builder, builder.gep(data, [args[1]]), args[2], args[3], bits.literal_value, half)
        return context.get_dummy_value()

    return types.void(x, types.intp, room, types.UniTuple(types.intp, 2), bits, levels), generate


@intrinsic(prefer_literal=True)
def lay_span_of_shelf(typingctx, start, room, places, bits, levels):  # type: ignore[no-untyped-def]
    """The same for numbers that lie on the shelf from place `start` on."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        half, at = (levels.literal_value - 1) / 2, builder.mul(args[0], ir.Constant(_I64, N_LANES))
        _lay_span(builder, builder.gep(args[1], [at]), args[1], args[2], bits.literal_value, half)
        return context.get_dummy_value()

    return types.void(types.intp, room, types.UniTuple(types.intp, 2), bits, levels), generate


@intrinsic
def add_fives(typingctx, v, room, k, z):  # type: ignore[no-untyped-def]
    """z + sum over five digits of t_k x_k, where v = sum t_k 3^k by lanes: sum of round(v / 3^k) y_k, and places k to
    k + 4 of the shelf hold y_0 = x_0 and y_k = x_k - 3 x_(k-1)."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        table = builder.bitcast(args[1], ir.PointerType(FLOATS))
        big, total = ir.Constant(FLOATS, [12582912.0] * N_LANES), args[3]  # 1.5 * 2^23 rounds to whole numbers
        for digit in range(5):
            y = builder.load(builder.gep(table, [builder.add(args[2], ir.Constant(_I64, digit))]), align=4)
            rounded = args[0]
            if digit:
                share = builder.fmul(args[0], ir.Constant(FLOATS, [3.0**-digit] * N_LANES), flags=FLAGS)
                rounded = builder.fsub(builder.fadd(share, big, flags=FLAGS), big)
            total = builder.fadd(builder.fmul(rounded, y, flags=FLAGS), total, flags=FLAGS)
        return total

    return lanes(lanes, room, types.intp, lanes), generate
