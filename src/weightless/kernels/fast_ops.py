"""Fast CPU twins with the signatures of ops: compiled rows or tiles in BLAS, spread over threads.

    softmax_topk, layer_norm_forward, layer_norm_backward     numba, rows shared out over threads (float32; the twin
                                                              takes other types)
    flash_attention_fwd, flash_attention_bwd                  the twin's tiles, products in BLAS, threads over heads

Threads and BLAS: each head is worked by one thread with single-threaded BLAS (two pools on the same cores wait for each
other), so `n_threads` is all the parallelism there is.  Errors are those of the twins.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from weightless.base.cores import cores
from weightless.base.errors import ArgumentError
from weightless.kernels.twins import twin_of
from weightless.ops import flash_attention as tiled
from weightless.ops import layer_norm as norm
from weightless.ops import softmax_topk as topk
from weightless.ops.arguments import finite, float_array, real_number, same_shape, whole_number, working_dtype

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

FEWEST_ROWS = 4
"""Rows worth a thread of their own."""
PARTS_PER_THREAD = 4


@twin_of(
    topk.softmax_topk,
    """Compiled for float32, rows shared out over threads; other types take the reference.  There is no `block`.
    n_threads: how many threads share the work; None takes every core that this process may use.""",
)
def softmax_topk(logits: Any, k: int, n_threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    from weightless.kernels.numba.softmax_topk import softmax_topk_rows

    logits, k = float_array("logits", logits, "V", at_least=True), whole_number("k", k)
    if logits.dtype != np.float32:
        return topk.softmax_topk(logits, k)
    z_RV = np.ascontiguousarray(logits).reshape(-1, logits.shape[-1])
    index_RK, p_RK = np.empty((len(z_RV), k), np.int64), np.empty((len(z_RV), k), np.float32)
    bad = shared_out(lambda a, b: softmax_topk_rows(z_RV, k, a, b, index_RK, p_RK), len(z_RV), n_threads)
    if row := next((row for row in bad if row >= 0), -1) + 1:
        raise ArgumentError(f"logits of shape {logits.shape} hold NaN or +inf in row {row - 1}")
    return index_RK.reshape(*logits.shape[:-1], k), p_RK.reshape(*logits.shape[:-1], k)


@twin_of(
    norm.layer_norm_forward,
    """Compiled for float32, rows shared out over threads; other types take the reference.
    n_threads: how many threads share the work; None takes every core that this process may use.""",
)
def layer_norm_forward(
    x: Any, gamma: Any, beta: Any, eps: float = 1e-5, n_threads: int | None = None
) -> tuple[np.ndarray, norm.LayerNormCache]:
    from weightless.kernels.numba.layer_norm import layer_norm_rows

    x = float_array("x", x, "D", at_least=True)
    gamma, beta = np.asarray(gamma), np.asarray(beta)
    if not x.dtype == gamma.dtype == beta.dtype == np.float32 or real_number("eps", eps) <= 0:
        return norm.layer_norm_forward(x, gamma, beta, eps)
    same_shape("gamma", gamma, "the last axis of x", x.shape[-1:])
    same_shape("beta", beta, "the last axis of x", x.shape[-1:])
    x_ND = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    y_ND, xhat_ND, r_N = np.empty_like(x_ND), np.empty_like(x_ND), np.empty(len(x_ND))
    shared_out(lambda a, b: layer_norm_rows(x_ND, gamma, beta, eps, a, b, y_ND, xhat_ND, r_N), len(x_ND), n_threads)
    if not np.isfinite(r_N).all():
        finite("x", x)
    return y_ND.reshape(x.shape), norm.LayerNormCache(xhat_ND.reshape(x.shape), r_N.reshape(*x.shape[:-1], 1), gamma)


@twin_of(
    norm.layer_norm_backward,
    """Compiled for float32, rows shared out over threads; other types take the reference.
    n_threads: how many threads share the work; None takes every core that this process may use.""",
)
def layer_norm_backward(
    dy: Any, cache: norm.LayerNormCache, n_threads: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from weightless.kernels.numba.layer_norm import STRIP, layer_norm_backward_rows

    xhat, r, gamma = norm.checked_cache(cache)
    dy = float_array("dy", dy, "D", at_least=True)
    if not dy.dtype == xhat.dtype == gamma.dtype == np.float32:
        return norm.layer_norm_backward(dy, cache)
    same_shape("dy", dy, "x", xhat.shape)
    width = dy.shape[-1]
    dy_ND, xhat_ND = (np.ascontiguousarray(array).reshape(-1, width) for array in (dy, xhat))
    dx_ND, r_N = np.empty_like(dy_ND), r.reshape(-1)

    def part(a: int, b: int) -> np.ndarray:
        strip_2D, sums_2D = np.empty((2, width), np.float32), np.zeros((2, width))
        layer_norm_backward_rows(dy_ND, xhat_ND, r_N, gamma, a, b, dx_ND, strip_2D, sums_2D)
        return sums_2D

    dgamma, dbeta = np.sum(shared_out(part, len(dy_ND), n_threads, STRIP), axis=0)  # whole strips: the same sums
    if not np.isfinite(dbeta).all():
        finite("dy", dy)
    return dx_ND.reshape(dy.shape), dgamma.astype(np.float32), dbeta.astype(np.float32)


@twin_of(
    tiled.flash_attention_fwd,
    """Products in BLAS, heads shared out over threads.
    n_threads: how many threads share the work; None takes every core that this process may use.""",
)
def flash_attention_fwd(
    Q: Any,
    K: Any,
    V: Any,
    tile_size: int = 256,
    causal: bool = True,
    return_cache: bool = False,
    *,
    q_offset: int | None = None,
    window: int | None = None,
    key_padding_mask: Any = None,
    n_threads: int | None = None,
) -> Any:
    from weightless.kernels import blas_attention

    Q, K, V = tiled.checked_qkv(Q, K, V)
    tile_size = whole_number("tile_size", tile_size)
    seen = tiled.visible(Q, K, causal, q_offset, window, key_padding_mask)
    O = np.empty((*Q.shape[:3], V.shape[3]), Q.dtype)
    L = np.empty(Q.shape[:3], working_dtype(Q))
    shared = Q.shape[1] // K.shape[1]

    def head(b: int, h: int) -> None:
        path = blas_attention if blas_attention.fits(seen[b], Q.dtype) else tiled
        O[b, h], L[b, h] = path.forward_head(Q[b, h], K[b, h // shared], V[b, h // shared], tile_size, seen[b])

    _per_head(head, Q.shape[:2], n_threads)
    return (O, {"O": O, "L": L, "Q": Q, "K": K, "V": V}) if return_cache else O


@twin_of(
    tiled.flash_attention_bwd,
    """Products in BLAS; heads of keys shared out over threads, the query heads of one of them add into it in turn.
    n_threads: how many threads share the work; None takes every core that this process may use.""",
)
def flash_attention_bwd(
    dO: Any,
    cache: dict[str, np.ndarray],
    tile_size: int = 256,
    causal: bool = True,
    *,
    q_offset: int | None = None,
    window: int | None = None,
    key_padding_mask: Any = None,
    n_threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from weightless.kernels import blas_attention

    Q, K, V, O, L = tiled.checked_cache(cache)
    dO = finite("dO", float_array("dO", dO, "BHNE"))
    same_shape("dO", dO, "O", O.shape)
    tile_size = whole_number("tile_size", tile_size)
    seen = tiled.visible(Q, K, causal, q_offset, window, key_padding_mask)
    work = working_dtype(Q)
    dQ, dK, dV = np.empty_like(Q), np.zeros(K.shape, work), np.zeros(V.shape, work)
    shared = Q.shape[1] // K.shape[1]

    def group(b: int, g: int) -> None:
        path = blas_attention if blas_attention.fits(seen[b], Q.dtype) else tiled
        for h in range(g * shared, (g + 1) * shared):
            head = (Q[b, h], K[b, g], V[b, g], O[b, h], L[b, h], dO[b, h])
            dQ[b, h], dk, dv = path.backward_head(*head, tile_size, seen[b])
            dK[b, g] += dk
            dV[b, g] += dv

    _per_head(group, K.shape[:2], n_threads)
    return dQ, dK.astype(K.dtype, copy=False), dV.astype(V.dtype, copy=False)


def shared_out(
    work: Callable[[int, int], Any], n_rows: int, n_threads: int | None, grain: int = FEWEST_ROWS
) -> list[Any]:
    """work(first, stop) over contiguous parts of the rows that begin at multiples of `grain`, on threads.

    There are several parts per thread: a core that is busy with something else would hold up equal shares.
    """
    n_grains = -(-n_rows // grain)
    n = min(n_threads or cores(), n_grains)
    n_parts = min(PARTS_PER_THREAD * n, n_grains) if n > 1 else 1
    edges = [min(n_rows, int(i) * grain) for i in np.linspace(0, n_grains, n_parts + 1)]
    return _on_threads(work, list(zip(edges[:-1], edges[1:], strict=True)), n)


def _per_head(work: Callable[[int, int], None], shape: tuple[int, ...], n_threads: int | None) -> None:
    """work(b, h) for every pair, on threads, with BLAS held to one thread each."""
    pairs = list(np.ndindex(*shape))
    with _blas().limit(limits=1, user_api="blas"):
        _on_threads(work, pairs, min(n_threads or cores(), len(pairs)))


def _on_threads(work: Callable[..., Any], jobs: list[tuple[int, int]], n_threads: int) -> list[Any]:
    """The results of work(*job); the calling thread and n_threads - 1 helpers draw jobs until none is left."""
    results: list[Any] = [None] * len(jobs)
    waiting = iter(range(len(jobs)))

    def draw() -> None:
        for i in waiting:
            results[i] = work(*jobs[i])

    helpers = [_helpers(n_threads - 1, os.getpid()).submit(draw) for _ in range(n_threads - 1)]
    try:
        draw()
    finally:  # one that has not begun finds nothing to do; the arrays of others must outlive them
        wait([helper for helper in helpers if not helper.cancel()])
    for helper in helpers:
        if not helper.cancelled():
            helper.result()
    return results


@cache
def _helpers(n: int, process: int) -> ThreadPoolExecutor:
    """Threads that are kept: starting one costs as much as some calls.  A forked process has none of its parent's."""
    return ThreadPoolExecutor(n, "weightless")


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of this process: looking for them takes longer than a small product."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
