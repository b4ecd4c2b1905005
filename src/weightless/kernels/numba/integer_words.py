"""Sums of codes times activations of eight bits, sixteen words of codes at a time: the vector code of integer products.

A word holds 32 / bits codes u.  Shifted down by k bits and masked, its four bytes are four of them; a chunk is sixteen
words, so 64 codes meet 64 activations per shift, and lane i sums what meets word i.  Where u stands for u - m, the sums
start at -m times the sums of activations (`lift`), so that nothing is taken from the codes themselves.

One instruction sums four such products where the processor has AVX-512 VNNI; AVX2 takes three, with codes of eight bits
as signed numbers, since pairs of unsigned ones could exceed 16 bits; anything else multiplies byte by byte.  All give
the same whole numbers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from weightless.kernels.numba.code_words import context_tuple, scales_of_words
from weightless.kernels.numba.lanes import FLAGS, FLOATS, N_LANES, every_lane, lanes, masked, sixteen_from

_I8, _I16, _I32, _I64 = (ir.IntType(n) for n in (8, 16, 32, 64))
_WORDS, _BYTES = ir.VectorType(_I32, N_LANES), ir.VectorType(_I8, 4 * N_LANES)
MAGIC = 12582912.0
"""1.5 * 2^23: added to a small number it leaves the nearest whole one in the lowest bits."""


def _has(context: Any, feature: str) -> bool:
    return "+" + feature in context.codegen().magic_tuple()[2].split(",")


def _signed(context: Any, bits: int) -> bool:
    """Whether codes are made signed numbers before they are multiplied."""
    return bits == 8 and not _has(context, "avx512vnni")


def _called(builder: Any, name: str, out: ir.Type, *args: Any) -> Any:
    kind = ir.FunctionType(out, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), list(args))


def _every_byte(value: int) -> ir.Constant:
    return ir.Constant(_BYTES, [value] * 4 * N_LANES)


def _half(builder: Any, x: Any, at: int) -> Any:
    """The first or the second half of a vector's elements."""
    n = x.type.count // 2
    return builder.shuffle_vector(x, x, ir.Constant(ir.VectorType(_I32, n), list(range(at * n, at * n + n))))


def _joined(builder: Any, x: Any, y: Any) -> Any:
    places = ir.Constant(ir.VectorType(_I32, 2 * x.type.count), list(range(2 * x.type.count)))
    return builder.shuffle_vector(x, y, places)


def sums_of_fours(
    context: Any, builder: Any, start: Any, codes: list[Any], activations: list[Any], signed: bool
) -> Any:
    """start + the sums of four products per lane, for every pair of the two lists of <64 x i8>."""
    if _has(context, "avx512vnni") and not signed:
        for u, a in zip(codes, activations, strict=True):
            start = _called(builder, "llvm.x86.avx512.vpdpbusd.512", _WORDS, start, u, a)
        return start
    if _has(context, "avx2"):
        halves = [_pairs(builder, codes, activations, signed, at) for at in (0, 1)]
        return builder.add(start, _joined(builder, *halves))
    for u, a in zip(codes, activations, strict=True):
        u_words, a_words = builder.bitcast(u, _WORDS), builder.bitcast(a, _WORDS)
        for byte in range(4):
            up = every_lane(24 - 8 * byte)
            widen = builder.ashr if signed else builder.lshr
            code = widen(builder.shl(u_words, up), every_lane(24))
            start = builder.add(start, builder.mul(code, builder.ashr(builder.shl(a_words, up), every_lane(24))))
    return start


