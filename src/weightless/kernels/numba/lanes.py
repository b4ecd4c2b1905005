"""Sixteen float32 numbers as one value in compiled code: explicit vector instructions, for any processor.

LLVM turns loops into vector code by itself, but on many x86 processors only 256 bits wide, and not through the
widening of packed weights.  `Lanes` is the LLVM type <16 x float>: one AVX-512 register where there are such, two of
AVX2 or four of SSE and NEON elsewhere.  It lives in local variables of kernels only.

    load_*(array, i), load_*_part(array, i, n)     elements i..i+15, or the first n of them and zeros, as float32
    load_f32_or(array, i, n, number)               the first n of them and `number`
    load_stored(array, i), load_stored_part(array, i, n)           float32 or bf16, as the array's type says
    store(array, i, x), store_part(array, i, n, x) the same way back
    zero_lanes(), filled(number), add_product(x, y, z)             x * y + z
    product(x, y), scaled(x, number), less(x, number), add_scaled(x, number, z)    x * number + z
    larger(x, y), largest_lane(x), sum_lanes(x), sum_four(p, q, r, s)
    lanes_above(x, number), lowest_bit(bits)       which lanes are larger, as bits of a whole number
    shelf(), put(shelf, k, x), lanes_at(shelf, k), number_at(shelf, i)      room for N_SHELVES of them on the stack

`array` is one-dimensional and contiguous.  Nothing is checked.  Products may be fused with sums; NaN
and infinity keep their meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

N_LANES, N_SHELVES = 16, 424
# No reassociation: sums here are ordered by hand, and two compilations of a kernel shall give the same bits.
FLAGS = ("contract", "nsz")
_I8, _I16, _I32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
FLOATS, _INTS = ir.VectorType(ir.FloatType(), N_LANES), ir.VectorType(_I32, N_LANES)


class LanesType(types.Type):
    """numba's type of sixteen float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: LanesType) -> None:
        super().__init__(manager, kind, FLOATS)


lanes = LanesType()


def every_lane(value: int) -> ir.Constant:
    """One whole number in all lanes."""
    return ir.Constant(_INTS, [value] * N_LANES)


def spread(builder: Any, number: Any, kind: ir.VectorType) -> Any:
    """`number` in every lane."""
    unset = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(unset, number, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, unset, every_lane(0))


def _first(builder: Any, n: Any) -> Any:
    """Mask of the first n lanes."""
    lane = ir.Constant(_INTS, list(range(N_LANES)))
    return builder.icmp_signed("<", lane, spread(builder, builder.trunc(n, _I32), _INTS))


def _multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """Two instructions that LLVM fuses where the processor can (a call of fma would be slow where it cannot)."""
    return builder.fadd(builder.fmul(x, y, flags=FLAGS), z, flags=FLAGS)


def sixteen_from(context: Any, builder: Any, kind: Any, array: Any, i: Any, element: ir.Type) -> Any:
    """Pointer to sixteen `element`s from array[i] on."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [i]), ir.PointerType(ir.VectorType(element, N_LANES)))


def masked(builder: Any, pointer: Any, n: Any, element: ir.Type, nbytes: int, rest: Any = None) -> Any:
    """The first n elements, zeros (or lanes of `rest`) behind them; nothing behind them is read."""
    kind = ir.VectorType(element, N_LANES)
    wanted = _first(builder, n)
    signature = ir.FunctionType(kind, [pointer.type, _I32, wanted.type, kind])
    name = f"llvm.masked.load.v16{element.intrinsic_name}.p0"
    load = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(load, [pointer, ir.Constant(_I32, nbytes), wanted, rest or ir.Constant(kind, None)])


Stored = tuple[ir.Type, int, Callable[[Any, Any, Any], Any]]
"""How elements are stored: their type, its bytes, and what makes float32 of sixteen of them."""


def loader(stored_in: Callable[[Any], Stored]) -> tuple[Any, Any]:
    """(load, load_part) of elements as `stored_in` says of the array's type."""

    @intrinsic
    def load(typingctx, array, i):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            element, nbytes, widen = stored_in(signature.args[0])
            pointer = sixteen_from(context, builder, signature.args[0], *args, element)
            return widen(context, builder, builder.load(pointer, align=nbytes))

        return lanes(array, types.intp), generate

    @intrinsic
    def load_part(typingctx, array, i, n):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            element, nbytes, widen = stored_in(signature.args[0])
            pointer = sixteen_from(context, builder, signature.args[0], args[0], args[1], element)
            return widen(context, builder, masked(builder, pointer, args[2], element, nbytes))

        return lanes(array, types.intp, types.intp), generate

    return load, load_part


