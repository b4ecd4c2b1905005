"""One position of attention with a cache, in PyTorch: what `causal_attention` computes for a whole window.

Cut where the decode program is cut: what one operator leaves for the next is a tensor.  A Python number that crossed
from one to the next would not be seen by the trace (`audit.torch_trace`), so values that address memory are read where
they are used.

Shapes: H heads, K head width, C = 2 n_kv_heads K columns of a cache row [k | v], T rows of the cache.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from weightless.layers.functions.attention import QK_EPS, rotary_tables, rotate
from weightless.layers.functions.norm import rms_norm
from weightless.ops.rope import UNSTRETCHED, Stretch
from weightless.quant.straight_through import fake_quantise


def append_row(
    qkv: torch.Tensor,
    kv_TC: torch.Tensor,
    t: int,
    heads: tuple[int, int, int],
    theta: float,
    qk_norm: bool,
    kv_format: str,
    rotary: str = "half_split",
    q_norm: torch.Tensor | None = None,
    k_norm: torch.Tensor | None = None,
    q_gain: torch.Tensor | None = None,
    qk_eps: float = QK_EPS,
    stretch: Stretch = UNSTRETCHED,
) -> torch.Tensor:
    """Write one position's row [k | v] into a cache; returns its query heads [H, K] as they will ask.

    qkv         [C] = [q | k | v] of widths n_heads K, n_kv_heads K and n_kv_heads K
    kv_TC       [T, 2 n_kv_heads K], the cache; row t - 1 is written, rounded to kv_format
    t           the position, from 1
    heads       (n_heads, n_kv_heads, K)
    theta       base of the rotary angles
    qk_norm     whether every head of q and k is first divided by its root mean square
    kv_format   the format that the cache is stored in
    rotary, q_norm, k_norm, q_gain, qk_eps, stretch   as in `causal_attention`: pairs, weights of the norms, factors of
                query heads, what stands in the root of the norms, and how far positions are stretched

    Raises ConfigError for a theta or format that cannot be.
    """
    n_heads, n_kv_heads, d_head = heads
    d_kv = n_kv_heads * d_head
    q, k, v = qkv.split([n_heads * d_head, d_kv, d_kv])
    q_HK, k_HK = q.view(n_heads, d_head), k.view(n_kv_heads, d_head)
    if qk_norm:
        q_HK, k_HK = rms_norm(q_HK, q_norm, qk_eps), rms_norm(k_HK, k_norm, qk_eps)
    if rotary != "none":
        cos, sin = rotary_tables(1, d_head, theta, qkv.device, first=t - 1, stretch=stretch)
        q_HK, k_HK = (rotate(z[None, None], cos, sin, rotary == "interleaved")[0, 0] for z in (q_HK, k_HK))
    if q_gain is not None:
        q_HK = q_HK * q_gain.reshape(-1, 1)
    kv_TC[t - 1] = fake_quantise(torch.cat([k_HK.reshape(d_kv), v])[None], kv_format)[0]
    return q_HK


def attend_rows(q_HK: torch.Tensor, rows_TC: torch.Tensor, heads: tuple[int, int, int]) -> torch.Tensor:
    """softmax(q k^T / sqrt(K)) v over cached rows: [H K].

    q_HK      [H, K], the query heads        rows_TC   [T, 2 n_kv_heads K], the rows [k | v] that are seen
    heads     (n_heads, n_kv_heads, K)

    Shapes that do not fit raise RuntimeError.
    """
    n_heads, n_kv_heads, d_head = heads
    k_THK, v_THK = (
        z.unflatten(-1, (n_kv_heads, d_head)) for z in rows_TC.to(q_HK.dtype).split(n_kv_heads * d_head, dim=-1)
    )
    k_1HTK, v_1HTK = k_THK.transpose(0, 1)[None], v_THK.transpose(0, 1)[None]
    out = F.scaled_dot_product_attention(q_HK[None, :, None], k_1HTK, v_1HTK, enable_gqa=n_heads != n_kv_heads)
    return out.reshape(n_heads * d_head)
