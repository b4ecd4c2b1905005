"""A ternary matrix times a vector in Triton, from codes packed four to a byte.  Twin: weightless/ops/ternary.py.

    y_r = sum over groups g of s_rg sum over the columns c of g of code_rc x_c

Shapes: packed uint8 [R, ceil(C / 4)] (two bits per code, the first column in the lowest bits; ops/ternary.py), scales
float16 [R, ceil(C / group_size)], x [..., C] of float16, bfloat16 or float32; y [..., R] in the type of x, sums in
float32.

A program owns ROWS outputs of one vector.  It loads a byte of codes once for four columns, shifts it four ways,
multiplies by x, adds the four, and takes the scale of the byte's group (group_size is a multiple of 4, so a byte has
one scale).
Traffic: R C / 4 bytes of codes and 2 R C / group_size bytes of scales, once: 2.125 bits per weight at groups of 128,
7.5 times less than a float16 matrix, and x once per program out of the cache.  Bound by memory for one vector; each
further vector reads the codes again, so from a handful on, expand the matrix and multiply.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from weightless.base.errors import ArgumentError
from weightless.kernels.tensor_arguments import float_tensor, rows, same_device, same_shape
from weightless.kernels.triton.launch import largest, options, power_of_two
from weightless.kernels.twins import twin_of
from weightless.ops import ternary as reference
from weightless.ops.arguments import whole_number

ROWS, MOST_BYTES = 8, 128
"""Outputs of a program, and bytes of codes per row that it takes at a time."""


@triton.jit
def ternary_matvec_kernel(
    packed_ptr,
    scales_ptr,
    x_ptr,
    y_ptr,
    R,
    C,
    n_bytes,
    n_groups,
    BYTES_PER_GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    BYTES: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    vector = tl.program_id(1).to(tl.int64)
    row_there = (row < R)[:, None]
    row_at = row.to(tl.int64)[:, None]
    place = tl.arange(0, 4)
    y = tl.zeros((ROWS,), tl.float32)
    for first in range(0, n_bytes, BYTES):
        byte = first + tl.arange(0, BYTES)
        inside = row_there & (byte < n_bytes)[None, :]
        packed = tl.load(packed_ptr + row_at * n_bytes + byte[None, :], mask=inside, other=0).to(tl.int32)
        scale = tl.load(scales_ptr + row_at * n_groups + (byte // BYTES_PER_GROUP)[None, :], mask=inside, other=0.0)
        column = byte[:, None] * 4 + place[None, :]
        x = tl.load(x_ptr + vector * C + column, mask=column < C, other=0.0).to(tl.float32)
        code = ((packed[:, :, None] >> (place * 2)[None, None, :]) & 3) - 1
        of_byte = tl.sum(code.to(tl.float32) * x[None, :, :], axis=2)
        y += tl.sum(of_byte * scale.to(tl.float32), axis=1)
    tl.store(y_ptr + vector * R + row, y.to(y_ptr.dtype.element_ty), mask=row < R)


@twin_of(
    reference.ternary_matvec,
    """Takes and returns torch tensors on a CUDA device: x of 16 or 32 bits, scales float16; sums are float32.
    Raises ArgumentError also for tensors on several devices and a group_size that 4 does not divide; NaN, infinity and
    the bits 11 are not looked for.""",
)
def ternary_matvec(x: Any, packed: Any, scales: Any, group_size: int = 128) -> Any:
    x = float_tensor("x", x, "C", at_least=True, kinds=("float16", "bfloat16", "float32"))
    scales = float_tensor("scales", scales, "RG", kinds=("float16",)).contiguous()
    if not isinstance(packed, torch.Tensor) or packed.dtype != torch.uint8 or packed.ndim != 2:
        raise ArgumentError(f"packed should be a uint8 tensor [R, bytes], not {getattr(packed, 'dtype', type(packed))}")
    if whole_number("group_size", group_size) % 4:
        raise ArgumentError(f"group_size should be a multiple of 4, so that a byte has one scale, not {group_size}")
    (n_rows, n_bytes), width = packed.shape, x.shape[-1]
    same_shape("packed", packed, f"R rows of {width} codes", (n_rows, -(-width // 4)))
    same_shape("scales", scales, f"groups of {group_size} of {width} columns", (n_rows, -(-width // group_size)))
    same_device(x=x, packed=packed, scales=scales)
    x_NC = rows(x)
    largest("the number of vectors", len(x_NC), 65_535)
    y_NR = x.new_empty((len(x_NC), n_rows))
    ternary_matvec_kernel[(triton.cdiv(n_rows, ROWS), len(x_NC))](
        packed.contiguous(),
        scales,
        x_NC,
        y_NR,
        n_rows,
        width,
        n_bytes,
        scales.shape[1],
        BYTES_PER_GROUP=group_size // 4,
        ROWS=ROWS,
        BYTES=min(MOST_BYTES, power_of_two(n_bytes)),
        **options(4),
    )
    return y_NR.view(*x.shape[:-1], n_rows)
