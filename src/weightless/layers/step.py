"""One token at a time through a transformer block, in PyTorch: what training computes for a whole window, with a cache.

The step is cut where the decode program is cut: `fused(name)` is entered once per operator of the program, in its
order, and whoever traces the step (`audit.torch_trace`) hands in a context manager that listens.  What one operator
leaves for the next is a tensor; a Python number that crossed from one to the next would not be seen, so values that
address memory are read where they are used.

Shapes: D model width, H heads, K head width, C = 2 n_kv_heads K columns of a cache row [k | v], T rows of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F

from weightless.layers.attention import QK_EPS, rotary_tables, rotate
from weightless.layers.feedforward import ffn
from weightless.layers.norm import rms_norm
from weightless.quant.straight_through import fake_quantise

Fused = Callable[[str], AbstractContextManager[Any]]


def block_step(
    p: Mapping[str, torch.Tensor],
    prefix: str,
    x_D: torch.Tensor,
    kv_TC: torch.Tensor,
    t: int,
    heads: tuple[int, int, int],
    config: Any,
    qk_norm: bool = False,
    fused: Fused = nullcontext,
) -> torch.Tensor:
    """The residual stream [D] after one transformer block, for one token with a cache; row t - 1 of the cache is
    written.

    p, prefix   parameters by name; the block's are prefix + attn_norm, qkv, out, ffn_norm, up and down
    x_D         the residual stream before the block
    kv_TC       the block's cache, one row [k | v] per position, of the context's length
    t           the position, from 1: the token sees t rows, its own included
    heads       (n_heads, n_kv_heads, d_head)
    config      gives rope_theta, eps, activation and kv_format (the format the cache row is rounded to)
    qk_norm     whether every head of q and k is first divided by its root mean square
    fused       a context manager by the name of each operator of the decode program: what a tracer listens with
    """
    with fused("norm_matvec"):
        qkv = F.linear(rms_norm(x_D, p[prefix + "attn_norm"], config.eps), p[prefix + "qkv"])
    with fused("rope_append"):
        q_HK = append_row(qkv, kv_TC, t, heads, config.rope_theta, qk_norm, config.kv_format)
    with fused("attend"):
        a = attend_rows(q_HK, kv_TC[:t], heads)
    with fused("matvec_add"):
        x_D = x_D + F.linear(a, p[prefix + "out"])
    with fused("norm_ffn_add"):
        h = rms_norm(x_D, p[prefix + "ffn_norm"], config.eps)
        return x_D + ffn(h, p[prefix + "up"], p[prefix + "down"], config.activation)


def append_row(
    qkv: torch.Tensor,
    kv_TC: torch.Tensor,
    t: int,
    heads: tuple[int, int, int],
    theta: float,
    qk_norm: bool,
    kv_format: str,
) -> torch.Tensor:
    """Write the row [k | v], rounded as the cache stores it, at position t; returns the rotated q [H, K]."""
    n_heads, n_kv_heads, d_head = heads
    d_kv = n_kv_heads * d_head
    q, k, v = qkv.split([n_heads * d_head, d_kv, d_kv])
    q_HK, k_HK = q.view(n_heads, d_head), k.view(n_kv_heads, d_head)
    if qk_norm:
        q_HK, k_HK = rms_norm(q_HK, None, QK_EPS), rms_norm(k_HK, None, QK_EPS)
    cos, sin = rotary_tables(1, d_head, theta, qkv.device, first=t - 1)
    q_HK, k_HK = (rotate(z[None, None], cos, sin)[0, 0] for z in (q_HK, k_HK))
    kv_TC[t - 1] = fake_quantise(torch.cat([k_HK.reshape(d_kv), v])[None], kv_format)[0]
    return q_HK


def attend_rows(q_HK: torch.Tensor, rows_TC: torch.Tensor, heads: tuple[int, int, int]) -> torch.Tensor:
    """softmax(q k^T / sqrt(K)) v over the cached rows: [H K]."""
    n_heads, n_kv_heads, d_head = heads
    k_THK, v_THK = (
        z.unflatten(-1, (n_kv_heads, d_head)) for z in rows_TC.to(q_HK.dtype).split(n_kv_heads * d_head, dim=-1)
    )
    k_1HTK, v_1HTK = k_THK.transpose(0, 1)[None], v_THK.transpose(0, 1)[None]
    out = F.scaled_dot_product_attention(q_HK[None, :, None], k_1HTK, v_1HTK, enable_gqa=n_heads != n_kv_heads)
    return out.reshape(n_heads * d_head)
