"""Attention in tiles, forwards and backwards: the library's, with the names of the card.

Kept for the way back: O, L = m + log l, and the inputs.  With D_i = sum_d dO_id O_id, over the whole row,

    P = exp(S - L)    dV = P^T dO    dP = dO V^T    dS = P (dP - D)    dQ = dS K / sqrt(D)    dK = dS^T Q / sqrt(D)

D_i is sum_j P_ij dP_ij over all keys of the row, which no tile can know by itself; substituting O = P V makes it a dot
product of two rows that are at hand.  The factor 1 / sqrt(D) belongs to dQ and dK because S carries it.  dQ of a query
tile collects over key tiles; dK and dV of a key tile collect over query tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.ops import flash_attention as tiled


def flash_attention_fwd(
    Q: np.ndarray, K: np.ndarray, V: np.ndarray, tile_size: int, causal: bool = True, *, q_offset: int | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(O, cache) with cache = O, L, Q, K, V."""
    return tiled.flash_attention_fwd(Q, K, V, tile_size, causal, True, q_offset=q_offset)


def flash_attention_bwd(
    dO: np.ndarray, cache: dict[str, Any], tile_size: int, causal: bool = True, *, q_offset: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dQ, dK, dV) in the type of Q."""
    return tiled.flash_attention_bwd(dO, cache, tile_size, causal, q_offset=q_offset)
