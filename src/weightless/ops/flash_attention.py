"""Exact attention in tiles, never an (N, N) array (Dao et al. 2022; online softmax: Milakov & Gimelshein 2018).

    S = Q K^T / sqrt(D)     P = softmax over the visible keys     O = P V

Forward, for a tile of queries, over tiles of keys: m is the largest score so far, l the sum of exp(s - m), O unscaled,
    m' = max(m, max S)      c = exp(m - m')      l = c l + sum exp(S - m')      O = c O + exp(S - m') V
and at the end O / l and L = m + log l.  The correction is exp(m_old - m_new): what was summed stood relative to m_old
and must now stand relative to m_new >= m_old, so it shrinks.  (The inverse grows instead: 27 % error.)

Backward, from O, L and the inputs alone.  P = exp(S - L) is recomputed tile by tile; with D_i = sum_d dO_id O_id
    dV = P^T dO      dP = dO V^T      dS = P (dP - D)      dQ = dS K / sqrt(D)      dK = dS^T Q / sqrt(D)
D is sum_j P_ij dP_ij over the WHOLE row (substitute O = P V): a row sum over one tile is wrong, by 13-18 %.  The factor
1 / sqrt(D) belongs to dQ and dK because S carries it.  dK and dV of a key tile add up over all query tiles, and over
the query heads that share it.

Visible: query i stands at position i + q_offset; it sees key j when
    causal      j <= i + q_offset             window     |i + q_offset - j| < window             key_padding_mask[b, j]
q_offset defaults to N_k - N_q, so that the last query sees the last key (a chunk after a cached past).

Where instability hides.  A row that has seen no visible key yet has m = -inf, and exp(-inf - -inf) is NaN: shift by 0
while m is -inf.  A row that never sees one (more queries than keys, a window, padding) has l = 0: its output is 0, its
L is -inf, its gradients are 0.  Scores are only ever exponentiated below their maximum.

Shapes: Q (B, H, N, D), K (B, G, M, D), V (B, G, M, E), H a multiple of G; O (B, H, N, E), L (B, H, N).
Cost: 4 B H N M D FLOPs forwards and 10 backwards (five products, one recomputed), half of it when causal because tiles
above the diagonal are skipped.  Memory beside inputs and outputs: O(T^2 + T D) at a time.
Traffic: K and V are read once per query tile, so O(N M D / T); with T rows in fast memory nothing of size N M moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightless.base.errors import ArgumentError
from weightless.ops.arguments import finite, float_array, same_shape, whole_number, working_dtype


@dataclass(frozen=True)
class Visible:
    """Which keys a query sees; `padding_M` of one batch item is True where a key may be seen."""

    causal: bool
    q_offset: int
    window: int | None
    padding_M: np.ndarray | None = None

    def mask(self, rows: slice, keys: slice) -> np.ndarray | None:
        """bool (rows, keys), True = sees; None when all of the tile is visible."""
        if self.padding_M is None and self.window is None:
            if not self.causal or keys.stop - 1 <= rows.start + self.q_offset:
                return None
        ahead = np.arange(rows.start, rows.stop)[:, None] + self.q_offset - np.arange(keys.start, keys.stop)
        seen = np.ones(ahead.shape, bool)
        if self.causal:
            seen &= ahead >= 0
        if self.window is not None:
            seen &= np.abs(ahead) < self.window
        if self.padding_M is not None:
            seen &= self.padding_M[keys]
        return None if seen.all() else seen

    def key_tiles(self, rows: slice, n_keys: int, tile_size: int) -> Iterator[slice]:
        """The key tiles of which these queries may see something; the others are skipped."""
        first, last = rows.start + self.q_offset, rows.stop - 1 + self.q_offset
        low = 0 if self.window is None else max(0, first - self.window + 1)
        high = last if self.causal else n_keys - 1 if self.window is None else last + self.window - 1
        for tile in tiles(n_keys, tile_size):
            if tile.start <= high and tile.stop > low:
                yield tile


def flash_attention_fwd(
    Q: Any,
    K: Any,
    V: Any,
    tile_size: int,
    causal: bool = True,
    return_cache: bool = False,
    *,
    q_offset: int | None = None,
    window: int | None = None,
    key_padding_mask: Any = None,
) -> Any:
    """O = softmax(Q K^T / sqrt(D)) V over the keys that each query sees, tile by tile; with `return_cache` (O, cache).

    Q                  queries (B, H, N, D)
    K                  keys (B, G, M, D)
    V                  values (B, G, M, E); all three of one float dtype
    tile_size          rows and columns worked on at a time, at least 1; it changes memory and rounding only
    causal             whether query i sees key j only if j <= i + q_offset
    return_cache       whether to return, for `flash_attention_bwd`, a dictionary of O, L, Q, K and V as well, where L
                       (B, H, N) is the logarithm of each softmax's sum
    q_offset           position of query 0 among the keys; None means M - N, so that the last query sees the last key
    window             keys at a distance of `window` or more are not seen, in either direction; None sees all
    key_padding_mask   bool (B, M), True where a key may be seen; None sees all

    B batch, N and M positions, D and E widths.  H heads of queries are a multiple of the G heads of keys and values:
    head h reads head h // (H / G) (grouped queries; G = 1: multi-query).  O has the shape (B, H, N, E) and the dtype of
    Q; half precision is worked out in float32.  A query that sees no key at all gives zeros (its L is -inf), not NaN.
    What padded keys hold must still be finite.

    Raises ArgumentError (a ValueError) for wrong ranks, dtypes that differ, heads or widths that do not fit, empty
    arrays, integers, NaN or infinity, a mask of another shape or type, and tile_size or window below 1.
    """
    Q, K, V = checked_qkv(Q, K, V)
    tile_size = whole_number("tile_size", tile_size)
    seen = visible(Q, K, causal, q_offset, window, key_padding_mask)
    O = np.zeros((*Q.shape[:3], V.shape[3]), Q.dtype)
    L = np.zeros(Q.shape[:3], np.float64 if Q.dtype == np.float64 else np.float32)
    shared = Q.shape[1] // K.shape[1]
    for b, h in np.ndindex(Q.shape[:2]):
        g = h // shared
        O[b, h], L[b, h] = forward_head(Q[b, h], K[b, g], V[b, g], tile_size, seen[b])
    return (O, {"O": O, "L": L, "Q": Q, "K": K, "V": V}) if return_cache else O


def flash_attention_bwd(
    dO: Any,
    cache: dict[str, np.ndarray],
    tile_size: int,
    causal: bool = True,
    *,
    q_offset: int | None = None,
    window: int | None = None,
    key_padding_mask: Any = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dQ, dK, dV): the gradients of attention, tile by tile, from the upstream gradient and the forward pass's cache.

    dO          the gradient of O, (B, H, N, E)
    cache       the dictionary that `flash_attention_fwd(..., return_cache=True)` returned: O, L, Q, K, V
    tile_size   rows and columns worked on at a time, at least 1; it need not be that of the forward pass
    causal, q_offset, window, key_padding_mask    what the forward pass was given: causal hides the keys j > i +
                q_offset (q_offset None: M - N, the last query sees the last key), window those at a distance of
                `window` or more, key_padding_mask (bool (B, M), True may be seen) padded ones.  Other masks give other
                gradients, unnoticed

    Results have the shapes and the dtype of Q (B, H, N, D), K (B, G, M, D) and V (B, G, M, E); those of K and V are
    summed over the query heads that share them.  A query that saw nothing, and a key that nobody saw, has gradient 0.

    Raises ArgumentError (a ValueError) for dO of another shape than O, integers, NaN or infinity, a cache that is none,
    and masks as the forward pass refuses them.
    """
    Q, K, V, O, L = checked_cache(cache)
    dO = finite("dO", float_array("dO", dO, "BHNE"))
    same_shape("dO", dO, "O", O.shape)
    tile_size = whole_number("tile_size", tile_size)
    seen = visible(Q, K, causal, q_offset, window, key_padding_mask)
    dQ, dK, dV = (np.zeros(a.shape, working_dtype(Q)) for a in (Q, K, V))
    shared = Q.shape[1] // K.shape[1]
    for b, h in np.ndindex(Q.shape[:2]):
        g = h // shared
        head = (Q[b, h], K[b, g], V[b, g], O[b, h], L[b, h], dO[b, h])
        dQ[b, h], dk, dv = backward_head(*head, tile_size, seen[b])
        dK[b, g] += dk
        dV[b, g] += dv
    return dQ.astype(Q.dtype, copy=False), dK.astype(Q.dtype, copy=False), dV.astype(Q.dtype, copy=False)


