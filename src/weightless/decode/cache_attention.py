"""Attention of the newest positions over a cache that comes in pieces, without joining the pieces.

Query i of T stands at position n_keys - T + i and sees the keys up to its own position, within the window if there is
one:
    a_h = softmax_s(q_h . k_{g(h), s} / sqrt(K)) v_{g(h), s}         g(h) = h div (H / G)
One pass over the pieces with a running maximum and sum (ops/flash_attention.py), so a piece may be any part of the
past: one block of a paged cache, or all of a contiguous one.  `tree_TT` (True = sees) replaces the causal rule among
the T newest positions when they are the nodes of a tree: a node stands as far behind the past as it has ancestors, and
a window counts from there.

Shapes: q (H, T, K), pieces (first position, k (G, S, K), v (G, S, K)); result (H, T, K).
Traps held by tests: the offset n_keys - T, rows that no piece has shown a key yet, old memory after the last key.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from weightless.ops.arguments import as_given, working_dtype

Piece = tuple[int, np.ndarray, np.ndarray]


def attend_pieces(
    q_HTK: np.ndarray,
    pieces: Iterable[Piece],
    n_keys: int,
    n_kv_heads: int,
    window: int | None = None,
    tree_TT: np.ndarray | None = None,
) -> np.ndarray:
    """The output [H, T, K] in the dtype of q, worked out in float32 at least; the caller has checked the shapes."""
    H, T, K = q_HTK.shape
    shared = H // n_kv_heads
    work = working_dtype(q_HTK)
    q_GRK = q_HTK.reshape(n_kv_heads, shared * T, K).astype(work, copy=False) * work(1 / np.sqrt(K))
    m = np.full(q_GRK.shape[:2], -np.inf, q_GRK.dtype)
    l, out = np.zeros_like(m), np.zeros_like(q_GRK)
    for first, k_GSK, v_GSK in pieces:
        s = q_GRK @ np.swapaxes(k_GSK, 1, 2).astype(work, copy=False)
        unseen_TS = ~_seen(T, n_keys, first, k_GSK.shape[1], window, tree_TT)
        if unseen_TS.any():
            s.reshape(n_kv_heads, shared, T, -1)[..., unseen_TS] = -np.inf
        m_new = np.maximum(m, s.max(axis=2))
        shift = np.where(m_new == -np.inf, 0, m_new)
        c, p = np.exp(m - shift), np.exp(s - shift[..., None])
        l = c * l + p.sum(axis=2)
        out = out * c[..., None] + p @ v_GSK.astype(work, copy=False)
        m = m_new
    return as_given((out / l[..., None]).reshape(H, T, K), q_HTK)


def _seen(T: int, n_keys: int, first: int, n: int, window: int | None, tree_TT: np.ndarray | None) -> np.ndarray:
    """bool (T, n): which of the keys first … first + n - 1 each query sees."""
    past, key_S = n_keys - T, np.arange(first, first + n)
    behind = (past + np.arange(T))[:, None] - key_S
    seen = behind >= 0
    if tree_TT is not None:
        depth_T, is_node_S = tree_TT.sum(axis=1) - 1, key_S >= past
        node_S = np.where(is_node_S, key_S - past, 0)
        behind = (past + depth_T)[:, None] - np.where(is_node_S, past + depth_T[node_S], key_S)
        seen = ~is_node_S | tree_TT[:, node_S]
    if window is not None:
        seen &= behind < window
    return seen
