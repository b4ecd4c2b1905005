"""Attention by definition, with all N x M scores at once: the twin that tiled attention is held to.

    S = Q K^T / sqrt(D)    P = softmax over the visible keys    O = P V
    dV = P^T dO    dP = dO V^T    dS = P (dP - sum_j P dP)    dQ = dS K / sqrt(D)    dK = dS^T Q / sqrt(D)

Shapes, masks, errors and rows that see nothing: as in flash_attention.py.  Memory: several arrays of B H N M numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.ops.arguments import as_given, finite, float_array, same_shape, working_dtype
from weightless.ops.flash_attention import Visible, checked_qkv, visible


def naive_attention_fwd(Q: Any, K: Any, V: Any, causal: bool = True, **masks: Any) -> tuple[np.ndarray, np.ndarray]:
    """(O, P): output (B, H, N, E) and probabilities (B, H, N, M); `masks` as flash_attention_fwd takes them."""
    Q, K, V = checked_qkv(Q, K, V)
    given = Q
    Q, K, V = (array.astype(working_dtype(given), copy=False) for array in (Q, K, V))
    S = Q @ np.swapaxes(_shared(K, Q), 2, 3) / Q.dtype.type(np.sqrt(Q.shape[3]))
    S[~_seen(Q, K, causal, **masks)] = -np.inf
    top = S.max(axis=3, keepdims=True)
    P = np.exp(S - np.where(top == -np.inf, 0, top))
    total = P.sum(axis=3, keepdims=True)
    P /= np.where(total == 0, 1, total)
    return as_given(P @ _shared(V, Q), given), as_given(P, given)


def naive_attention_bwd(
    dO: Any, Q: Any, K: Any, V: Any, causal: bool = True, **masks: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dQ, dK, dV) from the inputs alone; the probabilities are worked out again."""
    given, _, _ = checked_qkv(Q, K, V)
    dO = finite("dO", float_array("dO", dO, "BHNE"))
    Q, K, V, dO = (np.asarray(array).astype(working_dtype(given), copy=False) for array in (Q, K, V, dO))
    O, P = naive_attention_fwd(Q, K, V, causal, **masks)
    same_shape("dO", dO, "O", O.shape)
    scale = Q.dtype.type(1 / np.sqrt(Q.shape[3]))
    dP = dO @ np.swapaxes(_shared(V, Q), 2, 3)
    dS = P * (dP - np.sum(P * dP, axis=3, keepdims=True)) * scale
    dQ = dS @ _shared(K, Q)
    dK, dV = np.swapaxes(dS, 2, 3) @ Q, np.swapaxes(P, 2, 3) @ dO
    return as_given(dQ, given), as_given(_summed(dK, K), given), as_given(_summed(dV, V), given)


def _shared(x_BGMD: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Each key-value head once per query head that uses it."""
    return np.repeat(x_BGMD, Q.shape[1] // x_BGMD.shape[1], axis=1)


def _summed(x_BHMD: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The gradients of the query heads that share a key-value head, added up."""
    n_batch, n_kv_heads = like.shape[:2]
    return x_BHMD.reshape(n_batch, n_kv_heads, -1, *x_BHMD.shape[2:]).sum(axis=2)


def _seen(
    Q: np.ndarray,
    K: np.ndarray,
    causal: bool,
    q_offset: int | None = None,
    window: int | None = None,
    key_padding_mask: Any = None,
) -> np.ndarray:
    """bool (B, H, N, M)."""
    n_queries, n_keys = Q.shape[2], K.shape[2]
    every = [_whole(seen, n_queries, n_keys) for seen in visible(Q, K, causal, q_offset, window, key_padding_mask)]
    return np.broadcast_to(np.stack(every)[:, None], (*Q.shape[:3], n_keys))


def _whole(seen: Visible, n_queries: int, n_keys: int) -> np.ndarray:
    mask = seen.mask(slice(0, n_queries), slice(0, n_keys))
    return np.ones((n_queries, n_keys), bool) if mask is None else mask
