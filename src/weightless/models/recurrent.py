"""Recurrent: depth by going through the same blocks again (Dehghani et al. 2019; Lan et al. 2020; Geiping et al. 2025).

    x = prelude(embed[token]);   p times  x = block_k(… block_1(x + iteration[pass]));   x = coda(x)

A token touches the weights of the k blocks p times (T), of which they are distinct once (U) and stored once; a cache of
keys and values every pass has for itself.  The controls are dense: as deep (prelude + k p + coda blocks of their own
weights: the same T), and as large (prelude + k + coda blocks: the same stored bytes).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Literal

from weightless.base.config import check_least
from weightless.base.errors import ConfigError
from weightless.layers.attention import Attention
from weightless.layers.embedding import Embedding
from weightless.layers.exits import EarlyExit
from weightless.layers.feedforward import FeedForward
from weightless.layers.full_head import FullHead
from weightless.layers.layer import Layer
from weightless.layers.repeat import Repeat
from weightless.layers.residual import Residual
from weightless.layers.stack import Stack
from weightless.models.catalog import Trained
from weightless.ops.norm import check_eps
from weightless.ops.rope import check_theta
from weightless.program.cached import WindowCache
from weightless.program.program import MAX_LAYERS, check_layers
from weightless.quant.plan import Planned


@dataclass(frozen=True)
class Config(EarlyExit, Planned, WindowCache):
    """Shapes, passes, and the storage formats of what is packed.

    Exits count as one block what stands between two places where a token may leave: a block of the prelude, a pass, a
    block of the coda.
    """

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 256
    """Width of the residual stream."""
    n_layers: int = 2
    """Blocks that are gone through again and again."""
    passes: int = 3
    """How often."""
    prelude: int = 0
    """Blocks of their own before the passes."""
    coda: int = 0
    """Blocks of their own behind the passes."""
    iteration: bool = True
    """Add a learned row before each pass, which tells it from the others."""
    n_heads: int = 4
    """Attention heads."""
    n_kv_heads: int = 1
    """Key/value heads, shared evenly by the heads."""
    d_ff: int = 512
    """Width of the feed-forward block."""
    context: int = 512
    """Longest context, in tokens."""
    tied: bool = True
    """Let embedding and head be one matrix."""
    activation: Literal["swiglu", "silu", "relu2", "gelu"] = "swiglu"
    """Of the feed-forward block: swiglu (gated), silu, relu2 (squared ReLU), or gelu (by tanh)."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE)."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    weight_format: str = "bf16"
    """Storage of the packed matrices: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        check_least(self, "vocab_size d_model n_layers passes context n_heads n_kv_heads d_ff")
        check_least(self, "prelude coda", 0)
        check_layers(self.n_layers)
        if self.depth > MAX_LAYERS:
            raise ConfigError(f"passes = {self.passes} makes {self.depth} blocks, above {MAX_LAYERS}: take fewer")
        self.check_exits(self.prelude + self.passes + self.coda)
        self.check_cache(self.context)
        check_eps(self.eps)
        check_theta(self.rope_theta)
        if self.d_model % (2 * self.n_heads) or self.n_heads % self.n_kv_heads:
            raise ConfigError(f"n_heads {self.n_heads} should part d_model into even widths, and n_kv_heads n_heads")
        if self.passes == 1 and self.iteration:
            raise ConfigError("passes = 1: a row that tells passes apart has nothing to tell; iteration = false")

    @property
    def depth(self) -> int:
        """Blocks that a token goes through."""
        return self.prelude + self.n_layers * self.passes + self.coda

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: width grows by 64 per step, blocks by one every second; three passes."""
        step = max(1, round(size))
        return Config(vocab_size, 64 * step, 1 + step // 2, n_heads=step, d_ff=128 * step)


def stack(c: Config) -> Stack:
    """Embedding, prelude, p passes through k blocks, coda, a head over the whole vocabulary."""
    d, fmt, std, tied = c.d_model, c.weight_format, (1 / c.d_model) ** 0.5, "embed" if c.tied else ""
    out_std = std / (2 * c.depth) ** 0.5
    heads = (c.n_heads, c.n_kv_heads, d // c.n_heads, c.context, c.rope_theta, fmt, c.kv_format)

    def block(i: int) -> list[Layer]:
        attn, ffn = (Residual(f"block.{i}.{half}_", d, c.eps) for half in ("attn", "ffn"))
        attention = Attention(i, attn, *heads, std, out_std)
        return [attention, FeedForward(i, ffn, c.d_ff, c.activation, fmt, std, out_std)]

    first, last = c.prelude, c.prelude + c.n_layers
    again = tuple(chain(*(block(i) for i in range(first, last))))
    passes = Repeat(again, c.passes, d, fmt, "iteration" if c.iteration else "").apart()
    before, behind = ([block(i) for i in part] for part in (range(first), range(last, last + c.coda)))
    head = FullHead(c.vocab_size, d, c.eps, fmt, 0.02, tied)
    layers = c.exits([*before, *([one] for one in passes), *behind], head, d, c.eps)
    return Stack(
        c.vocab_size, c.context, (Embedding(c.vocab_size, d, fmt, 0.02 if c.tied else 1.0, c.tied), *layers), head
    )


FAMILY = Trained(Config, stack)
