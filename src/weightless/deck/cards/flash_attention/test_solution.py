"""What the prompt asks to be tested, and a little more; needs nothing but NumPy."""

from __future__ import annotations

import tracemalloc

import numpy as np
from solution import flash_attention_fwd


def naive(Q, K, V, causal=True):
    n, m = Q.shape[2], K.shape[2]
    S = Q @ K.swapaxes(2, 3) / np.sqrt(Q.shape[3])
    if causal:
        S = np.where(np.tri(n, m, m - n, dtype=bool), S, -np.inf)
    P = np.exp(S - S.max(axis=3, keepdims=True))
    return P / P.sum(axis=3, keepdims=True) @ V


def arrays(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((3, *shape))


def error(found, right):
    return np.abs(found - right).max() / np.abs(right).max()


def test_naive():
    Q, K, V = arrays(1, 1, 256, 64)
    assert error(flash_attention_fwd(Q, K, V, 64, causal=True), naive(Q, K, V)) < 1e-12


def test_ragged_and_not_causal():
    Q, K, V = arrays(2, 2, 53, 8, seed=1)
    for tile in (1, 7, 16, 100):
        for causal in (True, False):
            assert error(flash_attention_fwd(Q, K, V, tile, causal), naive(Q, K, V, causal)) < 1e-12


def test_rising_scores():
    """Each key tile far above the one before: a wrong correction of what was summed shows."""
    Q, K, V = arrays(1, 1, 32, 4, seed=2)
    Q[..., 0], K[..., 0] = 2, 3.0 * (np.arange(32) // 8)
    assert error(flash_attention_fwd(Q, K, V, 8, causal=False), naive(Q, K, V, causal=False)) < 1e-12


def test_large_scores():
    Q, K, V = arrays(1, 1, 40, 8, seed=3)
    found = flash_attention_fwd(3e3 * Q, K, V, 16)
    assert np.isfinite(found).all() and error(found, naive(3e3 * Q, K, V)) < 1e-9


def test_type_is_kept():
    Q, K, V = arrays(1, 2, 20, 8, seed=4).astype(np.float32)
    assert flash_attention_fwd(Q, K, V, 8).dtype == np.float32


def test_inputs_survive():
    Q, K, V = arrays(1, 2, 20, 8, seed=5)
    before = [array.copy() for array in (Q, K, V)]
    flash_attention_fwd(Q, K, V, 8)
    assert all(np.array_equal(a, b) for a, b in zip(before, (Q, K, V)))


def test_rows_that_see_nothing():
    Q, K, V = arrays(1, 1, 25, 8, seed=6)
    found = flash_attention_fwd(Q, K[:, :, :10], V[:, :, :10], 4)
    assert np.array_equal(found[:, :, :15], np.zeros((1, 1, 15, 8)))
    assert error(found[:, :, 15:], naive(Q[:, :, 15:], K[:, :, :10], V[:, :, :10])) < 1e-12


def test_windows_and_padding():
    Q, K, V = arrays(1, 1, 30, 8, seed=7)
    near = flash_attention_fwd(Q, K, V, 8, window=1)
    assert error(near, V) < 1e-12
    seen = np.arange(30)[None] < 20
    found = flash_attention_fwd(Q, K, V, 8, causal=False, key_padding_mask=seen)
    assert error(found, naive(Q, K[:, :, :20], V[:, :, :20], causal=False)) < 1e-12


def test_queries_after_cached_keys():
    Q, K, V = arrays(1, 1, 30, 8, seed=9)
    found = flash_attention_fwd(Q[:, :, 20:25], K, V, 8, q_offset=20)
    assert error(found, naive(Q, K, V)[:, :, 20:25]) < 1e-12


def test_memory():
    """Below a tenth of one (N, N) array."""
    Q, K, V = arrays(1, 1, 768, 8, seed=8)
    tracemalloc.start()
    flash_attention_fwd(Q, K, V, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * 8 * 768**2
