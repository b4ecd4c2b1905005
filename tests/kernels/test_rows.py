"""Oracle: quant.formats, the readable twin of every stored row; NumPy's float16 for half floats, all 65,536 of them."""

from __future__ import annotations

import numpy as np
import pytest
from some_formats import ARITHMETIC, FEW_BITS, FIRST, MORE

from weightless.kernels.numba.packed import DECODE_ROW, MATVEC
from weightless.kernels.numba.rows import (
    ENCODE_ROW,
    float_to_half,
    half_to_float,
    views,
)
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.layout import row_bytes

WIDTHS = [1, 2, 3, 15, 63, 64, 65, 66, 127, 128, 130, 191, 200]
FEW = [pytest.param(fmt, cols, marks=pytest.mark.slow) for fmt in MORE for cols in WIDTHS]
FIRST_CASES = [(fmt, cols) for fmt in (*FIRST, *FEW_BITS) for cols in WIDTHS if fmt != "int4" or cols % 2 == 0]
CASES = [*FIRST_CASES, *FEW]
ROWS = 5


def matrix(cols: int, seed: int = 0) -> np.ndarray:
    """Rows of very different size, one of zeros, one so small that its int8 scale is a subnormal half."""
    x = np.random.default_rng(seed).standard_normal((ROWS, cols)).astype(np.float32)
    return x * np.array([1, 300, 0, 2e-5, 0.01], np.float32)[:, None]


