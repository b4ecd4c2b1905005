"""Dense: the decoder-only transformer that everything is measured against.

Pre-norm blocks of RoPE attention and SwiGLU, RMSNorm, one softmax over the vocabulary, embedding and head tied by
default (Vaswani et al. 2017; Touvron et al. 2023).  Every weight is read for every token: that is its cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weightless.base.errors import ConfigError
from weightless.layers.attention import Attention
from weightless.layers.embedding import Embedding
from weightless.layers.feedforward import FeedForward
from weightless.layers.full_head import FullHead
from weightless.layers.layer import Layer
from weightless.layers.stack import Stack
from weightless.models.catalog import Trained
from weightless.ops.norm import check_eps
from weightless.ops.rope import check_theta
from weightless.program.program import MAX_LAYERS

FFN_ROUNDING = 8


@dataclass(frozen=True)
class Config:
    """Shapes, and the storage formats of what is packed.  `d_ff` 0 means 8/3 d_model rounded down to 8s."""

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 256
    """Width of the residual stream."""
    n_layers: int = 4
    """Blocks of attention and feed-forward."""
    n_heads: int = 0
    """Attention heads; 0: d_model / 64, at least 1."""
    n_kv_heads: int = 0
    """Key/value heads, shared evenly by the heads; 0: as many as heads."""
    d_ff: int = 0
    """Width of the feed-forward block; 0: 8/3 d_model, rounded down to a multiple of 8."""
    context: int = 512
    """Longest context, in tokens."""
    tied: bool = True
    """Let embedding and head be one matrix."""
    activation: Literal["swiglu", "silu", "relu2"] = "swiglu"
    """Of the feed-forward block: swiglu (gated), silu, or relu2 (squared ReLU)."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE)."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    weight_format: str = "bf16"
    """Storage of the packed matrices: f32, bf16, f16, int8 or int4."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        if min(self.vocab_size, self.d_model, self.n_layers, self.context) < 1:
            raise ConfigError("vocab_size, d_model, n_layers and context should be at least 1")
        check_eps(self.eps)
        check_theta(self.rope_theta)
        if min(self.n_heads, self.n_kv_heads, self.d_ff) < 0:
            raise ConfigError("n_heads, n_kv_heads and d_ff should not be negative; 0 means as many as suit d_model")
        if self.n_layers > MAX_LAYERS:
            raise ConfigError(f"n_layers {self.n_layers} is above {MAX_LAYERS}")
        if self.d_model % self.heads or (self.d_model // self.heads) % 2:
            raise ConfigError(f"d_model {self.d_model} does not split into {self.heads} heads of even width")
        if self.heads % self.kv_heads:
            raise ConfigError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly")

    @property
    def heads(self) -> int:
        return self.n_heads or max(1, self.d_model // 64)

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.heads

    @property
    def d_head(self) -> int:
        return self.d_model // self.heads

    @property
    def hidden(self) -> int:
        """Width of the feed-forward block."""
        return self.d_ff or max(FFN_ROUNDING, self.d_model * 8 // 3 // FFN_ROUNDING * FFN_ROUNDING)

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: size 1 is d_model 64 with 2 layers; width grows by 64 per step, depth by one every second."""
        step = max(1, round(size))
        return Config(vocab_size=vocab_size, d_model=64 * step, n_layers=2 + step // 2)


def stack(c: Config) -> Stack:
    """Embedding, n_layers blocks of attention and feed-forward, a head over the whole vocabulary."""
    d, fmt = c.d_model, c.weight_format
    out_std = (2 / (d + d)) ** 0.5 / (2 * c.n_layers) ** 0.5
    layers: list[Layer] = [Embedding(c.vocab_size, d, fmt, 0.02 if c.tied else 1.0, c.tied)]
    for i in range(c.n_layers):
        stds = {"in_std": (2 / (d + d)) ** 0.5, "out_std": out_std}
        heads = (c.heads, c.kv_heads, c.d_head)
        layers += [
            Attention(i, d, *heads, c.context, c.rope_theta, c.eps, fmt, c.kv_format, **stds),
            FeedForward(i, d, c.hidden, c.activation, c.eps, fmt, (2 / (d + c.hidden)) ** 0.5, out_std),
        ]
    head_std = (2 / (d + c.vocab_size)) ** 0.5
    head = FullHead(c.vocab_size, d, c.eps, fmt, head_std, tied="embed" if c.tied else "")
    return Stack(c.vocab_size, c.context, tuple(layers), head)


FAMILY = Trained(Config, stack)
