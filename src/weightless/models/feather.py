"""Feather: a thin transformer core that looks most of what it knows up, one row at a time.

    x    = embed[token] + sum over n of table_n[hash(last n tokens)]     rows: a line or two of memory each
    core = a few narrow pre-norm blocks, one key/value head (multi-query attention, Shazeer 2019), QK-norm
    head = log p(class) + log p(word | class), about sqrt(V) classes of sqrt(V) words, exactly normalised

What a block looks back with is a letter of `layer_pattern`: attention over everything or a window, a diagonal scan, or
nothing; its feed-forward half may be experts, and the head may have three levels.
Weights are int4 in groups of 64, trained through their rounding at the end; the cache is int8.  Widths that are
multiples of 120 make an int4 row with its scales exactly one 64-byte line per 120 columns (60 bytes of codes and
two fp16 scales).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weightless.base.config import check_least
from weightless.base.errors import ConfigError
from weightless.layers.attention import Attention
from weightless.layers.class_head import ClassHead
from weightless.layers.embedding import Embedding, HashedRows
from weightless.layers.exits import EarlyExit
from weightless.layers.experts import Experts
from weightless.layers.feedforward import FeedForward
from weightless.layers.full_head import FullHead
from weightless.layers.layer import Head, Layer
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

HASH_SEED = 20_261_121
HEAD_STD = 0.02
BALANCE = 0.01  # weight of the loss that keeps experts from lying idle


@dataclass(frozen=True)
class Config(EarlyExit, Planned, WindowCache):
    """`rows_2`, `rows_3`: rows of the hashed bigram and trigram tables (0: none).  `n_classes` 0 means sqrt(V)."""

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 240
    """Width of the residual stream; multiples of 120 fill whole lines of 64 bytes in int4."""
    n_layers: int = 2
    """Blocks of attention and feed-forward."""
    n_heads: int = 4
    """Attention heads."""
    n_kv_heads: int = 1
    """Key/value heads, shared evenly by the heads."""
    d_head: int = 64
    """Width of a head."""
    d_ff: int = 320
    """Width of the feed-forward block, or of every expert."""
    context: int = 512
    """Longest context, in tokens."""
    rows_2: int = 65_536
    """Rows of the hashed bigram table; 0: no table."""
    rows_3: int = 65_536
    """Rows of the hashed trigram table; 0: no table."""
    head: Literal["class", "class3", "full"] = "class"
    """class (p(class) p(word | class)), class3 (three levels), or full (one softmax over the vocabulary)."""
    n_classes: int = 0
    """Classes of a class head; 0: the square root (class) or cube root (class3) of the vocabulary."""
    classes_by: Literal["context", "frequency"] = "context"
    """Which words share a class: context (those that follow alike), or frequency."""
    activation: Literal["swiglu", "silu", "relu2"] = "swiglu"
    """Of the feed-forward block: swiglu (gated), silu, or relu2 (squared ReLU)."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE)."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    weight_format: str = "int4"
    """Storage of the packed matrices: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    table_format: str = "int4"
    """Storage of the embedding and the hashed tables: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    kv_format: Literal["f32", "bf16", "int8"] = "int8"
    """Storage of the key/value cache: f32, bf16 or int8."""
    layer_pattern: str = "A"
    """What blocks look back with, in turn: A attention, W attention over a window, S a scan, N nothing."""
    window: int | None = None
    """Positions that attention of blocks W sees, itself included."""
    d_state: int = 0
    """Numbers that a scan remembers; 0: d_model."""
    conv: int | None = None
    """Positions of a short convolution in front of every scan, 2 to 4; none: no convolution."""
    n_experts: int = 0
    """Experts in the place of every feed-forward block; 0: none."""
    top_k: int = 1
    """Experts that a token takes."""
    d_shared: int = 0
    """Width of an expert that every token takes beside the others; 0: none."""

    def __post_init__(self) -> None:
        check_least(self, "vocab_size d_model n_layers d_head d_ff context")
        check_eps(self.eps)
        check_theta(self.rope_theta)
        check_layers(self.n_layers)
        if self.n_heads < 1 or self.n_kv_heads < 1 or self.n_heads % self.n_kv_heads or self.d_head % 2:
            raise ConfigError(f"{self.n_heads} heads of width {self.d_head} cannot share {self.n_kv_heads} evenly")
        if min(self.rows_2, self.rows_3, self.n_classes) < 0 or self.n_classes > self.vocab_size:
            raise ConfigError("table sizes should not be negative, nor classes more than tokens")
        if self.head == "full" and (self.n_classes or self.classes_by != Config.classes_by):
            raise ConfigError("n_classes and classes_by are of a class head, and the head is full: leave them out")
        self.check_exits(self.n_layers)
        self.check_cache(self.context)
        self._check_pattern()
        self._check_experts()

    def _check_pattern(self) -> None:
        pattern, kinds = f"layer_pattern {self.layer_pattern!r:.40}", set(self.kinds)
        if odd := sorted(set(self.layer_pattern) - set("AWSN")):
            raise ConfigError(f"{pattern}: {odd[0]!r} is neither A (attention), W (window), S (scan) nor N (nothing)")
        if not 1 <= len(self.layer_pattern) <= self.n_layers:
            raise ConfigError(f"{pattern} should have 1 to {self.n_layers} letters, one for each layer in turn")
        if "W" in kinds and self.window is None:
            raise ConfigError(f"{pattern} has layers with a window: say how long, window = 128")
        if self.window is not None and not 1 <= self.window <= self.context:
            raise ConfigError(f"window = {self.window} is not in 1..{self.context} (the context)")
        if self.conv is not None and self.conv not in WIDTHS:
            raise ConfigError(f"conv = {self.conv} is not in {WIDTHS[0]}..{WIDTHS[-1]}; leave it out for none")
        if self.d_state < 0:
            raise ConfigError(f"d_state = {self.d_state} should not be negative; 0 means d_model")
        attention = "n_heads n_kv_heads d_head rope_theta kv_format"
        self._refuse_idle(attention, bool(kinds & {"A", "W"}), f"of attention, and {pattern} has neither A nor W")
        self._refuse_idle("window", "W" in kinds, f"of layers W, and {pattern} has none")
        self._refuse_idle("d_state conv", "S" in kinds, f"of scans (S), and {pattern} has none")

    def _check_experts(self) -> None:
        if min(self.n_experts, self.d_shared) < 0:
            raise ConfigError(f"n_experts = {self.n_experts} and d_shared = {self.d_shared} are 0 (none) or more")
        self._refuse_idle("top_k d_shared", self.n_experts > 0, "of experts, and n_experts = 0")
        if self.n_experts and not 1 <= self.top_k <= self.n_experts:
            raise ConfigError(
                f"top_k = {self.top_k} of {self.n_experts} experts cannot be chosen: take 1 to all of them"
            )

    def _refuse_idle(self, names: str, used: bool, why: str) -> None:
        for name in names.split():
            if not used and getattr(self, name) != getattr(Config, name):
                raise ConfigError(f"{name} = {getattr(self, name)!r} is {why}: leave it out")

    @property
    def kinds(self) -> str:
        """One letter per layer."""
        return (self.layer_pattern * self.n_layers)[: self.n_layers]

    @property
    def tables(self) -> dict[int, int]:
        """{n-gram order: rows} of the tables that exist."""
        return {order: rows for order, rows in ((2, self.rows_2), (3, self.rows_3)) if rows}

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: width grows by 120 (one line of int4) per step, depth by one every second."""
        step = max(1, round(size))
        rows = 2 ** (13 + step)
        return Config(vocab_size, 120 * step, 1 + step // 2, 2 * step, d_ff=160 * step, rows_2=rows, rows_3=rows)


def stack(c: Config) -> Stack:
    """Rows looked up by token and by hash, a few narrow blocks, a head in two or three levels."""
    d, head = c.d_model, _head(c)
    layers: list[Layer] = [Embedding(c.vocab_size, d, c.table_format, 0.5, component="lookup rows")]
    for order, n_rows in c.tables.items():
        layers.append(HashedRows(order, n_rows, d, c.vocab_size, c.table_format, HASH_SEED + order))
    blocks = [_block(c, i) for i in range(c.n_layers)]
    return Stack(c.vocab_size, c.context, (*layers, *c.exits(blocks, head, d, c.eps)), head)


def _block(c: Config, i: int) -> list[Layer]:
    """What looks back, if anything does, and what every position does for itself."""
    d, fmt, std, kind = c.d_model, c.weight_format, (1 / c.d_model) ** 0.5, c.kinds[i]
    drawn = (fmt, std, std / (2 * c.n_layers) ** 0.5)
    back, own = (Residual(f"block.{i}.{half}_", d, c.eps) for half in ("attn", "ffn"))
    layers: list[Layer] = []
    if kind in "AW":
        heads = (c.n_heads, c.n_kv_heads, c.d_head, c.context, c.rope_theta, fmt, c.kv_format)
        sees = c.window if kind == "W" else None
        layers.append(Attention(i, back, *heads, *drawn[1:], qk_norm="bare", window=sees))
    elif kind == "S":
        layers.append(Scan(i, back, c.d_state or d, c.conv or 0, c.context, *drawn))
    if c.n_experts:
        sizes = (c.n_experts, c.top_k, c.d_ff, c.d_shared)
        return [*layers, Experts(i, own, *sizes, c.activation, "softmax", "loss", BALANCE, *drawn)]
    return [*layers, FeedForward(i, own, c.d_ff, c.activation, *drawn)]


def _head(c: Config) -> Head:
    if c.head == "full":
        return FullHead(c.vocab_size, c.d_model, c.eps, c.weight_format, HEAD_STD)
    levels = 2 if c.head == "class" else 3
    return ClassHead(c.vocab_size, c.d_model, c.eps, c.weight_format, HEAD_STD, c.n_classes, c.classes_by, levels)


FAMILY = Trained(Config, stack)
