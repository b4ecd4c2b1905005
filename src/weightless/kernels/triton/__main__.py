"""python -m weightless.kernels.triton [sm_90 [WORD …]]: compile every kernel for a GPU that need not be here.

One line per kernel and variant: bytes of the cubin, shared memory of a program, warps.  Further words choose among the
variants by the words of their names.  Must run without TRITON_INTERPRET, which turns kernels into Python.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from weightless.base.errors import WeightlessError


class Variant(NamedTuple):
    """A kernel with the types of its arguments and the values of its constants."""

    name: str
    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    options: dict[str, Any]


def variants() -> Iterator[Variant]:
    """Every kernel in the types and sizes that matter most."""
    for storage, accumulator in (("fp32", "fp32"), ("bf16", "fp32"), ("fp64", "fp64")):
        yield from _layer_norm(storage, accumulator, 768)
    yield from _layer_norm("fp32", "fp32", 16_384)
    for storage in ("fp32", "bf16", "fp16"):
        yield from _softmax_topk(storage, 8)
        yield _ternary(storage)
    yield from _softmax_topk("fp32", 256)
    for storage, width in (("bf16", 64), ("fp16", 128), ("fp32", 64), ("fp64", 16)):
        for flags in ({}, {"WINDOWED": True, "PADDED": True, "CAUSAL": False}):
            yield from _flash(storage, width, flags)
    yield from _flash("bf16", 64, {"H": 1, "G": 1, "N": 1, "M": 1, "q_offset": 1})  # how the launcher treats ones


def _layer_norm(storage: str, accumulator: str, width: int) -> Iterator[Variant]:
    from weightless.kernels.triton import layer_norm as module
    from weightless.kernels.triton.launch import options, options_for

    n_rows, n_columns = module._tile(width)
    acc = _triton_type(accumulator)
    name = f"layer_norm {storage} D {width}"
    rows = ("dy", "xhat", "dx", "gamma", "beta", "x", "y")
    pointers = {
        **{f"{row}_ptr": f"*{storage}" for row in rows},
        **{f"{s}_ptr": f"*{accumulator}" for s in ("r", "parts")},
    }
    constants = {"ROWS": n_rows, "COLUMNS": n_columns, "ACC": acc}
    warps = options_for(n_rows * n_columns)
    yield _variant(f"{name} forward", module.layer_norm_kernel, pointers, {**constants, "EPS": 1e-5}, warps)
    yield _variant(f"{name} backward", module.layer_norm_backward_kernel, pointers, constants, warps)
    pointers["sums_ptr"] = f"*{storage}"
    constants = {"PARTS": module.PARTS_AT_ONCE, "COLUMNS": 128, "ACC": acc}
    yield _variant(f"{name} add parts", module.add_parts_kernel, pointers, constants, options(4))


def _softmax_topk(storage: str, K: int) -> Iterator[Variant]:
    from weightless.kernels.triton import softmax_topk as module
    from weightless.kernels.triton.launch import options_for

    pointers = {"logits_ptr": f"*{storage}", "p_ptr": f"*{storage}", "keys_ptr": "*i64", "index_ptr": "*i64"}
    pointers |= {"m_ptr": "*fp32", "l_ptr": "*fp32"}
    parts, block = 16, module.BLOCK
    name = f"softmax_topk {storage} K {K}"
    constants = {"K": K, "BLOCK": block}
    yield _variant(f"{name} parts", module.topk_parts_kernel, pointers, constants, options_for(block))
    constants = {"K": K, "PARTS": parts}
    yield _variant(f"{name} merge", module.topk_merge_kernel, pointers, constants, options_for(K * parts))


def _ternary(storage: str) -> Variant:
    from weightless.kernels.triton import ternary as module
    from weightless.kernels.triton.launch import options

    pointers = {"packed_ptr": "*u8", "scales_ptr": "*fp16", "x_ptr": f"*{storage}", "y_ptr": f"*{storage}"}
    constants = {"BYTES_PER_GROUP": 32, "ROWS": module.ROWS, "BYTES": module.MOST_BYTES}
    return _variant(f"ternary_matvec {storage}", module.ternary_matvec_kernel, pointers, constants, options(4))


def _flash(storage: str, width: int, flags: dict[str, Any]) -> Iterator[Variant]:
    import torch

    from weightless.kernels.triton import flash_attention as module

    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp64": torch.float64}
    pointers = {f"{name}_ptr": f"*{storage}" for name in ("Q", "K", "V", "O", "dO", "dQ", "dK", "dV")}
    sums = "*fp64" if storage == "fp64" else "*fp32"
    pointers |= {"L_ptr": sums, "Delta_ptr": sums, "padding_ptr": "*u8"}
    flags = {"CAUSAL": True, "WINDOWED": False, "PADDED": False, **flags}
    told = " ".join(f"{name}={value}" for name, value in flags.items())
    rows = torch.empty((1, 1, 1, width), dtype=kinds[storage])
    for kernel in (module.forward_kernel, module.query_gradient_kernel, module.key_gradient_kernel):
        sizes = module._sizes(rows, rows, 128, kernel is module.forward_kernel)
        options = {name: sizes.pop(name) for name in ("num_warps", "num_stages", "enable_fp_fusion")}
        name = f"flash_attention {storage} D {width} {kernel.fn.__name__} {sizes['QUERIES']} x {sizes['KEYS']} {told}"
        yield _variant(name, kernel, pointers, {**sizes, **flags}, options)


def _triton_type(name: str) -> Any:
    import triton.language as tl

    return {"fp32": tl.float32, "fp64": tl.float64}[name]


def _variant(
    name: str, kernel: Any, pointers: dict[str, str], constants: dict[str, Any], options: dict[str, Any]
) -> Variant:
    """What is neither a pointer nor a constant is a 32-bit whole number."""
    types = {a: "constexpr" if a in constants else pointers.get(a, "i32") for a in kernel.arg_names}
    return Variant(name, kernel, types, {a: constants[a] for a in kernel.arg_names if a in constants}, options)


def compiled(variant: Variant, arch: int = 90) -> Any:
    """Triton's compiled kernel (asm["cubin"], metadata) for compute capability `arch`, without a GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    places = {name: at for at, name in enumerate(variant.kernel.arg_names)}
    constants = {(places[name],): value for name, value in variant.constants.items()}
    pointers = [(places[name],) for name, kind in variant.types.items() if kind.startswith("*")]
    source = ASTSource(variant.kernel, variant.types, constants, {at: [["tt.divisibility", 16]] for at in pointers})
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=variant.options)


def main(arguments: list[str]) -> int:
    """Compile the variants named by the words, or all; exit code 2 with one line when that cannot be done."""
    try:
        arch, words = arguments[0] if arguments else "sm_90", arguments[1:]
        if os.environ.get("TRITON_INTERPRET") == "1":
            raise WeightlessError("TRITON_INTERPRET=1 turns kernels into Python; compile without it")
        if not (arch.isascii() and arch.removeprefix("sm_").isdigit()):
            raise WeightlessError(f"no GPU architecture {arch!r}; name it like sm_90")
        for variant in variants():
            if all(word in variant.name.split() for word in words):
                done = compiled(variant, int(arch.removeprefix("sm_")))
                print(
                    f"{len(done.asm['cubin']):8,} bytes  {done.metadata.shared:7,} shared  "
                    f"{done.metadata.num_warps:2} warps  {variant.name}",
                    flush=True,
                )
    except WeightlessError as error:
        print(f"weightless.kernels.triton: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
