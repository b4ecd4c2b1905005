"""Feather: a thin transformer core that looks most of what it knows up, one row at a time.

    x    = embed[token] + sum over n of table_n[hash(last n tokens)]     rows: a line or two of memory each
    core = a few narrow pre-norm blocks, one key/value head (multi-query attention, Shazeer 2019), QK-norm
    head = log p(class) + log p(word | class), about sqrt(V) classes of sqrt(V) words, exactly normalised

Weights are int4 in groups of 64, trained through their rounding at the end; the cache is int8.  Widths that are
multiples of 120 make an int4 row with its scales exactly one 64-byte line per 120 columns (60 bytes of codes and
two fp16 scales).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weightless.base.errors import ConfigError
from weightless.layers.attention import Attention
from weightless.layers.class_head import ClassHead
from weightless.layers.embedding import Embedding, HashedRows
from weightless.layers.feedforward import FeedForward
from weightless.layers.full_head import FullHead
from weightless.layers.layer import Layer
from weightless.layers.residual import Residual
from weightless.layers.stack import Stack
from weightless.models.catalog import Trained
from weightless.ops.norm import check_eps
from weightless.ops.rope import check_theta
from weightless.program.program import check_layers

HASH_SEED = 20_261_121
HEAD_STD = 0.02


@dataclass(frozen=True)
class Config:
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
    """Width of the feed-forward block."""
    context: int = 512
    """Longest context, in tokens."""
    rows_2: int = 65_536
    """Rows of the hashed bigram table; 0: no table."""
    rows_3: int = 65_536
    """Rows of the hashed trigram table; 0: no table."""
    head: Literal["class", "full"] = "class"
    """class (p(class) p(word | class)), or full (one softmax over the vocabulary)."""
    n_classes: int = 0
    """Classes of the class head; 0: the square root of the vocabulary."""
    classes_by: Literal["context", "frequency"] = "context"
    """Which words share a class: context (those that follow alike), or frequency."""
    activation: Literal["swiglu", "silu", "relu2"] = "swiglu"
    """Of the feed-forward block: swiglu (gated), silu, or relu2 (squared ReLU)."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE)."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    weight_format: str = "int4"
    """Storage of the packed matrices: f32, bf16, f16, int8 or int4."""
    table_format: str = "int4"
    """Storage of the embedding and the hashed tables: f32, bf16, f16, int8 or int4."""
    kv_format: Literal["f32", "bf16", "int8"] = "int8"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        if min(self.vocab_size, self.d_model, self.n_layers, self.context, self.d_head, self.d_ff) < 1:
            raise ConfigError("vocab_size, d_model, n_layers, d_head, d_ff and context should be at least 1")
        check_eps(self.eps)
        check_theta(self.rope_theta)
        check_layers(self.n_layers)
        if self.n_heads < 1 or self.n_kv_heads < 1 or self.n_heads % self.n_kv_heads or self.d_head % 2:
            raise ConfigError(f"{self.n_heads} heads of width {self.d_head} cannot share {self.n_kv_heads} evenly")
        if min(self.rows_2, self.rows_3, self.n_classes) < 0 or self.n_classes > self.vocab_size:
            raise ConfigError("table sizes should not be negative, nor classes more than tokens")
        if self.head == "full" and (self.n_classes or self.classes_by != Config.classes_by):
            raise ConfigError("n_classes and classes_by are of a class head, and the head is full: leave them out")

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
    """Rows looked up by token and by hash, a few narrow blocks, a head in two levels."""
    d, fmt, std = c.d_model, c.weight_format, (1 / c.d_model) ** 0.5
    out_std = std / (2 * c.n_layers) ** 0.5
    layers: list[Layer] = [Embedding(c.vocab_size, d, c.table_format, 0.5, component="lookup rows")]
    for order, n_rows in c.tables.items():
        layers.append(HashedRows(order, n_rows, d, c.vocab_size, c.table_format, HASH_SEED + order))
    for i in range(c.n_layers):
        heads = (c.n_heads, c.n_kv_heads, c.d_head)
        cache = (c.context, c.rope_theta, fmt, c.kv_format)
        halves = (Residual(f"block.{i}.{half}_", d, c.eps) for half in ("attn", "ffn"))
        layers.append(Attention(i, next(halves), *heads, *cache, std, out_std, qk_norm="bare"))
        layers.append(FeedForward(i, next(halves), c.d_ff, c.activation, fmt, std, out_std))
    if c.head == "full":
        return Stack(c.vocab_size, c.context, tuple(layers), FullHead(c.vocab_size, d, c.eps, fmt, HEAD_STD))
    head = ClassHead(c.vocab_size, d, c.eps, fmt, HEAD_STD, c.n_classes, c.classes_by)
    return Stack(c.vocab_size, c.context, tuple(layers), head)


FAMILY = Trained(Config, stack)
