"""Units. Oracles: decimal arithmetic by hand, and that what is printed parses back to within its three digits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.base.units import bits_per_byte, human_bytes, human_seconds, parse_bytes

BYTES = [
    (0, "0 B"),
    (1, "1 B"),
    (999, "999 B"),
    (999.6, "1 kB"),
    (1000, "1 kB"),
    (1234, "1.23 kB"),
    (999_499, "999 kB"),
    (999_999, "1 MB"),
    (1_234_567, "1.23 MB"),
    (16_000_000, "16 MB"),
    (999_999_999, "1 GB"),
    (5.25e11, "525 GB"),
    (1_234e9, "1,234 GB"),
    (-1_500, "-1.5 kB"),
]


@pytest.mark.parametrize(("n", "text"), BYTES)
def test_bytes_as_a_person_says_them(n, text):
    assert human_bytes(n) == text


@given(st.integers(0, 10**13))
def test_what_is_printed_parses_back(n):
    assert parse_bytes(human_bytes(n)) == pytest.approx(n, rel=0.00501)  # half of the third digit


SECONDS = [
    (0, "0.0 s"),
    (5.23, "5.2 s"),
    (59.94, "59.9 s"),
    (59.97, "1 min 00 s"),
    (200, "3 min 20 s"),
    (3599.6, "1 h 00 min"),
    (7500, "2 h 05 min"),
    (math.inf, "unknown time"),
    (math.nan, "unknown time"),
]


@pytest.mark.parametrize(("seconds", "text"), SECONDS)
def test_seconds_as_a_person_says_them(seconds, text):
    assert human_seconds(seconds) == text


SIZES = [
    ("16MB", 16 * 10**6),
    ("16,000,000", 16 * 10**6),
    ("1.5 GiB", 3 << 29),
    ("4_096", 4096),
    (" 512 kb ", 512_000),
    ("1TB", 10**12),
    ("0", 0),
    ("1e3 B", 1000),
    ("0.5KiB", 512),
]


@pytest.mark.parametrize(("text", "n"), SIZES)
def test_sizes_are_read(text, n):
    assert parse_bytes(text) == n


@pytest.mark.parametrize("text", ["", "MB", "16 MiBs", "-5MB", "nan", "inf", "1e999", "1.2.3", "16M B x", "0x10"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="is not a size in bytes"):
        parse_bytes(text)


def test_bits_per_byte_of_a_uniform_byte_is_eight():
    assert bits_per_byte(1023 * math.log(256), 1023) == pytest.approx(8.0, rel=1e-15)
