"""Experts: the dense transformer with sparse feed-forward blocks, of whose experts a token takes a few.

A token touches the router, k experts and perhaps a shared one; all others are only stored (Shazeer et al. 2017).  Many
tiny experts as well as few large ones (He 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weightless.base.errors import ConfigError
from weightless.layers.attention import Attention
from weightless.layers.embedding import Embedding
from weightless.layers.experts import Experts
from weightless.layers.full_head import FullHead
from weightless.layers.layer import Layer
from weightless.layers.residual import Residual
from weightless.layers.stack import Stack
from weightless.models.catalog import Trained
from weightless.ops.norm import check_eps
from weightless.ops.rope import check_theta


@dataclass(frozen=True)
class Config:
    """Shapes, routing, and the storage formats of what is packed."""

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 256
    """Width of the residual stream."""
    n_layers: int = 4
    """Blocks of attention and experts."""
    n_heads: int = 4
    """Attention heads."""
    n_kv_heads: int = 1
    """Key/value heads, shared evenly by the heads."""
    n_experts: int = 16
    """Experts per block."""
    top_k: int = 2
    """Experts that a token takes."""
    d_expert: int = 128
    """Width of an expert."""
    d_shared: int = 0
    """Width of an expert that every token takes beside the others; 0: none."""
    scoring: Literal["softmax", "sigmoid"] = "softmax"
    """How the router's scores become probabilities."""
    balance: Literal["loss", "bias", "none"] = "loss"
    """What keeps experts from lying idle: a loss beside the nats, a bias that only chooses, or nothing."""
    balance_weight: float = 0.01
    """Weight of the balance loss."""
    context: int = 512
    """Longest context, in tokens."""
    tied: bool = True
    """Let embedding and head be one matrix."""
    activation: Literal["swiglu", "silu", "relu2", "gelu"] = "swiglu"
    """Of the experts: swiglu (gated), silu, relu2 (squared ReLU), or gelu (by tanh)."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE)."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    weight_format: str = "bf16"
    """Storage of the packed matrices: f32, bf16, f16, int8 or int4."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        for name in "vocab_size d_model n_layers context n_heads n_kv_heads n_experts d_expert top_k".split():
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} should be at least 1")
        check_eps(self.eps)
        check_theta(self.rope_theta)
        if self.top_k > self.n_experts:
            raise ConfigError(f"top_k = {self.top_k} of {self.n_experts} experts cannot be chosen")
        if self.d_shared < 0 or not 0 <= self.balance_weight < 1e6:
            raise ConfigError("d_shared and balance_weight should not be negative; 0 means none")
        if self.d_model % (2 * self.n_heads) or self.n_heads % self.n_kv_heads:
            raise ConfigError(f"d_model {self.d_model} does not split into {self.n_heads} heads of even width")

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: width grows by 64 per step, depth by one every second, experts by eight."""
        step = max(1, round(size))
        return Config(vocab_size, 64 * step, 2 + step // 2, step, n_experts=8 * step, d_expert=32 * step)


def stack(c: Config) -> Stack:
    """Embedding, n_layers blocks of attention and experts, a head over the whole vocabulary."""
    d, fmt, std = c.d_model, c.weight_format, (1 / c.d_model) ** 0.5
    out_std = std / (2 * c.n_layers) ** 0.5
    layers: list[Layer] = [Embedding(c.vocab_size, d, fmt, 0.02 if c.tied else 1.0, c.tied)]
    heads = (c.n_heads, c.n_kv_heads, d // c.n_heads, c.context, c.rope_theta, fmt, c.kv_format)
    routing = (c.n_experts, c.top_k, c.d_expert, c.d_shared, c.activation, c.scoring, c.balance, c.balance_weight)
    for i in range(c.n_layers):
        joins = (Residual(f"block.{i}.{half}_", d, c.eps) for half in ("attn", "ffn"))
        layers.append(Attention(i, next(joins), *heads, std, out_std))
        layers.append(Experts(i, next(joins), *routing, fmt, std, out_std))
    head = FullHead(c.vocab_size, d, c.eps, fmt, 0.02, tied="embed" if c.tied else "")
    return Stack(c.vocab_size, c.context, tuple(layers), head)


FAMILY = Trained(Config, stack)
