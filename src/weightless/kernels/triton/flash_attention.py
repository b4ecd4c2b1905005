"""Exact attention in tiles in Triton, forwards and backwards.  Twin and oracle: weightless/ops/flash_attention.py.

    S = Q K^T / sqrt(D)     P = softmax over the visible keys     O = P V          (the twin derives both passes)

Shapes: Q (B, H, N, D), K (B, G, M, D), V (B, G, M, E), H a multiple of G; O (B, H, N, E), L (B, H, N).
Types: float16, bfloat16 and float32 with float32 sums (`tf32=True` lets float32 products be rounded to 10 bits on the
way in, several times faster); float64 with float64 sums.  L has the type of the sums.
`tile_size` is rounded up to a power of two from 16 on, and down to what fits the fast memory; the result does not
depend on it but for rounding.

Forward: a program owns a tile of queries of one head, and walks over the key tiles that it may see with a running
maximum m, sum l and unscaled O in registers; exponentials are to the base 2, with log2(e) in the scale.  Tiles that are
seen whole come first and are not masked.
Backward, two kernels and no atomics, so equal inputs give equal bits: one per query tile walks over keys for dQ (and
leaves D_i = sum_d dO_id O_id behind); one per key tile walks over the query tiles that see it, and over the query heads
that share it, for dK and dV.  Scores are computed in both: seven products instead of five, for a fixed order of sums.

Where instability hides: a row that has seen nothing yet has m = -inf (shift by 0 instead); one that never does gets O =
0, L = -inf and no gradient (L counts as +inf in the backward, so that exp(S - L) = 0).
`fmt: skip` stands where a kernel takes forty arguments, which go together in rows, not each on a line of its own.
Traffic: K and V once per query tile, Q, dO, L and D once per key tile; scores never leave the chip.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl

from weightless.base.errors import ArgumentError
from weightless.kernels.tensor_arguments import float_tensor, same_device, same_shape
from weightless.kernels.triton.launch import largest, options, power_of_two
from weightless.kernels.twins import twin_of
from weightless.ops import flash_attention as reference
from weightless.ops.arguments import whole_number

WIDEST = 256
MOST_HEADS = 65_535
"""CUDA launches no larger second dimension."""
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def seen_by(
    query, key, M, q_offset, window, padding_ptr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, PADDED: tl.constexpr
):  # fmt: skip
    """Whether each query sees each key; `query` and `key` are index tensors that broadcast against one another.

    `padding_ptr` points at the row of this batch item.
    """
    ahead = query + q_offset - key
    seen = (key < M) & (ahead == ahead)
    if CAUSAL:
        seen &= ahead >= 0
    if WINDOWED:
        seen &= (ahead < window) & (ahead > -window)
    if PADDED:
        seen &= tl.load(padding_ptr + key, mask=key < M, other=0) != 0
    return seen


@triton.jit
def load_rows(base_ptr, row, n_rows, WIDTH: tl.constexpr, COLUMNS: tl.constexpr):
    """[row, COLUMNS] of a contiguous matrix, zeros outside of it."""
    column = tl.arange(0, COLUMNS)
    inside = (row < n_rows)[:, None] & (column < WIDTH)[None, :]
    return tl.load(base_ptr + row[:, None] * WIDTH + column[None, :], mask=inside, other=0.0)


@triton.jit
def store_rows(base_ptr, row, n_rows, value, WIDTH: tl.constexpr, COLUMNS: tl.constexpr):
    column = tl.arange(0, COLUMNS)
    inside = (row < n_rows)[:, None] & (column < WIDTH)[None, :]
    tl.store(base_ptr + row[:, None] * WIDTH + column[None, :], value.to(base_ptr.dtype.element_ty), mask=inside)


@triton.jit
def key_range(
    first, stop, M, q_offset, window, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, PADDED: tl.constexpr,
    KEYS: tl.constexpr,
):  # fmt: skip
    """(low, whole, high): queries first .. stop - 1 see keys of low .. high - 1, and all of those below `whole`."""
    low, high = 0, M
    if CAUSAL:
        high = tl.minimum(high, stop + q_offset)
    if WINDOWED:
        low = tl.maximum(low, first + q_offset - window + 1) // KEYS * KEYS
        high = tl.minimum(high, stop - 1 + q_offset + window)
    high = tl.maximum(high, 0)
    whole = M // KEYS * KEYS
    if CAUSAL:
        whole = tl.minimum(whole, tl.maximum(first + q_offset + 1, 0) // KEYS * KEYS)
    if PADDED or WINDOWED:
        whole = low
    return low, whole, high


@triton.jit
def forward_tiles(
    q, m, l, o, K_ptr, V_ptr, padding_ptr, query, low, high, M, q_offset, window, SCALE: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, DP: tl.constexpr, EP: tl.constexpr, KEYS: tl.constexpr, CAUSAL: tl.constexpr,
    WINDOWED: tl.constexpr, PADDED: tl.constexpr, MASKED: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    for first in range(low, high, KEYS):
        key = first + tl.arange(0, KEYS)
        k = load_rows(K_ptr, key, M, D, DP)
        s = tl.dot(q, tl.trans(k), input_precision=PRECISION, out_dtype=ACC) * (SCALE * LOG2E)
        if MASKED:
            seen = seen_by(query[:, None], key[None, :], M, q_offset, window, padding_ptr, CAUSAL, WINDOWED, PADDED)
            s = tl.where(seen, s, float("-inf"))
        m_new = tl.maximum(m, tl.max(s, axis=1))
        shift = tl.where(m_new == float("-inf"), 0.0, m_new)
        correction = tl.exp2(m - shift)
        p = tl.exp2(s - shift[:, None])
        l = l * correction + tl.sum(p, axis=1)
        v = load_rows(V_ptr, key, M, E, EP)
        o = o * correction[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION, out_dtype=ACC)
        m = m_new
    return m, l, o


@triton.jit
def forward_kernel(
    Q_ptr, K_ptr, V_ptr, padding_ptr, O_ptr, L_ptr, H, G, N, M, q_offset, window, SCALE: tl.constexpr,
    D: tl.constexpr, E: tl.constexpr, DP: tl.constexpr, EP: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, PADDED: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # the last tiles see most keys under a causal mask, so they start first
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * QUERIES
    head = tl.program_id(1).to(tl.int64)
    batch = head // H
    group = batch * G + head % H // (H // G)
    Q_ptr += head * N * D
    K_ptr += group * M * D
    V_ptr += group * M * E
    padding_ptr += batch * M
    query = first + tl.arange(0, QUERIES)
    q = load_rows(Q_ptr, query, N, D, DP)
    m = tl.full((QUERIES,), float("-inf"), ACC)
    l = tl.zeros((QUERIES,), ACC)
    o = tl.zeros((QUERIES, EP), ACC)
    low, whole, high = key_range(
        first, tl.minimum(first + QUERIES, N), M, q_offset, window, CAUSAL, WINDOWED, PADDED, KEYS
    )
    m, l, o = forward_tiles(q, m, l, o, K_ptr, V_ptr, padding_ptr, query, low, whole, M, q_offset, window, SCALE, D, E,
                            DP, EP, KEYS, CAUSAL, WINDOWED, PADDED, False, ACC, PRECISION)  # fmt: skip
    m, l, o = forward_tiles(q, m, l, o, K_ptr, V_ptr, padding_ptr, query, whole, high, M, q_offset, window, SCALE, D, E,
                            DP, EP, KEYS, CAUSAL, WINDOWED, PADDED, True, ACC, PRECISION)  # fmt: skip
    empty = l == 0.0
    l = tl.where(empty, 1.0, l)
    store_rows(O_ptr + head * N * E, query, N, o / l[:, None], E, EP)
    L = tl.where(empty, float("-inf"), (m + tl.log2(l)) / LOG2E)
    tl.store(L_ptr + head * N + query, L.to(L_ptr.dtype.element_ty), mask=query < N)


@triton.jit
def query_gradient_kernel(
    Q_ptr, K_ptr, V_ptr, padding_ptr, O_ptr, L_ptr, dO_ptr, dQ_ptr, Delta_ptr, H, G, N, M, q_offset, window,
    SCALE: tl.constexpr, D: tl.constexpr, E: tl.constexpr, DP: tl.constexpr, EP: tl.constexpr, QUERIES: tl.constexpr,
    KEYS: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, PADDED: tl.constexpr, ACC: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * QUERIES
    head = tl.program_id(1).to(tl.int64)
    batch = head // H
    group = batch * G + head % H // (H // G)
    K_ptr += group * M * D
    V_ptr += group * M * E
    padding_ptr += batch * M
    query = first + tl.arange(0, QUERIES)
    q = load_rows(Q_ptr + head * N * D, query, N, D, DP)
    do = load_rows(dO_ptr + head * N * E, query, N, E, EP)
    o = load_rows(O_ptr + head * N * E, query, N, E, EP)
    delta = tl.sum(do.to(ACC) * o.to(ACC), axis=1)  # over the full row: it stands for sum_j P_ij dP_ij of all keys
    tl.store(Delta_ptr + head * N + query, delta, mask=query < N)
    L = tl.load(L_ptr + head * N + query, mask=query < N, other=float("inf"))
    L = tl.where(L == float("-inf"), float("inf"), L) * LOG2E  # a row that saw nothing: exp2(s - inf) = 0
    dq = tl.zeros((QUERIES, DP), ACC)
    low, _, high = key_range(first, tl.minimum(first + QUERIES, N), M, q_offset, window, CAUSAL, WINDOWED, PADDED, KEYS)
    for start in range(low, high, KEYS):
        key = start + tl.arange(0, KEYS)
        k = load_rows(K_ptr, key, M, D, DP)
        v = load_rows(V_ptr, key, M, E, EP)
        s = tl.dot(q, tl.trans(k), input_precision=PRECISION, out_dtype=ACC) * (SCALE * LOG2E)
        seen = seen_by(query[:, None], key[None, :], M, q_offset, window, padding_ptr, CAUSAL, WINDOWED, PADDED)
        p = tl.exp2(tl.where(seen, s, float("-inf")) - L[:, None])
        ds = p * (tl.dot(do, tl.trans(v), input_precision=PRECISION, out_dtype=ACC) - delta[:, None])
        dq += tl.dot(ds.to(k.dtype), k, input_precision=PRECISION, out_dtype=ACC)
    store_rows(dQ_ptr + head * N * D, query, N, dq * SCALE, D, DP)


@triton.jit
def key_gradient_kernel(
    Q_ptr, K_ptr, V_ptr, padding_ptr, L_ptr, dO_ptr, Delta_ptr, dK_ptr, dV_ptr, H, G, N, M, q_offset, window,
    SCALE: tl.constexpr, D: tl.constexpr, E: tl.constexpr, DP: tl.constexpr, EP: tl.constexpr, QUERIES: tl.constexpr,
    KEYS: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, PADDED: tl.constexpr, ACC: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    start = tl.program_id(0) * KEYS
    group = tl.program_id(1).to(tl.int64)
    batch, shared = group // G, H // G
    key = start + tl.arange(0, KEYS)
    k = load_rows(K_ptr + group * M * D, key, M, D, DP)
    v = load_rows(V_ptr + group * M * E, key, M, E, EP)
    dk = tl.zeros((KEYS, DP), ACC)
    dv = tl.zeros((KEYS, EP), ACC)
    low, high = 0, N
    if CAUSAL:
        low = tl.maximum(low, start - q_offset) // QUERIES * QUERIES
    if WINDOWED:
        low = tl.maximum(low, start - q_offset - window + 1) // QUERIES * QUERIES
        high = tl.minimum(high, start + KEYS - 1 - q_offset + window)
    for other in range(shared):  # the query heads that share this key head
        head = batch * H + group % G * shared + other
        for first in range(low, high, QUERIES):
            query = first + tl.arange(0, QUERIES)
            q = load_rows(Q_ptr + head * N * D, query, N, D, DP)
            do = load_rows(dO_ptr + head * N * E, query, N, E, EP)
            L = tl.load(L_ptr + head * N + query, mask=query < N, other=float("inf"))
            L = tl.where(L == float("-inf"), float("inf"), L) * LOG2E
            delta = tl.load(Delta_ptr + head * N + query, mask=query < N, other=0.0)
            s = tl.dot(k, tl.trans(q), input_precision=PRECISION, out_dtype=ACC) * (SCALE * LOG2E)
            seen = seen_by(
                query[None, :], key[:, None], M, q_offset, window, padding_ptr + batch * M, CAUSAL, WINDOWED, PADDED
            )
            p = tl.exp2(tl.where(seen, s, float("-inf")) - L[None, :])
            dv += tl.dot(p.to(do.dtype), do, input_precision=PRECISION, out_dtype=ACC)
            ds = p * (tl.dot(v, tl.trans(do), input_precision=PRECISION, out_dtype=ACC) - delta[None, :])
            dk += tl.dot(ds.to(q.dtype), q, input_precision=PRECISION, out_dtype=ACC)
    store_rows(dK_ptr + group * M * D, key, M, dk * SCALE, D, DP)
    store_rows(dV_ptr + group * M * E, key, M, dv, E, EP)


@twin_of(
    reference.flash_attention_fwd,
    """Takes and returns torch tensors on a CUDA device, float16, bfloat16 or float32; sums are float32.
    tf32: whether products of float32 may be rounded to 10 bits, which is faster.
    Raises ArgumentError also for several devices and D or E above 256; NaN and infinity are not looked for.""",
)
def flash_attention_fwd(
    Q: Any,
    K: Any,
    V: Any,
    tile_size: int = 128,
    causal: bool = True,
    return_cache: bool = False,
    *,
    q_offset: int | None = None,
    window: int | None = None,
    key_padding_mask: Any = None,
    tf32: bool = False,
) -> Any:
    Q, K, V = _checked_qkv(Q, K, V)
    padding, numbers, flags = _masks(Q, K, causal, q_offset, window, key_padding_mask)
    B, H, N, _ = Q.shape
    O = Q.new_empty((B, H, N, V.shape[3]))
    L = torch.empty((B, H, N), dtype=_sums_of(Q), device=Q.device)
    sizes = _sizes(Q, V, tile_size, True, tf32)
    forward_kernel[(triton.cdiv(N, sizes["QUERIES"]), B * H)](
        Q, K, V, padding, O, L, H, K.shape[1], N, K.shape[2], *numbers, **sizes, **flags
    )
    return (O, {"O": O, "L": L, "Q": Q, "K": K, "V": V}) if return_cache else O


@twin_of(
    reference.flash_attention_bwd,
    """Takes and returns torch tensors on a CUDA device, float16, bfloat16 or float32; sums are float32.
    tf32: whether products of float32 may be rounded to 10 bits, which is faster.
    Raises ArgumentError also for several devices and D or E above 256; NaN and infinity are not looked for.""",
)
def flash_attention_bwd(
    dO: Any,
    cache: dict[str, Any],
    tile_size: int = 128,
    causal: bool = True,
    *,
    q_offset: int | None = None,
    window: int | None = None,
    key_padding_mask: Any = None,
    tf32: bool = False,
) -> tuple[Any, Any, Any]:
    Q, K, V, O, L = (cache[name] for name in "QKVOL")
    dO = float_tensor("dO", dO, "BHNE").contiguous()
    same_shape("dO", dO, "O", tuple(O.shape))
    if dO.dtype != Q.dtype:
        raise ArgumentError(f"dO of shape {tuple(dO.shape)} holds {dO.dtype}, but Q {Q.dtype}; give one type")
    same_device(dO=dO, Q=Q)
    padding, numbers, flags = _masks(Q, K, causal, q_offset, window, key_padding_mask)
    (B, H, N, _), (_, G, M, _) = Q.shape, K.shape
    dQ, dK, dV, Delta = (torch.empty_like(tensor) for tensor in (Q, K, V, L))
    sizes = _sizes(Q, V, tile_size, False, tf32)
    counts = (H, G, N, M, *numbers)
    query_gradient_kernel[(triton.cdiv(N, sizes["QUERIES"]), B * H)](
        Q, K, V, padding, O, L, dO, dQ, Delta, *counts, **sizes, **flags
    )
    key_gradient_kernel[(triton.cdiv(M, sizes["KEYS"]), B * G)](
        Q, K, V, padding, L, dO, Delta, dK, dV, *counts, **sizes, **flags
    )
    return dQ, dK, dV


def _checked_qkv(Q: Any, K: Any, V: Any) -> tuple[Any, Any, Any]:
    Q, K, V = (float_tensor(name, value, "BHND").contiguous() for name, value in (("Q", Q), ("K", K), ("V", V)))
    same_device(Q=Q, K=K, V=V)
    shapes = f"Q {tuple(Q.shape)}, K {tuple(K.shape)}, V {tuple(V.shape)}"
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
    largest("the width of a head", max(Q.shape[3], V.shape[3]), WIDEST)
    largest("the batch times the heads", Q.shape[0] * Q.shape[1], MOST_HEADS)
    return Q, K, V


def _masks(Q: Any, K: Any, causal: bool, q_offset: Any, window: Any, padding: Any) -> tuple[Any, tuple, dict]:
    """(padding as bytes, (q_offset, window or 0), flags of the kernels), checked."""
    if q_offset is None:
        q_offset = K.shape[2] - Q.shape[2]
    elif isinstance(q_offset, bool) or not isinstance(q_offset, int):
        raise ArgumentError(f"q_offset should be a whole number, not {q_offset!r}")
    flags = {"CAUSAL": bool(causal), "WINDOWED": window is not None, "PADDED": padding is not None}
    window = 0 if window is None else whole_number("window", window)
    if padding is None:
        return Q.new_empty(1, dtype=torch.uint8), (q_offset, window), flags
    wanted = (K.shape[0], K.shape[2])
    if not isinstance(padding, torch.Tensor) or padding.dtype != torch.bool or tuple(padding.shape) != wanted:
        found = f"{getattr(padding, 'dtype', type(padding).__name__)} of shape {tuple(getattr(padding, 'shape', ()))}"
        raise ArgumentError(
            f"key_padding_mask should be a bool tensor of shape {wanted}, True = may be seen, not {found}"
        )
    same_device(Q=Q, key_padding_mask=padding)
    return padding.contiguous().view(torch.uint8), (q_offset, window), flags


def _sizes(Q: Any, V: Any, tile_size: int, forward: bool, tf32: bool = False) -> dict[str, Any]:
    """Constants and options of the kernels: tiles as asked for, within what the fast memory of a GPU holds (100 kB)."""
    D, E = Q.shape[3], V.shape[3]
    DP, EP = power_of_two(D, 16), power_of_two(E, 16)
    wanted = power_of_two(whole_number("tile_size", tile_size), 16)
    row_bytes, small = max(DP, EP) * Q.element_size(), Q.element_size() == 2
    keys = min(wanted, 64, max(16, (16_384 if small else 8_192) // row_bytes))
    queries = min(wanted, 128, max(16, 32_768 // row_bytes)) if forward and small else keys
    return {
        "SCALE": 1.0 / math.sqrt(D), "D": D, "E": E, "DP": DP, "EP": EP, "QUERIES": queries, "KEYS": keys,
        "ACC": tl.float64 if Q.dtype == torch.float64 else tl.float32, "PRECISION": "tf32" if tf32 else "ieee",
        **options(8 if queries >= 128 else 4),
    }  # fmt: skip


def _sums_of(Q: Any) -> Any:
    return torch.float64 if Q.dtype == torch.float64 else torch.float32
