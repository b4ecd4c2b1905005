"""Dense: the decoder-only transformer that everything is measured against, and its variants.

Pre-norm blocks of RoPE attention and SwiGLU, RMSNorm, one softmax over the vocabulary, embedding and head tied by
default (Vaswani et al. 2017; Touvron et al. 2023).  Every weight is read for every token: that is its cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from weightless.base.config import check_least
from weightless.base.errors import ConfigError
from weightless.kernels.codes import QK_EPS
from weightless.layers.attention import Attention
from weightless.layers.class_head import ClassHead
from weightless.layers.embedding import Embedding, FactorisedEmbedding, HashedRows, PositionRows
from weightless.layers.exits import EarlyExit
from weightless.layers.feedforward import FeedForward
from weightless.layers.full_head import FullHead
from weightless.layers.layer import Head, Layer
from weightless.layers.residual import Placement, Residual
from weightless.layers.stack import Stack
from weightless.models.catalog import Trained
from weightless.ops.norm import check_eps
from weightless.ops.rope import check_theta
from weightless.program.cached import WindowCache
from weightless.program.program import check_layers
from weightless.quant.plan import Planned

FFN_ROUNDING = 8
HASH_SEED = 20_261_129
PAIRING = {"rope": "half_split", "rope_interleaved": "interleaved", "learned": "none", "none": "none"}


@dataclass(frozen=True)
class Config(EarlyExit, Planned, WindowCache):
    """Shapes, variants, and the storage formats of what is packed.  `d_ff` 0 means 8/3 d_model rounded down to 8s."""

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
    """Let embedding and head be one matrix (a full head only)."""
    activation: Literal["swiglu", "silu", "relu2", "gelu"] = "swiglu"
    """Of the feed-forward block: swiglu (gated), silu, relu2 (squared ReLU), or gelu (by tanh, as in GPT-2)."""
    match_d_ff: bool = False
    """Without a gate, make the feed-forward block 3/2 as wide: as many parameters as swiglu of that d_ff has."""
    norm: Placement = "pre"
    """RMSNorm before each branch, behind each sum (post), before and behind each branch (sandwich), or nowhere."""
    positions: Literal["rope", "rope_interleaved", "learned", "none"] = "rope"
    """Rotary with pairs (j, j + d_head/2) or (2j, 2j + 1), a learned row per position, or none (NoPE)."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE)."""
    qk_norm: Literal["none", "bare", "weighted"] = "none"
    """RMSNorm of every head of queries and keys, bare or with learned weights."""
    q_gain: float = 0.0
    """Initial value of a learned factor per query head; 0: no such factor."""
    window: int | None = None
    """Positions that attention sees, itself included; none: all."""
    window_pattern: str = ""
    """Layers in turn: S sees the window, L everything (SSSL: every fourth sees all); empty: all have the window."""
    d_embed: int = 0
    """Width of a factorised embedding (and tied head), widened by a second matrix; 0: d_model, one matrix."""
    bigram_rows: int = 0
    """Rows of a hashed table of the last two tokens, added to the embedding; 0: no table."""
    value_every: int = 0
    """Every so many layers a row per token is added to the values of attention; 0: nowhere."""
    residual_scale: Literal["none", "depth", "channel"] = "none"
    """Factor of every branch: none, 1 / sqrt(2 n_layers) (depth), or a learned one per channel."""
    zero_init: bool = False
    """Start both output projections of a block at zero."""
    head: Literal["full", "class", "class3"] = "full"
    """One softmax (full), p(class) p(word | class), or three levels."""
    n_classes: int = 0
    """Classes of a class head; 0: the square root (class) or cube root (class3) of the vocabulary."""
    classes_by: Literal["context", "frequency"] = "context"
    """Which words share a class: context (those that follow alike), or frequency."""
    softcap: float | None = None
    """c: logits z become c tanh(z / c) (a full head only); none: as they are."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    weight_format: str = "bf16"
    """Storage of the packed matrices: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        check_least(self, "vocab_size d_model n_layers context")
        check_eps(self.eps)
        check_theta(self.rope_theta)
        if min(self.n_heads, self.n_kv_heads, self.d_ff) < 0:
            raise ConfigError("n_heads, n_kv_heads and d_ff should not be negative; 0 means as many as suit d_model")
        check_layers(self.n_layers)
        if self.d_model % self.heads or (self.d_model // self.heads) % 2:
            raise ConfigError(f"d_model {self.d_model} does not split into {self.heads} heads of even width")
        if self.heads % self.kv_heads:
            raise ConfigError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly")
        if self.positions in ("learned", "none") and self.rope_theta != Config.rope_theta:
            raise ConfigError(f"rope_theta is of rotary positions, and positions = {self.positions!r}: leave it out")
        if self.match_d_ff and self.activation == "swiglu":
            raise ConfigError("match_d_ff widens a block without a gate, and swiglu has one: leave it out")
        self.check_exits(self.n_layers)
        self.check_cache(self.context)
        self._check_window()
        self._check_rows()
        self._check_head()

    def _check_window(self) -> None:
        window, pattern = self.window, self.window_pattern
        if window is not None and not 1 <= window <= self.context:
            raise ConfigError(f"window = {window} is not in 1..{self.context} (the context); leave it out to see all")
        if odd := sorted(set(pattern) - set("SL")):
            raise ConfigError(f"window_pattern {pattern!r:.40}: {odd[0]!r} is neither S (window) nor L (everything)")
        if "S" in pattern and window is None:
            raise ConfigError(f"window_pattern {pattern!r:.40} has layers with a window: say how long, window = 128")
        if window is not None and pattern and "S" not in pattern[: self.n_layers]:
            raise ConfigError(
                f"window = {window} is in no layer of window_pattern {pattern!r:.40} ({self.n_layers} layers)"
            )

    def _check_rows(self) -> None:
        for name in ("d_embed", "bigram_rows", "value_every"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)} should not be negative; 0 means none")
        if not 0 <= self.q_gain < 1e6:
            raise ConfigError(f"q_gain = {self.q_gain:g} should lie between 0 (none) and 1e6")
        if self.d_embed >= self.d_model:
            raise ConfigError(f"d_embed {self.d_embed} should be below d_model {self.d_model}; 0 means one matrix")
        if self.value_every > self.n_layers:
            raise ConfigError(f"value_every = {self.value_every} reaches none of {self.n_layers} layers")

    def _check_head(self) -> None:
        if self.softcap is not None and not 0 < self.softcap < 1e6:
            raise ConfigError(
                f"softcap = {self.softcap:g} should lie above 0 (30 is usual), below 1e6; leave it out for none"
            )
        if self.head == "full":
            if self.n_classes or self.classes_by != Config.classes_by:
                raise ConfigError("n_classes and classes_by are of a class head, and the head is full: leave them out")
            return
        if self.tied:
            raise ConfigError(f"a head of classes has rows of its own: give tied = false with head = {self.head!r}")
        if self.softcap is not None:
            raise ConfigError(f"softcap is of a full head; the head is {self.head!r}")
        if not 0 <= self.n_classes <= self.vocab_size:
            raise ConfigError(f"n_classes {self.n_classes} is not in 0..{self.vocab_size}")

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
        width = self.d_ff or max(FFN_ROUNDING, self.d_model * 8 // 3 // FFN_ROUNDING * FFN_ROUNDING)
        return width * 3 // 2 if self.match_d_ff and self.activation != "swiglu" else width

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: size 1 is d_model 64 with 2 layers; width grows by 64 per step, depth by one every second."""
        step = max(1, round(size))
        return Config(vocab_size=vocab_size, d_model=64 * step, n_layers=2 + step // 2)


def stack(c: Config) -> Stack:
    """Rows looked up by token (and what precedes it, and position), n_layers blocks, a head."""
    head = _head(c)
    blocks = c.exits([_block(c, i) for i in range(c.n_layers)], head, c.d_model, c.eps)
    return Stack(c.vocab_size, c.context, (*_lookups(c), *blocks), head)


def _lookups(c: Config) -> list[Layer]:
    d, fmt, std = c.d_model, c.weight_format, 0.02 if c.tied else 1.0
    layers: list[Layer] = [Embedding(c.vocab_size, d, fmt, std, c.tied)]
    if c.d_embed:
        layers = [FactorisedEmbedding(c.vocab_size, d, c.d_embed, fmt, std, c.tied)]
    if c.positions == "learned":
        layers.append(PositionRows(c.context, d, fmt, 0.02))
    if c.bigram_rows:
        layers.append(HashedRows(2, c.bigram_rows, d, c.vocab_size, fmt, HASH_SEED))
    return layers


def _block(c: Config, i: int) -> list[Layer]:
    d, fmt = c.d_model, c.weight_format
    out_std = "zeros" if c.zero_init else (2 / (d + d)) ** 0.5 / (2 * c.n_layers) ** 0.5
    scale = (2 * c.n_layers) ** -0.5 if c.residual_scale == "depth" else 1.0
    joins = (
        Residual(f"block.{i}.{half}_", d, c.eps, c.norm, scale, c.residual_scale == "channel")
        for half in ("attn", "ffn")
    )
    sees = c.window if not c.window_pattern or c.window_pattern[i % len(c.window_pattern)] == "S" else None
    values = c.vocab_size if c.value_every and (i + 1) % c.value_every == 0 else 0
    kinds = (c.qk_norm, PAIRING[c.positions], c.q_gain, sees, values)
    heads = (c.heads, c.kv_heads, c.d_head, c.context, c.rope_theta)
    return [
        Attention(i, next(joins), *heads, fmt, c.kv_format, (2 / (d + d)) ** 0.5, out_std, *kinds),
        FeedForward(i, next(joins), c.hidden, c.activation, fmt, (2 / (d + c.hidden)) ** 0.5, out_std),
    ]


def _head(c: Config) -> Head:
    d, fmt, normed = c.d_model, c.weight_format, c.norm in ("pre", "sandwich")
    if c.head != "full":
        levels = 2 if c.head == "class" else 3
        return ClassHead(c.vocab_size, d, c.eps, fmt, 0.02, c.n_classes, c.classes_by, levels, normed)
    std = (2 / ((c.d_embed or d) + c.vocab_size)) ** 0.5
    tied = "embed" if c.tied else ""
    return FullHead(c.vocab_size, d, c.eps, fmt, std, tied, c.d_embed, c.softcap, normed)


AS_LLAMA = {
    "norm": "pre",
    "positions": "rope",
    "activation": "swiglu",
    "q_gain": 0.0,
    "window": None,
    "d_embed": 0,
    "bigram_rows": 0,
    "value_every": 0,
    "residual_scale": "none",
    "head": "full",
    "softcap": None,
    "exit_after": (),
    "window_cache": 0,
}
"""What a Llama is among the variants; with norms of heads that have weights it is a Qwen3."""


def elsewhere(c: Config) -> tuple[str, dict[str, Any]]:
    """(the family that says the same, its fields): llama or qwen3; ConfigError naming the field that neither has."""
    for name, only in AS_LLAMA.items():
        if getattr(c, name) != only:
            raise ConfigError(f"{name} = {getattr(c, name)!r} is in neither llama nor qwen3, only {only!r}")
    if c.qk_norm == "bare":
        raise ConfigError("qk_norm = 'bare' is neither that of llama (none) nor that of qwen3 (weighted)")
    if c.qk_norm == "weighted" and c.eps != QK_EPS:
        raise ConfigError(f"eps = {c.eps:g}: qwen3 has one eps for all norms, and those of heads have {QK_EPS:g} here")
    same = "vocab_size d_model n_layers d_head context tied rope_theta eps weight_format kv_format plan"
    same += " activation_format"
    heads = {"n_heads": c.heads, "n_kv_heads": c.kv_heads, "d_ff": c.hidden}
    return "llama" if c.qk_norm == "none" else "qwen3", {**{n: getattr(c, n) for n in same.split()}, **heads}


FAMILY = Trained(Config, stack, elsewhere=elsewhere)
