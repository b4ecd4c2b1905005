"""Alias tables: every word keeps its mass to the unit; oracle: whole-number arithmetic.  The kernel equals the twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.kernels.numba import ngram as numba_ngram
from weightless.ngram.kneser_ney import unigram_alias
from weightless.ops.alias import alias_table, draw
from weightless.ops.kneser_ney import QUANTA


def units_of(table: np.ndarray, total: int) -> list[int]:
    """What each word holds of all columns, in whole units."""
    units = [int(threshold) for threshold, _ in table]
    for threshold, other in table:
        units[int(other)] += total - int(threshold)
    return units


def quanta_from(shares: list[int]) -> np.ndarray:
    """Whole numbers that add up to QUANTA, in about these shares; words of share 0 get nothing."""
    cum = np.array([QUANTA * sum(shares[: i + 1]) // sum(shares) for i in range(len(shares))], dtype=np.uint64)
    return np.diff(cum, prepend=np.uint64(0)).astype(np.int64)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=70).filter(any))
@settings(max_examples=200, deadline=None)
def test_every_word_keeps_its_mass(shares):
    quanta = quanta_from(shares)
    table = alias_table(quanta)
    assert units_of(table, QUANTA) == [len(quanta) * int(q) for q in quanta]
    fast = np.empty_like(table)
    numba_ngram.alias_table(quanta, fast)
    assert np.array_equal(fast, table)


@pytest.mark.parametrize("n", [1, 2, 63, 1023])
def test_a_draw_falls_where_the_table_says(n):
    """A fine grid of points gives every word its share, within one point per column."""
    quanta = quanta_from((1 + np.random.default_rng(n).zipf(1.3, n) % 999).tolist())
    table, per_column = alias_table(quanta), 50
    points = (np.arange(n * per_column) + 0.5) / (n * per_column)
    drawn = np.bincount([draw(table, u, QUANTA) for u in points], minlength=n)
    columns_of = np.bincount(table[:, 1], minlength=n) + 1
    assert (np.abs(drawn - quanta / QUANTA * n * per_column) <= columns_of).all()
    assert {draw(table, u, QUANTA) for u in (0.0, np.nextafter(1.0, 0.0))} <= set(np.flatnonzero(quanta))


def test_from_running_sums():
    cum = np.cumsum(quanta_from([3, 1, 4, 1, 5])).astype(np.uint32)
    assert units_of(unigram_alias(cum), QUANTA) == [5 * int(q) for q in np.diff(cum.astype(np.int64), prepend=0)]
