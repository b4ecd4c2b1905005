"""GPTQ against every possible rounding of small matrices, and against the recursion written out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from weightless.base.errors import ConfigError
from weightless.quant.code_rows import decoded_scales, quantise
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.gptq import compress, inverse_root, weighted_error
from weightless.quant.layout import format_named


def moments(cols: int, rng: np.random.Generator, n: int = 0) -> np.ndarray:
    """Second moment of inputs of which each also says something of the others."""
    x = rng.standard_normal((n or 4 * cols, cols)) @ (np.eye(cols) + 0.6 * rng.standard_normal((cols, cols)))
    return x.T @ x / len(x)


def rounded(w_RC: np.ndarray, moment_CC: np.ndarray, fmt: str, **more: float) -> np.ndarray:
    return decode_rows(compress(w_RC, moment_CC, format_named(fmt), **more), fmt, w_RC.shape[1])


def best_error(w_C: np.ndarray, moment_CC: np.ndarray, fmt: str) -> float:
    """The least error of any codes at the scales of the format."""
    described = format_named(fmt)
    scales = quantise(w_C[None], described)[1][0]
    half, size = (described.levels - 1) / 2, described.group_size(len(w_C))
    levels = np.arange(described.levels) - half
    codes = np.array(list(itertools.product(levels, repeat=len(w_C))))
    values = codes * np.repeat(scales, size)[: len(w_C)]
    return float(weighted_error(np.broadcast_to(w_C, values.shape), values, moment_CC).min())


@pytest.mark.parametrize(("fmt", "cols"), [("t2", 7), ("int2@lsq", 5), ("int3@lsq", 4), ("binary", 8), ("t5", 6)])
def test_near_the_best_of_all_roundings(fmt, cols):
    """Never better than the best, on average much nearer to it than rounding to nearest, over 60 matrices."""
    rng = np.random.default_rng(cols)
    ours, nearest, best = [], [], []
    for _ in range(60):
        w, moment = rng.standard_normal((1, cols)).astype(np.float32), moments(cols, rng)
        ours.append(weighted_error(w, rounded(w, moment, fmt, damping=1e-6), moment)[0])
        nearest.append(weighted_error(w, decode_rows(encode_rows(w, fmt), fmt, cols), moment)[0])
        best.append(best_error(w[0], moment, fmt))
        assert ours[-1] >= best[-1] * (1 - 1e-6)
    gap = (np.mean(ours) - np.mean(best)) / (np.mean(nearest) - np.mean(best))
    assert gap < 0.8


@pytest.mark.parametrize("fmt", ["int4", "int3_g32", "t2_g32_s8", "t5_g128@lsq", "int8_row"])
def test_inputs_that_have_nothing_to_do_with_each_other_mean_rounding_to_nearest(fmt):
    w = np.random.default_rng(3).standard_normal((5, 200)).astype(np.float32)
    stored = compress(w, np.diag(np.linspace(0.1, 3, 200)), format_named(fmt))
    assert np.array_equal(stored, encode_rows(w, fmt))


def test_blocks_are_the_recursion_one_column_at_a_time():
    """The update of Frantar et al., written for a whole matrix at once; 300 columns are more than two blocks."""
    rng = np.random.default_rng(4)
    w, moment, fmt = rng.standard_normal((3, 300)).astype(np.float32), moments(300, rng), format_named("int3")
    stored = compress(w, moment, fmt)
    scale = np.repeat(decoded_scales(stored, fmt, 300), 64, axis=1)[:, :300].astype(np.float64)
    inverse = np.linalg.inv(moment + 0.01 * np.mean(np.diag(moment)) * np.eye(300))
    work, out = w.astype(np.float64), np.empty((3, 300))
    for j in range(300):
        out[:, j] = np.clip(np.rint(work[:, j] / scale[:, j]), -3, 3) * scale[:, j]
        error = (work[:, j] - out[:, j]) / inverse[0, 0]
        work[:, j:] -= error[:, None] * inverse[0]
        inverse = inverse[1:, 1:] - np.outer(inverse[1:, 0], inverse[0, 1:]) / inverse[0, 0]
    have = decode_rows(stored, "int3", 300)
    # The same codes but where float32 and float64 round a tie otherwise.
    assert np.mean(np.isclose(have, out, rtol=1e-5, atol=1e-6)) > 0.99


def test_inputs_that_are_always_zero_change_nothing():
    rng = np.random.default_rng(5)
    w, moment = rng.standard_normal((2, 70)).astype(np.float32), moments(70, rng)
    moment[:, 7] = moment[7] = 0
    values = rounded(w, moment, "int4")
    nearest = decode_rows(encode_rows(w, "int4"), "int4", 70)
    assert np.array_equal(values[:, 7], nearest[:, 7]) and np.isfinite(values).all()
    assert np.isfinite(rounded(w, np.zeros((70, 70)), "int4")).all()


def test_root_of_the_inverse():
    moment = moments(20, np.random.default_rng(6))
    upper = inverse_root(moment, 0.02)
    assert np.allclose(np.tril(upper, -1), 0)
    wanted = np.linalg.inv(moment + 0.02 * np.mean(np.diag(moment)) * np.eye(20))
    np.testing.assert_allclose(upper.T @ upper, wanted, rtol=1e-9, atol=1e-9)


def test_refusals():
    w = np.ones((2, 4), np.float32)
    with pytest.raises(ConfigError, match="do not suit 4 columns"):
        compress(w, np.eye(5), format_named("int4"))
    with pytest.raises(ConfigError, match="not finite"):
        compress(w, np.full((4, 4), np.nan), format_named("int4"))
    with pytest.raises(ConfigError, match="bf16 has no codes"):
        compress(w, np.eye(4), format_named("bf16"))
