"""Attention of a chunk of positions over a cache that lies row by row, [k | v] of all heads in every row.

    a_h = softmax_s(q_h . k_{g(h), s} / sqrt(K)) v_{g(h), s}        over s = max(0, t - window + 1) .. t for position t

Products are BLAS's, over POSITIONS positions and one head of keys at a time, so that scores stay near the core, and
keys that none of those positions sees are not multiplied.  Shapes: N positions, H heads of queries, G of keys and
values, R = H / G, K width of a head.  `ops.attention` is the readable twin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

POSITIONS = 64
"""Of a block; fewer multiply less in vain, and slower."""
SCORES, FEWEST = 1 << 22, 8
"""Scores that a block may have (16 MB), and its positions at least."""
Once = Callable[[Any, Callable[[], Any]], Any]


def attend_chunk(
    q_NHK: np.ndarray, kv_TC: np.ndarray, first: int, n_kv_heads: int, window: int, once: Once
) -> np.ndarray:
    """The answers [N, H K] of positions first .. first + N - 1; `kv_TC` holds the rows of all positions up to them.

    `window` 0: everything up to the position itself is seen, else so many positions, itself included.  `once(key,
    make)` keeps what every layer needs alike.
    """
    N, H, K = q_NHK.shape
    q_NGRK = (q_NHK * np.float32(1 / np.sqrt(K))).reshape(N, n_kv_heads, H // n_kv_heads, K)
    out_NGRK = np.empty_like(q_NGRK)
    for begin, stop in _blocks(N, max(FEWEST, SCORES // (len(kv_TC) * H // n_kv_heads))):
        oldest = max(0, first + begin + 1 - window) if window else 0
        kv_S2GK = kv_TC[oldest : first + stop].reshape(-1, 2, n_kv_heads, K)
        # Without a window a position sees all that lies before its block: what is not seen are the last columns.
        unseen = once(
            ("unseen", first + begin if window else 0, stop - begin, window),
            lambda b=begin, s=stop, o=oldest: _unseen(first + b, s - b, o if window else first + b, window),
        )
        for g in range(n_kv_heads):
            out_NGRK[begin:stop, g] = _attended(q_NGRK[begin:stop, g], kv_S2GK[:, 0, g], kv_S2GK[:, 1, g], unseen)
    return out_NGRK.reshape(N, H * K)


def _blocks(n: int, most: int) -> Iterator[tuple[int, int]]:
    size = min(POSITIONS, most)
    return ((begin, min(n, begin + size)) for begin in range(0, n, size))


def _attended(q_NRK: np.ndarray, k_SK: np.ndarray, v_SK: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """One head of keys: [N, R, K]; `unseen` is added to the scores of the last keys."""
    n, shared, K = q_NRK.shape
    p_MS = np.ascontiguousarray(q_NRK).reshape(-1, K) @ k_SK.T
    last = p_MS.reshape(n, shared, -1)[:, :, len(k_SK) - unseen.shape[1] :]
    last += unseen[:, None]
    p_MS -= p_MS.max(axis=1, keepdims=True)
    np.exp(p_MS, out=p_MS)
    a_MK = p_MS @ v_SK
    a_MK /= p_MS.sum(axis=1, keepdims=True)
    return a_MK.reshape(n, shared, K)


def _unseen(first: int, n: int, oldest: int, window: int) -> np.ndarray:
    """[n, keys]: 0 where a position from `first` on sees a key from `oldest` on, -inf where it does not."""
    behind = np.arange(first, first + n)[:, None] - np.arange(oldest, first + n)
    seen = (behind >= 0) & (behind < window) if window else behind >= 0
    return np.where(seen, np.float32(0), np.float32(-np.inf))
