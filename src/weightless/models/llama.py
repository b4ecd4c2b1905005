"""Llama (Touvron et al. 2023): pre-norm blocks of rotary attention and SwiGLU, RMSNorm, exactly as it is published.

    x += W_o attend(rope(W_qkv norm(x)))        x += W_down (silu(W_gate norm(x)) * W_up norm(x))

The defaults are the shape of Llama 3.2 1B, with a shorter context and without its stretch of rotary positions
(`rope_stretch` = 32).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weightless.layers.attention import Attention
from weightless.layers.embedding import Embedding
from weightless.layers.exits import EarlyExit
from weightless.layers.feedforward import FeedForward
from weightless.layers.foreign import (
    GATED_ENDS,
    GATED_KEYS,
    GATED_NAMES,
    Foreign,
    check_shape,
    width_of_head,
)
from weightless.layers.foreign_gguf import GATED_GGUF_KEYS, GATED_GGUF_NAMES, InGguf
from weightless.layers.full_head import FullHead
from weightless.layers.residual import Residual
from weightless.layers.stack import Stack
from weightless.models.catalog import Trained
from weightless.ops.rope import UNSTRETCHED, Stretch, check_theta
from weightless.program.cached import WindowCache
from weightless.quant.plan import Planned


@dataclass(frozen=True)
class Config(EarlyExit, Planned, WindowCache):
    """Shapes, and the storage formats of what is packed."""

    vocab_size: int = 128_256
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 2048
    """Width of the residual stream."""
    n_layers: int = 16
    """Blocks of attention and feed-forward."""
    n_heads: int = 32
    """Attention heads."""
    n_kv_heads: int = 8
    """Key/value heads, shared evenly by the heads."""
    d_head: int = 64
    """Width of a head, even; n_heads d_head need not be d_model."""
    d_ff: int = 8192
    """Width of the feed-forward block."""
    context: int = 8192
    """Longest context, in tokens."""
    tied: bool = True
    """Let embedding and head be one matrix."""
    rope_theta: float = 500_000.0
    """Base of the rotary wavelengths (RoPE)."""
    rope_stretch: float = 1.0
    """How many times slower the slowest rotations are for longer texts (Llama 3.1: 8, 3.2: 32); 1: not stretched."""
    rope_low: float = UNSTRETCHED.low
    """Rotations of fewer turns within rope_learned positions are the slowest."""
    rope_high: float = UNSTRETCHED.high
    """Rotations of more turns within rope_learned positions stay as they are."""
    rope_learned: int = UNSTRETCHED.learned
    """Positions that the model knew before it was stretched."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    attention_bias: bool = False
    """Whether the four projections of attention add a bias."""
    mlp_bias: bool = False
    """Whether the projections of the feed-forward block add a bias."""
    weight_format: str = "bf16"
    """Storage of the packed matrices: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        check_shape(self)
        check_theta(self.rope_theta)
        self.stretch.check("rope_")
        self.check_exits(self.n_layers)
        self.check_cache(self.context)

    @property
    def stretch(self) -> Stretch:
        return Stretch(self.rope_stretch, self.rope_low, self.rope_high, self.rope_learned)

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
        looking = Attention(i, attention, *heads, biases=biases, stretch=c.stretch)
        blocks.append((looking, FeedForward(i, ffn, c.d_ff, "swiglu", fmt, std, out_std, c.mlp_bias)))
    embedding = Embedding(c.vocab_size, d, fmt, 0.02, c.tied)
    return Stack(c.vocab_size, c.context, (embedding, *c.exits(blocks, head, d, c.eps)), head)


NAMES = {**GATED_NAMES, "up_bias": "mlp.{gate,up}_proj.bias", "down_bias": "mlp.down_proj.bias"}
FOREIGN = Foreign(
    "llama",
    "LlamaForCausalLM",
    keys={**GATED_KEYS, "mlp_bias": "mlp_bias"},
    fixed={"hidden_act": ("silu",)},
    fallbacks={
        "num_key_value_heads": lambda given: given.get("num_attention_heads"),
        "head_dim": width_of_head,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "mlp_bias": False,
    },
    idle="pretraining_tp",
    skipped=("rotary_emb.inv_freq",),
    ends=GATED_ENDS,
    at="model.layers.*.",
    divided=True,
    stretches=True,
    block=NAMES,
)
GGUF = InGguf(
    "llama",
    keys=GATED_GGUF_KEYS,
    block={**GATED_GGUF_NAMES, "up_bias": "ffn_{gate,up}.bias", "down_bias": "ffn_down.bias"},
    fixed={"rope.scaling.type": ("none",), "expert_count": (0,), "expert_used_count": (0,)},
    told={"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_up.bias"},
    turned=("qkv", "qkv_bias"),
)
FAMILY = Trained(Config, stack, FOREIGN, gguf=GGUF)
