"""Oracles: ops.attention in float64, NumPy's exp and softmax; the compiled layers of the engine."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from weightless.kernels.numba.attend import ATTEND
from weightless.kernels.numba.layers import exp, exp_64, exp_shifted, largest, rotate_heads, sum_of_exp
from weightless.kernels.numba.rows import FAST, KERNEL, views
from weightless.ops.attention import decode_attention
from weightless.ops.rope import Stretch, rope
from weightless.quant.formats import decode_rows, encode_rows


@pytest.mark.parametrize("fmt", ["f32", "bf16", "int8"])
@pytest.mark.parametrize(("n_heads", "n_kv_heads", "d_head"), [(1, 1, 2), (4, 2, 18), (4, 4, 64), (3, 1, 130)])
@pytest.mark.parametrize(("first", "t"), [(0, 1), (0, 16), (0, 45), (5, 33), (30, 31)])
def test_attend_is_the_readable_twin(fmt, n_heads, n_kv_heads, d_head, first, t):
    """Float32 sums in blocks with a running maximum, against float64 at once: 1e-5 of values of size 1."""
    rng = np.random.default_rng(t)
    rows = encode_rows(rng.standard_normal((t, 2 * n_kv_heads * d_head)).astype(np.float32), fmt)
    memory = np.full(-(-rows.size // 64) * 64 + 64, 0xFF, np.uint8)  # NaN behind the last row must not be read
    memory[: rows.size] = rows.reshape(-1)
    q = (3 * rng.standard_normal(n_heads * d_head)).astype(np.float32)
    scratch, out = np.full(20_000, np.nan, np.float32), np.full(n_heads * d_head + 1, 7, np.float32)
    ATTEND[fmt](q, n_heads, n_kv_heads, d_head, views(memory), 0, rows.shape[1], first, t, scratch, out[:-1])
    kv = decode_rows(rows, fmt, 2 * n_kv_heads * d_head)[first:].astype(np.float64).reshape(t - first, -1, d_head)
    k_THK, v_THK = np.split(kv, 2, axis=1)
    wanted = decode_attention(q.astype(np.float64).reshape(n_heads, d_head), k_THK, v_THK)
    np.testing.assert_allclose(out[:-1], wanted.reshape(-1), rtol=0, atol=1e-5)
    assert out[-1] == 7


def test_attend_shows_poison():
    memory = views(np.full(4096, 0xFF, np.uint8))
    out = np.zeros(16, np.float32)
    ATTEND["f32"](np.ones(16, np.float32), 1, 1, 16, memory, 0, 128, 0, 20, np.zeros(4096, np.float32), out)
    assert np.isnan(out).all()


@njit(fastmath=FAST, **KERNEL)
def exponentials(x, out):
    """As kernels use it: called from code that may be reassociated."""
    for j in range(len(x)):
        out[j] = exp(x[j])


def test_exponentials_are_numpys():
    """Two units in the last place in float32, 4e-16 in float64; the ends, infinity and NaN as they should be."""
    x = np.concatenate([np.linspace(-87, 88, 20_001), np.linspace(-1, 1, 3001)]).astype(np.float32)
    out = np.empty_like(x)
    exponentials(x, out)
    np.testing.assert_allclose(out, np.exp(x.astype(np.float64)), rtol=2 * 2.0**-23)
    ends = [exp(np.float32(value)) for value in (-np.inf, -88, 89, np.inf, 0)]
    assert ends == [0, 0, np.inf, np.inf, 1] and np.isnan(exp(np.float32(np.nan)))
    deep = -np.geomspace(1e-300, 708, 5001)
    np.testing.assert_allclose([exp_64(value) for value in deep], np.exp(deep), rtol=4e-16)
    assert exp_64(-np.inf) == 0 and exp_64(0.0) == 1 and np.isnan(exp_64(np.nan))


@pytest.mark.parametrize("n", [1, 15, 16, 17, 40, 1023])
def test_softmax_is_numpys(n):
    values = (9 * np.random.default_rng(n).standard_normal(n)).astype(np.float32)
    top, wide = values.max(), values.astype(np.float64)
    assert largest(values, n) == top
    assert sum_of_exp(values, top, n) == pytest.approx(np.exp(wide - top).sum(), rel=1e-14)
    out, norm = np.empty(n, np.float32), np.log(np.exp(wide - top).sum()) + top
    exp_shifted(values, norm, n, out)
    rounding = np.abs(wide - norm).max() * 2.0**-24 + 2 * 2.0**-23  # of the shifted value, and of the exponential
    np.testing.assert_allclose(out, np.exp(wide - norm), rtol=rounding, atol=2.0**-126)
    values[n // 2] = np.nan
    assert np.isnan(sum_of_exp(values, largest(values, n), n))


@pytest.mark.parametrize("position", [0, 1, 511, 100_000])
@pytest.mark.parametrize(("pairing", "step", "apart"), [("half_split", 1, 17), ("interleaved", 2, 1)])
@pytest.mark.parametrize("stretch", [Stretch(), Stretch(8.0, 1.0, 4.0, 700)], ids=["as it comes", "stretched"])
def test_rotation_is_the_readable_twin(position, pairing, step, apart, stretch):
    """Angles by repeated multiplication in float64: float32 rounding is all that differs."""
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((4, 34)).astype(np.float32), rng.standard_normal((2, 34)).astype(np.float32)
    wanted = [rope(x[None], np.array([position]), 1e4, pairing, stretch)[0] for x in (q, k)]
    have, by = (q.copy(), k.copy()), np.array(stretch, np.float64)
    rotate_heads(have[0].reshape(-1), 4, have[1].reshape(-1), 2, 34, position, 1e4, step, apart, by)
    for x, y in zip(have, wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=2e-6)
