"""Experts: the dense transformer, a token of which takes k of E feed-forward blocks (Shazeer et al. 2017; He 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from weightless.base.config import check_least
from weightless.base.errors import ConfigError
from weightless.layers.attention import Attention
from weightless.layers.embedding import Embedding
from weightless.layers.exits import EarlyExit
from weightless.layers.experts import Experts
from weightless.layers.full_head import FullHead
from weightless.layers.residual import Residual
from weightless.layers.stack import Stack
from weightless.models.catalog import Trained
from weightless.ops.norm import check_eps
from weightless.ops.rope import check_theta
from weightless.program.cached import WindowCache
from weightless.program.program import check_layers
from weightless.quant.plan import Planned


@dataclass(frozen=True)
class Config(EarlyExit, Planned, WindowCache):
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
    """Storage of the packed matrices: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        check_least(self, "vocab_size d_model n_layers context n_heads n_kv_heads n_experts d_expert top_k")
        check_least(self, "d_shared", 0)
        check_layers(self.n_layers)
        self.check_exits(self.n_layers)
        self.check_cache(self.context)
        check_eps(self.eps)
        check_theta(self.rope_theta)
        if self.top_k > self.n_experts:
            raise ConfigError(f"top_k = {self.top_k} of {self.n_experts} experts cannot be chosen: take fewer")
        idle = self.balance != "loss" and self.balance_weight != Config.balance_weight
        if idle or not 0 <= self.balance_weight < 1e6:
            raise ConfigError(f"balance_weight = {self.balance_weight:g} is from 0 to 1e6, and of balance = 'loss'")
        if self.d_model % (2 * self.n_heads) or self.n_heads % self.n_kv_heads:
            raise ConfigError(f"n_heads {self.n_heads} should part d_model into even widths, and n_kv_heads n_heads")

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: width grows by 64 per step, depth by one every second, experts by eight."""
        step = max(1, round(size))
        return Config(vocab_size, 64 * step, 2 + step // 2, step, n_experts=8 * step, d_expert=32 * step)


def stack(c: Config) -> Stack:
    """Embedding, n_layers blocks of attention and experts, a head over the whole vocabulary."""
    d, fmt, std, tied = c.d_model, c.weight_format, (1 / c.d_model) ** 0.5, "embed" if c.tied else ""
    out_std = std / (2 * c.n_layers) ** 0.5
    first, blocks = Embedding(c.vocab_size, d, fmt, 0.02 if c.tied else 1.0, c.tied), list[Any]()
    heads = (c.n_heads, c.n_kv_heads, d // c.n_heads, c.context, c.rope_theta, fmt, c.kv_format)
    routing = (c.n_experts, c.top_k, c.d_expert, c.d_shared, c.activation, c.scoring, c.balance, c.balance_weight)
    for i in range(c.n_layers):
        attention = Attention(i, Residual(f"block.{i}.attn_", d, c.eps), *heads, std, out_std)
        blocks.append([attention, Experts(i, Residual(f"block.{i}.ffn_", d, c.eps), *routing, fmt, std, out_std)])
    head = FullHead(c.vocab_size, d, c.eps, fmt, 0.02, tied)
    return Stack(c.vocab_size, c.context, (first, *c.exits(blocks, head, d, c.eps)), head)


FAMILY = Trained(Config, stack)
