"""Scaled dot-product attention with grouped queries (Vaswani et al. 2017; Shazeer 2019, Ainslie et al. 2023).

    a_h = softmax_s(q_h . k_{g(h), s} / sqrt(K)) v_{g(h), s}        g(h) = h div (H / G)

with H query heads sharing G key-value heads (G = H: multi-head; G = 1: multi-query).  A query at position t sees the
positions max(0, t - window + 1) … t, itself included; window None sees all.

Shapes: T positions, H query heads, G key-value heads, K head width.  Errors: ConfigError when the heads do not divide.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError


def decode_attention(q_HK: np.ndarray, k_TGK: np.ndarray, v_TGK: np.ndarray, window: int | None = None) -> np.ndarray:
    """One query against a cache that ends with its own position; [H, K]."""
    n_heads, d_head = q_HK.shape
    shared = queries_per_kv_head(n_heads, k_TGK.shape[1])
    first = 0 if window is None else max(0, len(k_TGK) - window)
    out_HK = np.empty_like(q_HK)
    for head in range(n_heads):
        keys_SK, values_SK = k_TGK[first:, head // shared], v_TGK[first:, head // shared]
        out_HK[head] = softmax(keys_SK @ q_HK[head] / np.sqrt(q_HK.dtype.type(d_head))) @ values_SK
    return out_HK


def causal_attention(q_THK: np.ndarray, k_TGK: np.ndarray, v_TGK: np.ndarray, window: int | None = None) -> np.ndarray:
    """Every position against those before it and itself; [T, H, K].  Holds H x T x T scores."""
    n_positions, n_heads, d_head = q_THK.shape
    shared = queries_per_kv_head(n_heads, k_TGK.shape[1])
    k_THK, v_THK = np.repeat(k_TGK, shared, axis=1), np.repeat(v_TGK, shared, axis=1)
    score_HTS = np.einsum("thk,shk->hts", q_THK, k_THK) / np.sqrt(q_THK.dtype.type(d_head))
    age_TS = np.arange(n_positions)[:, None] - np.arange(n_positions)
    visible_TS = (age_TS >= 0) & (age_TS < (n_positions if window is None else window))
    score_HTS[:, ~visible_TS] = -np.inf
    return np.einsum("hts,shk->thk", softmax(score_HTS), v_THK)


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) / sum(exp(x)) over the last axis, taken around the maximum; -inf gives 0."""
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    return y / y.sum(axis=-1, keepdims=True)


def queries_per_kv_head(n_heads: int, n_kv_heads: int) -> int:
    """H / G, which must be whole."""
    if n_kv_heads < 1 or n_heads % n_kv_heads:
        raise ConfigError(f"n_heads = {n_heads} must be a multiple of n_kv_heads = {n_kv_heads}")
    return n_heads // n_kv_heads