def forward_head(
    q_ND: np.ndarray, k_MD: np.ndarray, v_ME: np.ndarray, tile_size: int, seen: Visible
) -> tuple[np.ndarray, np.ndarray]:
    """(O [N, E], L [N]) of one head."""
    scale = 1.0 / np.sqrt(q_ND.shape[1])
    work = working_dtype(q_ND)
    O_NE, L_N = np.zeros((len(q_ND), v_ME.shape[1]), work), np.zeros(len(q_ND), work)
    for rows in tiles(len(q_ND), tile_size):
        q = q_ND[rows].astype(work) * work(scale)
        m = np.full(len(q), -np.inf, work)
        l = np.zeros(len(q), work)
        o = O_NE[rows]
        for keys in seen.key_tiles(rows, len(k_MD), tile_size):
            s = q @ k_MD[keys].astype(work, copy=False).T
            mask = seen.mask(rows, keys)
            if mask is not None:
                s[~mask] = -np.inf
            m_new = np.maximum(m, s.max(axis=1))
            shift = np.where(m_new == -np.inf, work(0), m_new)
            c = np.exp(m - shift)
            s -= shift[:, None]
            p = np.exp(s, out=s)  # in place: a tile should stay in cache
            l = c * l + p.sum(axis=1)
            o *= c[:, None]
            o += p @ v_ME[keys].astype(work, copy=False)
            m = m_new
        empty = l == 0
        o /= np.where(empty, work(1), l)[:, None]
        L_N[rows] = np.where(empty, work(-np.inf), m + np.log(np.where(empty, work(1), l)))
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
    work = working_dtype(q_ND)
    scale = work(1.0 / np.sqrt(q_ND.shape[1]))
    q_ND, k_MD, v_ME, dO_NE = (a.astype(work, copy=False) for a in (q_ND, k_MD, v_ME, dO_NE))
    D_N = np.sum(dO_NE * O_NE, axis=1)  # over the full row: it stands for sum_j P_ij dP_ij of all key tiles
    dQ, dK, dV = np.zeros_like(q_ND), np.zeros_like(k_MD), np.zeros_like(v_ME)
    for rows in tiles(len(q_ND), tile_size):
        q, do, L = q_ND[rows] * scale, dO_NE[rows], L_N[rows].astype(work)
        L = np.where(L == -np.inf, work(np.inf), L)  # a row that saw nothing: exp(s - inf) = 0
        for keys in seen.key_tiles(rows, len(k_MD), tile_size):
            s = q @ k_MD[keys].T
            mask = seen.mask(rows, keys)
            if mask is not None:
                s[~mask] = -np.inf
            s -= L[:, None]
            p = np.exp(s, out=s)
            dV[keys] += p.T @ do
            ds = do @ v_ME[keys].T
            ds -= D_N[rows, None]
            ds *= p
            dQ[rows] += ds @ k_MD[keys]
            dK[keys] += ds.T @ q  # q carries the scale already
        dQ[rows] *= scale
    return dQ, dK, dV


