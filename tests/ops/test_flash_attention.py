"""Tiled attention in NumPy, its naive twin and its fast twin, held to the checks of checks_flash_attention.py."""

import inspect

import numpy as np
import pytest
from ops.checks_flash_attention import CHECKS, by_torch, check_memory, inputs, near

from weightless.base.errors import ArgumentError
from weightless.kernels import fast_ops
from weightless.ops.flash_attention import flash_attention_bwd, flash_attention_fwd
from weightless.ops.naive_attention import naive_attention_bwd, naive_attention_fwd

TWINS = {
    "numpy": (flash_attention_fwd, flash_attention_bwd),
    "cpu": (fast_ops.flash_attention_fwd, fast_ops.flash_attention_bwd),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("twin", TWINS)
def test_float64(twin, check):
    check(*TWINS[twin])


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("twin", TWINS)
def test_float32(twin, check):
    """2e-5 of the largest entry: sums of up to 50 terms, and exponentials good to 2e-7; scores of 1e4 carry 1e-3."""
    takes = inspect.signature(check).parameters
    loose = 5e-3 if check.__name__ == "check_large_scores" else 2e-5
    check(*TWINS[twin], **{k: v for k, v in {"dtype": np.float32, "tolerance": loose}.items() if k in takes})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("twin", TWINS)
def test_memory_grows_with_n_not_with_its_square(twin, dtype):
    check_memory(*TWINS[twin], dtype=dtype)


def test_the_naive_twin_agrees_with_torch():
    for case in ((2, 4, 2, 13, 17, 5, 0), (1, 1, 1, 9, 4, 3, 0)):
        Q, K, V, dO = inputs(case)
        found = (naive_attention_fwd(Q, K, V)[0], *naive_attention_bwd(dO, Q, K, V))
        for a, b in zip(found, by_torch(Q, K, V, dO)):
            near(a, b, 1e-12)


def test_threads_change_nothing():
    Q, K, V, dO = inputs((2, 6, 2, 33, 33, 8, 0), np.float32)
    results = []
    for n_threads in (1, 3):
        O, cache = fast_ops.flash_attention_fwd(Q, K, V, 16, return_cache=True, n_threads=n_threads)
        results.append((O, *fast_ops.flash_attention_bwd(dO, cache, 16, n_threads=n_threads)))
    assert all((a == b).all() for a, b in zip(*results))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("twin", TWINS)
def test_tiles_beyond_all_memory_are_tiles_of_what_is_there(twin, dtype):
    """A tile of 10^9 keys for nine of them: the buffers of a tile are as large as the work, and the result is equal."""
    Q, K, V, dO = inputs((1, 1, 1, 9, 9, 5, 0), dtype)
    forward, backward = TWINS[twin]
    results = []
    for tile in (9, 10**9):
        O, cache = forward(Q, K, V, tile, True, True)
        results.append((O, *backward(dO, cache, tile)))
    assert all((a == b).all() for a, b in zip(*results))


GOOD = np.ones((1, 2, 4, 3))
BAD = [
    ((GOOD[0], GOOD, GOOD, 2), {}, r"Q should have the axes \(B, H, N, D\), but its shape is \(2, 4, 3\)"),
    ((GOOD, GOOD[:, :, :0], GOOD, 2), {}, "K is empty"),
    ((GOOD[:0], GOOD[:0], GOOD[:0], 2), {}, r"Q is empty: its shape is \(0, 2, 4, 3\)"),
    ((np.ones((1, 3, 4, 3)), GOOD, GOOD, 2), {}, r"heads of Q should be a multiple .* Q \(1, 3, 4, 3\)"),
    ((GOOD, GOOD, np.ones((1, 2, 5, 3)), 2), {}, "K and V differ in length"),
    ((GOOD, np.ones((1, 2, 4, 5)), GOOD, 2), {}, "Q and K differ in width"),
    ((GOOD, np.ones((2, 2, 4, 3)), GOOD, 2), {}, "differ in batch"),
    ((GOOD, GOOD.astype(np.float32), GOOD, 2), {}, "one dtype"),
    ((GOOD * np.nan, GOOD, GOOD, 2), {}, "Q of shape .* holds nan"),
    ((GOOD, GOOD, GOOD, 0), {}, "tile_size should be a whole number of at least 1, not 0"),
    ((GOOD, GOOD, GOOD, 2), {"window": 0}, "window should be a whole number"),
    ((GOOD, GOOD, GOOD, 2), {"q_offset": 0.5}, "q_offset should be a whole number"),
    ((GOOD, GOOD, GOOD, 2), {"key_padding_mask": np.ones((1, 4))}, "key_padding_mask should be bool of shape"),
]


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("arguments, masks, message", BAD)
def test_bad_input_is_named(twin, arguments, masks, message):
    with pytest.raises(ArgumentError, match=message):
        TWINS[twin][0](*arguments, **masks)


@pytest.mark.parametrize("twin", TWINS)
def test_bad_gradients_are_named(twin):
    forward, backward = TWINS[twin]
    _, cache = forward(GOOD, GOOD, GOOD, 2, True, True)
    with pytest.raises(ArgumentError, match=r"dO of shape \(1, 2, 3, 3\) should have the shape of O"):
        backward(GOOD[:, :, :3], cache, 2)
    for arguments, message in (
        ((GOOD[0], cache, 2), r"dO should have the axes \(B, H, N, E\)"),
        ((GOOD * np.nan, cache, 2), "dO of shape .* holds nan"),
        ((GOOD, cache, 0), "tile_size should be a whole number of at least 1, not 0"),
        ((GOOD, {}, 2), "cache should be what flash_attention_fwd returned"),
        ((GOOD, None, 2), "cache should be what flash_attention_fwd returned"),
    ):
        with pytest.raises(ArgumentError, match=message):
            backward(*arguments)
