"""Blocks of GGUF against the `gguf` package where it knows the type, else against the layout's own sentence.

Bit for bit: numbers are whole codes times an fp16 scale, exact in float32 everywhere.
"""

from __future__ import annotations

import numpy as np
import pytest

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.gguf_blocks import CODED, Found, codes_of, fits, laid_as, lay_codes, read_codes, rounded

CODES = {"Q8_0": 127, "Q4_0": 7, "Q2_0": 1, "TQ2_0": 1}


def drawn(name: str, rows: int = 3, blocks: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng, kind = np.random.default_rng(seed), CODED[name]
    q = rng.integers(-CODES[name], CODES[name] + 1, (rows, blocks * kind.size)).astype(np.int8)
    d = rng.uniform(1e-3, 2, (rows, blocks)).astype(np.float16).astype(np.float32)
    return q, np.repeat(d, kind.size // 32, axis=1)


def numbers(q: np.ndarray, s: np.ndarray) -> np.ndarray:
    return q.astype(np.float32) * np.repeat(s, 32, axis=1)


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "TQ2_0"])
def test_the_package_reads_our_blocks(name):
    gguf = pytest.importorskip("gguf", reason="the extra interop is not installed")
    q, s = drawn(name)
    assert fits(name, q, s)
    theirs = gguf.quants.dequantize(lay_codes(name, q, s), gguf.GGMLQuantizationType[name])
    assert np.array_equal(theirs, numbers(q, s))


