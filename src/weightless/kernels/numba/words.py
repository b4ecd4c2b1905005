"""Sixteen words that hold several stored numbers each, multiplied without widening them first.

Two bf16 in a word: one shifted left and one with the other masked away are float32 already, so that two instructions
give 32 numbers where loads that widen take four.  What they are multiplied by has to be split likewise (`split`).

Eight nibbles in a word d = sum_k n_k 16^k times eight numbers x_k: the bits of nibble k alone are the whole number
n_k 16^k, which float32 holds exactly, and x_k 16^-k is laid out beforehand.  So no nibble is shifted into place but the
seventh, whose highest bit would be a sign: a mask, a conversion, a fused product.

`fetch_ahead` asks for a line of packed rows before its turn.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from weightless.kernels.numba.lanes import FLAGS, FLOATS, N_LANES, every_lane, lanes, masked, sixteen_from

NIBBLES = 8
_WORD = ir.IntType(32)
_WORDS = ir.VectorType(_WORD, N_LANES)


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
    """For the words of four rows: z + sum over nibbles of n_k x_k; place k of the shelf and seven more hold x_k 16^-k,
    but x_7 as it is.

    Row after row for every nibble, since a row's sum waits for itself.
    """

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        rows, sums = [builder.bitcast(words, _WORDS) for words in args[:4]], [args[6]] * 4
        first = builder.gep(builder.bitcast(args[4], ir.PointerType(FLOATS)), [args[5]])
        for nibble in range(NIBBLES):
            x = builder.load(builder.gep(first, [ir.Constant(ir.IntType(64), nibble)]), align=4)
            for i, bits in enumerate(rows):
                if nibble < NIBBLES - 1:
                    alone = builder.and_(bits, every_lane(15 << (4 * nibble)))
                else:
                    alone = builder.lshr(bits, every_lane(28))
                product = builder.fmul(builder.sitofp(alone, FLOATS), x, flags=FLAGS)
                sums[i] = builder.fadd(product, sums[i], flags=FLAGS)
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


def _ask(context, builder, signature, args, nearness: int):  # type: ignore[no-untyped-def]
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    pointer = builder.gep(data, [args[1]])
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, _WORD, _WORD, _WORD])
    asked = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(asked, [pointer, ir.Constant(_WORD, 0), ir.Constant(_WORD, nearness), ir.Constant(_WORD, 1)])
    return context.get_dummy_value()


@intrinsic
def fetch_ahead(typingctx, array, i):  # type: ignore[no-untyped-def]
    """Ask for the line that holds array[i] (uint8), which need not be part of the array."""
    return types.void(array, types.intp), lambda *at: _ask(*at, 3)


@intrinsic
def fetch_far(typingctx, array, i):  # type: ignore[no-untyped-def]
    """The same, no nearer than the second cache: for a line that is wanted much later."""
    return types.void(array, types.intp), lambda *at: _ask(*at, 2)
