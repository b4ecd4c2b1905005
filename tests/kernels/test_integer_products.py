"""Products with activations of eight bits.

Oracle of the rounding: arithmetic in exact fractions; of PyTorch's twin and the kernels: the NumPy twin.
"""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from weightless.kernels.numba.integer_matvec import INTEGER_MATVEC
from weightless.kernels.numba.rows import views
from weightless.layers.functions.activations import taken
from weightless.ops.integer_activations import BLOCK, integer_activations, rounded_activations
from weightless.quant.formats import decode_rows, encode_rows

QUICK = ("int8", "int4", "int2", "t2_g32_s8", "binary", "int8_row")
MORE = ("int8_g32", "int8_g128_s8", "int4_g32", "int4_g128", "int4_row_s8", "int2_g32", "t2", "t2_g128", "binary_row")
FORMATS = (*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE))
WIDTHS = [1, 2, 3, 31, 63, 64, 65, 66, 127, 128, 130, 200, 256, 511, 513, 1090]


def numbers(n: int, seed: int = 0) -> np.ndarray:
    """Of very different sizes, block by block: some are zero, some too small to be anything else."""
    x = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    sizes = np.array([1, 0, 300, 1e-33, 2e-5], np.float32)
    return x * np.repeat(np.resize(sizes, -(-n // BLOCK)), BLOCK)[:n]


@pytest.mark.parametrize("n", [1, 63, 64, 65, 300])
def test_codes_are_the_nearest_whole_numbers(n):
    """a minimises |x - a m / 127|, and ties (127 x / m within a rounding of a half) may go either way."""
    x = numbers(n)
    codes, scales = integer_activations(x)
    assert codes.dtype == np.int8 and codes.shape == (len(scales) * BLOCK,) and not codes[n:].any()
    for j, value in enumerate(x.tolist()):
        m = Fraction(float(np.abs(x[j // BLOCK * BLOCK : j // BLOCK * BLOCK + BLOCK]).max()))
        if m < Fraction(1e-30):
            assert codes[j] == 0 and scales[j // BLOCK] == 0
            continue
        wanted = Fraction(value) * 127 / m
        assert abs(wanted - int(codes[j])) <= Fraction(1, 2) + abs(wanted) * Fraction(2, 2**23)
        assert abs(Fraction(float(scales[j // BLOCK])) * 127 / m - 1) <= Fraction(3, 2**24)


def test_halves_go_to_the_even_number():
    x = np.zeros(BLOCK, np.float32)
    x[:5] = [127, 0.5, 1.5, -2.5, -127]
    assert integer_activations(x)[0][:5].tolist() == [127, 0, 2, -2, -127]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_group_with_something_that_is_no_number_is_none(odd):
    x = numbers(200)
    x[70] = odd
    have = rounded_activations(x)
    assert np.isnan(have[64:128]).all() and np.isfinite(have[:64]).all() and np.isfinite(have[128:]).all()
    assert torch.equal(taken(torch.from_numpy(x), "int8").isnan(), torch.from_numpy(have).isnan())


@pytest.mark.parametrize("shape", [(1,), (64,), (3, 65), (2, 3, 130), (0, 64)])
def test_training_rounds_to_the_same_bits(shape):
    x = torch.from_numpy(numbers(int(np.prod(shape)), 3).reshape(shape))
    have = taken(x, "int8")
    assert np.array_equal(have.numpy().view(np.uint32), rounded_activations(x.numpy()).view(np.uint32))
    assert taken(x, "f32") is x


def test_the_gradient_passes_unchanged():
    x = torch.randn(3, 70, requires_grad=True)
    weight = torch.randn(3, 70)
    (taken(x, "int8") * weight).sum().backward()
    assert torch.equal(x.grad, weight)


def bound(weights_RC: np.ndarray, x_C: np.ndarray) -> np.ndarray:
    """Sums of whole numbers are exact; scaled ones are rounded once per product of scales, product and sum."""
    n_groups = -(-len(x_C) // 32)
    return (n_groups + 8) * 2.0**-24 * (np.abs(weights_RC) @ np.abs(x_C.astype(np.float64)))


def check_product(fmt: str, rows: int, cols: int) -> None:
    rng = np.random.default_rng(cols)
    x_RC = rng.standard_normal((rows, cols)).astype(np.float32)
    x_RC *= np.resize(np.array([1, 300, 0, 2e-5], np.float32), rows)[:, None]
    packed = encode_rows(x_RC, fmt)
    stride = packed.shape[1] + 12
    memory = np.full((64 + rows * stride + 67) // 4 * 4, 0xFF, np.uint8)
    memory[64 : 64 + rows * stride].reshape(rows, stride)[:, : packed.shape[1]] = packed
    x, out = numbers(cols, 1), np.full(rows + 1, np.nan, np.float32)
    INTEGER_MATVEC[fmt](views(memory), 64, stride, rows, cols, x, out[:rows])
    weights, met = decode_rows(packed, fmt, cols).astype(np.float64), rounded_activations(x)
    assert (np.abs(out[:rows] - weights @ met.astype(np.float64)) <= bound(weights, met)).all()
    assert np.isnan(out[rows])


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_product_is_that_of_the_twin(fmt):
    """Odd widths and all remainders of four rows, 0xFF around them; rows wider than a stretch in the last two."""
    for i, cols in enumerate(WIDTHS):
        if fmt != "int4" or cols % 2 == 0:
            check_product(fmt, 1 + i % 9, cols)
    check_product(fmt, 5, 4096)
    check_product(fmt, 3, 9002)


@pytest.mark.parametrize("fmt", QUICK)
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_no_number_shows_in_every_row(fmt, odd):
    """Poisoned memory has to be seen: even where the code that meets it is zero."""
    packed = encode_rows(np.zeros((5, 66), np.float32), fmt)
    memory = np.zeros(-(-packed.size // 64) * 64, np.uint8)
    memory[: packed.size] = packed.reshape(-1)
    x, out = np.ones(66, np.float32), np.zeros(5, np.float32)
    x[65] = odd
    INTEGER_MATVEC[fmt](views(memory), 0, packed.shape[1], 5, 66, x, out)
    assert np.isnan(out).all()


@pytest.mark.parametrize("fmt", ["f32", "bf16", "int3", "int5", "int6_row", "t5", "u32", "int4@lsq"])
def test_other_formats_have_no_such_product(fmt):
    with pytest.raises(KeyError):
        INTEGER_MATVEC[fmt]


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["avx2", "generic"])
def test_processors_without_such_instructions_get_the_same(processor):
    """The same tests in a process that compiles for an older x86 processor, and for one without any extension."""
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    if processor == "avx2" and not features.get("avx2"):
        pytest.skip("this processor has no AVX2")
    kept = ",".join(("-" if name.startswith("avx512") or not on else "+") + name for name, on in features.items())
    chosen = {
        "avx2": {"NUMBA_CPU_FEATURES": kept, "NUMBA_CPU_NAME": "znver3"},
        "generic": {"NUMBA_CPU_NAME": "generic"},
    }
    again = [
        sys.executable,
        "-m",
        "pytest",
        __file__,
        "-q",
        "-n",
        "0",
        "-k",
        "is_that_of_the_twin or shows_in_every_row",
    ]
    environment = {**os.environ, **chosen[processor]}
    done = subprocess.run(again, env=environment, capture_output=True, text=True, cwd=os.getcwd())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
