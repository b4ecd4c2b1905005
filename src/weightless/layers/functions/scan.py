"""A gated diagonal recurrence over a window (minGRU: Feng et al. 2024; RG-LRU: De et al. 2024), and a short
convolution before it (Fu et al. 2023).

    h_t = a_t h_{t-1} + (1 - a_t) u_t        a_t = sigma(-(g_t + lambda)) = exp(-softplus(g_t + lambda))
    y_t = h_t silu(o_t)

On a CPU the recurrence is compiled and has its gradient written out (`kernels/numba/scan.py`); elsewhere, and in
float64, it is a parallel scan by doubling: log2 T passes, in each of which x_t += A_t x_{t-n}, A_t *= A_{t-n}.  No
factor ever exceeds 1, so nothing overflows whatever the decays are.  Documents in a row reset the state exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from weightless.layers.functions.documents import DocumentLayout
from weightless.layers.functions.norm import widened


def gated_scan(
    u_BTS: torch.Tensor,
    g_BTS: torch.Tensor,
    o_BTS: torch.Tensor,
    decay: torch.Tensor,
    documents: DocumentLayout | None = None,
) -> torch.Tensor:
    """h_t silu(o_t) with h_t = a_t h_{t-1} + (1 - a_t) u_t, a_t = sigma(-(g_t + decay)): [B, T, S] in the dtype of u.

    u_BTS       [B, T, S], what is taken in        g_BTS   [B, T, S], gates        o_BTS   [B, T, S], output gates
    decay       S numbers in any shape, added to the gates
    documents   None, or a `document_layout`: the state begins at zero in every document

    Half precision is worked out in float32.  Shapes that do not fit raise RuntimeError or ValueError.
    """
    given, begins_BT = u_BTS.dtype, beginnings(u_BTS, documents)
    u, g, o, decay = (widened(z) for z in (u_BTS, g_BTS, o_BTS, decay))
    if u.device.type == "cpu" and all(z.dtype == torch.float32 for z in (u, g, o, decay)):
        return _Scan.apply(*(z.contiguous() for z in (u, g, o, decay.reshape(-1))), begins_BT).to(given)  # type: ignore[no-any-return]
    z_BTS = g + decay.reshape(-1)
    return (_doubled(u * torch.sigmoid(z_BTS), torch.sigmoid(-z_BTS), begins_BT) * F.silu(o)).to(given)


def beginnings(x_BTC: torch.Tensor, documents: DocumentLayout | None) -> torch.Tensor:
    """uint8 [B, T]: 1 where nothing before counts, the first position of every row and document.

    x_BTC   gives the shape and the device        documents   None, or a `document_layout`

    A tensor of fewer than two axes raises IndexError.
    """
    if documents is not None:
        return (documents.position_BT == 0).to(torch.uint8)
    begins_BT = torch.zeros(x_BTC.shape[:2], dtype=torch.uint8, device=x_BTC.device)
    begins_BT[:, 0] = 1
    return begins_BT


def _doubled(x_BTS: torch.Tensor, a_BTS: torch.Tensor, begins_BT: torch.Tensor) -> torch.Tensor:
    a_BTS, n = a_BTS.masked_fill(begins_BT[..., None].bool(), 0.0), 1
    while n < x_BTS.shape[1]:
        x_BTS = x_BTS + a_BTS * F.pad(x_BTS[:, :-n], (0, 0, n, 0))
        a_BTS = a_BTS * F.pad(a_BTS[:, :-n], (0, 0, n, 0))
        n *= 2
    return x_BTS


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, g: torch.Tensor, o: torch.Tensor, decay: torch.Tensor, begins: Any) -> Any:
        from weightless.kernels.fast_ops import shared_out
        from weightless.kernels.numba.scan import scan_rows

        h, y, T = torch.empty_like(u), torch.empty_like(u), u.shape[1]
        rows = [_rows(z) for z in (u, g, o)]
        ends = _rows(h), _rows(y)

        def part(first: int, stop: int) -> None:
            scan_rows(*rows, decay.detach().numpy(), begins.numpy().reshape(-1), first * T, stop * T, *ends)

        shared_out(part, len(u), torch.get_num_threads(), 1)
        ctx.save_for_backward(u, g, o, decay, begins, h)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        from weightless.kernels.fast_ops import shared_out
        from weightless.kernels.numba.scan import scan_backward_rows

        u, g, o, decay, begins, h = ctx.saved_tensors
        found, T = [torch.empty_like(u) for _ in range(3)], u.shape[1]
        given = [_rows(z) for z in (gradients[0].contiguous(), u, g, o)]
        flat = decay.detach().numpy(), begins.numpy().reshape(-1), _rows(h)
        ends = [_rows(z) for z in found]

        def part(first: int, stop: int) -> np.ndarray:
            dh_S, ddecay_S = np.zeros(u.shape[2], np.float32), np.zeros(u.shape[2])
            scan_backward_rows(*given, *flat, first * T, stop * T, *ends, dh_S, ddecay_S)
            return ddecay_S

        ddecay_S = np.sum(shared_out(part, len(u), torch.get_num_threads(), 1), axis=0).astype(np.float32)
        return *found, torch.from_numpy(ddecay_S), None


def _rows(x_BTS: torch.Tensor) -> np.ndarray:
    """[B T, S] of the same memory."""
    return x_BTS.detach().numpy().reshape(-1, x_BTS.shape[-1])


def causal_convolution(
    x_BTC: torch.Tensor, kernel_WC: torch.Tensor, documents: DocumentLayout | None = None
) -> torch.Tensor:
    """x_t + sum over i < W of K_i x_{t-i}, channel by channel: [B, T, C] in the dtype of x.

    x_BTC       [B, T, C]        kernel_WC   [W, C], row i for what is i positions old
    documents   None, or a `document_layout`: inputs of other documents count as zero

    Half precision is worked out in float32.  Shapes that do not fit raise RuntimeError.
    """
    given = x_BTC.dtype
    position_BT = None if documents is None else documents.position_BT
    return _Convolution.apply(widened(x_BTC).contiguous(), widened(kernel_WC), position_BT).to(given)  # type: ignore[no-any-return]


class _Convolution(torch.autograd.Function):
    """Its gradient is the same convolution backwards; written out, only the input is kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kernel: torch.Tensor, position_BT: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, kernel, position_BT)
        out = torch.addcmul(x, x, kernel[0])
        for i in range(1, min(len(kernel), x.shape[1])):
            out[:, i:].addcmul_(_seen(x[:, :-i], position_BT, i), kernel[i])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, kernel, position_BT = ctx.saved_tensors
        (dy,), d_kernel = gradients, torch.zeros_like(kernel)
        d_kernel[0], dx = (dy * x).sum((0, 1)), torch.addcmul(dy, dy, kernel[0])
        for i in range(1, min(len(kernel), x.shape[1])):
            late = _seen(dy[:, i:], position_BT, i)
            dx[:, :-i].addcmul_(late, kernel[i])
            d_kernel[i] = (late * x[:, :-i]).sum((0, 1))
        return dx, d_kernel, None


def _seen(z_BTC: torch.Tensor, position_BT: torch.Tensor | None, i: int) -> torch.Tensor:
    """Zero where position t lies less than i behind the beginning of its document."""
    return z_BTC if position_BT is None else z_BTC * (position_BT[:, i:, None] >= i)
