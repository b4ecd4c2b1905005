"""Softmax + top-k in NumPy (online and naive) and its fast twin, held to the checks of checks_softmax_topk.py."""

import inspect

import numpy as np
import pytest
from ops.checks_softmax_topk import CHECKS, check_memory

from weightless.base.errors import ArgumentError
from weightless.kernels import fast_ops
from weightless.ops.softmax_topk import softmax_topk, softmax_topk_naive

TWINS = {"numpy": softmax_topk, "cpu": fast_ops.softmax_topk}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("twin", [softmax_topk, softmax_topk_naive])
def test_numpy(check, twin):
    check(twin)


@pytest.mark.parametrize("check", CHECKS)
def test_fast_twin(check):
    """float32: exponentials good to 2e-7, sums of 150,000 of them to a little more."""
    takes = inspect.signature(check).parameters
    check(fast_ops.softmax_topk, **{k: v for k, v in {"dtype": np.float32, "tolerance": 2e-6}.items() if k in takes})


@pytest.mark.parametrize("twin, dtype", [(softmax_topk, np.float64), (fast_ops.softmax_topk, np.float32)])
def test_nothing_as_long_as_a_row_is_held(twin, dtype):
    twin(np.zeros((1, 9), dtype), 1)  # compiled now, not while its memory is watched
    check_memory(twin, dtype)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_the_size_of_a_block_changes_nothing(block):
    logits = np.random.default_rng(0).standard_normal((3, 1000)).round(1)
    index, p = softmax_topk(logits, 9, block=block)
    wanted = softmax_topk_naive(logits, 9)
    assert (index == wanted[0]).all()
    np.testing.assert_allclose(p, wanted[1], rtol=1e-13)


def test_threads_change_nothing():
    logits = np.random.default_rng(0).standard_normal((37, 999)).astype(np.float32)
    one, three = (fast_ops.softmax_topk(logits, 9, n_threads=n) for n in (1, 3))
    assert (one[0] == three[0]).all() and (one[1] == three[1]).all()


BAD = [
    ((np.zeros((2, 5)), 0), "k should be a whole number of at least 1, not 0"),
    ((np.zeros((2, 5)), 2.0), "k should be a whole number"),
    ((np.zeros((2, 0)), 1), "logits is empty"),
    ((np.zeros((0, 5)), 1), r"logits is empty: its shape is \(0, 5\)"),
    (([[1.0], [1.0, 2.0]], 1), "logits is no array"),
    ((np.zeros((2, 5), int), 1), "logits of shape .* holds int64"),
    ((np.array([[0, 1], [np.nan, 1]]), 1), "logits .*hold.* row 1"),
    ((np.array([[0, 1], [np.inf, 1]], np.float32), 1), "logits .*hold.* row 1"),
    ((np.float64(1), 1), "logits should have the axes"),
]


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_is_named(twin, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        TWINS[twin](*arguments)