def _from_half(context: Any, b: Any, stored: Any) -> Any:
    """binary16 to float32: by one instruction where an x86 processor has it, otherwise as `numba.rows.half_to_float`.

    That is: shift the fields, rescale by 2^112, mend infinity.  (LLVM would call a function that need not be there.)
    """
    if "+f16c" in context.codegen().magic_tuple()[2].split(","):
        return b.fpext(b.bitcast(stored, ir.VectorType(ir.HalfType(), N_LANES)), FLOATS)
    wide = b.zext(stored, _INTS)
    magnitude = b.shl(b.and_(wide, every_lane(0x7FFF)), every_lane(13))
    scale = ir.Constant(FLOATS, [5.192296858534828e33] * N_LANES)
    value = b.bitcast(b.fmul(b.bitcast(magnitude, FLOATS), scale), _INTS)
    endless = b.icmp_unsigned(">=", magnitude, every_lane(0x0F800000))
    value = b.select(endless, b.or_(magnitude, every_lane(0x7F800000)), value)
    return b.bitcast(b.or_(value, b.shl(b.and_(wide, every_lane(0x8000)), every_lane(16))), FLOATS)


_F32: Stored = ir.FloatType(), 4, lambda _, b, v: v
_BF16: Stored = _I16, 2, lambda _, b, v: b.bitcast(b.shl(b.zext(v, _INTS), every_lane(16)), FLOATS)
_INT8: Stored = _I8, 1, lambda _, b, v: b.sitofp(b.sext(v, _INTS), FLOATS)
_UINT8: Stored = _I8, 1, lambda _, b, v: b.sitofp(b.zext(v, _INTS), FLOATS)
load_f32, load_f32_part = loader(lambda array: _F32)
load_bf16, load_bf16_part = loader(lambda array: _BF16)
load_f16, load_f16_part = loader(lambda array: (_I16, 2, _from_half))
load_int8, load_int8_part = loader(lambda array: _INT8)
_, load_uint8_part = loader(lambda array: _UINT8)
load_stored, load_stored_part = loader(lambda array: _F32 if array.dtype == types.float32 else _BF16)


@intrinsic
def load_f16_fours(typingctx, array, i, j, k, m):  # type: ignore[no-untyped-def]
    """Four float16 numbers from each of four places of an array, converted at once."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        four, data = ir.VectorType(_I16, 4), context.make_array(signature.args[0])(context, builder, args[0]).data
        a, b, c, d = (
            builder.load(builder.bitcast(builder.gep(data, [at]), ir.PointerType(four)), align=2) for at in args[1:]
        )
        eight = ir.Constant(ir.VectorType(_I32, 8), list(range(8)))
        halves = [builder.shuffle_vector(*two, eight) for two in ((a, b), (c, d))]
        return _from_half(context, builder, builder.shuffle_vector(*halves, ir.Constant(_INTS, list(range(N_LANES)))))

    return lanes(array, types.intp, types.intp, types.intp, types.intp), generate


@intrinsic
def load_f32_or(typingctx, array, i, n, number):  # type: ignore[no-untyped-def]
    """The first n of sixteen float32 from array[i] on, and `number` in the lanes behind them."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = sixteen_from(context, builder, signature.args[0], args[0], args[1], ir.FloatType())
        return masked(builder, pointer, args[2], ir.FloatType(), 4, spread(builder, args[3], FLOATS))

    return lanes(array, types.intp, types.intp, types.float32), generate