def stored(fmt: str, cols: int, offset: int = 64, gap: int = 0) -> tuple[np.ndarray, np.ndarray, int]:
    """(memory with the packed matrix at `offset`, its rows, stride); bytes around and between are 0xFF."""
    rows = encode_rows(matrix(cols), fmt)
    stride = rows.shape[1] + gap
    memory = np.full(offset + ROWS * stride + 64, 0xFF, np.uint8)
    memory[offset : offset + ROWS * stride].reshape(ROWS, stride)[:, : rows.shape[1]] = rows
    return memory[: len(memory) // 4 * 4], rows, stride


@pytest.mark.parametrize(("fmt", "cols"), CASES)
@pytest.mark.parametrize("gap", [0, 12])
def test_decode_row_is_the_twin_bit_for_bit(fmt, cols, gap):
    memory, rows, stride = stored(fmt, cols, gap=gap)
    wanted = decode_rows(rows, fmt, cols)
    for i in range(ROWS):
        out = np.empty(cols, np.float32)
        DECODE_ROW[fmt](views(memory), 64 + i * stride, cols, out)
        assert np.array_equal(out.view(np.uint32), wanted[i].view(np.uint32))


def digits_subtracted(fmt: str, weights_RC: np.ndarray, x_C: np.ndarray) -> np.ndarray:
    """Bound of the error of sum r_k (x_k - 3 x_(k-1)) with |r_k| <= 121: a rounding of each product, by rows."""
    if not fmt.startswith("t5"):
        return np.zeros(len(weights_RC))
    return np.abs(weights_RC).max(axis=1) * 121 * 4 * 2.0**-24 * np.abs(x_C.astype(np.float64)).sum()


@pytest.mark.parametrize(("fmt", "cols"), CASES)
def test_matvec_is_decode_times_vector(fmt, cols):
    """Sums of `cols` float32 products in another order: cols * 2^-24 of the sum of their sizes bounds the error; of
    five digits in a byte also the largest of what is subtracted again."""
    memory, rows, stride = stored(fmt, cols, gap=12)
    x, out = np.random.default_rng(1).standard_normal(cols).astype(np.float32), np.empty(ROWS, np.float32)
    MATVEC[fmt](views(memory), 64, stride, ROWS, cols, x, out)
    weights = decode_rows(rows, fmt, cols).astype(np.float64)
    bound = (cols + 4) * 2.0**-24 * (np.abs(weights) @ np.abs(x.astype(np.float64)))
    bound += digits_subtracted(fmt, weights, x)
    assert (np.abs(out - weights @ x.astype(np.float64)) <= bound).all()


@pytest.mark.parametrize("fmt", ARITHMETIC)
@pytest.mark.parametrize("cols", [1024, 1090, 2178, 4096, 4230])
def test_matvec_of_any_number_of_wide_rows(fmt, cols):
    """Rows are taken four at a time and 64 groups at a time: every remainder, each row exactly once, nothing beyond."""
    rng = np.random.default_rng(cols)
    rows = encode_rows(rng.standard_normal((9, cols)).astype(np.float32), fmt)
    memory = np.full(-(-rows.size // 64) * 64, 0xFF, np.uint8)
    memory[: rows.size] = rows.reshape(-1)
    x, weights = rng.standard_normal(cols).astype(np.float32), decode_rows(rows, fmt, cols).astype(np.float64)
    for n_rows in range(1, 10):
        out = np.full(n_rows + 1, 7, np.float32)
        MATVEC[fmt](views(memory), 0, rows.shape[1], n_rows, cols, x, out[:n_rows])
        bound = (cols + 4) * 2.0**-24 * (np.abs(weights[:n_rows]) @ np.abs(x.astype(np.float64)))
        bound += digits_subtracted(fmt, weights[:n_rows], x)
        assert (np.abs(out[:n_rows] - weights[:n_rows] @ x.astype(np.float64)) <= bound).all() and out[n_rows] == 7


@pytest.mark.parametrize(("fmt", "cols"), [(f, c) for f, c in FIRST_CASES if f in ("f32", "bf16", "int8")])
def test_encode_row_is_the_twin_bit_for_bit(fmt, cols):
    values = matrix(cols, seed=3)
    size = row_bytes(fmt, cols)
    memory = np.full(-(-(ROWS * size + 64) // 4) * 4, 0xFF, np.uint8)
    for i in range(ROWS):
        ENCODE_ROW[fmt](values[i], cols, views(memory), i * size)
    assert np.array_equal(memory[: ROWS * size].reshape(ROWS, size), encode_rows(values, fmt))
    assert (memory[ROWS * size :] == 0xFF).all()


@pytest.mark.parametrize("fmt", ["f32", "bf16", "int8"])
def test_encode_rounds_ties_as_the_twin(fmt):
    """Halfway codes and halfway mantissas: to even, on both sides of zero."""
    ties = np.array([127, *np.arange(-63, 64) / 2.0, -127, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8], np.float32)
    memory = np.zeros(1024, np.uint8)
    ENCODE_ROW[fmt](ties, len(ties), views(memory), 0)
    wanted = encode_rows(ties[None], fmt)[0]
    assert np.array_equal(memory[: len(wanted)], wanted)


def test_every_half_float_is_read_as_numpy_reads_it():
    """Normal, subnormal, zero of both signs, infinity; NaN stays NaN."""
    halves = np.arange(2**16, dtype=np.uint16)
    wanted = halves.view(np.float16).astype(np.float32)
    have = np.array([half_to_float(np.uint32(h)) for h in halves], np.float32)
    nan = np.isnan(wanted)
    assert np.array_equal(have[~nan].view(np.uint32), wanted[~nan].view(np.uint32)) and np.isnan(have[nan]).all()


def test_halves_are_rounded_as_numpy_rounds_them():
    """Every half, every midpoint between two, and their neighbours; too large becomes infinity."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    midpoints = (halves[1:] + halves[:-1]) / 2
    values = np.concatenate([halves[::7], midpoints[::7], [65504, 65519, 65520, 65536, 1e10, 0]]).astype(np.float32)
    values = np.concatenate([values, np.nextafter(values, np.float32(0)), np.nextafter(values, np.float32(np.inf))])
    with np.errstate(over="ignore"):
        wanted = values.astype(np.float16).view(np.uint16)
    assert [int(float_to_half(v)) for v in values] == wanted.tolist()


@pytest.mark.parametrize("fmt", ["f32", "bf16", "f16"])
def test_infinity_and_nan_survive(fmt):
    """A poisoned row must show in what is computed from it."""
    bits = {
        "f32": np.array([np.inf, -np.inf, np.nan, 1], np.float32).view(np.uint8),
        "bf16": np.array([0x7F80, 0xFF80, 0x7FC1, 0x3F80], np.uint16).view(np.uint8),
        "f16": np.array([0x7C00, 0xFC00, 0x7E01, 0x3C00], np.uint16).view(np.uint8),
    }[fmt]
    memory, out = np.concatenate([bits, np.zeros(16, np.uint8)]), np.empty(4, np.float32)
    DECODE_ROW[fmt](views(memory), 0, 4, out)
    assert out[0] == np.inf and out[1] == -np.inf and np.isnan(out[2]) and out[3] == 1
    product = np.empty(1, np.float32)
    MATVEC[fmt](views(memory), 0, len(bits), 1, 4, np.ones(4, np.float32), product)
    assert np.isnan(product[0])


@pytest.mark.parametrize("fmt", ["int8", "int4"])
def test_a_poisoned_scale_shows(fmt):
    """0xFFFF is a NaN scale: memory that was never written cannot pass for a number."""
    rows = encode_rows(matrix(64)[:1], fmt)
    rows[0, -2:] = 0xFF
    memory, out = np.concatenate([rows[0], np.zeros(64 - rows.shape[1] % 4, np.uint8)]), np.empty(64, np.float32)
    memory = memory[: len(memory) // 4 * 4]
    DECODE_ROW[fmt](views(memory), 0, 64, out)
    assert np.isnan(out).all()
    product = np.empty(1, np.float32)
    MATVEC[fmt](views(memory), 0, rows.shape[1], 1, 64, np.ones(64, np.float32), product)
    assert np.isnan(product[0])
