"""Qwen3 (Yang et al. 2025): as Llama, but every head of queries and keys is normed before it is turned.

    q = rope(norm_K(W_q h) * g_q)        k = rope(norm_K(W_k h) * g_k)        one g of K weights for all heads

K = d_head stands by itself: n_heads d_head is larger than d_model in the small models.  The defaults are the shape of
Qwen3 0.6B, with a shorter context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weightless.layers.attention import Attention
from weightless.layers.embedding import Embedding
from weightless.layers.exits import EarlyExit
from weightless.layers.feedforward import FeedForward
from weightless.layers.foreign import GATED_ENDS, GATED_KEYS, GATED_NAMES, Foreign, check_shape
from weightless.layers.foreign_gguf import GATED_GGUF_KEYS, GATED_GGUF_NAMES, InGguf
from weightless.layers.full_head import FullHead
from weightless.layers.residual import Residual
from weightless.layers.stack import Stack
from weightless.models.catalog import Trained
from weightless.ops.rope import check_theta
from weightless.program.cached import WindowCache
from weightless.quant.plan import Planned


@dataclass(frozen=True)
class Config(EarlyExit, Planned, WindowCache):
    """Shapes, and the storage formats of what is packed."""

    vocab_size: int = 151_936
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 1024
    """Width of the residual stream."""
    n_layers: int = 28
    """Blocks of attention and feed-forward."""
    n_heads: int = 16
    """Attention heads."""
    n_kv_heads: int = 8
    """Key/value heads, shared evenly by the heads."""
    d_head: int = 128
    """Width of a head, even; n_heads d_head need not be d_model."""
    d_ff: int = 3072
    """Width of the feed-forward block."""
    context: int = 8192
    """Longest context, in tokens."""
    tied: bool = True
    """Let embedding and head be one matrix."""
    rope_theta: float = 1_000_000.0
    """Base of the rotary wavelengths (RoPE)."""
    eps: float = 1e-6
    """Added to the mean square in every RMSNorm, those of heads too."""
    attention_bias: bool = False
    """Whether the four projections of attention add a bias."""
    weight_format: str = "bf16"
    """Storage of the packed matrices: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        check_shape(self)
        check_theta(self.rope_theta)
        self.check_exits(self.n_layers)
        self.check_cache(self.context)

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: size 1 is d_model 64 with 2 layers; width grows by 64 per step, depth by one every second."""
        step = max(1, round(size))
        return Config(vocab_size, 64 * step, 2 + step // 2, 2 * step, step, 32, 192 * step, 512)


def stack(c: Config) -> Stack:
    """Embedding, n_layers blocks of attention and SwiGLU, a head over the whole vocabulary."""
    d, fmt, std = c.d_model, c.weight_format, (1 / c.d_model) ** 0.5
    out_std = std / (2 * c.n_layers) ** 0.5
    heads = (c.n_heads, c.n_kv_heads, c.d_head, c.context, c.rope_theta, fmt, c.kv_format, std, out_std)
    biases: Literal["none", "both"] = "both" if c.attention_bias else "none"
    head, blocks = FullHead(c.vocab_size, d, c.eps, fmt, 0.02, "embed" if c.tied else ""), []
    for i in range(c.n_layers):
        attention, ffn = (Residual(f"block.{i}.{half}_", d, c.eps) for half in ("attn", "ffn"))
        looking = Attention(i, attention, *heads, qk_norm="weighted", qk_eps=c.eps, biases=biases)
        blocks.append((looking, FeedForward(i, ffn, c.d_ff, "swiglu", fmt, std, out_std)))
    embedding = Embedding(c.vocab_size, d, fmt, 0.02, c.tied)
    return Stack(c.vocab_size, c.context, (embedding, *c.exits(blocks, head, d, c.eps)), head)


NAMES = {**GATED_NAMES, "q_norm": "self_attn.q_norm.weight", "k_norm": "self_attn.k_norm.weight"}
FOREIGN = Foreign(
    "qwen3",
    "Qwen3ForCausalLM",
    keys=GATED_KEYS,
    fixed={"hidden_act": ("silu",), "use_sliding_window": (False,), "layer_types": (None, "full_attention")},
    fallbacks={
        "num_key_value_heads": 32,
        "head_dim": 128,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": False,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
    },
    idle="max_window_layers sliding_window",
    skipped=("rotary_emb.inv_freq",),
    ends=GATED_ENDS,
    at="model.layers.*.",
    block=NAMES,
)
GGUF = InGguf(
    "qwen3",
    keys=GATED_GGUF_KEYS,
    block={**GATED_GGUF_NAMES, "q_norm": "attn_q_norm.weight", "k_norm": "attn_k_norm.weight"},
    fixed={"rope.scaling.type": ("none",)},
    told={"attention_bias": "blk.0.attn_q.bias"},
)
FAMILY = Trained(Config, stack, FOREIGN, gguf=GGUF)
