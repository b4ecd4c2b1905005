"""Row formats against a slow scalar decoder and encoder written from the layout's text, and against known bytes."""

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.base.format_names import USUAL
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.layout import format_named, is_quantised, row_bytes, stored_bytes

WIDTHS = [1, 2, 3, 6, 62, 63, 64, 65, 66, 126, 128, 130, 255, 256]


def scalar_decode(row: bytes, fmt: str, cols: int) -> list[float]:
    """One row, one number at a time, with nothing but struct."""
    plain = {"f32": "<f", "f16": "<e", "u8": "<B", "u16": "<H", "u32": "<I", "i32": "<i"}
    if fmt in plain:
        return [value for (value,) in struct.iter_unpack(plain[fmt], row)]
    if fmt == "bf16":
        return [struct.unpack("<f", b"\0\0" + row[2 * i : 2 * i + 2])[0] for i in range(cols)]
    codes: list[int] = []
    if fmt == "int8":
        codes = [byte - 256 if byte > 127 else byte for byte in row[:cols]]
        position = cols + cols % 2
    else:
        position = 0
        for start in range(0, cols, 64):
            half = min(64, cols - start) // 2
            packed = row[position : position + half]
            codes += [(byte & 15) - 8 for byte in packed] + [(byte >> 4) - 8 for byte in packed]
            position += half
        position += position % 2
    scales = [value for (value,) in struct.iter_unpack("<e", row[position:])]
    assert len(scales) == math.ceil(cols / 64)
    return [code * scales[i // 64] for i, code in enumerate(codes)]


def scalar_codes(group: list[float], limit: int) -> tuple[float, list[int]]:
    """Scale and codes of one group with exact fractions for the rounding of x / scale."""
    largest = max(abs(x) for x in group)
    scale = struct.unpack("<e", struct.pack("<e", np.float32(largest) / np.float32(limit)))[0]
    if scale == 0:
        return scale, [0] * len(group)
    quotients = [Fraction(float(np.float32(x) / np.float32(scale))) for x in group]
    return scale, [max(-limit, min(limit, round(q))) for q in quotients]


def samples(cols: int, rows: int = 5) -> np.ndarray:
    rng = np.random.default_rng(cols)
    x_RC = rng.standard_normal((rows, cols)).astype(np.float32)
    x_RC[1] = 0
    x_RC[2] *= np.float32(1e-7)
    x_RC[3] *= np.float32(2000)
    x_RC[4, ::2] = -0.0
    return x_RC


def widths_of(fmt: str) -> list[int]:
    return [cols for cols in WIDTHS if fmt != "int4" or cols % 2 == 0]


@pytest.mark.parametrize("fmt", ["f32", "f16", "bf16", "int8", "int4"])
def test_decoding_equals_the_scalar_decoder(fmt):
    for cols in widths_of(fmt):
        stored = encode_rows(samples(cols), fmt)
        assert stored.shape == (5, row_bytes(fmt, cols))
        decoded = decode_rows(stored, fmt, cols)
        assert decoded.dtype == np.float32
        assert decoded.tolist() == [scalar_decode(row.tobytes(), fmt, cols) for row in stored]


@pytest.mark.parametrize(("fmt", "limit"), [("int8", 127), ("int4", 7)])
def test_decoding_any_bytes_equals_the_scalar_decoder(fmt, limit):
    """Also codes the encoder never writes (-128, -8) have one meaning; scales are kept finite."""
    rng = np.random.default_rng(1)
    for cols in widths_of(fmt):
        stored = rng.integers(0, 256, (4, row_bytes(fmt, cols)), dtype=np.uint8)
        stored[:, -2 * math.ceil(cols / 64) :].view("<u2")[:] &= 0x3FFF
        assert decode_rows(stored, fmt, cols).tolist() == [scalar_decode(row.tobytes(), fmt, cols) for row in stored]


@pytest.mark.parametrize(("fmt", "limit"), [("int8", 127), ("int4", 7)])
def test_codes_and_scales_equal_the_scalar_encoder(fmt, limit):
    for cols in widths_of(fmt):
        x_RC = samples(cols)
        decoded = decode_rows(encode_rows(x_RC, fmt), fmt, cols)
        for row, wanted in zip(x_RC.tolist(), decoded.tolist(), strict=True):
            for start in range(0, cols, 64):
                scale, codes = scalar_codes(row[start : start + 64], limit)
                assert wanted[start : start + 64] == [scale * code for code in codes]


@pytest.mark.parametrize(("fmt", "limit"), [("int8", 127), ("int4", 7)])
def test_error_is_at_most_half_a_step(fmt, limit):
    """Half a scale, plus what rounding the scale to fp16 (2^-11 relative) moves the largest code."""
    x_RC = np.random.default_rng(2).standard_normal((50, 128)).astype(np.float32)
    error = np.abs(decode_rows(encode_rows(x_RC, fmt), fmt, 128) - x_RC).reshape(50, 2, 64).max(2)
    largest = np.abs(x_RC).reshape(50, 2, 64).max(2)
    assert (error <= largest / limit * (0.5 + limit * 2**-11) * 1.001).all()


@pytest.mark.parametrize(("fmt", "dtype"), [("f16", np.float16), ("f32", np.float32)])
def test_plain_formats_equal_numpy(fmt, dtype):
    x_RC = samples(63)
    assert encode_rows(x_RC, fmt).tobytes() == x_RC.astype(dtype).tobytes()


def test_bf16_rounds_to_nearest_even():
    """Oracle: exact fractions over the two neighbouring 16-bit patterns."""
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 0x7F7F0000, 2000, dtype=np.uint32)
    bits[:500] = (bits[:500] & 0xFFFF0000) | 0x8000
    x_RC = bits.view(np.float32)[None, :]
    stored = encode_rows(x_RC, "bf16").view("<u2")[0]
    for pattern, result in zip(bits.tolist(), stored.tolist(), strict=True):
        low, rest = pattern >> 16, pattern & 0xFFFF
        assert result == low + (rest > 0x8000 or (rest == 0x8000 and low % 2 == 1))


def test_known_bytes():
    """Worked by hand from the layout's text."""
    row = np.array([[7, -7, 1, 0, 2, -3]], np.float32)
    assert encode_rows(row, "int4").tobytes().hex() == "8f" + "a1" + "59" + "00" + "003c"
    row = np.array([[127, -127, 1]], np.float32)
    assert encode_rows(row, "int8").tobytes().hex() == "7f8101" + "00" + "003c"
    assert encode_rows(np.array([[1, -2]], np.float32), "bf16").tobytes().hex() == "803f00c0"
    assert encode_rows(np.array([[1, -2]], np.float32), "f16").tobytes().hex() == "003c00c0"
    assert encode_rows(np.array([[258]]), "u16").tobytes().hex() == "0201"
    assert encode_rows(np.array([[-2]]), "i32").tobytes().hex() == "feffffff"


def test_halfway_values_round_to_even():
    row = np.zeros((1, 64), np.float32)
    row[0, :6] = [7, 0.5, 1.5, 2.5, -0.5, -1.5]
    assert decode_rows(encode_rows(row, "int4"), "int4", 64)[0, :6].tolist() == [7, 0, 2, 2, 0, -2]


@pytest.mark.parametrize(("fmt", "limit"), [("int8", 127), ("int4", 7)])
def test_scales_halfway_between_two_fp16_numbers_go_to_the_even_one(fmt, limit):
    """limit * (odd multiple of 2^-11) is exact in float32, so max / limit is an exact tie (a reciprocal misses it)."""
    odd = np.arange(2049, 4095, 2)
    row = np.zeros((len(odd), 64), np.float32)
    row[:, 0] = odd * limit * 2.0**-11
    scale = encode_rows(row, fmt)[:, -2:].copy().view("<f2")[:, 0].astype(np.float64)
    assert (scale * 2**11).tolist() == [2 * round(int(n) / 2) for n in odd]


def test_sizes():
    assert row_bytes("int4", 64) == 34 and row_bytes("int4", 256) == 136 and row_bytes("int4", 66) == 38
    assert row_bytes("int8", 64) == 66 and row_bytes("int8", 65) == 70
    assert row_bytes("bf16", 3) == 6 and row_bytes("f32", 3) == 12 and row_bytes("u8", 3) == 3
    assert stored_bytes("int4", 1000, 64) == 34000
    assert format_named("int4").bits_per_element(640) == 4.25
    codes = ["int8", "int6", "int5", "int4", "int3", "int2", "t2", "t5", "binary"]
    assert [name for name in USUAL if is_quantised(name)] == codes


@pytest.mark.parametrize("fmt", USUAL)
def test_empty_tables(fmt):
    x_RC = np.zeros((0, 64), np.int64 if format_named(fmt).is_integer_table else np.float32)
    stored = encode_rows(x_RC, fmt)
    assert stored.shape == (0, row_bytes(fmt, 64))
    assert decode_rows(stored, fmt, 64).shape == (0, 64)
    assert encode_rows(x_RC.reshape(64, 0), fmt).shape == (64, 0)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), fmt=st.sampled_from(["u8", "u16", "u32", "i32"]), cols=st.integers(0, 9))
