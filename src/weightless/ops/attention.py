"""Scaled dot-product attention with grouped queries (Vaswani et al. 2017; Shazeer 2019, Ainslie et al. 2023).

    a_h = softmax_s(q_h . k_{g(h), s} / sqrt(K)) v_{g(h), s}        g(h) = h div (H / G)

with H query heads sharing G key-value heads (G = H: multi-head; G = 1: multi-query).  A query at position t sees the
positions max(0, t - window + 1) … t, itself included; window None sees all.

Scores, softmax and sums are float32 at least; the result has the dtype of q.

Shapes: T positions, H query heads, G key-value heads, K head width.  Errors: ConfigError when the heads do not divide.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ops.arguments import as_given, working_dtype


def decode_attention(q_HK: np.ndarray, k_TGK: np.ndarray, v_TGK: np.ndarray, window: int | None = None) -> np.ndarray:
    """One query against a cache that ends with its own position; [H, K]."""
    n_heads, d_head = q_HK.shape
    shared = queries_per_kv_head(n_heads, k_TGK.shape[1])
    first = 0 if window is None else max(0, len(k_TGK) - window)
    out_HK = np.empty_like(q_HK)
    given, work = q_HK, working_dtype(q_HK, k_TGK, v_TGK)
    q_HK, k_TGK, v_TGK = (array.astype(work, copy=False) for array in (q_HK, k_TGK, v_TGK))
    for head in range(n_heads):
        keys_SK, values_SK = k_TGK[first:, head // shared], v_TGK[first:, head // shared]
        out_HK[head] = softmax(keys_SK @ q_HK[head] / np.sqrt(work(d_head))) @ values_SK
    return as_given(out_HK, given)


def causal_attention(q_THK: np.ndarray, k_TGK: np.ndarray, v_TGK: np.ndarray, window: int | None = None) -> np.ndarray:
    """Every position against those before it and itself; [T, H, K].  Holds H x T x T scores."""
    n_positions, n_heads, d_head = q_THK.shape
    shared = queries_per_kv_head(n_heads, k_TGK.shape[1])
    given, work = q_THK, working_dtype(q_THK, k_TGK, v_TGK)
    q_THK, k_TGK, v_TGK = (array.astype(work, copy=False) for array in (q_THK, k_TGK, v_TGK))
    k_THK, v_THK = np.repeat(k_TGK, shared, axis=1), np.repeat(v_TGK, shared, axis=1)
    score_HTS = np.einsum("thk,shk->hts", q_THK, k_THK) / np.sqrt(work(d_head))
    age_TS = np.arange(n_positions)[:, None] - np.arange(n_positions)
    visible_TS = (age_TS >= 0) & (age_TS < (n_positions if window is None else window))
    score_HTS[:, ~visible_TS] = -np.inf
    return as_given(np.einsum("hts,shk->thk", softmax(score_HTS), v_THK), given)


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) / sum(exp(x)) over the last axis, taken around the maximum; -inf gives 0."""
    z = x.astype(working_dtype(x), copy=False)
    y = np.exp(z - z.max(axis=-1, keepdims=True))
    return as_given(y / y.sum(axis=-1, keepdims=True), x)


def queries_per_kv_head(n_heads: int, n_kv_heads: int) -> int:
    """H / G, which must be whole."""
    if n_kv_heads < 1 or n_heads % n_kv_heads:
        raise ConfigError(f"n_heads = {n_heads} must be a multiple of n_kv_heads = {n_kv_heads}")
    return n_heads // n_kv_heads
