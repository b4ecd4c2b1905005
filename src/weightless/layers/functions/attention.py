"""Causal attention with grouped queries and rotary positions.

qkv_BTC = [q | k | v] of widths n_heads K, n_kv_heads K, n_kv_heads K.  RoPE pairs (j, j + K/2), the half-split
convention, with angle position * theta^(-2j/K) (Su et al. 2021).  Scores are scaled by 1/sqrt(K).
With `documents` (documents.py) attention and positions stay within a document.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from weightless.layers.functions.documents import DocumentLayout
from weightless.layers.functions.norm import rms_norm, widened
from weightless.ops.rope import UNSTRETCHED, Stretch, check_theta
from weightless.quant.straight_through import fake_quantise

QK_EPS = 1e-6


def rotary_tables(
    n_positions: int,
    d_head: int,
    theta: float,
    device: torch.device,
    first: int = 0,
    stretch: Stretch = UNSTRETCHED,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(cos, sin) of the rotary angles, float32 [n_positions, d_head / 2], worked out in float64.

    n_positions   how many positions, from `first` (0) on
    d_head        width of a head, even: pair j of d_head / 2 turns by position * theta^(-2 j / d_head)
    theta         above 1 and at most 1e300 (ConfigError)
    device        where the tables go
    first         the first position
    stretch       (factor, low, high, learned): what turns less than `low` times within `learned` positions is turned
                  `factor` times slower, what turns more than `high` times is not, and in between it is interpolated
                  (ConfigError where that cannot be)
    """
    check_theta(theta)
    exponents = torch.arange(0, d_head, 2, dtype=torch.float64, device=device) / d_head
    positions = torch.arange(first, first + n_positions, dtype=torch.float64, device=device)
    frequencies = theta ** (-exponents)
    if stretch != UNSTRETCHED:
        stretch.check()
        turns = frequencies * (stretch.learned / (2 * math.pi))
        kept = ((turns - stretch.low) / (stretch.high - stretch.low)).clamp(0, 1)
        frequencies = frequencies * (kept * (1 - 1 / stretch.factor) + 1 / stretch.factor)
    angles = positions[:, None] * frequencies
    return angles.cos().float(), angles.sin().float()


@torch.compiler.assume_constant_result
def _tables_from_0(n_positions: int, d_head: int, theta: float, device: torch.device, stretch: Stretch) -> torch.Tensor:
    """[2, n_positions, d_head / 2] of `rotary_tables`, made once; to torch.compile a constant, for angles that are part
    of a graph are worked out anew for every element that they turn."""
    return _made_tables(n_positions, d_head, theta, device, stretch)


@lru_cache(maxsize=16)
def _made_tables(n_positions: int, d_head: int, theta: float, device: torch.device, stretch: Stretch) -> torch.Tensor:
    with torch.inference_mode(False):
        return torch.stack(rotary_tables(n_positions, d_head, theta, device, stretch=stretch))


def rotate(x_BTHK: torch.Tensor, cos_TJ: torch.Tensor, sin_TJ: torch.Tensor, interleaved: bool = False) -> torch.Tensor:
    """Turn every pair (j, j + K/2) of every head by its position's angle; the shape and dtype of x.

    x_BTHK           [B, T, H, K]
    cos_TJ, sin_TJ   [T, K/2] of `rotary_tables`, or [B, T, K/2] when rows have positions of their own
    interleaved      whether the pairs are (2j, 2j + 1) instead

    Half precision is worked out in float32.  Shapes that do not fit raise RuntimeError.
    """
    if interleaved:
        halves_BTHK = torch.cat([x_BTHK[..., 0::2], x_BTHK[..., 1::2]], dim=-1)
        return rotate(halves_BTHK, cos_TJ, sin_TJ).unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
    return _Rotate.apply(x_BTHK, cos_TJ.unsqueeze(-2), sin_TJ.unsqueeze(-2))  # type: ignore[no-any-return]


