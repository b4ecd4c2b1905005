"""Codes of few bits: layouts against a scalar reader written from their text, rules against exact fractions."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_formats import FEW_BITS, MORE, RULED

from weightless.base.errors import ConfigError
from weightless.base.format_names import LEVELS, parse_format
from weightless.kernels.codes import code_bits
from weightless.quant.code_rows import decoded_codes
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.layout import code_bytes, column_bytes, filling, format_named, row_bytes, used_code_bytes

WIDTHS = [1, 2, 5, 15, 16, 30, 31, 33, 63, 64, 65, 79, 80, 81, 120, 128, 130, 257]
LEFT_OVER = {3: (3, 2), 5: (5, 2), 6: (3, 1)}
"""Bits: words of a period, codes in what they leave over."""


def scalar_codes(row: bytes, fmt: str, cols: int) -> list[int]:
    """u of every column, one bit at a time, from the text of `quant/words.py`."""
    parts = parse_format(fmt)
    bits, out = code_bits(parts.base), []
    words = [int.from_bytes(row[at : at + 4], "little") for at in range(0, used_code_bytes(fmt, cols), 4)]
    per_word = 32 // bits
    n_words, n_more = LEFT_OVER.get(bits, (1, 0))
    while len(out) < cols:
        period, words = words[:n_words], words[n_words:]
        own = [word >> bits * k & (1 << bits) - 1 for word in period for k in range(per_word)]
        more = sum((word >> 30) << 2 * w for w, word in enumerate(period)) if n_more else 0
        out += own + [more >> bits * k & (1 << bits) - 1 for k in range(n_more)]
    return out[:cols]


def scalar_digits(row: bytes, fmt: str, cols: int) -> list[int]:
    """Digits of ternary codes, five to a byte, group by group."""
    size, out, at = format_named(fmt).group_size(cols), [], 0
    for first in range(0, cols, size):
        n = min(size, cols - first)
        found = []
        for byte in row[at : at + -(-n // 5)]:
            value = byte - 256 if byte > 127 else byte
            for _ in range(5):
                digit = (value + 1) % 3 - 1
                found.append(digit)
                value = (value - digit) // 3
        out += found[:n]
        at += -(-n // 5)
    return out


def scalar_values(row: bytes, fmt: str, cols: int) -> list[float]:
    """Values of a stored row with nothing but struct and whole numbers."""
    parts, start = parse_format(fmt), code_bytes(fmt, cols)
    size = format_named(fmt).group_size(cols)
    n_groups = -(-cols // size)
    if parts.scale_bits == 16:
        scales = [value for (value,) in struct.iter_unpack("<e", row[start : start + 2 * n_groups])]
    else:
        (unit,) = struct.unpack("<e", row[start : start + 2])
        scales = [unit * n for n in row[start + 2 : start + 2 + n_groups]]
    half = Fraction(LEVELS[parts.base] - 1, 2)
    codes = scalar_digits(row, fmt, cols) if parts.base == "t5" else [u - half for u in scalar_codes(row, fmt, cols)]
    return [float(code * Fraction(scales[j // size])) for j, code in enumerate(codes)]


def samples(cols: int) -> np.ndarray:
    x_RC = np.random.default_rng(cols).standard_normal((5, cols)).astype(np.float32)
    x_RC[1] = 0
    x_RC[2] *= np.float32(1e-7)
    x_RC[3] *= np.float32(2000)
    x_RC[4, ::2] = -0.0
    return x_RC


@pytest.mark.parametrize("fmt", [*FEW_BITS, *MORE, *RULED])
def test_decoding_equals_the_scalar_reader(fmt):
    for cols in WIDTHS:
        if parse_format(fmt).storage in ("int4", "int8"):
            continue
        stored = encode_rows(samples(cols), fmt)
        assert stored.shape == (5, row_bytes(fmt, cols))
        assert decode_rows(stored, fmt, cols).tolist() == [scalar_values(row.tobytes(), fmt, cols) for row in stored]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), fmt=st.sampled_from([*FEW_BITS, *MORE]), cols=st.integers(1, 200))
def test_any_bytes_mean_what_the_scalar_reader_reads(data, fmt, cols):
    """Codes that no encoder writes too; scales are kept finite, and digits in a byte below 122."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    stored = rng.integers(0, 256, (2, row_bytes(fmt, cols)), dtype=np.uint8)
    start = code_bytes(fmt, cols)
    if fmt.startswith("t5"):
        stored[:, :start] = rng.integers(-121, 122, (2, start)).astype(np.int8).view(np.uint8)
    stored[:, start + 1 :: 2] &= 0x3F
    assert decode_rows(stored, fmt, cols).tolist() == [scalar_values(row.tobytes(), fmt, cols) for row in stored]


