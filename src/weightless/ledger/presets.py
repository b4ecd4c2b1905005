"""Models that other people published, as shapes: the oracle cases of the accounting.

gpt2-*            GPT-2 sizes as document 004 counts them: three-matrix feed-forward of 4 D, RMSNorm, no biases, untied
gpt2-*-literal    GPT-2 as it is (Radford et al. 2019): two-matrix GELU feed-forward, LayerNorm, biases, tied, learned
                  positions
tinystories-*     four layers of 512 with a vocabulary of 10,000 or 32,000
parameter-golf-baseline
                  nine layers of 512, four key/value heads, squared ReLU, tied, vocabulary 1,024; per block one gain
                  per head, two scales and two residual mixtures of width D, and four U-net skips of width D.
                  Shipped as int8 codes with one fp16 scale per row; vectors stay float32
public-starter    eight layers of 768, SwiGLU 2,048, tied, shipped in bf16
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weightless.base.errors import ConfigError, nearest
from weightless.ledger.memory import stored_bytes
from weightless.ledger.shape import TransformerShape

_GOLF_GAINS = (
    ("query gains", 9 * 8),
    ("attention scales", 9 * 512),
    ("feed-forward scales", 9 * 512),
    ("residual mixtures", 9 * 2 * 512),
    ("U-net skips", 4 * 512),
)


@dataclass(frozen=True)
class Preset:
    """`shipped` is the layout its weights are published in: f32, bf16, or int8 with one fp16 scale per row."""

    shape: TransformerShape
    about: str
    shipped: str = "f32"

    def shipped_bytes(self) -> int:
        """Bytes of the published weights, before any compression; bf16 holds the vectors, too."""
        weights = self.shape.weights()
        if self.shipped == "bf16":
            return 2 * sum(weight.parameters for weight in weights)
        return stored_bytes(weights, {"f32": _float32_row, "int8_rows": _int8_row}[self.shipped])


def _float32_row(cols: int) -> int:
    return 4 * cols


def _int8_row(cols: int) -> int:
    """One code per column and one fp16 scale per row."""
    return cols + 2


def _gpt2(n_layers: int, d_model: int, n_heads: int) -> Preset:
    shape = TransformerShape(50_257, 1024, n_layers, d_model, n_heads, 4 * d_model)
    return Preset(shape, "GPT-2 size with a gated feed-forward of 4 D, RMSNorm, no biases, untied")


def _literal(n_layers: int, d_model: int, n_heads: int) -> Preset:
    shape = TransformerShape(50_257, 1024, n_layers, d_model, n_heads, 4 * d_model, ffn="plain", bias=True,
                             norm="layernorm", tied=True, learned_positions=True)  # fmt: skip
    return Preset(shape, "GPT-2 as published")


def _tinystories(vocab_size: int) -> Preset:
    return Preset(TransformerShape(vocab_size, 256, 4, 512, 16, 1344), "the TinyStories model, untied")


def presets() -> Mapping[str, Preset]:
    """All of them by name."""
    sizes = {"small": (12, 768, 12), "medium": (24, 1024, 16), "large": (36, 1280, 20), "xl": (48, 1600, 25)}
    golf = TransformerShape(1024, 1024, 9, 512, 8, 1024, n_kv_heads=4, ffn="plain", norm="bare", qk_norm="bare",
                            tied=True, extras=_GOLF_GAINS)  # fmt: skip
    starter = TransformerShape(50_257, 512, 8, 768, 8, 2048, tied=True)
    return MappingProxyType({
        **{f"gpt2-{name}": _gpt2(*size) for name, size in sizes.items()},
        **{f"gpt2-{name}-literal": _literal(*size) for name, size in sizes.items()},
        "tinystories-10k": _tinystories(10_000),
        "tinystories-32k": _tinystories(32_000),
        "parameter-golf-baseline": Preset(golf, "the Parameter Golf baseline", "int8_rows"),
        "public-starter": Preset(starter, "the public starter of the bytes-touched task", "bf16"),
    })  # fmt: skip


def preset(name: str) -> Preset:
    """The preset of that name; ConfigError naming the nearest one."""
    known = presets()
    if name not in known:
        raise ConfigError(f"unknown preset {name!r}: {nearest(name, known)}")
    return known[name]