class _Rotate(torch.autograd.Function):
    """A rotation's gradient is the rotation back; written out, nothing but the angles is kept for it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(gradients[0], cos, sin, -1), None, None


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: int) -> torch.Tensor:
    given, x = x.dtype, widened(x)
    a, b = x.chunk(2, dim=-1)
    turned = x * torch.cat([cos, cos], dim=-1)  # whole heads: half of one is too short a row for a vector loop
    return turned.addcmul_(torch.cat([b, a], dim=-1), torch.cat([sin * -sign, sin * sign], dim=-1)).to(given)


def causal_attention(
    qkv_BTC: torch.Tensor,
    n_heads: int,
    n_kv_heads: int,
    d_head: int,
    theta: float,
    qk_norm: bool = False,
    kv_format: str = "f32",
    documents: DocumentLayout | None = None,
    rotary: str = "half_split",
    q_norm: torch.Tensor | None = None,
    k_norm: torch.Tensor | None = None,
    q_gain: torch.Tensor | None = None,
    window: int | None = None,
    qk_eps: float = QK_EPS,
    stretch: Stretch = UNSTRETCHED,
) -> torch.Tensor:
    """Causal attention with grouped queries and rotary positions: output [B, T, n_heads K] in the dtype of qkv.

    qkv_BTC      [B, T, C] = [q | k | v] of widths n_heads K, n_kv_heads K and n_kv_heads K
    n_heads      heads of queries, a multiple of n_kv_heads, the heads of keys and values: head h reads h // their ratio
    d_head       K, even
    theta        base of the rotary angles, position * theta^(-2j/K), pairs (j, j + K/2); above 1 and at most 1e300
    qk_norm      whether every head of q and k is first divided by its root mean square
    kv_format    the format that a cache stores its rows [k | v] in (f32, bf16, f16, int8, int4): they are rounded to it
                 here, and the gradient passes straight through
    documents    None, or a `document_layout`: positions count from 0 in every document, and nothing is seen beyond it
    rotary       which elements of a head are a pair: "half_split", "interleaved", or "none" for no positions at all
    q_norm       weights of the norm of every query head, K elements; None for ones        k_norm   the same of keys
    q_gain       a factor for every query head, n_heads elements, after the rotation; None for ones
    window       how many positions a position sees, itself included; None for all
    qk_eps       stands inside the root of the norms of q and k
    stretch      of positions, as `rotary_tables` takes it

    Scores are divided by sqrt(K); those of half-precision inputs are made in float32.  Position t sees itself and what
    precedes it.  Raises ConfigError for a theta or format that cannot be; shapes that do not fit raise PyTorch's
    errors.
    """
    B, T, _ = qkv_BTC.shape
    d_kv = n_kv_heads * d_head
    q, k, v = qkv_BTC.split([n_heads * d_head, d_kv, d_kv], dim=-1)
    q_BTHK, k_BTHK = q.view(B, T, n_heads, d_head), k.view(B, T, n_kv_heads, d_head)
    if qk_norm:
        q_BTHK, k_BTHK = rms_norm(q_BTHK, q_norm, qk_eps), rms_norm(k_BTHK, k_norm, qk_eps)
    if rotary != "none":
        cos, sin = _tables_from_0(T, d_head, theta, qkv_BTC.device, stretch).unbind()
        if documents is not None:
            cos, sin = cos[documents.position_BT], sin[documents.position_BT]
        q_BTHK, k_BTHK = (rotate(z, cos, sin, rotary == "interleaved") for z in (q_BTHK, k_BTHK))
    if q_gain is not None:
        q_BTHK = q_BTHK * q_gain.reshape(-1, 1)
    kv_BTC = fake_quantise(torch.cat([k_BTHK.reshape(B, T, d_kv), v], dim=-1), kv_format).to(qkv_BTC.dtype)
    k_BHTK, v_BHTK = (z.view(B, T, n_kv_heads, d_head).transpose(1, 2) for z in kv_BTC.split(d_kv, dim=-1))
    allowed = _allowed(T, documents, window, qkv_BTC.device)
    out_BHTK = F.scaled_dot_product_attention(
        q_BTHK.transpose(1, 2), k_BHTK, v_BHTK, allowed, is_causal=allowed is None, enable_gqa=n_kv_heads != n_heads
    )
    return out_BHTK.transpose(1, 2).reshape(B, T, n_heads * d_head)


def _allowed(T: int, documents: DocumentLayout | None, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Who sees whom, bool [T, T] or [B, 1, T, T]; None where plain causal attention says it."""
    seen = None if documents is None else documents.allowed_BTT[:, None]
    if window is None or window >= T:
        return seen
    place_T = torch.arange(T, device=device)
    age_TT = place_T[:, None] - place_T
    near_TT = (age_TT >= 0) & (age_TT < window)
    return near_TT if seen is None else seen & near_TT
