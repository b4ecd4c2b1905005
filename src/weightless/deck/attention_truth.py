"""Attention and its gradients by definition, with every (N, M) array there is: what the two attention cards hold to.

    S = Q K^T / sqrt(D)    P = softmax over the visible keys    O = P V    L = log sum exp S
    dV = P^T dO    dP = dO V^T    dS = P (dP - sum_j P dP)    dQ = dS K / sqrt(D)    dK = dS^T Q / sqrt(D)

Written without the library's tiles and masks, so that a mistake there is none here; stands on floor 9.  A query that
sees no key has O = 0 and L = -inf.  Shapes: Q (B, H, N, D), K and V (B, H, M, D); float64 unless asked otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Forward(NamedTuple):
    """O (B, H, N, D), L (B, H, N), P (B, H, N, M)."""

    O: np.ndarray
    L: np.ndarray
    P: np.ndarray


def seen_NM(n: int, m: int, causal: bool, q_offset: int | None = None, window: int | None = None) -> np.ndarray:
    """bool (N, M): query i stands at i + q_offset (None: M - N) and sees keys up to there, nearer than `window`."""
    offset = m - n if q_offset is None else q_offset
    ahead = np.arange(n)[:, None] + offset - np.arange(m)
    seen = ahead >= 0 if causal else np.ones((n, m), bool)
    return seen if window is None else seen & (np.abs(ahead) < window)


def forward(
    Q: np.ndarray, K: np.ndarray, V: np.ndarray, causal: bool = True, dtype: Any = np.float64, **masks: Any
) -> Forward:
    """Attention in `dtype`; `masks` are q_offset, window, and key_padding_mask bool (B, M), True = may be seen."""
    padding = masks.pop("key_padding_mask", None)
    q, k, v = (array.astype(dtype) for array in (Q, K, V))
    seen = seen_NM(q.shape[2], k.shape[2], causal, **masks)[None, None]
    if padding is not None:
        seen = seen & padding[:, None, None, :]
    S = np.where(seen, q @ np.swapaxes(k, 2, 3) / np.sqrt(dtype(q.shape[3])), -np.inf)
    top = S.max(axis=3, keepdims=True)
    top = np.where(np.isfinite(top), top, dtype(0))
    P = np.exp(S - top)
    total = P.sum(axis=3, keepdims=True)
    L = np.where(total > 0, np.log(np.where(total > 0, total, 1)) + top, -np.inf)[..., 0]
    P = P / np.where(total > 0, total, dtype(1))
    return Forward(P @ v, L, P)


def backward(
    dO: np.ndarray, Q: np.ndarray, K: np.ndarray, V: np.ndarray, causal: bool = True, dtype: Any = np.float64
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dQ, dK, dV) in `dtype`."""
    q, k, v, do = (array.astype(dtype) for array in (Q, K, V, dO))
    P = forward(Q, K, V, causal, dtype).P
    dP = do @ np.swapaxes(v, 2, 3)
    dS = P * (dP - (P * dP).sum(axis=3, keepdims=True)) / np.sqrt(dtype(q.shape[3]))
    return dS @ k, np.swapaxes(dS, 2, 3) @ q, np.swapaxes(P, 2, 3) @ do


def rows_of_output(Q: np.ndarray, K: np.ndarray, V: np.ndarray, rows: list[int]) -> np.ndarray:
    """O of some queries alone, causal, float64 (B, H, len(rows), D): for sizes at which all of it is too much."""
    return np.concatenate([forward(Q[:, :, [i]], K[:, :, : i + 1], V[:, :, : i + 1]).O for i in rows], axis=2)


def normal(rng: np.random.Generator, *shapes: tuple[int, ...], dtype: Any = np.float64) -> list[np.ndarray]:
    """Arrays of normal numbers."""
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]
