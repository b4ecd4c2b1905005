"""Sixteen words that hold several stored numbers each, multiplied without widening them first.

Two bf16 in a word: one shifted left and one with the other masked away are float32 already, so that two instructions
give 32 numbers where loads that widen take four.  What they are multiplied by has to be split likewise (`split`).

Eight nibbles in a word d = sum_k n_k 16^k times eight numbers x_k: shifted left by 28 - 4k bits, d has n_k on top,
    U_k = (d 2^(28 - 4k) mod 2^32) / 2^28 = n_k + U_(k-1) / 16
    sum_k n_k x_k = sum_k U_k (x_k - x_(k+1) / 16)                    with x_8 = 0
so no nibble is ever cut out: a shift, a conversion, a fused product.  What the conversion rounds off U_k is 2^-24 of
it, as a product would.

A conversion of unsigned words is one instruction of AVX-512 and of NEON; other x86 processors convert half of it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from weightless.kernels.numba_lanes import FLAGS, FLOATS, N_LANES, every_lane, lanes, masked, sixteen_from

NIBBLES = 8
_WORD = ir.IntType(32)
_WORDS = ir.VectorType(_WORD, N_LANES)


def _converts_unsigned(context: Any) -> bool:
    return "avx512" in context.codegen().magic_tuple()[2] or "x86" not in context.codegen().magic_tuple()[0]


@intrinsic
def unit_of_nibbles(typingctx):  # type: ignore[no-untyped-def]
    """What `nibble_sums` expects its x_k multiplied by."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return ir.Constant(ir.FloatType(), 2.0**-28 if _converts_unsigned(context) else 2.0**-27)

    return types.float32(), generate


@intrinsic
def load_words(typingctx, array, i):  # type: ignore[no-untyped-def]
    """The 64 bytes from array[i] on as sixteen words; as lanes of bits, not of numbers."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = sixteen_from(context, builder, signature.args[0], *args, _WORD)
        return builder.bitcast(builder.load(pointer, align=1), FLOATS)

    return lanes(array, types.intp), generate


@intrinsic
def load_words_part(typingctx, array, i, n):  # type: ignore[no-untyped-def]
    """The first n of these words, and zeros."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = sixteen_from(context, builder, signature.args[0], *args[:2], _WORD)
        return builder.bitcast(masked(builder, pointer, args[2], _WORD, 1), FLOATS)

    return lanes(array, types.intp, types.intp), generate


@intrinsic
def bf16_of(typingctx, words):  # type: ignore[no-untyped-def]
    """The lower bf16 of every word, and the upper one."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        bits = builder.bitcast(args[0], _WORDS)
        both = [builder.shl(bits, every_lane(16)), builder.and_(bits, every_lane(-65536))]
        return context.make_tuple(builder, signature.return_type, [builder.bitcast(each, FLOATS) for each in both])

    return types.UniTuple(lanes, 2)(lanes), generate


@intrinsic
def split(typingctx, x, y):  # type: ignore[no-untyped-def]
    """Of the 32 numbers (x, y) the first, third, ..., and the second, fourth, ..."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        places = [ir.Constant(_WORDS, list(range(first, 2 * N_LANES, 2))) for first in (0, 1)]
        return context.make_tuple(builder, signature.return_type, [builder.shuffle_vector(*args, at) for at in places])

    return types.UniTuple(lanes, 2)(lanes, lanes), generate


@intrinsic
def nibble_sums(typingctx, p, q, r, s, room, k, z):  # type: ignore[no-untyped-def]
    """For the words of four rows: z + sum over nibbles of U_k times what lies in eight places from place k on.

    Row after row for every nibble, since a row's sum waits for itself.
    """

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        rows, sums = [builder.bitcast(words, _WORDS) for words in args[:4]], [args[6]] * 4
        first = builder.gep(builder.bitcast(args[4], ir.PointerType(FLOATS)), [args[5]])
        for nibble in range(NIBBLES):
            x = builder.load(builder.gep(first, [ir.Constant(ir.IntType(64), nibble)]), align=4)
            for i, bits in enumerate(rows):
                top = builder.shl(bits, every_lane(28 - 4 * nibble)) if nibble < NIBBLES - 1 else bits
                if _converts_unsigned(context):
                    value = builder.uitofp(top, FLOATS)
                else:
                    value = builder.sitofp(builder.lshr(top, every_lane(1)), FLOATS)
                sums[i] = builder.fadd(builder.fmul(value, x, flags=FLAGS), sums[i], flags=FLAGS)
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(lanes, 4)(lanes, lanes, lanes, lanes, room, types.intp, lanes), generate


@intrinsic
def deal(typingctx, p, q, r, s):  # type: ignore[no-untyped-def]
    """Every fourth number of (p, q) and behind them of (r, s), from the first, second, third and fourth on."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        p, q, r, s = args
        hands, all_ = [], ir.Constant(_WORDS, list(range(N_LANES)))
        for c in range(4):
            every = ir.Constant(ir.VectorType(_WORD, 8), list(range(c, 2 * N_LANES, 4)))
            hands.append(
                builder.shuffle_vector(builder.shuffle_vector(p, q, every), builder.shuffle_vector(r, s, every), all_)
            )
        return context.make_tuple(builder, signature.return_type, hands)

    return types.UniTuple(lanes, 4)(lanes, lanes, lanes, lanes), generate


@intrinsic
def pair_at(typingctx, room, i):  # type: ignore[no-untyped-def]
    """The i-th number on the shelf in the lower eight lanes, the next one in the upper eight."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        two = ir.VectorType(ir.FloatType(), 2)
        both = builder.load(builder.bitcast(builder.gep(args[0], [args[1]]), ir.PointerType(two)), align=4)
        return builder.shuffle_vector(both, both, ir.Constant(_WORDS, [0] * 8 + [1] * 8))

    return lanes(room, types.intp), generate


@intrinsic
def put_number(typingctx, room, i, number):  # type: ignore[no-untyped-def]
    """Make `number` the i-th number on the shelf."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        builder.store(args[2], builder.gep(args[0], [args[1]]), align=4)
        return context.get_dummy_value()

    return types.void(room, types.intp, types.float32), generate
