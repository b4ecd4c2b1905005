"""A language model of bytes whose matrices are all ternary: its checkpoint, its loader, and the projection.

The shape is Qwen3's: grouped heads two to one, norms of queries and keys, SwiGLU, rotary positions, no biases, one
matrix for embedding and head.  Trained from the first step on through the rounding (straight-through, the scale a
constant): 900 steps of 8 windows of 256 bytes of train_data.txt, Muon for matrices and AdamW for the rest, latent
weights in float32, seed 0; `making.py` of the card has the commands.

Codes and float16 scales are the master copy.  The projection is not idempotent: the mean of |s q| over a group is s
times its share of non-zero codes, about 0.7 s, so projecting again shrinks every weight.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from weightless.ops import attention, feedforward, norm, rope, ternary

HERE = Path(__file__).parent


def load() -> dict[str, Any]:
    """The checkpoint: config, codes, scales, norms, losses."""
    with np.load(HERE / "solution_weights.npz", allow_pickle=False) as stored:
        parts: dict[str, dict[str, np.ndarray]] = {"codes": {}, "scales": {}, "norms": {}}
        for key in stored.files:
            kind, name = key.split("/")
            parts[kind][name] = stored[key]
    return {**json.loads((HERE / "solution_config.json").read_text()), **parts}


def ternary_project(W: np.ndarray, group_size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """(codes int8 (R, C), scales float16 (R, ceil(C / group_size)))."""
    return ternary.ternary_project(W, group_size)


def log_probs(tokens: list[int]) -> np.ndarray:
    """(T, 256): row t is the logarithm of the distribution of the byte after tokens[: t + 1]."""
    model = load()
    c, gains = model["config"], model["norms"]
    weights = {name: ternary.ternary_expand(codes, model["scales"][name]) for name, codes in model["codes"].items()}
    h = weights["model.embed_tokens.weight"][np.asarray(tokens)]
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        a = norm.rms_norm(h, gains[at + "input_layernorm.weight"], c["rms_norm_eps"])
        h = h + attend(a, weights, gains, at + "self_attn.", c)
        m = norm.rms_norm(h, gains[at + "post_attention_layernorm.weight"], c["rms_norm_eps"])
        up = np.concatenate((weights[at + "mlp.gate_proj.weight"], weights[at + "mlp.up_proj.weight"]))
        h = h + feedforward.feedforward(m, up, weights[at + "mlp.down_proj.weight"], "swiglu")
    z = norm.rms_norm(h, gains["model.norm.weight"], c["rms_norm_eps"]) @ weights["model.embed_tokens.weight"].T
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def attend(
    a_TD: np.ndarray, weights: dict[str, np.ndarray], gains: dict[str, np.ndarray], at: str, c: dict[str, Any]
) -> np.ndarray:
    """Attention of one block, (T, D)."""
    n = len(a_TD)
    q, k, v = ((a_TD @ weights[f"{at}{name}_proj.weight"].T).reshape(n, -1, c["head_dim"]) for name in "qkv")
    q = norm.rms_norm(q, gains[at + "q_norm.weight"], c["rms_norm_eps"])
    k = norm.rms_norm(k, gains[at + "k_norm.weight"], c["rms_norm_eps"])
    places = np.arange(n)
    q, k = rope.rope(q, places, c["rope_theta"]), rope.rope(k, places, c["rope_theta"])
    return attention.causal_attention(q, k, v).reshape(n, -1) @ weights[at + "o_proj.weight"].T