def _pairs(builder: Any, codes: list[Any], activations: list[Any], signed: bool, at: int) -> Any:
    """The same sums for half of the lanes, by products of bytes that are added in pairs of 16 bits."""
    wide, eight = ir.VectorType(_I16, N_LANES), ir.VectorType(_I32, N_LANES // 2)
    total = None
    for u, a in zip(codes, activations, strict=True):
        u, a = _half(builder, u, at), _half(builder, a, at)
        if signed:  # |u| times a with the sign of u: both fit
            a = _called(builder, "llvm.x86.avx2.psign.b", a.type, a, u)
            u = builder.select(builder.icmp_signed("<", u, ir.Constant(u.type, None)), builder.neg(u), u)
        pairs = _called(builder, "llvm.x86.avx2.pmadd.ub.sw", wide, u, a)
        total = pairs if total is None else builder.add(total, pairs)
    return _called(builder, "llvm.x86.avx2.pmadd.wd", eight, total, ir.Constant(wide, [1] * N_LANES))


def _parts(context: Any, builder: Any, words: Any, bits: int, first_layout: bool) -> list[Any]:
    """The codes of sixteen words as bytes, 64 per shift; signed numbers where products want them so."""
    if bits == 8:
        found = builder.bitcast(words, _BYTES)
        if _signed(context, bits):
            return [found if first_layout else builder.sub(found, _every_byte(127))]
        return [builder.xor(found, _every_byte(-128)) if first_layout else found]
    mask = int.from_bytes(bytes([(1 << bits) - 1] * 4), "little", signed=True)
    out = []
    for k in range(8 // bits):
        shifted = builder.lshr(words, every_lane(k * bits)) if k else words
        out.append(builder.bitcast(builder.and_(shifted, every_lane(mask)), _BYTES))
    return out


def middle_of(bits: int, levels: int, first_layout: bool) -> float:
    """m: what an unsigned code is too large by."""
    return 2.0 ** (bits - 1) if first_layout else (levels - 1) / 2


@intrinsic(prefer_literal=True)
def lift(typingctx, room, place, to, bits, levels, first_layout):  # type: ignore[no-untyped-def]
    """Lay into place `to` of the shelf what the sums of a chunk start at, whose activations lie from `place` on.

    Whole numbers where m is one, float32 numbers that are added afterwards where it is not."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        bits_, first = bits.literal_value, first_layout.literal_value
        table = builder.bitcast(args[0], ir.PointerType(_BYTES))
        n_parts = 8 // bits_
        at = [builder.add(args[1], ir.Constant(_I64, k)) for k in range(n_parts)]
        activations = [builder.load(builder.gep(table, [where]), align=4) for where in at]
        zeros, m = ir.Constant(_WORDS, None), middle_of(bits_, levels.literal_value, first)
        if _signed(context, bits_):
            sums = ir.Constant(FLOATS, [0.0] * N_LANES)
        elif m.is_integer():  # m in two parts, which fit pairs of 16 bits
            low = int(m) // 2
            codes = [_every_byte(part) for part in (low, int(m) - low)]
            found = zeros
            for part in codes:
                found = sums_of_fours(context, builder, found, [part] * n_parts, activations, False)
            sums = builder.bitcast(builder.sub(zeros, found), FLOATS)
        else:
            found = sums_of_fours(context, builder, zeros, [_every_byte(1)] * n_parts, activations, False)
            sums = builder.fmul(builder.sitofp(found, FLOATS), ir.Constant(FLOATS, [-m] * N_LANES))
        builder.store(sums, builder.gep(builder.bitcast(args[0], ir.PointerType(FLOATS)), [args[2]]), align=4)
        return context.get_dummy_value()

    return types.void(room, types.intp, types.intp, bits, levels, first_layout), generate


@intrinsic(prefer_literal=True)
def add_integers(typingctx, codes, at, left, room, places, scale_at, apart, sums, shape):  # type: ignore[no-untyped-def]
    """`sums` of four rows plus a chunk of each, whose words begin at the four bytes `at`.

    left      words that the chunk has; the rest counts as zeros and is not read.  16 or more: all, without a mask
    places    on the shelf: of the activations, of the lift, of the scales of the activations by lanes
    scale_at  number on the shelf of the chunk's first scale of the first row; those of the next one are `apart` from it
    shape     (bits, levels, columns of a group or 0, first_layout, whole): constants; `whole` says that left >= 16
    """

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        bits, levels, group, first, whole = (each.literal_value for each in shape.types)
        codes_, at_, left_, room_, places_, scale_at_, apart_, sums_ = args[:8]
        place, totals = context_tuple(builder, places_), context_tuple(builder, sums_)
        table = builder.bitcast(room_, ir.PointerType(FLOATS))

        def laid(where, k=0):  # type: ignore[no-untyped-def]
            return builder.load(builder.gep(table, [builder.add(where, ir.Constant(_I64, k))]), align=4)

        activations = [builder.bitcast(laid(place[0], k), _BYTES) for k in range(8 // bits)]
        lifted, x_scales = laid(place[1]), laid(place[2])
        in_whole = middle_of(bits, levels, first).is_integer()
        start = builder.bitcast(lifted, _WORDS) if in_whole else ir.Constant(_WORDS, None)
        for i, begin in enumerate(context_tuple(builder, at_)):
            pointer = sixteen_from(context, builder, signature.args[0], codes_, begin, _I32)
            words = builder.load(pointer, align=1) if whole else masked(builder, pointer, left_, _I32, 1)
            parts = _parts(context, builder, words, bits, first)
            found = sums_of_fours(context, builder, start, parts, activations, _signed(context, bits))
            numbers = builder.sitofp(found, FLOATS)
            if not in_whole:
                numbers = builder.fadd(numbers, lifted, flags=FLAGS)
            scales = x_scales
            if group:
                where = builder.add(scale_at_, builder.mul(apart_, ir.Constant(_I64, i)))
                scales = builder.fmul(scales_of_words(builder, room_, where, bits, group, 0), x_scales, flags=FLAGS)
            totals[i] = builder.fadd(builder.fmul(numbers, scales, flags=FLAGS), totals[i], flags=FLAGS)
        return context.make_tuple(builder, signature.return_type, totals)

    n = len(sums)
    rows, three, result = types.UniTuple(types.intp, n), types.UniTuple(types.intp, 3), types.UniTuple(lanes, n)
    given = (codes, rows, types.intp, room, three, types.intp, types.intp, result, shape)
    return result(*given), generate


@intrinsic
def put_rounded(typingctx, room, at, x):  # type: ignore[no-untyped-def]
    """The whole numbers nearest to the lanes of x, as sixteen bytes from byte `at` of the shelf on."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        magic = ir.Constant(FLOATS, [MAGIC] * N_LANES)
        whole = _called(builder, "llvm.rint.v16f32", FLOATS, args[2])  # first: a product fused with the sum is another
        codes = builder.trunc(builder.bitcast(builder.fadd(whole, magic), _WORDS), ir.VectorType(_I8, N_LANES))
        pointer = builder.gep(builder.bitcast(args[0], ir.PointerType(_I8)), [args[1]])
        builder.store(codes, builder.bitcast(pointer, ir.PointerType(codes.type)), align=1)
        return context.get_dummy_value()

    return types.void(room, types.intp, lanes), generate


@intrinsic
def move_byte(typingctx, room, source, to):  # type: ignore[no-untyped-def]
    """One byte of the shelf to another place."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = builder.bitcast(args[0], ir.PointerType(_I8))
        builder.store(builder.load(builder.gep(data, [args[1]])), builder.gep(data, [args[2]]))
        return context.get_dummy_value()

    return types.void(room, types.intp, types.intp), generate


@intrinsic(prefer_literal=True)
def arrange(typingctx, room, source, to, bits):  # type: ignore[no-untyped-def]
    """The activations of a chunk in order, from place `source` on, to the order in which shifted words meet them.

    Byte b of word i shifted by k codes is code (8 / bits) b + k of the word, so the k-th 64 activations are every
    (8 / bits)-th one from the k-th on."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        n_parts = 8 // bits.literal_value
        element = ir.IntType(8 * n_parts)
        wide = ir.VectorType(element, 4 * N_LANES)
        table = builder.bitcast(args[0], ir.PointerType(FLOATS))
        read = builder.bitcast(builder.gep(table, [args[1]]), ir.PointerType(wide))
        together = builder.load(read, align=4)
        for k in range(n_parts):
            shifted = builder.lshr(together, ir.Constant(wide, [8 * k] * 4 * N_LANES)) if k else together
            part = builder.trunc(shifted, _BYTES) if n_parts > 1 else shifted
            where = builder.gep(table, [builder.add(args[2], ir.Constant(_I64, k))])
            builder.store(part, builder.bitcast(where, ir.PointerType(_BYTES)), align=4)
        return context.get_dummy_value()

    return types.void(room, types.intp, types.intp, bits), generate


@intrinsic
def arrange_halves(typingctx, room, source, to):  # type: ignore[no-untyped-def]
    """The same for two groups of 64 whose bytes hold a code of each half: first halves, then second ones."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        table, half = builder.bitcast(args[0], ir.PointerType(_BYTES)), 2 * N_LANES
        at = [builder.add(args[1], ir.Constant(_I64, k)) for k in (0, 1)]
        groups = [builder.load(builder.gep(table, [place]), align=4) for place in at]
        for k in range(2):
            places = [*range(k * half, k * half + half), *range((2 + k) * half, (3 + k) * half)]
            part = builder.shuffle_vector(*groups, ir.Constant(ir.VectorType(_I32, 4 * N_LANES), places))
            builder.store(part, builder.gep(table, [builder.add(args[2], ir.Constant(_I64, k))]), align=4)
        return context.get_dummy_value()

    return types.void(room, types.intp, types.intp), generate
