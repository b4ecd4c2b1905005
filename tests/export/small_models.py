"""Small packed models of families that others run, too, with norms and biases that are no ones and zeros."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from weightless.export.lower import pack
from weightless.export.packed import Packed, open_packed
from weightless.models import gpt2, llama, qwen3
from weightless.models.catalog import trained
from weightless.tokenizer import Tokenizer
from weightless.train.initialise import initial_parameters

V = 301
WIDE = {
    "qwen3": qwen3.Config(V, 64, 2, 4, 2, 32, 96, 63, kv_format="f32"),
    "llama": llama.Config(V, 64, 2, 4, 2, 32, 96, 63, tied=False, attention_bias=True, mlp_bias=True, kv_format="f32"),
    "gpt2": gpt2.Config(V, 64, 2, 4, 96, 63, kv_format="f32"),
}
"""Rows of whole blocks of 32."""
ODD = {
    "qwen3": qwen3.Config(V, 52, 2, 4, 2, 18, 45, 23, False, 500.0, 1e-2, kv_format="f32"),
    "llama": llama.Config(V, 40, 2, 2, 1, 18, 45, 63, True, 500.0, rope_stretch=8.0, rope_learned=40, kv_format="f32"),
    "gpt2": gpt2.Config(V, 42, 2, 3, 0, 23, False, 1e-3, kv_format="f32"),
}
"""Rows of no whole blocks: only numbers go."""


def made(path: Path, name: str, config: Any, tokenizer: Tokenizer | None = None, seed: int = 0, **more: Any) -> Packed:
    """A random model, packed."""
    rng, drawn = np.random.default_rng(seed), initial_parameters(trained(name).Model(config).tensors(), seed=seed)
    arrays = {key: value.detach().numpy() for key, value in drawn.items()}
    arrays = {key: a + np.float32(0.05) * rng.standard_normal(a.shape, np.float32) for key, a in arrays.items()}
    pack(path, name, config, arrays, tokenizer.to_json() if tokenizer else None, more.get("notes"))
    return open_packed(path)


def log_probs(packed: Packed, ids: Any) -> np.ndarray:
    """log p at every position, float64 [T, V], by the readable engine."""
    engine, found = packed.audit_engine(poison=True), []
    for i in ids:
        engine.feed(int(i))
        found.append(np.log(engine.distribution().astype(np.float64)))
    return np.array(found)
