"""A checkpoint as a solution hands it over: shapes by the configuration, codes and scales decoded here.

`load()` of a solution gives plain data:

    config    the fields of Config, named as Qwen3's config.json names them
    codes     name: int8 (R, C) of -1, 0, 1             for every matrix, embedding and head included
    scales    name: float16 (R, ceil(C / 128))          one per 128 columns of a row
    norms     name: float32 or float16 (n,)             for every RMSNorm
    losses    numbers, training losses in their order

and a weight is its code times the scale of its group.  What does not fit is told with the status that it is: CONTRACT
for what is missing, WRONG_SHAPE, WRONG_DTYPE, WRONG_NUMERIC for a code that is none.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from weightless.deck.bench import Limits, Worker
from weightless.deck.comparing import array_of
from weightless.deck.outcome import Failed

GROUP, N_BYTES = 128, 256
MOST_WEIGHTS = 300_000_000
PARTS = ("config", "codes", "scales", "norms", "losses")
LIMITS = Limits(seconds=120.0, cpu_seconds=400, memory_bytes=4 * 10**9)


@dataclass(frozen=True)
class Config:
    """The shape of a Qwen3 whose tokens are bytes."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    max_position_embeddings: int
    rope_theta: float
    rms_norm_eps: float
    tie_word_embeddings: bool

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Shapes (outputs, inputs) of all matrices, by the names that Qwen3 gives them."""
        d, q = self.hidden_size, self.num_attention_heads * self.head_dim
        kv, f = self.num_key_value_heads * self.head_dim, self.intermediate_size
        layer = {"self_attn.q_proj": (q, d), "self_attn.k_proj": (kv, d), "self_attn.v_proj": (kv, d)}
        layer |= {"self_attn.o_proj": (d, q), "mlp.gate_proj": (f, d), "mlp.up_proj": (f, d), "mlp.down_proj": (d, f)}
        shapes = {"model.embed_tokens.weight": (self.vocab_size, d)}
        for i in range(self.num_hidden_layers):
            shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
        return shapes if self.tie_word_embeddings else {**shapes, "lm_head.weight": (self.vocab_size, d)}

    def norms(self) -> dict[str, tuple[int]]:
        """Shapes of all norms; those of queries and keys have one weight for each element of a head."""
        d, k = (self.hidden_size,), (self.head_dim,)
        layer = {"input_layernorm": d, "post_attention_layernorm": d, "self_attn.q_norm": k, "self_attn.k_norm": k}
        shapes = {"model.norm.weight": d}
        for i in range(self.num_hidden_layers):
            shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
        return shapes


@dataclass(frozen=True)
class Checkpoint:
    """Weights as float32, decoded here, and what was reported."""

    config: Config
    weights: dict[str, np.ndarray]
    norms: dict[str, np.ndarray]
    losses: list[float]

    @property
    def n_weights(self) -> int:
        return sum(array.size for array in self.weights.values())


def loaded(worker: Worker) -> dict[str, Any]:
    """What `load()` gives, with all its parts."""
    found = worker.call("load")
    if not isinstance(found, dict):
        raise Failed("WRONG_SHAPE", f"load() gave a {type(found).__name__}, not a dict of {', '.join(PARTS)}")
    if missing := [part for part in PARTS if part not in found]:
        raise Failed("CONTRACT", f"load() gave no {', '.join(missing)}")
    if wrong := [part for part in PARTS[:4] if not isinstance(found[part], dict)]:
        raise Failed("WRONG_SHAPE", f"{wrong[0]} of load() is a {type(found[wrong[0]]).__name__}, not a dict")
    return found


def checked_config(found: dict[str, Any]) -> Config:
    """The configuration; every size is looked at before anything is made of it."""
    wanted = {field.name: field.type for field in fields(Config)}
    if missing := sorted(set(wanted) - set(found)):
        raise Failed("CONTRACT", f"config has no {', '.join(missing)}")
    kinds = {"int": (int,), "float": (int, float), "bool": (bool,)}
    for name, kind in wanted.items():
        value = found[name]
        if not isinstance(value, kinds[str(kind)]) or (isinstance(value, bool) and kind != "bool"):
            raise Failed("WRONG_SHAPE", f"config: {name} = {value!r:.40} should be {kind}")
    config = Config(**{name: found[name] for name in wanted})
    sizes = [getattr(config, name) for name, kind in wanted.items() if kind == "int"]
    if min(sizes) < 1 or max(sizes) > 1 << 20 or config.num_hidden_layers > 1000:
        raise Failed("WRONG_SHAPE", "config: a size is below 1, or larger than can be judged")
    if config.vocab_size != N_BYTES:
        raise Failed("WRONG_SHAPE", f"config: vocab_size = {config.vocab_size}; tokens are the {N_BYTES} bytes")
    if config.head_dim % 2 or config.num_attention_heads % config.num_key_value_heads:
        raise Failed("WRONG_SHAPE", "config: head_dim should be even, and heads a multiple of key-value heads")
    if not (1 < config.rope_theta <= 1e12 and 0 < config.rms_norm_eps <= 1e-2):
        raise Failed("WRONG_NUMERIC", "config: rope_theta should lie above 1, rms_norm_eps between 0 and 0.01")
    if sum(rows * columns for rows, columns in config.matrices().values()) > MOST_WEIGHTS:
        raise Failed("WRONG_SHAPE", f"more than {MOST_WEIGHTS:,} weights, which is more than can be judged here")
    return config


def decoded(found: dict[str, Any]) -> Checkpoint:
    """The checkpoint, every matrix a code times a scale and nothing else.  Raises Failed."""
    config = checked_config(found["config"])
    for part, wanted in (("codes", config.matrices()), ("scales", config.matrices()), ("norms", config.norms())):
        if missing := sorted(set(wanted) - set(found[part])):
            raise Failed("CONTRACT", f"{part}: no {missing[0]}, and {len(missing) - 1} more are missing")
        if more := sorted(set(found[part]) - set(wanted)):
            raise Failed("CONTRACT", f"{part}: {more[0][:80]!r} is no tensor of such a model")
    weights = {
        name: expanded(found["codes"][name], found["scales"][name], shape, name)
        for name, shape in config.matrices().items()
    }
    norms = {name: _norm(found["norms"][name], shape, name) for name, shape in config.norms().items()}
    return Checkpoint(config, weights, norms, _losses(found["losses"]))


def expanded(codes: Any, scales: Any, shape: tuple[int, int], name: str) -> np.ndarray:
    """float32 (R, C): codes times the scales of their groups."""
    codes = array_of(codes, shape, np.int8, f"codes of {name}")
    scales = array_of(scales, (shape[0], -(-shape[1] // GROUP)), np.float16, f"scales of {name}")
    if codes.min() < -1 or codes.max() > 1:
        wrong = int(codes.max()) if codes.max() > 1 else int(codes.min())
        raise Failed("WRONG_NUMERIC", f"codes of {name} hold {wrong}; a ternary weight is -1, 0 or 1 times its scale")
    if not np.isfinite(scales).all() or scales.min() < 0:
        raise Failed("WRONG_NUMERIC", f"scales of {name} should be finite and not negative")
    return codes.astype(np.float32) * np.repeat(scales.astype(np.float32), GROUP, axis=1)[:, : shape[1]]


def _norm(array: Any, shape: tuple[int], name: str) -> np.ndarray:
    dtype = array.dtype if isinstance(array, np.ndarray) and array.dtype in (np.float16, np.float32) else np.float32
    array = array_of(array, shape, dtype, name).astype(np.float32)
    if not np.isfinite(array).all():
        raise Failed("WRONG_NUMERIC", f"{name} holds NaN or infinity")
    return array


def _losses(found: Any) -> list[float]:
    losses = found.tolist() if isinstance(found, np.ndarray) else found
    if not isinstance(losses, (list, tuple)) or not all(type(loss) in (int, float) for loss in losses):
        raise Failed("WRONG_SHAPE", "losses should be a list of numbers")
    return [float(loss) for loss in losses]
