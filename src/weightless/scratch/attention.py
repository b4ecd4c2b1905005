"""Attention (Vaswani et al. 2017): every position asks, every earlier position answers as far as it is asked.

    softmax(x)_i = e^(x_i - m) / sum_j e^(x_j - m)            m = max x, which changes nothing but keeps e^x finite
    attention    = softmax(Q K^T / sqrt(d_k)) V               Q (..., T, d_k)   K (..., S, d_k)   V (..., S, d_v)

Division by sqrt(d_k) keeps scores of independent unit numbers at a variance of one; without it softmax saturates.
A mask is boolean and True says "may attend" (the opposite of "is hidden", which is also in use).
"""

from __future__ import annotations

import math

import torch

from weightless.scratch.linear import Linear
from weightless.scratch.rotary import RotaryEmbedding


def softmax(x: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Probabilities along `dim`, worked out in float32 at least, in the dtype of x; all -inf gives NaN, as in torch.

    ValueError for whole numbers, which could hold nothing but 0 and 1.
    """
    if not x.is_floating_point():
        raise ValueError(f"x is {x.dtype}, which holds no probabilities: give floating point numbers")
    if x.shape[dim] == 0:  # nothing to choose from: torch's maximum of it is an error
        return x.clone()
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    powers = torch.exp(wide - wide.amax(dim=dim, keepdim=True))
    return (powers / powers.sum(dim=dim, keepdim=True)).to(x.dtype)


def scaled_dot_product_attention(
    Q: torch.Tensor, K: torch.Tensor, V: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Weighted means of V (..., T, d_v); mask (..., T, S) broadcasts over leading dimensions.

    A row whose mask is False throughout attends to nothing: it gives zeros, and no gradient.  Scores are worked out in
    float32 at least: in float16 those above 65,504 would be infinite, and lower than what a mask hides.
    ValueError for a mask that is not boolean: numbers to be added to the scores are another convention.
    """
    wide = torch.promote_types(Q.dtype, torch.float32)
    scores = (Q.to(wide) / math.sqrt(Q.shape[-1])) @ K.to(wide).transpose(-2, -1)
    if mask is None:
        return softmax(scores).to(V.dtype) @ V
    if mask.dtype != torch.bool:
        raise ValueError(f"mask is {mask.dtype}; give a boolean one in which True means: may attend")
    # The lowest number and not -inf: a row of nothing but -inf would be NaN, and its gradients with it.
    hidden = scores.new_full((), torch.finfo(scores.dtype).min)
    weights = softmax(torch.where(mask, scores, hidden))
    return torch.where(mask, weights, torch.zeros_like(hidden)).to(V.dtype) @ V


class MultiHeadSelfAttention(torch.nn.Module):
    """num_heads attentions side by side, each on d_model / num_heads channels; position t sees 0 ... t.

    Positions are rotary where theta and max_seq_len are given, else unknown (the causal mask alone tells them apart).
    ValueError for a width that heads do not divide, and for theta without max_seq_len.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        max_seq_len: int | None = None,
        theta: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        pairing: str = "interleaved",
    ) -> None:
        super().__init__()
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(f"d_model = {d_model} does not split into {num_heads} heads")
        self.num_heads = num_heads
        self.q_proj = Linear(d_model, d_model, device, dtype)
        self.k_proj = Linear(d_model, d_model, device, dtype)
        self.v_proj = Linear(d_model, d_model, device, dtype)
        self.output_proj = Linear(d_model, d_model, device, dtype)
        self.rope = None
        if theta is not None and max_seq_len is not None:
            self.rope = RotaryEmbedding(theta, d_model // num_heads, max_seq_len, device, pairing, dtype)
        elif theta is not None:
            raise ValueError("theta without max_seq_len: rotary positions need both, no positions neither")

    def forward(self, x: torch.Tensor, token_positions: torch.Tensor | None = None) -> torch.Tensor:
        """x (..., T, d_model) to the same shape; token_positions (..., T) by default 0 ... T - 1 (rotary only)."""
        T = x.shape[-2]
        q, k, v = (self._heads(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        if self.rope is not None:
            positions = None if token_positions is None else token_positions.unsqueeze(-2)  # the same for every head
            q, k = self.rope(q, positions), self.rope(k, positions)
        causal = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        mixed = scaled_dot_product_attention(q, k, v, causal)
        return self.output_proj(mixed.transpose(-3, -2).flatten(-2))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """(..., T, d_model) to (..., heads, T, d_head)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)
