"""Hashed rows: array = scalar (exact integers), known values, spread, and the start of the text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.ops.hashing import last_tokens, row_index, row_index_scalar


@settings(max_examples=200, deadline=None)
@given(
    tokens=st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=3, max_size=3), min_size=1, max_size=20),
    seed=st.integers(0, 2**64 - 1),
    n_rows=st.integers(1, 2**40),
)
def test_array_equals_scalar(tokens, seed, n_rows):
    rows = row_index(np.array(tokens, np.uint64), seed, n_rows)
    assert rows.tolist() == [row_index_scalar(ngram, seed, n_rows) for ngram in tokens]
    assert rows.dtype == np.int64 and (rows >= 0).all() and (rows < n_rows).all()


def test_mix_is_the_published_finaliser():
    """SMHasher's fmix64 of 1 is 0xB456BCFC34C2CB2C; with n = 0 the row is mix(mix(seed + basis))."""
    from weightless.ops import hashing

    assert hashing._mix_scalar(1) == 0xB456BCFC34C2CB2C
    assert (
        row_index_scalar([], (1 - hashing.OFFSET_BASIS) % 2**64, 2**63)
        == hashing._mix_scalar(0xB456BCFC34C2CB2C) % 2**63
    )


def test_every_integer_type_and_shape_gives_the_same_rows():
    tokens = np.random.default_rng(0).integers(0, 60000, (2, 5, 3))
    wanted = row_index(tokens, 7, 1009)
    assert wanted.shape == (2, 5)
    for dtype in (np.uint16, np.uint32, np.int32, np.uint64):
        assert (row_index(tokens.astype(dtype), 7, 1009) == wanted).all()
    assert row_index(tokens[0, 0], 7, 1009) == wanted[0, 0]


def test_rows_are_spread_evenly_and_differ_between_seeds():
    """Chi-square over 256 rows of all bigrams of 200 tokens: 255 degrees of freedom, 5 sigma is 255 + 5 * sqrt(510)."""
    first, second = np.meshgrid(np.arange(200), np.arange(200))
    tokens = np.stack([first, second], axis=-1).reshape(-1, 2)
    rows = row_index(tokens, 0, 256)
    expected = len(rows) / 256
    assert ((np.bincount(rows, minlength=256) - expected) ** 2 / expected).sum() < 255 + 5 * 510**0.5
    assert abs((rows == row_index(tokens, 1, 256)).mean() - 1 / 256) < 5 * (1 / 256 / len(rows)) ** 0.5


def test_order_matters():
    assert row_index_scalar([1, 2], 0, 2**40) != row_index_scalar([2, 1], 0, 2**40)


def test_last_tokens_marks_what_lies_before_the_start():
    assert last_tokens(np.array([5, 6, 7], np.uint16), 3, 99).tolist() == [[99, 99, 5], [99, 5, 6], [5, 6, 7]]
    assert last_tokens(np.array([[5, 6], [7, 8]]), 2, 9).tolist() == [[[9, 5], [5, 6]], [[9, 7], [7, 8]]]
    assert last_tokens(np.array([5, 6]), 1, 9).tolist() == [[5], [6]]


def test_refuses_what_cannot_be_hashed():
    with pytest.raises(ConfigError, match="at least one row"):
        row_index(np.array([1]), 0, 0)
    with pytest.raises(ConfigError, match="integers >= 0"):
        row_index(np.array([-1]), 0, 4)
    with pytest.raises(ConfigError, match="integers >= 0"):
        row_index(np.array([1.0]), 0, 4)
