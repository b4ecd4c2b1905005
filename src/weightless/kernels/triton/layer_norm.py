"""Layer norm in Triton, forwards and backwards.  Twin and oracle: weightless/ops/layer_norm.py, which derives this.

    forward     mu = mean(x)     r = 1 / sqrt(mean((x - mu)^2) + eps)     xhat = (x - mu) r     y = gamma xhat + beta
    backward    dyhat = dy gamma
                dx     = r (dyhat - mean(dyhat) - xhat mean(dyhat xhat))
                dgamma = sum dy xhat          dbeta = sum dy          (over all rows)

Shapes: x, y, dy, dx, xhat (..., D); r (..., 1); gamma, beta, dgamma, dbeta (D,).  D up to 16,384: a row lives in
registers.

Forward: a program takes ROWS rows at once (several when they are narrow), reads them once and makes every pass over
them in registers: the mean, what rounding left of it, the largest deviation (squares must not overflow), the variance.
Traffic per element of float32: 4 bytes read, 8 written (y and xhat).

Backward: as many programs as fill the GPU; each walks over tiles of rows with a stride and reads dy and xhat once, 12
bytes per element with the dx it writes.  It adds up its own dgamma and dbeta in registers, and writes them to one row
of `parts`; a second kernel adds the parts in a fixed order.  No atomics, so equal inputs on equal GPUs give equal bits.

Sums are float32 for float16, bfloat16 and float32 (r, dgamma, dbeta of float32 too), float64 for float64.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from weightless.base.errors import ArgumentError
from weightless.kernels.tensor_arguments import float_tensor, rows, same_device, same_shape
from weightless.kernels.triton.launch import largest, options, options_for, power_of_two, programs
from weightless.kernels.twins import twin_of
from weightless.ops import layer_norm as reference
from weightless.ops.layer_norm import LayerNormCache

WIDEST = 16_384
TILE = 2048
"""Elements of a tile of narrow rows."""
PARTS_AT_ONCE = 16


@triton.jit
def layer_norm_kernel(
    x_ptr,
    gamma_ptr,
    beta_ptr,
    y_ptr,
    xhat_ptr,
    r_ptr,
    N,
    D,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACC: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    at = row.to(tl.int64)[:, None] * D + column[None, :]
    inside = (row < N)[:, None] & (column < D)[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(ACC)
    centred = tl.where(inside, x - (tl.sum(x, axis=1) / D)[:, None], 0.0)
    centred = tl.where(inside, centred - (tl.sum(centred, axis=1) / D)[:, None], 0.0)
    size = tl.maximum(tl.max(tl.abs(centred), axis=1), 1.0)
    scaled = centred / size[:, None]
    variance = tl.sum(scaled * scaled, axis=1) / D  # in units of size^2
    r = 1.0 / (size * tl.sqrt(variance + EPS / size / size))
    xhat = centred * r[:, None]
    gamma = tl.load(gamma_ptr + column, mask=column < D, other=0.0).to(ACC)
    beta = tl.load(beta_ptr + column, mask=column < D, other=0.0).to(ACC)
    y = gamma[None, :] * xhat + beta[None, :]
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)
    tl.store(xhat_ptr + at, xhat.to(xhat_ptr.dtype.element_ty), mask=inside)
    tl.store(r_ptr + row, r, mask=row < N)


@triton.jit
def layer_norm_backward_kernel(
    dy_ptr,
    xhat_ptr,
    r_ptr,
    gamma_ptr,
    dx_ptr,
    parts_ptr,
    N,
    D,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACC: tl.constexpr,
):
    program = tl.program_id(0)
    column = tl.arange(0, COLUMNS)
    gamma = tl.load(gamma_ptr + column, mask=column < D, other=0.0).to(ACC)
    dgamma = tl.zeros((COLUMNS,), ACC)
    dbeta = tl.zeros((COLUMNS,), ACC)
    for first in range(program * ROWS, N, tl.num_programs(0) * ROWS):
        row = first + tl.arange(0, ROWS)
        at = row.to(tl.int64)[:, None] * D + column[None, :]
        inside = (row < N)[:, None] & (column < D)[None, :]
        dy = tl.load(dy_ptr + at, mask=inside, other=0.0).to(ACC)
        xhat = tl.load(xhat_ptr + at, mask=inside, other=0.0).to(ACC)
        r = tl.load(r_ptr + row, mask=row < N, other=0.0)
        dyhat = dy * gamma[None, :]
        mean = tl.sum(dyhat, axis=1) / D
        mean_xhat = tl.sum(dyhat * xhat, axis=1) / D
        dx = r[:, None] * (dyhat - mean[:, None] - xhat * mean_xhat[:, None])
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=inside)
        dgamma += tl.sum(dy * xhat, axis=0)
        dbeta += tl.sum(dy, axis=0)
    part = parts_ptr + program.to(tl.int64) * 2 * D
    tl.store(part + column, dgamma, mask=column < D)
    tl.store(part + D + column, dbeta, mask=column < D)


@triton.jit
def add_parts_kernel(
    parts_ptr, sums_ptr, n_parts, width, PARTS: tl.constexpr, COLUMNS: tl.constexpr, ACC: tl.constexpr
):
    """sums[c] = sum over p of parts[p, c], PARTS rows at a time, always in the same order."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), ACC)
    for first in range(0, n_parts, PARTS):
        part = first + tl.arange(0, PARTS)
        inside = (part < n_parts)[:, None] & (column < width)[None, :]
        at = part.to(tl.int64)[:, None] * width + column[None, :]
        total += tl.sum(tl.load(parts_ptr + at, mask=inside, other=0.0), axis=0)
    tl.store(sums_ptr + column, total.to(sums_ptr.dtype.element_ty), mask=column < width)


