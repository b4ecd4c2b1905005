"""exp(x - m) of sixteen numbers at a time, for x <= m: in about twelve vector instructions, good to 1.7e-7 relative.

    exp(d) = 2^n 2^f        n the whole number nearest to d log2 e, f = d log2 e - n in [-1/2, 1/2]

2^f is the polynomial of degree 5 with constant term 1 whose largest relative error is least (9e-8), its coefficients
rounded to float32 so that the error of the arithmetic is least too: 1.5e-7 with fused products, 1.7e-7 without, on all
2 million float32 grid points tried.  d itself is as good as float32: 6e-8 d.

n without a conversion: added to 1.5 * 2^23, d log2 e loses its fraction, and the lowest bits of the sum are n.  With
127 more they are the exponent field of 2^n, which one shift puts into place.  2^n is multiplied and not added to the
exponent of 2^f, because NaN has to stay NaN.  Below -87 the exponential is taken at -87 (1.6e-38): nothing that a sum
of float32 above 1e-33 would notice, and n + 127 stays positive.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from weightless.kernels.numba.lanes import FLOATS, every_lane, lanes, spread

LOG2_E, LOWEST = 1.4426950408889634, -87.0
ROUNDER = 1.5 * 2**23 + 127
COEFFICIENTS = (
    1.0,
    0.6931470036506653,
    0.24022243916988373,
    0.05550722777843475,
    0.00967147946357727,
    0.001326472731307149,
)
# Flags that forbid nothing here but reassociation: what is added to be taken away again must not vanish.  (numba
# gives instructions without flags those of the caller.)
AS_WRITTEN = ("nsz",)


def _number(value: float) -> ir.Constant:
    return ir.Constant(FLOATS, [value] * FLOATS.count)


def _multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z, fused where the processor can: the product is needed twice, and LLVM would not fuse it by itself."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.v16f32"), [x, y, z])


def _two_factors(builder: Any, x: Any, m: Any) -> tuple[Any, Any]:
    """(2^f, 2^n) whose product is exp(x - m)."""
    d = builder.fsub(x, spread(builder, m, FLOATS), flags=AS_WRITTEN)
    lowest = _number(LOWEST)
    d = builder.select(builder.fcmp_ordered("<", d, lowest), lowest, d)  # NaN stays NaN
    rounder, log2_e = _number(ROUNDER), _number(LOG2_E)
    sum_ = _multiply_add(builder, d, log2_e, rounder)
    n = builder.fsub(sum_, rounder, flags=AS_WRITTEN)
    f = _multiply_add(builder, d, log2_e, builder.fneg(n))
    power = _number(COEFFICIENTS[-1])
    for coefficient in COEFFICIENTS[-2::-1]:
        power = _multiply_add(builder, power, f, _number(coefficient))
    bits = builder.shl(builder.bitcast(sum_, every_lane(23).type), every_lane(23))
    return power, builder.bitcast(bits, FLOATS)


@intrinsic
def exp_below(typingctx, x, m):  # type: ignore[no-untyped-def]
    """exp(x - m) for x <= m, one float32 m for all lanes."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.fmul(*_two_factors(builder, *args), flags=AS_WRITTEN)

    return lanes(lanes, types.float32), generate


@intrinsic
def add_exp_below(typingctx, x, m, total):  # type: ignore[no-untyped-def]
    """exp(x - m) + total: the last product and the sum are one instruction."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _multiply_add(builder, *_two_factors(builder, *args[:2]), args[2])

    return lanes(lanes, types.float32, lanes), generate