@pytest.mark.parametrize("fmt", [*FEW_BITS, *MORE])
@pytest.mark.parametrize("cols", [1, 5, 31, 120, 130])
def test_every_byte_is_of_its_columns_and_no_others(fmt, cols):
    """Each byte changed by itself: what changes are the columns that say so; what fills up changes nothing."""
    stored = encode_rows(samples(cols)[:1], fmt)[0]
    filled, places = filling(fmt, cols), column_bytes(fmt, cols)
    before = decode_rows(stored[None], fmt, cols)[0]
    for at in range(len(stored)):
        mine = {j for j in range(cols) if at in places[j]}
        assert bool(mine) != filled[at]
        changed = stored.copy()
        changed[at] ^= 0x55
        with np.errstate(invalid="ignore"):  # a scale may have become infinite
            after = decode_rows(changed[None], fmt, cols)[0]
        differing = set(np.flatnonzero(before.view(np.uint32) != after.view(np.uint32)).tolist())
        assert differing <= mine
        if at < used_code_bytes(fmt, cols) and not filled[at] and before.any():
            assert differing or fmt.startswith("t5") or not (0x55 & used_bits(fmt, cols, at))


def used_bits(fmt: str, cols: int, at: int) -> int:
    """The bits of a byte of words that codes lie in."""
    ones = np.full((1, row_bytes(fmt, cols)), 0, np.uint8)
    found = 0
    for bit in range(8):
        changed = ones.copy()
        changed[0, at] = 1 << bit
        one, other = (decoded_codes(rows, format_named(fmt), cols) for rows in (ones, changed))
        found |= (not np.array_equal(one, other)) << bit
    return found


def test_known_bytes():
    """Worked by hand from the layout's text: the word, then the scale 1.0 (003c)."""
    two = np.array([[-1.5, -0.5, 0.5, 1.5]], np.float32)
    assert encode_rows(two, "int2@absmax").tobytes().hex() == "e4000000" + "003c"
    ternary = np.array([[1, -1, 0, 1]], np.float32)
    assert encode_rows(ternary, "t2@absmax").tobytes().hex() == "92000000" + "003c"
    value = 1 - 3 + 0 + 27
    assert encode_rows(ternary, "t5@absmax").tobytes().hex() == f"{value:02x}" + "00" + "003c"
    seven = np.array([[3, -3, 0, 0, 0, 0, 0, 0, 0, 0, -2]], np.float32)
    ten = 6 | 0 << 3 | sum(3 << 3 * k for k in range(2, 10))
    assert encode_rows(seven, "int3@absmax").tobytes() == struct.pack("<IIe", ten, 1, 1.0)
    signs = np.array([[1, -1, -1, 1]], np.float32)
    assert encode_rows(signs, "binary").tobytes().hex() == "09000000" + "0040"


@pytest.mark.parametrize("bits", [3, 5, 6])
def test_no_bit_of_a_period_is_lost(bits):
    fmt, codes = f"int{bits}", {3: 32, 5: 32, 6: 16}[bits]
    assert used_code_bytes(fmt, codes) * 8 == codes * bits


