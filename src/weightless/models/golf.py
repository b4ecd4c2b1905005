"""Golf: the published baseline of Parameter Golf, 17,059,912 parameters, as one list of layers.

    x_0 = norm(embed[token])                           all norms are RMSNorm without weights, also of q and k
    x   = m_0 x + m_1 x_0                              at the beginning of each of L blocks, per channel
    x  += a out attend(g_h q, k, v)                    q, k, v of norm(x); learned a per channel, g_h per query head
    x  += b down relu(up norm(x))^2                    learned b per channel
    L // 2 blocks push x, as many of the others first add w * what was pushed last (a U-net)
    z   = c tanh(z / c) of logits against the embedding

Both projections out of a block begin at zero, a, b, w and m_0 at one, m_1 at zero, the embedding small.
"""

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
from weightless.layers.residual import Residual
from weightless.layers.stack import Stack
from weightless.layers.start import FromStart, MixStart
from weightless.layers.unet import UNet, with_skips
from weightless.models.catalog import Trained
from weightless.ops.norm import check_eps
from weightless.ops.rope import check_theta
from weightless.program.cached import WindowCache
from weightless.program.program import check_layers
from weightless.program.tensor import Uniform
from weightless.quant.plan import Planned


@dataclass(frozen=True)
class Config(EarlyExit, Planned, WindowCache):
    """Shapes and formats; as it comes it is the published model, known with 10 layers and with d_ff 1536 as well."""

    vocab_size: int = 1024
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 512
    """Width of the residual stream."""
    n_layers: int = 9
    """Blocks; the first half pushes, the second pops."""
    n_heads: int = 8
    """Attention heads."""
    n_kv_heads: int = 4
    """Key/value heads, shared evenly by the heads."""
    d_ff: int = 0
    """Width of the feed-forward block; 0: twice d_model."""
    context: int = 1024
    """Longest context, in tokens."""
    q_gain: float = 1.5
    """Initial factor of every query head, learned."""
    softcap: float = 30.0
    """c: logits z become c tanh(z / c)."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE)."""
    embed_std: float = 0.005
    """Initial deviation of the embedding, which is the head as well."""
    eps: float = 2.0**-23
    """Added to the mean square in every RMSNorm; by default what float32 can tell from 1."""
    weight_format: str = "int8"
    """Storage of the packed matrices: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md)."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        check_least(self, "vocab_size d_model n_layers n_heads n_kv_heads context")
        check_layers(self.n_layers)
        self.check_exits(self.n_layers)
        self.check_cache(self.context)
        check_eps(self.eps)
        check_theta(self.rope_theta)
        if self.d_ff < 0:
            raise ConfigError(f"d_ff = {self.d_ff} should not be negative; 0 means twice d_model")
        if self.d_model % (2 * self.n_heads) or self.n_heads % self.n_kv_heads:
            shape = f"d_model {self.d_model}, n_heads {self.n_heads}, n_kv_heads {self.n_kv_heads}"
            raise ConfigError(f"{shape}: heads should be of even width and share the key/value heads evenly")
        for name, usual in (("q_gain", 1.5), ("softcap", 30), ("embed_std", 0.005)):
            if not 0 < getattr(self, name) < 1e6:
                raise ConfigError(f"{name} = {getattr(self, name):g} should lie above 0 ({usual} is usual), below 1e6")

    @property
    def hidden(self) -> int:
        """Width of the feed-forward block."""
        return self.d_ff or 2 * self.d_model

    @staticmethod
    def at(size: float, vocab_size: int = 1024) -> Config:
        """One dial: heads of width 64, one more and one more layer per step; 8 is the published model."""
        step = max(1, round(size))
        shared = next(n for n in range(max(1, step // 2), 0, -1) if step % n == 0)
        return Config(vocab_size, 64 * step, 1 + step, step, shared)


def stack(c: Config) -> Stack:
    """A normed embedding, blocks with skips from half to half, and the embedding again as the head."""
    blocks, half = [_block(c, i) for i in range(c.n_layers)], c.n_layers // 2
    embedding = Embedding(c.vocab_size, c.d_model, c.weight_format, c.embed_std, tied=True)
    head = FullHead(c.vocab_size, c.d_model, c.eps, c.weight_format, tied=embedding.name, softcap=c.softcap, bare=True)
    if half:
        pushing, popping = with_skips(blocks[:half], blocks[half:], c.d_model)
        blocks = [*pushing, *popping]
    body: tuple[Layer, ...] = c.exits(blocks, head, c.d_model, c.eps)
    start = FromStart((UNet(body),) if half else body, c.d_model, c.eps)
    return Stack(c.vocab_size, c.context, (embedding, start), head)


def _block(c: Config, i: int) -> tuple[Layer, ...]:
    joins = [Residual(f"block.{i}.{half}_", c.d_model, c.eps, per_channel=True, bare=True) for half in ("attn", "ffn")]
    heads = (c.n_heads, c.n_kv_heads, c.d_model // c.n_heads, c.context, c.rope_theta, c.weight_format, c.kv_format)
    drawn = Uniform(c.d_model**-0.5)  # PyTorch's own for a matrix of that many inputs
    return (
        MixStart(i, c.d_model),
        Attention(i, joins[0], *heads, drawn, "zeros", qk_norm="bare", q_gain=c.q_gain, qk_eps=c.eps, apart=True),
        FeedForward(i, joins[1], c.hidden, "relu2", c.weight_format, drawn, "zeros"),
    )


FAMILY = Trained(Config, stack)
