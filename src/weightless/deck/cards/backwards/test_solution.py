"""The tests of our own solution of `backwards`; `solution` is the file beside it."""

from __future__ import annotations

import numpy as np
from solution import gradient_check, layer_norm_backward, layer_norm_forward


def _random(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def _given(*shape: int) -> list[np.ndarray]:
    sizes = (shape, shape[-1:], shape[-1:], shape)
    return [_random(*size, seed=seed) for seed, size in enumerate(sizes)]


def _y(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta


def test_the_forward_pass_is_the_definition():
    for shape, eps in (((2, 3, 7), 1e-5), ((1, 4, 33), 0.3), ((3, 1, 1), 1e-5)):
        x, gamma, beta, _ = _given(*shape)
        y, _ = layer_norm_forward(x, gamma, beta, eps)
        assert np.abs(y - _y(x, gamma, beta, eps)).max() < 1e-12


def test_gradients_are_those_of_differences():
    x, gamma, beta, dy = _given(2, 3, 5)
    _, cache = layer_norm_forward(x, gamma, beta, 1e-5)
    for which, grad in enumerate(layer_norm_backward(dy, cache)):
        assert grad.shape == (x.shape, gamma.shape, beta.shape)[which]
        for at in np.ndindex(grad.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [part.copy() for part in (x, gamma, beta)]
                moved[which][at] += step
                ends.append((_y(moved[0], moved[1], moved[2]) * dy).sum())
            assert abs((ends[0] - ends[1]) / 2e-5 - grad[at]) < 1e-8


def test_the_gradient_check_tells_right_from_wrong():
    x, gamma, beta, dy = _given(1, 2, 5)
    assert gradient_check(x, gamma, beta, dy) < 1e-7
    for spoiled in range(3):

        def wrong(dy, cache, spoiled=spoiled):
            grads = list(layer_norm_backward(dy, cache))
            grads[spoiled] = grads[spoiled] * 1.05
            return grads

        assert gradient_check(x, gamma, beta, dy, backward=wrong) > 1e-3


def test_rows_far_from_zero_and_without_variance():
    x, gamma, beta, dy = _given(2, 3, 64)
    y, _ = layer_norm_forward(x + 1e6, gamma, beta, 1e-5)
    assert np.abs(y - _y((x + 1e6) - 1e6, gamma, beta)).max() < 1e-8
    flat, cache = layer_norm_forward(np.full((2, 3, 64), 7.25), gamma, beta, 1e-5)
    assert (flat == beta).all()
    assert all(np.isfinite(grad).all() for grad in layer_norm_backward(dy, cache))


def test_the_dtype_stays():
    x, gamma, beta, dy = (part.astype(np.float32) for part in _given(2, 3, 9))
    y, cache = layer_norm_forward(x, gamma, beta, 1e-5)
    assert {part.dtype for part in (y, *layer_norm_backward(dy, cache))} == {np.dtype(np.float32)}


def test_inputs_and_cache_survive():
    given = _given(2, 3, 9)
    kept = [part.copy() for part in given]
    _, cache = layer_norm_forward(*given[:3], 1e-5)
    first, second = layer_norm_backward(given[3], cache), layer_norm_backward(given[3], cache)
    assert all((a == b).all() for a, b in zip(given, kept))
    assert all((a == b).all() for a, b in zip(first, second))