def test_integer_tables_round_trip(data, fmt, cols):
    limits = np.iinfo(np.dtype(format_named(fmt).dtype))
    rows = data.draw(st.lists(st.lists(st.integers(limits.min, limits.max), min_size=cols, max_size=cols), max_size=5))
    x_RC = np.array(rows, np.int64).reshape(len(rows), cols)
    decoded = decode_rows(encode_rows(x_RC, fmt), fmt, cols)
    assert decoded.dtype == np.dtype(format_named(fmt).dtype) and (decoded == x_RC).all()


def test_row_padding_is_not_read():
    stored = encode_rows(samples(64), "int4")
    padded = np.full((5, 64), 255, np.uint8)
    padded[:, :34] = stored
    assert (decode_rows(padded, "int4", 64) == decode_rows(stored, "int4", 64)).all()


def test_blocks_do_not_show(monkeypatch):
    x_RC = samples(66, rows=37)
    whole = encode_rows(x_RC, "int4")
    monkeypatch.setattr("weightless.quant.formats.BLOCK_ELEMENTS", 66 * 5)
    assert (encode_rows(x_RC, "int4") == whole).all()
    assert (decode_rows(whole, "int4", 66)[-1] == decode_rows(whole[-1:], "int4", 66)[0]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fmt", ["int8", "int4"])
def test_quantised_formats_refuse_what_is_not_finite(fmt, bad):
    x_RC = np.ones((3, 64), np.float32)
    x_RC[1, 5] = bad
    with pytest.raises(ConfigError, match="NaN or infinity"):
        encode_rows(x_RC, fmt)


def test_numbers_too_large_are_refused():
    with pytest.raises(ConfigError, match="fp16 scale above 65504 in int4"):
        encode_rows(np.full((1, 64), 5e5, np.float32), "int4")
    with pytest.raises(ConfigError, match="fp16 scale above 65504 in int8"):
        encode_rows(np.full((1, 64), 9e6, np.float32), "int8")
    with pytest.raises(ConfigError, match="7e\\+04 is too large for f16"):
        encode_rows(np.full((1, 2), 7e4, np.float32), "f16")
    with pytest.raises(ConfigError, match="too large for bf16"):
        encode_rows(np.full((1, 2), np.finfo(np.float32).max), "bf16")
    with pytest.raises(ConfigError, match="too large for f32"):
        encode_rows(np.full((1, 2), 1e300), "f32")
    with pytest.raises(ConfigError, match="u8 holds 0 to 255, got -1 to 3"):
        encode_rows(np.array([[-1, 3]]), "u8")


def test_not_finite_numbers_survive_floating_formats():
    x_RC = np.array([[np.inf, -np.inf, np.nan]], np.float32)
    for fmt in ("f32", "f16", "bf16"):
        decoded = decode_rows(encode_rows(x_RC, fmt), fmt, 3)[0]
        assert decoded[0] == np.inf and decoded[1] == -np.inf and np.isnan(decoded[2])


def test_wrong_requests_say_what_to_do():
    x_RC = np.ones((2, 3), np.float32)
    with pytest.raises(ConfigError, match="cannot hold 3 columns"):
        encode_rows(x_RC, "int4")
    with pytest.raises(ConfigError, match="unknown format 'int44': did you mean 'int4'"):
        encode_rows(x_RC, "int44")
    with pytest.raises(ConfigError, match="rows and columns"):
        encode_rows(x_RC[0], "f32")
    with pytest.raises(ConfigError, match="stores integers, got float32"):
        encode_rows(x_RC, "u8")
    with pytest.raises(ConfigError, match="floating-point numbers, got int64"):
        encode_rows(np.ones((2, 3), np.int64), "f32")
    with pytest.raises(CorruptFileError, match="takes 12 bytes"):
        decode_rows(np.zeros((2, 11), np.uint8), "f32", 3)
