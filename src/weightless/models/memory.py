"""Memory: the dense transformer with a large memory, of which a token reads little, for some feed-forward blocks.

A slot holds a value (product keys: Lample et al. 2019) or one neuron (PEER: He 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from weightless.base.config import check_least
from weightless.base.errors import ConfigError
from weightless.layers.attention import Attention
from weightless.layers.embedding import Embedding
from weightless.layers.exits import EarlyExit
from weightless.layers.feedforward import FeedForward
from weightless.layers.full_head import FullHead
from weightless.layers.layer import Layer
from weightless.layers.memory import Memory
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
    """Shapes, the memory, and the storage formats of what is packed."""

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 256
    """Width of the residual stream."""
    n_layers: int = 4
    """Blocks of attention and feed-forward or memory."""
    n_heads: int = 4
    """Attention heads."""
    n_kv_heads: int = 1
    """Key/value heads, shared evenly by the heads."""
    d_ff: int = 512
    """Width of the feed-forward block, where there is one."""
    kind: Literal["values", "neurons"] = "values"
    """What a slot holds: a value (product-key memory), or the two rows of one neuron (PEER)."""
    memory_every: int = 2
    """Every so many blocks have the memory instead of the feed-forward block (2: the second, the fourth …); 1: all."""
    memory_heads: int = 2
    """Queries of a token, each over slots of its own."""
    n_slots: int = 4096
    """Slots of each memory head: a square, since two halves of a key address them."""
    top_k: int = 16
    """Slots that a memory head takes."""
    d_key: int = 32
    """Width of a query; half of it for each half of a key."""
    gating: Literal["softmax", "sigmoid"] = "softmax"
    """How the scores of the slots taken become their weights."""
    query_norm: bool = True
    """Divide every query by its root mean square."""
    context: int = 512
    """Longest context, in tokens."""
    tied: bool = True
    """Let embedding and head be one matrix."""
    activation: Literal["swiglu", "silu", "relu2", "gelu"] = "swiglu"
    """Of the feed-forward block: swiglu (gated), silu, relu2 (squared ReLU), or gelu (by tanh)."""
    neuron: Literal["silu", "relu2", "gelu"] = "gelu"
    """Activation of kind neurons."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE)."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    weight_format: str = "bf16"
    """Storage of the packed matrices and slots: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        check_least(self, "vocab_size d_model n_layers context n_heads n_kv_heads d_ff")
        check_least(self, "memory_every memory_heads n_slots top_k d_key")
        check_layers(self.n_layers)
        self.check_exits(self.n_layers)
        self.check_cache(self.context)
        check_eps(self.eps)
        check_theta(self.rope_theta)
        if self.d_model % (2 * self.n_heads) or self.n_heads % self.n_kv_heads:
            raise ConfigError(f"n_heads {self.n_heads} should part d_model into even widths, and n_kv_heads n_heads")
        self._check_memory()

    def _check_memory(self) -> None:
        n = math.isqrt(self.n_slots)
        if n * n != self.n_slots:
            raise ConfigError(
                f"n_slots = {self.n_slots}: two halves of {n} keys address {n * n} slots; take that, or {(n + 1) ** 2}"
            )
        if self.top_k > n:
            raise ConfigError(
                f"top_k = {self.top_k} of the {n} half-keys of {n * n} slots cannot be chosen: take fewer"
            )
        if self.top_k == 1 and self.gating == "softmax":
            raise ConfigError(
                "top_k = 1: a softmax over one slot is 1, and keys would not learn; gating = sigmoid does"
            )
        if self.d_key % 2:
            raise ConfigError(f"d_key = {self.d_key} should be even: one half for each half of a key")
        if self.weight_format == "int4" and self.d_key % 4:
            raise ConfigError(
                f"d_key = {self.d_key} has halves of odd width, and int4 packs two numbers in a byte: 4s do"
            )
        if self.memory_every > self.n_layers:
            raise ConfigError(f"memory_every = {self.memory_every} reaches none of {self.n_layers} layers")
        if self.kind == "values" and self.neuron != Config.neuron:
            raise ConfigError(f"neuron = {self.neuron!r} is of kind = 'neurons', and values have none: leave it out")
        idle = [name for name in ("d_ff", "activation") if getattr(self, name) != getattr(Config, name)]
        if self.memory_every == 1 and idle:
            raise ConfigError(f"{idle[0]} is of a feed-forward block, and memory_every = 1 leaves none: leave it out")

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: width grows by 64 per step, depth by one every second, the side of a memory head by 16."""
        step = max(1, round(size))
        return Config(vocab_size, 64 * step, 2 + step // 2, step, d_ff=128 * step, n_slots=(16 * step + 16) ** 2)


def stack(c: Config) -> Stack:
    """Embedding, n_layers blocks of attention and feed-forward or memory, a head over the whole vocabulary."""
    d, fmt, std, tied = c.d_model, c.weight_format, (1 / c.d_model) ** 0.5, "embed" if c.tied else ""
    out_std = std / (2 * c.n_layers) ** 0.5
    first, blocks = Embedding(c.vocab_size, d, fmt, 0.02 if c.tied else 1.0, c.tied), list[list[Layer]]()
    heads = (c.n_heads, c.n_kv_heads, d // c.n_heads, c.context, c.rope_theta, fmt, c.kv_format)
    slots = (c.memory_heads, math.isqrt(c.n_slots), c.top_k, c.d_key, c.neuron if c.kind == "neurons" else "")
    for i in range(c.n_layers):
        attn, ffn = (Residual(f"block.{i}.{half}_", d, c.eps) for half in ("attn", "ffn"))
        blocks.append([Attention(i, attn, *heads, std, out_std)])
        if (i + 1) % c.memory_every == 0:
            blocks[i].append(Memory(i, ffn, *slots, c.gating, c.query_norm, fmt, std, out_std))
        else:
            blocks[i].append(FeedForward(i, ffn, c.d_ff, c.activation, fmt, std, out_std))
    head = FullHead(c.vocab_size, d, c.eps, fmt, 0.02, tied)
    return Stack(c.vocab_size, c.context, (first, *c.exits(blocks, head, d, c.eps)), head)


FAMILY = Trained(Config, stack)
