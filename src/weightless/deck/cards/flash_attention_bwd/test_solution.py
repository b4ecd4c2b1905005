"""What the prompt asks to be tested, and a little more; needs nothing but NumPy."""

from __future__ import annotations

import tracemalloc

import numpy as np
from solution import flash_attention_bwd, flash_attention_fwd


def naive_probabilities(Q, K, causal):
    S = Q @ K.swapaxes(2, 3) / np.sqrt(Q.shape[3])
    if causal:
        S = np.where(np.tri(Q.shape[2], K.shape[2], K.shape[2] - Q.shape[2], dtype=bool), S, -np.inf)
    P = np.exp(S - S.max(axis=3, keepdims=True))
    return P / P.sum(axis=3, keepdims=True)


def naive_gradients(given, causal=True):
    Q, K, V, dO = given
    P = naive_probabilities(Q, K, causal)
    dP = dO @ V.swapaxes(2, 3)
    dS = P * (dP - (P * dP).sum(axis=3, keepdims=True)) / np.sqrt(Q.shape[3])
    return dS @ K, dS.swapaxes(2, 3) @ Q, P.swapaxes(2, 3) @ dO


def arrays(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((4, *shape))


def error(found, right):
    return np.abs(found - right).max() / np.abs(right).max()


def gradients(given, tile, causal=True):
    """Of (Q, K, V, dO)."""
    Q, K, V, dO = given
    return flash_attention_bwd(dO, flash_attention_fwd(Q, K, V, tile, causal)[1], tile, causal)


def test_differences():
    """Central differences of sum(dO O): all elements of dV, ten of dQ and dK, relative to the largest."""
    given = arrays(1, 1, 64, 8)
    found, rng, h = gradients(given, 16), np.random.default_rng(9), 1e-5

    def loss(changed, place):
        Q, K, V = (changed if i == place else array for i, array in enumerate(given[:3]))
        return np.sum(given[3] * flash_attention_fwd(Q, K, V, 16)[0])

    for place in range(3):
        size = given[place].size
        for flat in range(0, size, 7) if place == 2 else rng.integers(0, size, 10):
            step = np.zeros(size)
            step[flat] = h
            step = step.reshape(given[place].shape)
            slope = (loss(given[place] + step, place) - loss(given[place] - step, place)) / (2 * h)
            assert abs(slope - found[place].flat[flat]) < 1e-5 * np.abs(found[place]).max()


def test_naive():
    for causal in (True, False):
        given = arrays(2, 2, 75, 16, seed=1)
        for a, b in zip(gradients(given, 16, causal), naive_gradients(given, causal)):
            assert error(a, b) < 1e-12


def test_cache():
    Q, K, V, _ = arrays(1, 2, 30, 8, seed=2)
    O, cache = flash_attention_fwd(Q, K, V, 8)
    S = np.where(np.tri(30, dtype=bool), Q @ K.swapaxes(2, 3) / np.sqrt(8), -np.inf)
    assert set(cache) == set("OLQKV") and error(cache["L"], np.log(np.exp(S).sum(axis=3))) < 1e-12
    assert error(O, naive_probabilities(Q, K, True) @ V) < 1e-12


def test_shifted_keys():
    Q, K, V, dO = arrays(1, 1, 50, 8, seed=3)
    for a, b in zip(gradients((Q, K + 5.0, V, dO), 16), gradients((Q, K, V, dO), 16)):
        assert error(a, b) < 1e-10


def test_large_scores():
    Q, K, V, dO = arrays(1, 1, 40, 8, seed=4)
    given = (3e3 * Q, K, V, dO)
    for a, b in zip(gradients(given, 16), naive_gradients(given)):
        assert np.abs(a - b).max() < 1e-6


def test_zero():
    Q, K, V, dO = arrays(1, 1, 20, 8, seed=5)
    assert all(not a.any() for a in gradients((Q, K, V, 0 * dO), 8))


def test_type_and_inputs():
    given = list(arrays(1, 2, 20, 8, seed=6).astype(np.float32))
    before = [array.copy() for array in given]
    assert all(a.dtype == np.float32 for a in gradients(given, 8))
    assert all(np.array_equal(a, b) for a, b in zip(given, before))


def test_queries_that_see_nothing():
    Q, K, V, dO = arrays(1, 1, 25, 8, seed=7)
    K, V = K[:, :, :10], V[:, :, :10]
    cache = flash_attention_fwd(Q, K, V, 4, q_offset=-15)[1]
    assert np.all(cache["L"][:, :, :15] == -np.inf) and not cache["O"][:, :, :15].any()
    found = flash_attention_bwd(dO, cache, 4, q_offset=-15)
    right = naive_gradients((Q[:, :, 15:], K, V, dO[:, :, 15:]))
    assert not found[0][:, :, :15].any() and error(found[0][:, :, 15:], right[0]) < 1e-12
    assert error(found[1], right[1]) < 1e-12 and error(found[2], right[2]) < 1e-12


def test_memory():
    """Below a fifth of one (N, N) array."""
    given = arrays(1, 1, 768, 8, seed=8)
    tracemalloc.start()
    gradients(given, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * 8 * 768**2
