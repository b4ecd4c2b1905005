"""Qwen3 in NumPy, by itself: what the verifier computes log-probabilities with, whatever the solution's loader does.

    h = E[token]
    per block   a = norm(h) g;   q, k, v = W a;   q, k = rope(norm_K(q) g_q), rope(norm_K(k) g_k)
                h += W_o softmax(q k^T / sqrt(K), causal) v          two or more query heads share a key-value head
                m = norm(h) g;   h += W_down (silu(W_gate m) * W_up m)
    logits = W_head norm(h) g                                        W_head = E where tied

norm(x) = x / sqrt(mean x^2 + eps); rope turns the pairs (j, j + K/2) of a head by position / theta^(2j/K).  No biases.
The library's operators are not used, so that a mistake in them is none here; tests hold this to the library's engine.
Shapes: B windows, T positions, H heads, K head width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.deck.cards.ternary_training.checkpoint import Checkpoint


def log_probs(model: Checkpoint, tokens_BT: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
    """(B, T, V): row t is the logarithm of the distribution of what follows token t."""
    c = model.config
    weights = {name: array.astype(dtype, copy=False) for name, array in model.weights.items()}
    norms = {name: array.astype(dtype, copy=False) for name, array in model.norms.items()}
    h = weights["model.embed_tokens.weight"][tokens_BT]
    for i in range(c.num_hidden_layers):
        at = f"model.layers.{i}."
        h = h + _attention(model, weights, norms, at, _normed(h, norms[at + "input_layernorm.weight"], c.rms_norm_eps))
        m = _normed(h, norms[at + "post_attention_layernorm.weight"], c.rms_norm_eps)
        gate = m @ weights[at + "mlp.gate_proj.weight"].T
        swish = gate / (1 + np.exp(-np.clip(gate, -80, 80)))
        h = h + (swish * (m @ weights[at + "mlp.up_proj.weight"].T)) @ weights[at + "mlp.down_proj.weight"].T
    head = weights["model.embed_tokens.weight" if c.tie_word_embeddings else "lm_head.weight"]
    z = _normed(h, norms["model.norm.weight"], c.rms_norm_eps) @ head.T
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def bits_per_byte(model: Checkpoint, windows: np.ndarray) -> float:
    """Mean -log2 p of every byte of the windows but the first of each."""
    found = log_probs(model, windows[:, :-1])
    picked = np.take_along_axis(found, windows[:, 1:, None].astype(np.int64), axis=2)
    return float(-picked.astype(np.float64).mean() / np.log(2))


def _attention(
    model: Checkpoint, weights: dict[str, np.ndarray], norms: dict[str, np.ndarray], at: str, a_BTD: np.ndarray
) -> np.ndarray:
    c = model.config
    n_batch, n, _ = a_BTD.shape
    shape = (n_batch, n, -1, c.head_dim)
    q, k, v = ((a_BTD @ weights[f"{at}self_attn.{name}_proj.weight"].T).reshape(shape).swapaxes(1, 2) for name in "qkv")
    q, k = (_normed(x, norms[f"{at}self_attn.{name}_norm.weight"], c.rms_norm_eps) for name, x in (("q", q), ("k", k)))
    q, k = _turned(q, c.rope_theta), _turned(k, c.rope_theta)
    shared = c.num_attention_heads // c.num_key_value_heads
    group = np.arange(c.num_attention_heads) // shared
    s = q @ k[:, group].swapaxes(2, 3) / q.dtype.type(np.sqrt(c.head_dim))
    s = np.where(np.tri(n, dtype=bool), s, q.dtype.type(-np.inf))
    p = np.exp(s - s.max(axis=-1, keepdims=True))
    out = (p / p.sum(axis=-1, keepdims=True)) @ v[:, group]
    return out.swapaxes(1, 2).reshape(n_batch, n, -1) @ weights[f"{at}self_attn.o_proj.weight"].T


def _normed(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + x.dtype.type(eps)) * gain


def _turned(x_BHTK: np.ndarray, theta: float) -> np.ndarray:
    n, width = x_BHTK.shape[2:]
    angle = np.arange(n)[:, None] * theta ** (-2.0 * np.arange(width // 2) / width)
    cos, sin = np.cos(angle).astype(x_BHTK.dtype), np.sin(angle).astype(x_BHTK.dtype)
    a, b = x_BHTK[..., : width // 2], x_BHTK[..., width // 2 :]
    return np.concatenate((a * cos - b * sin, a * sin + b * cos), axis=-1)
