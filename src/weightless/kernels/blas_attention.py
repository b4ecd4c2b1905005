"""One head of tiled attention, float32: products in BLAS into buffers that are kept, everything between them fused.

The recurrences, their derivation and the oracle: ops/flash_attention.py.  What is fast here: a tile of scores is
256 kB, and allocating it anew for every product would cost page faults as dear as the product; the passes between
products are one (numba_attention_tiles.py).  Windows and padding masks go to the twin.
"""

from __future__ import annotations

import numpy as np

from weightless.kernels.numba_attention_tiles import gradient_tile, softmax_tile
from weightless.ops.flash_attention import Visible, tiles

ALL = 1 << 40
"""`ahead` of a tile whose every column is seen."""


def fits(seen: Visible, dtype: np.dtype) -> bool:
    """Whether these functions serve: float32, and causality at most."""
    return dtype == np.float32 and seen.window is None and seen.padding_M is None


def forward_head(
    q_ND: np.ndarray, k_MD: np.ndarray, v_ME: np.ndarray, tile_size: int, seen: Visible
) -> tuple[np.ndarray, np.ndarray]:
    """(O [N, E], L [N]) of one head."""
    n, width, tile_size = len(q_ND), v_ME.shape[1], min(tile_size, max(len(q_ND), len(k_MD)))
    q_ND = q_ND * np.float32(1 / np.sqrt(q_ND.shape[1]))
    O_NE, L_N = np.zeros((n, width), np.float32), np.empty(n, np.float32)
    s_flat = np.empty(tile_size * tile_size, np.float32)
    part_TE = np.empty((tile_size, width), np.float32)
    for rows in tiles(n, tile_size):
        size = rows.stop - rows.start
        m, l, c = np.full(size, -np.inf, np.float32), np.zeros(size, np.float32), np.empty(size, np.float32)
        o = O_NE[rows]
        for keys in seen.key_tiles(rows, len(k_MD), tile_size):
            s = s_flat[: size * (keys.stop - keys.start)].reshape(size, -1)
            np.matmul(q_ND[rows], k_MD[keys].T, out=s)
            softmax_tile(s, _ahead(seen, rows, keys), m, l, c)
            np.matmul(s, v_ME[keys], out=part_TE[:size])
            o *= c[:, None]
            o += part_TE[:size]
        empty = l == 0
        o /= np.where(empty, np.float32(1), l)[:, None]
        L_N[rows] = np.where(empty, np.float32(-np.inf), m + np.log(np.where(empty, np.float32(1), l)))
    return O_NE, L_N


def backward_head(
    q_ND: np.ndarray,
    k_MD: np.ndarray,
    v_ME: np.ndarray,
    O_NE: np.ndarray,
    L_N: np.ndarray,
    dO_NE: np.ndarray,
    tile_size: int,
    seen: Visible,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dQ, dK, dV) of one head."""
    scale = np.float32(1 / np.sqrt(q_ND.shape[1]))
    q_ND = q_ND * scale
    tile_size = min(tile_size, max(len(q_ND), len(k_MD)))
    D_N = np.einsum("ne,ne->n", dO_NE, O_NE)
    dQ, dK, dV = np.zeros_like(q_ND), np.zeros_like(k_MD), np.zeros_like(v_ME)
    s_flat, dp_flat = (np.empty(tile_size * tile_size, np.float32) for _ in range(2))
    part_TD, part_TE = (np.empty((tile_size, array.shape[1]), np.float32) for array in (k_MD, v_ME))
    for rows in tiles(len(q_ND), tile_size):
        size = rows.stop - rows.start
        q, do = q_ND[rows], dO_NE[rows]
        for keys in seen.key_tiles(rows, len(k_MD), tile_size):
            n = keys.stop - keys.start
            s, dp = (flat[: size * n].reshape(size, n) for flat in (s_flat, dp_flat))
            np.matmul(q, k_MD[keys].T, out=s)
            np.matmul(do, v_ME[keys].T, out=dp)
            gradient_tile(s, dp, _ahead(seen, rows, keys), L_N[rows], D_N[rows])
            dV[keys] += np.matmul(s.T, do, out=part_TE[:n])
            dQ[rows] += np.matmul(dp, k_MD[keys], out=part_TD[:size])
            dK[keys] += np.matmul(dp.T, q, out=part_TD[:n])
        dQ[rows] *= scale
    return dQ, dK, dV


def _ahead(seen: Visible, rows: slice, keys: slice) -> int:
    """How many keys of the tile the first row sees, less one."""
    return rows.start + seen.q_offset - keys.start if seen.causal else ALL