@pytest.mark.parametrize("fmt", [*FEW_BITS, *MORE, *RULED, "int4", "int8"])
def test_codes_are_the_nearest_and_scales_what_the_rule_says(fmt):
    """Exact fractions of the stored scale; the scale itself within fp16 (2^-11) or a 255th of the row's largest."""
    name = format_named(fmt)
    for cols in (6, 64, 130):
        x_RC = samples(cols)
        stored = encode_rows(x_RC, fmt)
        codes_RC, values_RC = decoded_codes(stored, name, cols), decode_rows(stored, fmt, cols)
        half, size = (name.levels - 1) / 2, name.group_size(cols)
        for x, q, value in zip(x_RC[:4].tolist(), codes_RC.tolist(), values_RC.tolist()):
            for first in range(0, cols, size):
                group = slice(first, first + size)
                scales = {v / c for v, c in zip(value[group], q[group]) if c}
                assert len(scales) <= 1
                for number, code in zip(x[group], q[group]):
                    assert abs(code) <= half and (code + half) % 1 == 0
                    if scales and (scale := scales.pop()) > 0:
                        scales.add(scale)
                        ratio = number / scale
                        assert abs(ratio - code) <= 0.5 + 1e-6 or abs(code) == half and abs(ratio) >= half


def test_least_squares_errs_least():
    """Of all rules, and nearly as little as the best of a thousand scales for each group."""
    x_RC = np.random.default_rng(7).standard_normal((8, 64)).astype(np.float32)
    for base, levels in LEVELS.items():
        half = (levels - 1) / 2
        error = ((decode_rows(encode_rows(x_RC, f"{base}@lsq"), f"{base}@lsq", 64) - x_RC) ** 2).sum(axis=1)
        for rule in ("absmax", "absmean", "std", "quantile0.99"):
            name = parse_rule(base, rule)
            other = ((decode_rows(encode_rows(x_RC, name), name, 64) - x_RC) ** 2).sum(axis=1)
            assert (error <= other * 1.10).all() and error.sum() <= 1.01 * other.sum()
        if levels <= 15:
            best = [min(_squares(x, s, half, levels) for s in np.linspace(0.02, 4, 1000)) for x in x_RC]
            assert (error <= np.array(best) * 1.2).all() and error.sum() <= 1.05 * sum(best)


def parse_rule(base: str, rule: str) -> str:
    """The format with a rule, under the name that it has."""
    try:
        parse_format(f"{base}@{rule}")
    except ConfigError:
        return base
    return f"{base}@{rule}"


def _squares(x: np.ndarray, scale: float, half: float, levels: int) -> float:
    near = np.round(x / scale) if levels % 2 else np.floor(x / scale) + 0.5
    return float(((np.clip(near, -half, half) * scale - x) ** 2).sum())


def test_scales_of_eight_bits_are_near_those_of_sixteen():
    x_RC = np.random.default_rng(8).standard_normal((20, 256)).astype(np.float32) * np.float32(0.02)
    wide, narrow = (decode_rows(encode_rows(x_RC, fmt), fmt, 256) for fmt in ("int4_g32", "int4_g32_s8"))
    assert ((narrow - x_RC) ** 2).mean() <= 1.02 * ((wide - x_RC) ** 2).mean()
    assert row_bytes("int4_g32_s8", 256) == 128 + 2 + 8 and row_bytes("int4_g32", 256) == 128 + 16


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("fmt", [*FEW_BITS, *RULED])
def test_what_is_not_finite_is_refused(fmt, bad):
    x_RC = np.ones((3, 66), np.float32)
    x_RC[1, 5] = bad
    with pytest.raises(ConfigError, match="NaN or infinity"):
        encode_rows(x_RC, fmt)
    with pytest.raises(ConfigError, match="fp16 scale above 65504"):
        encode_rows(np.full((1, 66), 3e38, np.float32), fmt)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("int4_g64", "is called 'int4'"),
        ("int7", "unknown format 'int7': did you mean"),
        ("int4_g48", "'g48' is neither a group"),
        ("int4_s8_g32", "'s8' is neither"),
        ("t2@absmean", "is called 't2'"),
        ("t2@mean", "unknown rule for scales 'mean'"),
        ("int4@std0", "a number from 0.001 to 1000 goes with std"),
        ("int4@lsq2", "no number goes with lsq"),
        ("f32_g32", "f32 has no scales"),
        ("int4@std1.2.3", "'1.2.3' is no number"),
        ("", "unknown format ''"),
    ],
)
def test_names_that_no_format_has(name, told):
    with pytest.raises(ConfigError, match=told):
        parse_format(name)
