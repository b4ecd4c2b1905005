"""Calls of compiled functions by address: the caller is compiled without the callee.

numba links whatever a function calls into it, so a loop over all operators would compile all of them, and an operator
over weights in one of five formats all five products.  Here the callee is compiled on its own, for exactly the types
that it will be called with (`address_of`), and its address is an ordinary number, an operand of whoever calls it:

    call(address, (x, 3, out))        whole numbers are passed as int64, everything else as it is

Nothing checks that the types agree, or that there is a function at the address: both sides keep to one list of types,
and an address is never taken from a file.  The callee returns nothing and, like all kernels, raises nothing.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def _call(typingctx, address, arguments):  # type: ignore[no-untyped-def]
    wanted = [types.int64 if isinstance(kind, types.Integer) else types.unliteral(kind) for kind in arguments.types]

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        given = zip(cgutils.unpack_tuple(builder, args[1]), signature.args[1].types, wanted)
        values = [context.cast(builder, value, kind, want) for value, kind, want in given]
        kind = context.call_conv.get_function_type(types.none, wanted)
        function = builder.inttoptr(args[0], ir.PointerType(kind))
        context.call_conv.call_function(builder, function, types.none, wanted, values)
        return context.get_dummy_value()

    return types.none(types.int64, arguments), generate


call: Any = _call
"""Call the compiled function at `address` with a tuple of arguments (compiled code only)."""


def address_of(function: Any, argument_types: tuple[Any, ...]) -> int:
    """Address of an `njit` function compiled for these types, now or in an earlier process (the disk cache).

    The code lives as long as the function object, a module's, which keeps what it has compiled.
    """
    function.compile(argument_types)
    code, described = attrgetter("library", "fndesc")(function.overloads[argument_types])
    return int(code.get_pointer_to_function(described.llvm_func_name))
