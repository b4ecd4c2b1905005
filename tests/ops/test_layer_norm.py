"""The NumPy layer norm and its fast twin, held to the checks of checks_layer_norm.py."""

import numpy as np
import pytest
from ops.checks_layer_norm import CHECKS, check_against_autograd

from weightless.base.errors import ArgumentError
from weightless.kernels import fast_ops
from weightless.ops.layer_norm import layer_norm_backward, layer_norm_forward

TWINS = {
    "numpy": (layer_norm_forward, layer_norm_backward),
    "cpu": (fast_ops.layer_norm_forward, fast_ops.layer_norm_backward),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("twin", TWINS)
def test_checks(twin, check):
    check(*TWINS[twin])


@pytest.mark.parametrize("shape", [(2, 1, 5), (3, 5, 63), (2, 33, 768), (65,), (7, 1023)])
@pytest.mark.parametrize("twin", TWINS)
def test_float32_within_rounding_of_autograd(twin, shape):
    check_against_autograd(*TWINS[twin], shape=shape, dtype=np.float32, tolerance=1e-5)


def test_threads_do_not_change_the_rows():
    """Each row is worked alone; only the sums over rows are split, in float64."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((101, 40)).astype(np.float32) for _ in range(2))
    gamma = rng.standard_normal(40).astype(np.float32)
    results = []
    for n_threads in (1, 3):
        y, cache = fast_ops.layer_norm_forward(x, gamma, gamma, n_threads=n_threads)
        results.append((y, *fast_ops.layer_norm_backward(dy, cache, n_threads=n_threads)))
    assert (results[0][0] == results[1][0]).all() and (results[0][1] == results[1][1]).all()
    np.testing.assert_allclose(results[0][2], results[1][2], rtol=1e-6)


BAD = [
    ((np.zeros((2, 0)), np.ones(0), np.ones(0)), "x is empty"),
    ((np.zeros((2, 3)), np.ones(4), np.ones(3)), r"gamma of shape \(4,\) should have the shape of the last axis"),
    ((np.zeros((2, 3)), np.ones(3), np.ones((1, 3))), r"beta should have the axes \(D\)"),
    ((np.zeros((2, 3), int), np.ones(3), np.ones(3)), "x of shape .* holds int64"),
    ((np.full((2, 3), np.nan), np.ones(3), np.ones(3)), r"x of shape \(2, 3\) holds nan at \(0, 0\)"),
    ((np.zeros((2, 3)), np.ones(3), np.ones(3), 0.0), "eps should be a positive number"),
    ((np.zeros((2, 3)), np.ones(3), np.ones(3), float("nan")), "eps should be a finite number, not nan"),
    ((np.zeros((2, 3), np.float32), *2 * [np.ones(3, np.float32)], "x"), "eps should be a finite number, not 'x'"),
    ((np.zeros((0, 2, 3)), np.ones(3), np.ones(3)), r"x is empty: its shape is \(0, 2, 3\)"),
    ((np.float64(3), np.ones(3), np.ones(3)), "x should have the axes"),
]


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_is_named(twin, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        TWINS[twin][0](*arguments)


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bad_gradients_are_named(twin, dtype):
    forward, backward = TWINS[twin]
    _, cache = forward(np.ones((2, 3), dtype), np.ones(3, dtype), np.ones(3, dtype))
    with pytest.raises(ArgumentError, match=r"dy of shape \(2, 4\) should have the shape of x"):
        backward(np.ones((2, 4), dtype), cache)
    with pytest.raises(ArgumentError, match="dy of shape .* holds inf"):
        backward(np.full((2, 3), np.inf, dtype), cache)
    for wrong in (None, (1, 2), cache[:2], (*cache, 1)):
        with pytest.raises(ArgumentError, match="cache should be what layer_norm_forward returned"):
            backward(np.ones((2, 3), dtype), wrong)