def visible(
    Q: np.ndarray, K: np.ndarray, causal: bool, q_offset: int | None, window: int | None, key_padding_mask: Any
) -> list[Visible]:
    """The masks of each batch item, checked."""
    n_batch, n_keys = K.shape[0], K.shape[2]
    if window is not None:
        window = whole_number("window", window)
    offset = n_keys - Q.shape[2] if q_offset is None else q_offset
    if isinstance(offset, bool) or not isinstance(offset, (int, np.integer)):
        raise ArgumentError(f"q_offset should be a whole number, not {q_offset!r}")
    if key_padding_mask is None:
        return [Visible(bool(causal), int(offset), window)] * n_batch
    padding = np.asarray(key_padding_mask)
    if padding.dtype != bool or padding.shape != (n_batch, n_keys):
        found = f"{padding.dtype} of shape {padding.shape}"
        raise ArgumentError(
            f"key_padding_mask should be bool of shape {(n_batch, n_keys)}, True = may be seen, not {found}"
        )
    return [Visible(bool(causal), int(offset), window, row) for row in padding]


def checked_qkv(Q: Any, K: Any, V: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q, K, V as arrays of one dtype whose shapes fit, or ArgumentError."""
    Q, K, V = (finite(name, float_array(name, value, "BHND")) for name, value in (("Q", Q), ("K", K), ("V", V)))
    shapes = f"Q {Q.shape}, K {K.shape}, V {V.shape}"
    if not Q.dtype == K.dtype == V.dtype:
        raise ArgumentError(f"Q, K and V should have one dtype, not {Q.dtype}, {K.dtype}, {V.dtype} ({shapes})")
    if not Q.shape[0] == K.shape[0] == V.shape[0]:
        raise ArgumentError(f"Q, K and V differ in batch: {shapes}")
    if K.shape[1] != V.shape[1] or Q.shape[1] % K.shape[1]:
        raise ArgumentError(f"the heads of Q should be a multiple of those of K, and V have as many as K: {shapes}")
    if K.shape[2] != V.shape[2]:
        raise ArgumentError(f"K and V differ in length: {shapes}")
    if Q.shape[3] != K.shape[3]:
        raise ArgumentError(f"Q and K differ in width: {shapes}")
    return Q, K, V


def checked_cache(cache: Any) -> tuple[np.ndarray, ...]:
    """Q, K, V, O, L of a forward pass, or ArgumentError."""
    if not isinstance(cache, dict) or not set("QKVOL") <= set(cache):
        found = f"a {type(cache).__name__} without them"
        raise ArgumentError(f"cache should be what flash_attention_fwd returned (O, L, Q, K, V), not {found}")
    return tuple(cache[name] for name in "QKVOL")


def tiles(n: int, tile_size: int) -> Iterator[slice]:
    """Slices of `tile_size` that cover 0 .. n-1; the last may be shorter."""
    for start in range(0, n, tile_size):
        yield slice(start, min(n, start + tile_size))