@intrinsic
def store(typingctx, array, i, x):  # type: ignore[no-untyped-def]
    """array[i : i + 16] = x for a float32 array."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = sixteen_from(context, builder, signature.args[0], args[0], args[1], ir.FloatType())
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic
def store_part(typingctx, array, i, n, x):  # type: ignore[no-untyped-def]
    """The first n lanes of x to array[i : i + n]."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = sixteen_from(context, builder, signature.args[0], args[0], args[1], ir.FloatType())
        wanted = _first(builder, args[2])
        kind = ir.FunctionType(ir.VoidType(), [FLOATS, pointer.type, _I32, wanted.type])
        write = cgutils.get_or_insert_function(builder.module, kind, "llvm.masked.store.v16f32.p0")
        builder.call(write, [args[3], pointer, ir.Constant(_I32, 4), wanted])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, lanes), generate


def _larger(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


@intrinsic
def larger(typingctx, x, y):  # type: ignore[no-untyped-def]
    """The larger of x and y lane by lane; y where x is NaN."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _larger(builder, *args)

    return lanes(lanes, lanes), generate


@intrinsic
def lanes_above(typingctx, x, number):  # type: ignore[no-untyped-def]
    """Whole number whose bit i is set where lane i is larger than `number`."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        above = builder.fcmp_ordered(">", args[0], spread(builder, args[1], FLOATS))
        return builder.zext(builder.bitcast(above, ir.IntType(N_LANES)), _I32)

    return types.uint32(lanes, types.float32), generate


@intrinsic
def lowest_bit(typingctx, bits):  # type: ignore[no-untyped-def]
    """Place of the lowest bit that is set."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.zext(builder.cttz(args[0], ir.Constant(ir.IntType(1), 1)), ir.IntType(64))

    return types.intp(types.uint32), generate


@intrinsic
def zero_lanes(typingctx):  # type: ignore[no-untyped-def]
    """Sixteen zeros."""
    return lanes(), lambda context, builder, signature, args: ir.Constant(FLOATS, [0.0] * N_LANES)


@intrinsic
def filled(typingctx, number):  # type: ignore[no-untyped-def]
    """One float32 number in every lane."""
    return lanes(types.float32), lambda context, builder, signature, args: spread(builder, args[0], FLOATS)


@intrinsic
def add_product(typingctx, x, y, z):  # type: ignore[no-untyped-def]
    """x * y + z, lane by lane."""
    return lanes(lanes, lanes, lanes), lambda context, builder, signature, args: _multiply_add(builder, *args)


@intrinsic
def product(typingctx, x, y):  # type: ignore[no-untyped-def]
    """x * y, lane by lane."""
    return lanes(lanes, lanes), lambda context, builder, signature, args: builder.fmul(*args, flags=FLAGS)


@intrinsic
def less(typingctx, x, number):  # type: ignore[no-untyped-def]
    """x - number."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.fsub(args[0], spread(builder, args[1], FLOATS), flags=FLAGS)

    return lanes(lanes, types.float32), generate


@intrinsic
def add_scaled(typingctx, x, number, z):  # type: ignore[no-untyped-def]
    """x * number + z with one float32 number for all lanes."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _multiply_add(builder, args[0], spread(builder, args[1], FLOATS), args[2])

    return lanes(lanes, types.float32, lanes), generate


def _halves(width: int, stride: int) -> tuple[ir.Constant, ir.Constant]:
    """Index vectors of the even and of the odd runs of `stride` lanes of two vectors laid end to end."""
    even = [i for i in range(2 * width) if i // stride % 2 == 0]
    odd = [i for i in range(2 * width) if i // stride % 2 == 1]
    kind = ir.VectorType(_I32, width)
    return ir.Constant(kind, even), ir.Constant(kind, odd)


def _fold(builder: Any, x: Any, y: Any, stride: int) -> Any:
    """One vector of the sums of neighbouring runs of `stride` lanes: those of x first, then those of y."""
    even, odd = _halves(N_LANES, stride)
    return builder.fadd(builder.shuffle_vector(x, y, even), builder.shuffle_vector(x, y, odd), flags=FLAGS)


@intrinsic
def scaled(typingctx, x, number):  # type: ignore[no-untyped-def]
    """x * number, rounded once."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.fmul(args[0], spread(builder, args[1], FLOATS))

    return lanes(lanes, types.float32), generate


def _one_of(builder: Any, x: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """What `combine` makes of all lanes: halves are combined until one number is left."""
    width = N_LANES
    while width > 1:
        width //= 2
        halves = [ir.Constant(ir.VectorType(_I32, width), list(range(at, at + width))) for at in (0, width)]
        x = combine(*(builder.shuffle_vector(x, x, half) for half in halves))
    return builder.extract_element(x, ir.Constant(_I32, 0))


@intrinsic
def sum_lanes(typingctx, x):  # type: ignore[no-untyped-def]
    """The sum of the lanes as float32."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _one_of(builder, args[0], lambda low, high: builder.fadd(low, high, flags=FLAGS))

    return types.float32(lanes), generate


@intrinsic
def largest_lane(typingctx, x):  # type: ignore[no-untyped-def]
    """The largest of sixteen numbers that are not NaN."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _one_of(builder, args[0], lambda low, high: _larger(builder, low, high))

    return types.float32(lanes), generate


@intrinsic
def sum_four(typingctx, p, q, r, s):  # type: ignore[no-untyped-def]
    """The four sums of lanes at once, with a third of the instructions of four times `sum_lanes`."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        p, q, r, s = args
        both = _fold(builder, _fold(builder, p, q, 8), _fold(builder, r, s, 8), 4)
        part, width = both, N_LANES
        while width > 4:
            width //= 2
            even = [i for i in range(2 * width) if i // (width // 4) % 2 == 0]
            odd = [i for i in range(2 * width) if i // (width // 4) % 2 == 1]
            kind = ir.VectorType(_I32, width)
            halves = [builder.shuffle_vector(part, part, ir.Constant(kind, part_of)) for part_of in (even, odd)]
            part = builder.fadd(*halves, flags=FLAGS)
        numbers = [builder.extract_element(part, ir.Constant(_I32, i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(types.float32, 4)(lanes, lanes, lanes, lanes), generate


@intrinsic
def shelf(typingctx):  # type: ignore[no-untyped-def]
    """Room for N_SHELVES lanes on the stack (27 KiB); one load from there spreads a single number to all lanes."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        with builder.goto_entry_block():  # once per call, wherever it is asked for; what lies there is left as it is
            room = builder.alloca(ir.ArrayType(FLOATS, N_SHELVES))
        return builder.bitcast(room, ir.PointerType(ir.FloatType()))

    return types.CPointer(types.float32)(), generate


@intrinsic
def put(typingctx, room, k, x):  # type: ignore[no-untyped-def]
    """Lay x into place k of the shelf."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        lanes_of = builder.bitcast(args[0], ir.PointerType(FLOATS))
        builder.store(args[2], builder.gep(lanes_of, [args[1]]), align=4)
        return context.get_dummy_value()

    return types.void(room, types.intp, lanes), generate


@intrinsic
def lanes_at(typingctx, room, k):  # type: ignore[no-untyped-def]
    """What lies in place k of the shelf."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        lanes_of = builder.bitcast(args[0], ir.PointerType(FLOATS))
        return builder.load(builder.gep(lanes_of, [args[1]]), align=4)

    return lanes(room, types.intp), generate


@intrinsic
def number_at(typingctx, room, i):  # type: ignore[no-untyped-def]
    """The i-th number on the shelf."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.load(builder.gep(args[0], [args[1]]), align=4)

    return types.float32(room, types.intp), generate
