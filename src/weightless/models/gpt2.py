"""GPT-2 (Radford et al. 2019): LayerNorm with bias, a learned row per position, GELU by tanh, biases everywhere.

    x = embed[token] + position[t]
    x += W_o attend(W_qkv LN(x) + b_qkv) + b_o        x += W_down gelu(W_up LN(x) + b_up) + b_down

The defaults are the smallest one, of 124 million parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weightless.base.errors import ConfigError
from weightless.layers.attention import Attention
from weightless.layers.embedding import Embedding, PositionRows
from weightless.layers.exits import EarlyExit
from weightless.layers.feedforward import FeedForward
from weightless.layers.foreign import USUAL_THETA, Foreign, check_shape
from weightless.layers.foreign_gguf import GGUF_ENDS, SHAPE_GGUF_KEYS, InGguf
from weightless.layers.full_head import FullHead
from weightless.layers.residual import Residual
from weightless.layers.stack import Stack
from weightless.models.catalog import Trained
from weightless.program.cached import WindowCache
from weightless.quant.plan import Planned


@dataclass(frozen=True)
class Config(EarlyExit, Planned, WindowCache):
    """Shapes, and the storage formats of what is packed."""

    vocab_size: int = 50_257
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 768
    """Width of the residual stream."""
    n_layers: int = 12
    """Blocks of attention and feed-forward."""
    n_heads: int = 12
    """Attention heads, each with keys and values of its own."""
    d_ff: int = 0
    """Width of the feed-forward block; 0: 4 d_model."""
    context: int = 1024
    """Longest context, in tokens: as many rows of positions."""
    tied: bool = True
    """Let embedding and head be one matrix."""
    eps: float = 1e-5
    """Added to the variance in every LayerNorm."""
    weight_format: str = "bf16"
    """Storage of the packed matrices: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        if self.n_heads < 1 or self.d_model % self.n_heads:
            raise ConfigError(f"d_model = {self.d_model} does not split into n_heads = {self.n_heads}")
        if self.d_ff < 0:
            raise ConfigError(f"d_ff = {self.d_ff} should not be negative; 0 means 4 d_model")
        check_shape(self, self.hidden)
        self.check_exits(self.n_layers)
        self.check_cache(self.context)

    @property
    def n_kv_heads(self) -> int:
        return self.n_heads

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads

    @property
    def hidden(self) -> int:
        """Width of the feed-forward block."""
        return self.d_ff or 4 * self.d_model

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: size 1 is d_model 64 with 2 layers; width grows by 64 per step, depth by one every second."""
        step = max(1, round(size))
        return Config(vocab_size, 64 * step, 2 + step // 2, step, context=512)


def stack(c: Config) -> Stack:
    """Rows of token and position, n_layers blocks of attention and feed-forward, a head over the whole vocabulary."""
    d, fmt, std = c.d_model, c.weight_format, (1 / c.d_model) ** 0.5
    out_std = std / (2 * c.n_layers) ** 0.5
    heads = (c.n_heads, c.n_heads, c.d_head, c.context, USUAL_THETA, fmt, c.kv_format, std, out_std)
    rows = (Embedding(c.vocab_size, d, fmt, 0.02, c.tied), PositionRows(c.context, d, fmt, 0.02))
    head, blocks = FullHead(c.vocab_size, d, c.eps, fmt, 0.02, "embed" if c.tied else "", centred=True), []
    for i in range(c.n_layers):
        attention, ffn = (Residual(f"block.{i}.{half}_", d, c.eps, centred=True) for half in ("attn", "ffn"))
        looking = Attention(i, attention, *heads, rotary="none", biases="both")
        blocks.append((looking, FeedForward(i, ffn, c.hidden, "gelu", fmt, std, out_std, biases=True)))
    return Stack(c.vocab_size, c.context, (*rows, *c.exits(blocks, head, d, c.eps)), head)


BLOCK = {
    "attn_norm": "ln_1.weight",
    "attn_norm_bias": "ln_1.bias",
    "qkv": "attn.c_attn.weight",
    "qkv_bias": "attn.c_attn.bias",
    "out": "attn.c_proj.weight",
    "out_bias": "attn.c_proj.bias",
    "ffn_norm": "ln_2.weight",
    "ffn_norm_bias": "ln_2.bias",
    "up": "mlp.c_fc.weight",
    "up_bias": "mlp.c_fc.bias",
    "down": "mlp.c_proj.weight",
    "down_bias": "mlp.c_proj.bias",
}
FOREIGN = Foreign(
    "gpt2",
    "GPT2LMHeadModel",
    keys={
        "vocab_size": "vocab_size",
        "n_embd": "d_model",
        "n_layer": "n_layers",
        "n_head": "n_heads",
        "n_inner": "d_ff",
        "n_positions": "context",
        "tie_word_embeddings": "tied",
        "layer_norm_epsilon": "eps",
    },
    fixed={
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "reorder_and_upcast_attn": (False,),
        "add_cross_attention": (False,),
    },
    fallbacks={"n_inner": 0, "n_positions": 1024, "tie_word_embeddings": True, "layer_norm_epsilon": 1e-5},
    idle="n_ctx attn_pdrop embd_pdrop resid_pdrop summary_activation summary_first_dropout summary_proj_to_labels "
    "summary_type summary_use_proj",
    skipped=("attn.bias", "attn.masked_bias"),
    transposed=("qkv", "out", "up", "down"),
    prefix="transformer.",
    rotary=False,
    ends={
        "embed": "wte.weight",
        "position": "wpe.weight",
        "final_norm": "ln_f.weight",
        "final_norm_bias": "ln_f.bias",
        "head": "lm_head.weight",
    },
    at="h.*.",
    block=BLOCK,
)
GGUF = InGguf(
    "gpt2",
    keys={**SHAPE_GGUF_KEYS, "attention.layer_norm_epsilon": "eps", "vocab_size": "vocab_size"},
    block={
        "attn_norm": "attn_norm.weight",
        "attn_norm_bias": "attn_norm.bias",
        "qkv": "attn_qkv.weight",
        "qkv_bias": "attn_qkv.bias",
        "out": "attn_output.weight",
        "out_bias": "attn_output.bias",
        "ffn_norm": "ffn_norm.weight",
        "ffn_norm_bias": "ffn_norm.bias",
        "up": "ffn_up.weight",
        "up_bias": "ffn_up.bias",
        "down": "ffn_down.weight",
        "down_bias": "ffn_down.bias",
    },
    ends={**GGUF_ENDS, "position": "position_embd.weight", "final_norm_bias": "output_norm.bias"},
)
FAMILY = Trained(Config, stack, FOREIGN, gguf=GGUF)
