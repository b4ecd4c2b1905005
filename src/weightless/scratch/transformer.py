"""A decoder-only transformer: token ids in, a score for every possible next token out.

    x = E[ids]                        a block, n times:    x = x + attention(norm(x))
    logits = head(norm(x))                                 x = x + feedforward(norm(x))

Norms stand before each half ("pre"), so that from input to output runs a path of nothing but additions: the residual
stream.  What the ablations of the course ask for are arguments: norm "post" (behind each sum, no last norm) or
"none", rope_theta None (no positions), ffn "silu" (no gate).
"""

from __future__ import annotations

from typing import Literal

import torch

from weightless.scratch.attention import MultiHeadSelfAttention
from weightless.scratch.embedding import Embedding
from weightless.scratch.feedforward import SiLUFeedForward, SwiGLU
from weightless.scratch.linear import Linear
from weightless.scratch.norm import RMSNorm

FEEDFORWARDS = {"swiglu": SwiGLU, "silu": SiLUFeedForward}
Norm = Literal["pre", "post", "none"]


class TransformerBlock(torch.nn.Module):
    """Attention, then feed-forward, each added to what came in; (..., T, d_model) to the same shape.

    ValueError for an unknown norm or ffn.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int | None = None,
        max_seq_len: int | None = None,
        theta: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        pairing: str = "interleaved",
        norm: Norm = "pre",
        ffn: str = "swiglu",
    ) -> None:
        super().__init__()
        if norm not in ("pre", "post", "none") or ffn not in FEEDFORWARDS:
            raise ValueError(f"norm = {norm!r} is pre, post or none; ffn = {ffn!r} is one of {', '.join(FEEDFORWARDS)}")
        self.norm = norm
        normed = norm != "none"
        self.ln1 = RMSNorm(d_model, device=device, dtype=dtype) if normed else torch.nn.Identity()
        self.attn = MultiHeadSelfAttention(d_model, num_heads, max_seq_len, theta, device, dtype, pairing)
        self.ln2 = RMSNorm(d_model, device=device, dtype=dtype) if normed else torch.nn.Identity()
        self.ffn = FEEDFORWARDS[ffn](d_model, d_ff, device, dtype)

    def forward(self, x: torch.Tensor, token_positions: torch.Tensor | None = None) -> torch.Tensor:
        if self.norm == "post":
            x = self.ln1(x + self.attn(x, token_positions))
            return self.ln2(x + self.ffn(x))
        x = x + self.attn(self.ln1(x), token_positions)
        return x + self.ffn(self.ln2(x))


class TransformerLM(torch.nn.Module):
    """token_embeddings, layers.0 ... layers.(num_layers - 1), ln_final, lm_head; the head is not tied to the embedding.

    Parameters with the defaults of norm and ffn: 2 V D + L (4 D^2 + 3 D F + 2 D) + D.
    """

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        d_model: int,
        num_layers: int,
        num_heads: int,
        d_ff: int | None = None,
        rope_theta: float | None = 10_000.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        pairing: str = "interleaved",
        norm: Norm = "pre",
        ffn: str = "swiglu",
    ) -> None:
        super().__init__()
        self.vocab_size, self.context_length = vocab_size, context_length
        shapes = (d_model, num_heads, d_ff, context_length, rope_theta, device, dtype)
        self.token_embeddings = Embedding(vocab_size, d_model, device, dtype)
        self.layers = torch.nn.ModuleList(
            TransformerBlock(*shapes, pairing=pairing, norm=norm, ffn=ffn) for _ in range(num_layers)
        )
        self.ln_final = RMSNorm(d_model, device=device, dtype=dtype) if norm == "pre" else torch.nn.Identity()
        self.lm_head = Linear(d_model, vocab_size, device, dtype)

    def forward(self, token_ids: torch.Tensor, token_positions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (..., T, vocab_size) for ids (..., T), T at most context_length (else ValueError)."""
        if token_ids.shape[-1] > self.context_length:
            raise ValueError(f"{token_ids.shape[-1]} tokens, and the context has {self.context_length}: give fewer")
        x = self.token_embeddings(token_ids)
        for layer in self.layers:
            x = layer(x, token_positions)
        return self.lm_head(self.ln_final(x))
