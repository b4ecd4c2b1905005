"""One head of tiled attention, float32: products in BLAS into buffers that are kept, everything between them fused.

The recurrences, their derivation and the oracle: ops/flash_attention.py.  What is fast here: a tile of scores is
256 kB, and allocating it anew for every product would cost page faults as dear as the product; the passes between
products are one (numba/attention_tiles.py).  Windows and padding masks go to the twin.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from weightless.kernels.numba.attention_tiles import gradient_tile, softmax_tile
from weightless.ops.flash_attention import Visible, tiles

ALL = 1 << 40
"""`ahead` of a tile whose every column is seen."""
STRIP = 64
"""Rows of the parts into which a tile on the diagonal is cut: fewer products with what is masked, but slower ones."""


def fits(seen: Visible, dtype: np.dtype) -> bool:
    """Whether these functions serve: float32, and causality at most."""
    return dtype == np.float32 and seen.window is None and seen.padding_M is None


def forward_head(
    q_ND: np.ndarray, k_MD: np.ndarray, v_ME: np.ndarray, tile_size: int, seen: Visible
) -> tuple[np.ndarray, np.ndarray]:
    """(O [N, E], L [N]) of one head."""
    n, width, tile_size = len(q_ND), v_ME.shape[1], min(tile_size, max(len(q_ND), len(k_MD)))
    q_ND = q_ND * np.float32(1 / np.sqrt(q_ND.shape[1]))
    kt_tiles = _transposed(k_MD, tile_size)
    O_NE, m_N, l_N, c_N = (
        np.zeros((n, width), np.float32),
        np.full(n, -np.inf, np.float32),
        *np.zeros((2, n), np.float32),
    )
    s_flat = np.empty(tile_size * tile_size, np.float32)
    part_TE = np.empty((tile_size, width), np.float32)
    for rows, keys in _parts(seen, n, len(k_MD), tile_size):
        size, n_keys = rows.stop - rows.start, keys.stop - keys.start
        s, o, c = s_flat[: size * n_keys].reshape(size, n_keys), O_NE[rows], c_N[rows]
        np.matmul(q_ND[rows], kt_tiles[keys.start // tile_size][:, :n_keys], out=s)
        softmax_tile(s, _ahead(seen, rows, keys), m_N[rows], l_N[rows], c)
        np.matmul(s, v_ME[keys], out=part_TE[:size])
        o *= c[:, None]
        o += part_TE[:size]
    empty = l_N == 0
    l_N[empty] = 1
    O_NE /= l_N[:, None]
    return O_NE, np.where(empty, np.float32(-np.inf), m_N + np.log(l_N))


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
    kt_tiles, vt_tiles = _transposed(k_MD, tile_size), _transposed(v_ME, tile_size)
    s_flat, dp_flat = (np.empty(tile_size * tile_size, np.float32) for _ in range(2))
    part_TD, part_TE = (np.empty((tile_size, array.shape[1]), np.float32) for array in (k_MD, v_ME))
    for rows, keys in _parts(seen, len(q_ND), len(k_MD), tile_size):
        size, n_keys, tile = rows.stop - rows.start, keys.stop - keys.start, keys.start // tile_size
        q, do = q_ND[rows], dO_NE[rows]
        s, dp = (flat[: size * n_keys].reshape(size, n_keys) for flat in (s_flat, dp_flat))
        np.matmul(q, kt_tiles[tile][:, :n_keys], out=s)
        np.matmul(do, vt_tiles[tile][:, :n_keys], out=dp)
        gradient_tile(s, dp, _ahead(seen, rows, keys), L_N[rows], D_N[rows])
        dV[keys] += np.matmul(s.T, do, out=part_TE[:n_keys])
        dQ[rows] += np.matmul(dp, k_MD[keys], out=part_TD[:size])
        dK[keys] += np.matmul(dp.T, q, out=part_TD[:n_keys])
    dQ *= scale
    return dQ, dK, dV


def _transposed(array: np.ndarray, tile_size: int) -> list[np.ndarray]:
    """Tiles of rows as columns: a product with such a one is a tenth faster in BLAS than with a view of the rows."""
    return [np.ascontiguousarray(array[tile].T) for tile in tiles(len(array), tile_size)]


def _parts(seen: Visible, n_rows: int, n_keys: int, tile_size: int) -> Iterator[tuple[slice, slice]]:
    """Tiles (rows, keys); those on the diagonal in strips of rows, each with the keys that its last row sees."""
    for rows in tiles(n_rows, tile_size):
        for keys in seen.key_tiles(rows, n_keys, tile_size):
            if not seen.causal or keys.stop <= rows.start + seen.q_offset + 1:
                yield rows, keys
                continue
            for start in range(rows.start, rows.stop, STRIP):
                stop = min(start + STRIP, rows.stop)
                end = min(keys.stop, stop + seen.q_offset)
                if end > keys.start:
                    yield slice(start, stop), slice(keys.start, end)


def _ahead(seen: Visible, rows: slice, keys: slice) -> int:
    """How many keys of the tile the first row sees, less one."""
    return rows.start + seen.q_offset - keys.start if seen.causal else ALL
