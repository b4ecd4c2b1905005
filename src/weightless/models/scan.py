"""Scan: blocks with a state of fixed size in the place of attention over a cache, alone or mixed with attention."""

from __future__ import annotations

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
from weightless.layers.linear_attention import LinearAttention
from weightless.layers.residual import Residual
from weightless.layers.scan import Scan
from weightless.layers.stack import Stack
from weightless.models.catalog import Trained
from weightless.ops.norm import check_eps
from weightless.ops.rope import check_theta
from weightless.program.cached import WindowCache
from weightless.program.operators.scan import WIDTHS
from weightless.program.program import check_layers
from weightless.quant.plan import Planned

MOST_STATE = 2**16


@dataclass(frozen=True)
class Config(EarlyExit, Planned, WindowCache):
    """Shapes, the kind of recurrence, and the storage formats of what is packed.  `d_ff` 0 means as in dense."""

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 256
    """Width of the residual stream."""
    n_layers: int = 4
    """Blocks of a scan (or attention) and feed-forward."""
    kind: Literal["diagonal", "gated", "delta"] = "diagonal"
    """What a scan remembers: a vector (diagonal), or a matrix per head (gated linear attention, gated delta rule)."""
    d_state: int = 256
    """Numbers of a diagonal scan's vector; of the others the width of all heads together."""
    n_scan_heads: int = 0
    """Heads of a gated or delta scan, each of d_state / n_scan_heads squared numbers; 0: d_state / 64, at least 1."""
    state_format: Literal["f32", "bf16"] = "f32"
    """Storage of the matrices of a gated or delta scan, rounded after every position: f32 or bf16."""
    chunk: int = 64
    """Positions between two states that training keeps of a gated or delta scan: memory against time."""
    layer_pattern: str = "S"
    """Layers in turn: S a scan, A attention (SSA: every third is attention)."""
    conv: int | None = None
    """Positions of a short convolution in front of every scan, 2 to 4; none: no convolution."""
    n_heads: int = 0
    """Heads of attention layers; 0: d_model / 64, at least 1."""
    n_kv_heads: int = 0
    """Key/value heads of attention layers, shared evenly by the heads; 0: as many as heads."""
    d_ff: int = 0
    """Width of the feed-forward block; 0: 8/3 d_model, rounded down to a multiple of 8."""
    context: int = 512
    """Longest context, in tokens."""
    tied: bool = True
    """Let embedding and head be one matrix."""
    activation: Literal["swiglu", "silu", "relu2", "gelu"] = "swiglu"
    """Of the feed-forward block: swiglu (gated), silu, relu2 (squared ReLU), or gelu (by tanh)."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE) of attention layers."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    weight_format: str = "bf16"
    """Storage of the packed matrices: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache of attention layers: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        check_least(self, "vocab_size d_model n_layers d_state chunk context")
        if self.d_state > MOST_STATE:
            raise ConfigError(f"d_state = {self.d_state} is above {MOST_STATE}")
        for name in "n_heads n_kv_heads n_scan_heads d_ff".split():
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)} should not be negative; 0 means what suits d_model")
        check_layers(self.n_layers)
        self.check_exits(self.n_layers)
        self.check_cache(self.context)
        check_eps(self.eps)
        check_theta(self.rope_theta)
        if self.conv is not None and self.conv not in WIDTHS:
            raise ConfigError(f"conv = {self.conv} is not in {WIDTHS[0]}..{WIDTHS[-1]}; leave it out for none")
        self._check_pattern()
        self._refuse_idle("n_heads n_kv_heads rope_theta kv_format", "A" in self.kinds, "of attention layers (A)")
        is_matrix = self.kind != "diagonal"
        self._refuse_idle("n_scan_heads state_format chunk", is_matrix, "of gated and delta scans")
        if is_matrix and self.d_state % self.scan_heads:
            raise ConfigError(f"d_state {self.d_state} does not split into {self.scan_heads} n_scan_heads")
        if self.d_model % self.heads or (self.d_model // self.heads) % 2 or self.heads % self.kv_heads:
            raise ConfigError(f"n_heads {self.heads} should part d_model into even widths, and n_kv_heads n_heads")

    def _check_pattern(self) -> None:
        pattern = f"layer_pattern {self.layer_pattern!r:.40}"
        if odd := sorted(set(self.layer_pattern) - set("SA")):
            raise ConfigError(f"{pattern}: {odd[0]!r} is neither S (scan) nor A (attention)")
        if "S" not in self.kinds:
            raise ConfigError(f"{pattern} has no scan (S) in {self.n_layers} layers: that is the family dense")

    def _refuse_idle(self, names: str, used: bool, of: str) -> None:
        for name in names.split():
            if not used and getattr(self, name) != getattr(Config, name):
                raise ConfigError(f"{name} = {getattr(self, name)!r} is {of}, and there are none: leave it out")

    @property
    def kinds(self) -> str:
        """One letter per layer."""
        return (self.layer_pattern * self.n_layers)[: self.n_layers]

    @property
    def heads(self) -> int:
        return self.n_heads or max(1, self.d_model // 64)

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.heads

    @property
    def scan_heads(self) -> int:
        return self.n_scan_heads or max(1, self.d_state // 64)

    @property
    def hidden(self) -> int:
        """Width of the feed-forward block."""
        return self.d_ff or max(8, self.d_model * 8 // 3 // 8 * 8)

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: width and state grow by 64 per step, depth by one every second."""
        step = max(1, round(size))
        return Config(vocab_size, 64 * step, 2 + step // 2, d_state=64 * step)


def stack(c: Config) -> Stack:
    """Embedding, n_layers blocks of a scan or attention and a feed-forward block, a head over the whole vocabulary."""
    d, fmt, std, tied = c.d_model, c.weight_format, (1 / c.d_model) ** 0.5, "embed" if c.tied else ""
    out_std = std / (2 * c.n_layers) ** 0.5
    head = FullHead(c.vocab_size, d, c.eps, fmt, 0.02, tied)
    first, blocks = Embedding(c.vocab_size, d, fmt, 0.02 if c.tied else 1.0, c.tied), []
    heads = (c.heads, c.kv_heads, d // c.heads, c.context, c.rope_theta, fmt, c.kv_format)
    for i, letter in enumerate(c.kinds):
        join, after = (Residual(f"block.{i}.{half}_", d, c.eps) for half in ("mix", "ffn"))
        if letter == "A":
            mix: Layer = Attention(i, join, *heads, std, out_std)
        elif c.kind == "diagonal":
            mix = Scan(i, join, c.d_state, c.conv or 0, c.context, fmt, std, out_std)
        else:
            sizes = (c.scan_heads, c.d_state // c.scan_heads, c.kind == "delta", c.conv or 0, c.chunk, c.context)
            mix = LinearAttention(i, join, *sizes, fmt, c.state_format, std, out_std)
        blocks.append((mix, FeedForward(i, after, c.hidden, c.activation, fmt, std, out_std)))
    return Stack(c.vocab_size, c.context, (first, *c.exits(blocks, head, d, c.eps)), head)


FAMILY = Trained(Config, stack)
