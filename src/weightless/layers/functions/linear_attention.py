"""Linear attention with gates over a window: a matrix of state per head, and chunks in which all positions go together.

    S_t = a_t S_{t-1} + k_t w_t^T        y_t = S_t^T q_t        a_t = exp(-softplus(z_t))
    w_t = v_t  (gated: Yang et al. 2024),  or  beta_t (v_t - a_t S_{t-1}^T k_t)  (gated delta rule: Yang et al. 2025)

On a CPU it is compiled, position by position, and its gradient written out (`kernels/numba/linear_attention.py`).
Elsewhere, and in float64, chunks of C positions are matrix products.  With G_i = sum of log a up to i within a chunk:

    w_i = beta_i (v_i - e^{G_i} S_0^T k_i - sum over j < i of e^{G_i - G_j} (k_j k_i) w_j)      a triangular system
    y_i = e^{G_i} S_0^T q_i + sum over j <= i of e^{G_i - G_j} (k_j q_i) w_j
    S_C = e^{G_C} S_0 + sum of e^{G_C - G_j} k_j w_j^T

Only differences of G of a later and an earlier position are exponentiated, so nothing overflows; G is summed in
float64, or a long chunk would lose the digits of near differences.  Documents in a row reset the state exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from weightless.base.errors import ConfigError
from weightless.layers.functions.documents import DocumentLayout
from weightless.layers.functions.norm import rms_norm, widened
from weightless.layers.functions.scan import beginnings
from weightless.ops.linear_attention import UNIT_EPS
from weightless.quant.straight_through import fake_quantise

FORMATS = ("f32", "bf16")
"""Of a state."""


def unit(x: torch.Tensor) -> torch.Tensor:
    """x / sqrt(sum(x^2) + K eps) over the last axis of K numbers: vectors of length 1, zeros as they are.

    x   [..., K], any float dtype; the same comes back, and half precision is worked out in float32

    A tensor without axes raises IndexError.
    """
    return rms_norm(x, None, UNIT_EPS) * x.shape[-1] ** -0.5


def gated_linear_attention(
    q_BTHK: torch.Tensor,
    k_BTHK: torch.Tensor,
    v_BTHV: torch.Tensor,
    z_BTH: torch.Tensor,
    beta_BTH: torch.Tensor | None = None,
    documents: DocumentLayout | None = None,
    chunk: int = 64,
    state_format: str = "f32",
) -> torch.Tensor:
    """y_t = S_t^T q_t with S_t = a_t S_{t-1} + k_t w_t^T, a_t = sigma(-z_t): [B, T, H, V] in the dtype of q.

    q_BTHK         queries [B, T, H, K]        k_BTHK   keys [B, T, H, K], of length 1 with the delta rule
    v_BTHV         values [B, T, H, V]         z_BTH    gates [B, T, H]: the larger, the more is forgotten
    beta_BTH       [B, T, H] in 0..1, how much is written by the delta rule; None: w = v, without it
    documents      None, or a `document_layout`: the state begins at zero in every document
    chunk          positions between two states that training keeps; the result does not depend on it
    state_format   f32, or bf16: the state is rounded after every position, as it is stored, and the gradient passes
                   straight through; off the CPU that takes T steps

    Half precision is worked out in float32.  Raises ConfigError for a chunk below 1 and another format; shapes that do
    not fit raise RuntimeError.
    """
    if chunk < 1 or state_format not in FORMATS:
        raise ConfigError(f"chunk = {chunk} should be at least 1, and a state is f32 or bf16, not {state_format!r:.20}")
    given, begins_BT = q_BTHK.dtype, beginnings(q_BTHK, documents)
    q, k, v, z = (widened(x) for x in (q_BTHK, k_BTHK, v_BTHV, z_BTH))
    beta = None if beta_BTH is None else widened(beta_BTH)
    if q.device.type == "cpu" and q.dtype == torch.float32:
        parts = (q, k, v, torch.sigmoid(-z), beta)
        parts = tuple(None if x is None else x.contiguous() for x in parts)
        y = _LinearAttention.apply(*parts, begins_BT, min(chunk, q.shape[1]), state_format == "bf16")
    elif state_format == "bf16":
        y = _one_by_one(q, k, v, torch.sigmoid(-z), beta, begins_BT)
    else:
        y = _by_chunks(q, k, v, F.logsigmoid(-z), beta, begins_BT, chunk)
    return y.to(given)  # type: ignore[no-any-return]


def _one_by_one(q: Any, k: Any, v: Any, a: Any, beta: Any, begins_BT: torch.Tensor) -> torch.Tensor:
    a, rows = a.masked_fill(begins_BT[..., None].bool(), 0.0), []
    S_BHKV = q.new_zeros((*k[:, 0].shape, v.shape[-1]))
    for t in range(q.shape[1]):
        S_BHKV = a[:, t, :, None, None] * S_BHKV
        w = v[:, t]
        if beta is not None:
            w = beta[:, t, :, None] * (w - torch.einsum("bhkv,bhk->bhv", S_BHKV, k[:, t]))
        S_BHKV = S_BHKV + k[:, t, :, :, None] * w[:, :, None]
        rows.append(torch.einsum("bhkv,bhk->bhv", S_BHKV, q[:, t]))
        S_BHKV = fake_quantise(S_BHKV, "bf16")
    return torch.stack(rows, dim=1)


def _by_chunks(q: Any, k: Any, v: Any, log_a: Any, beta: Any, begins_BT: torch.Tensor, chunk: int) -> torch.Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    begins_BT = begins_BT.bool()
    document_BT, rows = begins_BT.cumsum(1), []
    S_BHKV = q.new_zeros((*k.shape[:2], k.shape[3], v.shape[3]))
    for first in range(0, q.shape[2], chunk):
        at = slice(first, first + chunk)
        document = document_BT[:, None, at]
        before = document_BT[:, None, first - 1 : first] if first else document[..., :1] - 1
        G_BHC = log_a[:, at].transpose(1, 2).double().cumsum(-1)
        same_BHCC = document[..., :, None] == document[..., None, :]
        decay_BHCC = _exp(G_BHC[..., :, None] - G_BHC[..., None, :], same_BHCC, q)
        entry_BHC = _exp(G_BHC, document == before, q)[..., None]
        q_c, k_c, w = q[:, :, at], k[:, :, at], v[:, :, at]
        if beta is not None:
            beta_c = beta[:, at].transpose(1, 2)[..., None]
            system = beta_c * (decay_BHCC * (k_c @ k_c.mT)).tril(-1)
            wanted = beta_c * (w - entry_BHC * (k_c @ S_BHKV))
            w = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
        rows.append(entry_BHC * (q_c @ S_BHKV) + (decay_BHCC * (q_c @ k_c.mT)) @ w)
        S_BHKV = entry_BHC[..., -1:, :] * S_BHKV + (decay_BHCC[..., -1, :, None] * k_c).mT @ w
    return torch.cat(rows, dim=2).transpose(1, 2)


def _exp(exponents: torch.Tensor, allowed: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """e^x where it is allowed and x is of an earlier position, else 0; masked before, so that no gradient is NaN."""
    if exponents.ndim > 3:
        allowed = allowed.tril()
    return exponents.masked_fill(~allowed, float("-inf")).exp().to(like.dtype)


class _LinearAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, a: Any, beta: Any, begins: Any, chunk: int, is_rounded: bool) -> Any:
        from weightless.kernels.fast_ops import shared_out
        from weightless.kernels.numba.linear_attention import linear_attention_row

        (B, T, H, K), V = q.shape, v.shape[-1]
        kept, y = torch.empty((B, -(-T // chunk), H, K, V)), torch.empty_like(v)
        given = [x.detach().numpy() for x in (q, k, v, a, a if beta is None else beta, begins)]
        kept_BCHKV, y_BTHV = kept.numpy(), y.numpy()

        def part(first: int, stop: int) -> None:
            S_KV, w = np.empty((K, V), np.float32), np.empty(V, np.float32)
            for b, h in (divmod(i, H) for i in range(first, stop)):
                row, ends = [x[b] for x in given], (kept_BCHKV[b], y_BTHV[b])
                linear_attention_row(*row, h, chunk, beta is not None, is_rounded, S_KV, w, *ends)

        shared_out(part, B * H, torch.get_num_threads(), 1)
        ctx.save_for_backward(q, k, v, a, beta, begins, kept)
        ctx.chunk, ctx.is_rounded = chunk, is_rounded
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        from weightless.kernels.fast_ops import shared_out
        from weightless.kernels.numba.linear_attention import linear_attention_backward_row

        q, k, v, a, beta, begins, kept = ctx.saved_tensors
        (H, K), V, chunk, is_delta = q.shape[2:], v.shape[-1], ctx.chunk, beta is not None
        found = [torch.empty_like(x) for x in (q, k, v, a, a)]
        dy = gradients[0].contiguous()
        given = [x.detach().numpy() for x in (q, k, v, a, beta if is_delta else a, dy)]
        flags, kept_BCHKV, ends = begins.numpy(), kept.numpy(), [x.numpy() for x in found]

        def part(first: int, stop: int) -> None:
            rooms = (np.empty((n, *shape), np.float32) for n, shape in ((chunk, (K, V)), (1, (K, V)), (3, (V,))))
            states_CKV, G_1KV, rooms_3V = rooms
            for b, h in (divmod(i, H) for i in range(first, stop)):
                G_1KV[:] = 0
                row, into = tuple(x[b] for x in given), tuple(x[b] for x in ends)
                marks = (flags[b], h, chunk, is_delta, ctx.is_rounded, kept_BCHKV[b])
                linear_attention_backward_row(row, *marks, states_CKV, G_1KV[0], rooms_3V, into)

        shared_out(part, len(q) * H, torch.get_num_threads(), 1)
        return *found[:4], found[4] if is_delta else None, None, None, None
