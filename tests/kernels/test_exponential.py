"""The exponential in vector lanes beside NumPy in float64; the maximum and the bits that softmax + top-k needs."""

import numpy as np
import pytest
from numba import njit

from weightless.kernels.numba.exponential import add_exp_below, exp_below
from weightless.kernels.numba.lanes import lanes_above, load_f32, lowest_bit, store, store_part, sum_lanes, zero_lanes
from weightless.kernels.numba.rows import FAST
from weightless.kernels.numba.softmax_topk import largest

PLAIN = {"_nrt": False, "error_model": "numpy"}


def each(x, m, out):
    for i in range(0, x.size, 16):
        store(out, i, exp_below(load_f32(x, i), m))


def total(x, m):
    lanes = zero_lanes()
    for i in range(0, x.size, 16):
        lanes = add_exp_below(load_f32(x, i), m, lanes)
    return sum_lanes(lanes)


@pytest.mark.parametrize("options", [PLAIN, {**PLAIN, "fastmath": FAST}])
def test_exponential(options):
    """float64, at float32 differences that are exact: 2e-7 near zero, and below it what d log2 e loses by rounding.

    That is 2^-24 of d, and what log2 e itself was rounded by, where no processor fuses product and difference.

    With the caller's permission to reassociate, too: it must not reach the number that is added to be taken away.
    """
    d = np.concatenate([-np.geomspace(1e-9, 86, 30_000), [0, -0.0]]).astype(np.float32)
    d = np.concatenate([d, np.zeros(-d.size % 16, np.float32)])
    out, wanted = np.empty_like(d), np.exp(d.astype(np.float64))
    njit(**options)(each)(d, np.float32(0), out)
    assert (np.abs(out / wanted - 1) <= 1.8e-7 + 7.5e-8 * np.abs(d)).all()
    assert out[-1] == 1
    assert abs(njit(**options)(total)(d, np.float32(0)) / wanted.sum() - 1) < 2e-6  # of 1,900 sums in each lane


def test_far_below_is_next_to_nothing_and_nan_stays():
    x = np.full(16, -1e30, np.float32)
    x[3], x[5], x[6] = -np.inf, np.nan, np.array(0x7F800001, np.uint32).view(np.float32)
    out = np.empty_like(x)
    njit(**PLAIN)(each)(x, np.float32(2), out)
    assert np.isnan(out[[5, 6]]).all() and (np.delete(out, [5, 6]) <= 2e-38).all()
    assert np.isnan(njit(**PLAIN)(total)(x, np.float32(2)))


@pytest.mark.parametrize("n", [1, 15, 16, 63, 64, 65, 1023])
def test_largest(n):
    """NumPy's maximum at every place that a row can begin; NaN is passed over, nothing gives -inf."""
    x = np.random.default_rng(n).standard_normal(n + 40).astype(np.float32) - 5
    x[0] = x[-1] = 9
    for first in (1, 2, 39):
        assert largest(x, first, first + n) == x[first : first + n].max()
    x[2] = np.nan
    assert largest(x, 1, 1 + n) == np.nanmax(x[1 : 1 + n])
    assert largest(x, 5, 5) == -np.inf


def test_lanes_above():
    @njit(**PLAIN)
    def places(x, number, found, part):
        bits, n = lanes_above(load_f32(x, 0), number), 0
        while bits:
            found[n] = lowest_bit(bits)
            bits, n = bits & (bits - np.uint32(1)), n + 1
        store_part(part, 0, 5, load_f32(x, 0))
        return n

    x, found, part = np.random.default_rng(0).standard_normal(16).astype(np.float32), np.zeros(16, int), np.zeros(16)
    x[4], part = np.nan, part.astype(np.float32)
    n = places(x, np.float32(0.25), found, part)
    assert found[:n].tolist() == np.flatnonzero(x > 0.25).tolist()
    np.testing.assert_array_equal(part, np.where(np.arange(16) < 5, x, 0))
