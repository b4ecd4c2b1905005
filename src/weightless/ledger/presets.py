"""Models that other people published, as shapes: the oracle cases of the accounting.

gpt2-*            GPT-2 sizes as document 004 counts them: three-matrix feed-forward of 4 D, RMSNorm, no biases, untied
gpt2-*-literal    GPT-2 as it is (Radford et al. 2019): two-matrix GELU feed-forward, LayerNorm, biases, tied, learned
                  positions
tinystories-*     four layers of 512 with a vocabulary of 10,000 or 32,000
parameter-golf-baseline
                  nine layers of 512, four key/value heads, squared ReLU, tied, vocabulary 1,024; per block one gain
                  per head, two scales and two residual mixtures of width D, and a U-net skip of width D for every
                  block of the first half that has one to answer it in the second (n_layers // 2: four).
                  Shipped as int8 codes with one fp16 scale per row; vectors stay float32.  In training the embedding
                  is bf16 and everything else float32: its log divides these bytes by those of int8 (3.91)
public-starter    eight layers of 768, SwiGLU 2,048, tied, shipped in bf16
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, nearest
from weightless.ledger.memory import stored_bytes
from weightless.ledger.shape import TransformerShape

Extras = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Preset:
    """`shipped` is the layout its weights are published in: f32, bf16, or int8 with one fp16 scale per row.

    `embedding_kept` is the format of the embedding while training (all else is float32); `extras` gives the vectors
    beyond a plain transformer's for a shape, so that they follow what is changed.
    """

    shape: TransformerShape
    about: str
    shipped: str = "f32"
    embedding_kept: str = "f32"
    extras: Callable[[TransformerShape], Extras] = lambda shape: ()

    def changed(self, changes: Mapping[str, Any]) -> Preset:
        """With other sizes; ConfigError for what is no field, of the wrong type, or not decided by the changes."""
        if "extras" in changes:
            raise ConfigError("extras follow from the other sizes: change n_layers, d_model or n_heads")
        if "d_model" in changes and "d_ff" not in changes:
            raise ConfigError(
                f"with another d_model the published d_ff of {self.shape.d_ff} means nothing: set d_ff, too"
            )
        plain = {f.name: getattr(self.shape, f.name) for f in dataclasses.fields(self.shape) if f.name != "extras"}
        shape = from_dict(TransformerShape, {**plain, **changes})
        return dataclasses.replace(self, shape=dataclasses.replace(shape, extras=self.extras(shape)))

    def kept_bytes(self) -> int:
        """Bytes of the weights as floats while training."""
        weights = self.shape.weights()
        widths = {"f32": 4, "bf16": 2}
        return sum(
            weight.parameters * (widths[self.embedding_kept] if weight.name == "embedding" else 4) for weight in weights
        )

    def shipped_bytes(self) -> int:
        """Bytes of the published weights, before any compression; bf16 holds the vectors, too."""
        weights = self.shape.weights()
        if self.shipped == "bf16":
            return 2 * sum(weight.parameters for weight in weights)
        return stored_bytes(weights, {"f32": _float32_row, "int8_rows": _int8_row}[self.shipped])


def _golf_gains(shape: TransformerShape) -> Extras:
    """Per block a gain per head, two scales and two mixtures; a skip for each pair of blocks around the middle."""
    n, D = shape.n_layers, shape.d_model
    return (
        ("query gains", n * shape.n_heads),
        ("attention scales", n * D),
        ("feed-forward scales", n * D),
        ("residual mixtures", n * 2 * D),
        ("U-net skips", n // 2 * D),
    )


def _float32_row(cols: int) -> int:
    return 4 * cols


def _int8_row(cols: int) -> int:
    """One code per column and one fp16 scale per row."""
    return cols + 2


def _gpt2(n_layers: int, d_model: int, n_heads: int) -> Preset:
    shape = TransformerShape(50_257, 1024, n_layers, d_model, n_heads, 4 * d_model)
    return Preset(shape, "GPT-2 size with a gated feed-forward of 4 D, RMSNorm, no biases, untied")


def _literal(n_layers: int, d_model: int, n_heads: int) -> Preset:
    shape = TransformerShape(
        50_257,
        1024,
        n_layers,
        d_model,
        n_heads,
        4 * d_model,
        ffn="plain",
        bias=True,
        norm="layernorm",
        tied=True,
        learned_positions=True,
    )
    return Preset(shape, "GPT-2 as published")


def _tinystories(vocab_size: int) -> Preset:
    return Preset(TransformerShape(vocab_size, 256, 4, 512, 16, 1344), "the TinyStories model, untied")


def presets() -> Mapping[str, Preset]:
    """All of them by name."""
    sizes = {"small": (12, 768, 12), "medium": (24, 1024, 16), "large": (36, 1280, 20), "xl": (48, 1600, 25)}
    golf = TransformerShape(
        1024, 1024, 9, 512, 8, 1024, n_kv_heads=4, ffn="plain", norm="bare", qk_norm="bare", tied=True
    )
    starter = TransformerShape(50_257, 512, 8, 768, 8, 2048, tied=True)
    return MappingProxyType(
        {
            **{f"gpt2-{name}": _gpt2(*size) for name, size in sizes.items()},
            **{f"gpt2-{name}-literal": _literal(*size) for name, size in sizes.items()},
            "tinystories-10k": _tinystories(10_000),
            "tinystories-32k": _tinystories(32_000),
            "parameter-golf-baseline": Preset(
                golf, "the Parameter Golf baseline", "int8_rows", "bf16", _golf_gains
            ).changed({}),
            "public-starter": Preset(starter, "the public starter of the bytes-touched task", "bf16"),
        }
    )


def preset(name: str) -> Preset:
    """The preset of that name; ConfigError naming the nearest one."""
    known = presets()
    if name not in known:
        raise ConfigError(f"unknown preset {name!r}: {nearest(name, known)}")
    return known[name]