@twin_of(
    reference.layer_norm_forward,
    """Takes and returns torch tensors on a CUDA device (bfloat16, too); sums are float32, of float64 tensors float64.
    Raises ArgumentError also for several devices and D above 16,384; NaN and infinity are not looked for.""",
)
def layer_norm_forward(x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> tuple[Any, LayerNormCache]:
    x = float_tensor("x", x, "D", at_least=True)
    width = x.shape[-1]
    for name, vector in (("gamma", gamma), ("beta", beta)):
        same_shape(name, float_tensor(name, vector, "D"), "the last axis of x", (width,))
    same_device(x=x, gamma=gamma, beta=beta)
    if not 0 < eps < float("inf"):
        raise ArgumentError(f"eps should be a positive number, not {eps!r}")
    x_ND = rows(x)
    n = len(x_ND)
    y_ND, xhat_ND = torch.empty_like(x_ND), torch.empty_like(x_ND)
    r_N = torch.empty(n, dtype=_sums_of(x), device=x.device)
    n_rows, n_columns = _tile(width)
    layer_norm_kernel[(triton.cdiv(n, n_rows),)](
        x_ND,
        gamma.contiguous(),
        beta.contiguous(),
        y_ND,
        xhat_ND,
        r_N,
        n,
        width,
        EPS=float(eps),
        ROWS=n_rows,
        COLUMNS=n_columns,
        ACC=_accumulator(x),
        **options_for(n_rows * n_columns),
    )
    return y_ND.view(x.shape), LayerNormCache(xhat_ND.view(x.shape), r_N.view(*x.shape[:-1], 1), gamma)


@twin_of(
    reference.layer_norm_backward,
    """Takes and returns torch tensors on a CUDA device (bfloat16, too); sums are float32, of float64 tensors float64.
    n_programs: how many partial sums there are; None takes what fills the GPU.
    Raises ArgumentError also for several devices and D above 16,384; NaN and infinity are not looked for.""",
)
def layer_norm_backward(dy: Any, cache: LayerNormCache, n_programs: int | None = None) -> tuple[Any, Any, Any]:
    xhat, r, gamma = cache
    dy = float_tensor("dy", dy, "D", at_least=True)
    same_shape("dy", dy, "x", tuple(xhat.shape))
    same_device(dy=dy, xhat=xhat, r=r, gamma=gamma)
    dy_ND, xhat_ND, width = rows(dy), rows(xhat), dy.shape[-1]
    dx_ND = torch.empty_like(dy_ND)
    n_rows, n_columns = _tile(width)
    n_parts = min(triton.cdiv(len(dy_ND), n_rows), n_programs or programs(dy, 2))
    parts = torch.empty((n_parts, 2 * width), dtype=_sums_of(dy), device=dy.device)
    layer_norm_backward_kernel[(n_parts,)](
        dy_ND,
        xhat_ND,
        r.contiguous(),
        gamma.contiguous(),
        dx_ND,
        parts,
        len(dy_ND),
        width,
        ROWS=n_rows,
        COLUMNS=n_columns,
        ACC=_accumulator(dy),
        **options_for(n_rows * n_columns),
    )
    sums = torch.empty(2 * width, dtype=gamma.dtype, device=dy.device)
    add_parts_kernel[(triton.cdiv(2 * width, 128),)](
        parts, sums, n_parts, 2 * width, PARTS=PARTS_AT_ONCE, COLUMNS=128, ACC=_accumulator(dy), **options(4)
    )
    return dx_ND.view(dy.shape), sums[:width], sums[width:]


def _tile(width: int) -> tuple[int, int]:
    n_columns = power_of_two(largest("the last axis of x", width, WIDEST))
    return max(1, min(16, TILE // n_columns)), n_columns


def _sums_of(x: Any) -> Any:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _accumulator(x: Any) -> Any:
    return tl.float64 if x.dtype == torch.float64 else tl.float32
