"""Linear attention with a matrix of state per head, one position after the other: the slow twin.

    S_t = a_t S_{t-1} + k_t w_t^T        y_t = S_t^T q_t
    w_t = v_t                                            gated (Yang et al. 2024; Dao & Gu 2024)
    w_t = beta_t (v_t - a_t S_{t-1}^T k_t)               gated delta rule (Yang, Kautz & Hatamizadeh 2025):
                                                         S_t = a_t (I - beta k k^T) S_{t-1} + beta k v^T, |k| = 1

The delta rule writes what the state does not yet answer for this key.  y is read from S_t before it is rounded to the
format that it is stored in.  float32 at least.  Shapes: T positions, H heads, K key width, V value width.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

UNIT_EPS = 1e-6
"""Under the root when a vector is made one of length 1."""


def unit(x: np.ndarray) -> np.ndarray:
    """x / sqrt(sum(x^2) + K eps) over the last axis of K numbers."""
    squares = np.sum(x * x, axis=-1, keepdims=True)
    return x / np.sqrt(squares + x.dtype.type(UNIT_EPS * x.shape[-1]))


def attend_step(
    S_HKV: np.ndarray | None,
    q_HK: np.ndarray,
    k_HK: np.ndarray,
    v_HV: np.ndarray,
    a_H: np.ndarray,
    beta_H: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """(S_t, y_t) from S_{t-1}, or from nothing where that is None; `beta_H` None: gated, no delta rule.

    Any axes may stand in front, the same of all arguments.
    """
    before_HKV = np.zeros((*k_HK.shape, v_HV.shape[-1]), v_HV.dtype) if S_HKV is None else S_HKV
    kept_HKV: np.ndarray = a_H[..., None, None] * before_HKV
    w_HV = v_HV
    if beta_H is not None:
        w_HV = beta_H[..., None] * (v_HV - np.einsum("...kv,...k->...v", kept_HKV, k_HK))
    new_HKV: np.ndarray = kept_HKV + k_HK[..., :, None] * w_HV[..., None, :]
    return new_HKV, np.einsum("...kv,...k->...v", new_HKV, q_HK)


def linear_attention(
    q_THK: np.ndarray,
    k_THK: np.ndarray,
    v_THV: np.ndarray,
    a_TH: np.ndarray,
    beta_TH: np.ndarray | None = None,
    begins_T: np.ndarray | None = None,
    stored: Callable[[np.ndarray], np.ndarray] = lambda S_HKV: S_HKV,
) -> np.ndarray:
    """y [T, H, V]; `begins_T` is true where nothing before counts, `stored` rounds a state as it is stored."""
    S_HKV, rows = None, []
    for t in range(len(q_THK)):
        S_HKV = None if begins_T is not None and begins_T[t] else S_HKV
        beta_H = None if beta_TH is None else beta_TH[t]
        S_HKV, y_HV = attend_step(S_HKV, q_THK[t], k_THK[t], v_THV[t], a_TH[t], beta_H)
        S_HKV = stored(S_HKV)
        rows.append(y_HV)
    return np.stack(rows)