def by_hand(name: str, stored_B: np.ndarray) -> list[float]:
    """Numbers of one row, from the sentence that the layout is told by."""
    kind, out = CODED[name], []
    for block in stored_B.reshape(-1, kind.n_bytes):
        at = kind.n_bytes - 2 if name == "TQ2_0" else 0
        d = float(block[at : at + 2].copy().view("<f2")[0])
        codes = block[:64] if name == "TQ2_0" else block[2:]
        for j in range(kind.size):
            if name == "Q8_0":
                q = int(codes[j].view(np.int8))
            elif name == "Q4_0":
                q = (int(codes[j % 16]) >> (4 * (j // 16)) & 15) - 8
            elif name == "Q2_0":
                q = (int(codes[j // 4]) >> (2 * (j % 4)) & 3) - 1
            else:
                q = (int(codes[32 * (j // 128) + j % 32]) >> (2 * (j % 128 // 32)) & 3) - 1
            out.append(q * d)
    return out


@pytest.mark.parametrize("name", CODED)
def test_blocks_by_hand_and_back(name):
    q, s = drawn(name, seed=1)
    stored = lay_codes(name, q, s)
    assert stored.shape == (3, 5 * CODED[name].n_bytes)
    assert np.array_equal([by_hand(name, row) for row in stored], numbers(q, s))
    again, scales = read_codes(name, stored)
    assert np.array_equal(again, q) and np.array_equal(scales, s)


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0"])
def test_rounding_is_llama_cpps(name):
    gguf = pytest.importorskip("gguf", reason="the extra interop is not installed")
    x = np.random.default_rng(2).standard_normal((17, 96)).astype(np.float32)
    x[3] = 0
    x[4, :32] = 0.5
    x[5] = np.arange(-48, 48) / 7
    assert np.array_equal(rounded(name, x), gguf.quants.quantize(x, gguf.GGMLQuantizationType[name]))
    with pytest.raises(ConfigError, match="fp16 scale above"):
        rounded(name, x * np.float32(1e8))


def test_blocks_of_llama_cpp_with_the_code_that_we_have_not():
    """Q4_0's largest number is -8 d; d may be negative.  Read with scales above zero, it fits int5, and goes back."""
    x = np.random.default_rng(3).standard_normal((5, 64)).astype(np.float32)
    stored = rounded("Q4_0", x)
    q, s = read_codes("Q4_0", stored)
    assert (s >= 0).all() and q.min() == -8 and q.max() == 8
    assert np.array_equal(numbers(q, s), [by_hand("Q4_0", row) for row in stored])
    found = Found().among(q, s)
    assert found.format() == "int5_g32"
    assert np.array_equal(decode_rows(laid_as("int5_g32", q, s), "int5_g32", 64), numbers(q, s))
    assert fits("Q4_0", q, s) and np.array_equal(lay_codes("Q4_0", q, s), stored)
    assert not fits("Q4_0", np.array([[8, -8] * 16], np.int8), np.ones((1, 1), np.float32))


@pytest.mark.parametrize(
    "fmt, name",
    [
        ("int8", "Q8_0"),
        ("int8_row", "Q8_0"),
        ("int8_g128", "Q8_0"),
        ("int6", "Q8_0"),
        ("int5_g32", "Q8_0"),
        ("int4", "Q4_0"),
        ("int4_g32", "Q4_0"),
        ("int3_g128", "Q4_0"),
        ("int2", "Q4_0"),
        ("t2_g128", "Q2_0"),
        ("t5", "Q2_0"),
        ("t2_row", "TQ2_0"),
        ("binary", "Q2_0"),
    ],
)
def test_formats_of_ours_fit_a_type_and_come_back(fmt, name):
    cols = 768 if name == "TQ2_0" else 192
    x = np.random.default_rng(4).standard_normal((7, cols)).astype(np.float32)
    stored = encode_rows(x, fmt)
    coded = codes_of(stored, fmt, cols)
    assert next(one for one in CODED if fits(one, *coded)) == name
    values = decode_rows(stored, fmt, cols)
    read = read_codes(name, lay_codes(name, *coded))
    assert np.array_equal(numbers(*read), values)
    back = Found().among(*read).format()
    assert np.array_equal(decode_rows(laid_as(back, *read), back, cols), values)
    if fmt[:2] not in ("t5", "bi") and not fmt.startswith("int2"):
        assert back == fmt and np.array_equal(laid_as(back, *read), stored)


@pytest.mark.parametrize("fmt, cols", [("int4", 48), ("f32", 64), ("int8", 33), ("t5", 40)])
def test_rows_without_whole_units_have_no_codes_to_give(fmt, cols):
    assert codes_of(encode_rows(np.ones((2, cols), np.float32), fmt), fmt, cols) is None


def test_scales_of_eight_bits_fit_only_where_fp16_holds_them():
    x = np.random.default_rng(5).standard_normal((3, 256)).astype(np.float32)
    coded = codes_of(encode_rows(x, "int4_g32_s8"), "int4_g32_s8", 256)
    assert not any(fits(name, *coded) for name in CODED)
    q, s = coded
    assert fits("Q4_0", q, s.astype(np.float16).astype(np.float32))


def test_blocks_across_groups_and_codes_too_large_do_not_fit():
    q, s = np.ones((1, 64), np.int8), np.array([[1.0, 2.0]], np.float32)
    assert fits("Q4_0", q, s) and not fits("Q2_0", q, s)
    assert not fits("Q2_0", 2 * q, np.ones_like(s)) and not fits("Q8_0", q, np.array([[1, np.inf]], np.float32))


@pytest.mark.parametrize("name", CODED)
def test_damaged_scales_are_told(name):
    q, s = drawn(name)
    stored = lay_codes(name, q, s)
    at = CODED[name].n_bytes - 2 if name == "TQ2_0" else 0
    stored[1, at : at + 2] = np.array([np.nan], "<f2").view(np.uint8)
    with pytest.raises(CorruptFileError, match="NaN"):
        read_codes(name, stored)


def test_groups_are_found_at_odd_widths():
    """Three units of 32: groups of 64 leave a short one, as our rows do."""
    s = np.array([[1, 1, 2], [3, 3, 4]], np.float32)
    assert Found().among(np.ones((2, 96), np.int8), s).groups == {32, 64}
    assert Found().among(np.ones((2, 96), np.int8), np.ones_like(s)).format() == "t2_row"
    assert Found().among(np.full((2, 96), 9, np.int8), s).format(frozenset({32})) == "int5_g32"
