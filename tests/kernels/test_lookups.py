"""Oracles: exact Python integers (ops.hashing), NumPy's searchsorted, and the readable operators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.kernels.numba.hashing import hashed_row
from weightless.kernels.numba.layers import draw, log_sum_exp
from weightless.kernels.numba.memory import id_at
from weightless.kernels.numba.ngram_walk import QUANTA, draw_entry, own_quanta, search
from weightless.kernels.numba.rows import views
from weightless.ops.hashing import row_index_scalar, start_of
from weightless.program.operators import full_head

IDS = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40, unique=True).map(sorted)


@settings(max_examples=150, deadline=None)
@given(
    history=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=12),
    order=st.integers(1, 8),
    seed=st.integers(0, 2**62),
    pad=st.integers(0, 2**32 - 1),
    n_rows=st.integers(1, 2**40),
)
def test_hashed_row_is_exact_integer_arithmetic(history, order, seed, pad, n_rows):
    tokens = ([pad] * order + history)[-order:]
    have = hashed_row(np.array(history, np.uint32), len(history), order, np.uint64(start_of(seed)), pad, n_rows)
    assert have == row_index_scalar(tokens, seed, n_rows)


def test_ids_of_both_sizes_at_any_byte():
    values = np.array([0, 1, 255, 256, 65535, 2**31, 2**32 - 1], np.uint32)
    memory = np.concatenate([np.zeros(7, np.uint8), values.view(np.uint8)])
    assert [id_at(views(memory), 7, 4, i) for i in range(len(values))] == values.tolist()
    small = values[:5].astype(np.uint16)
    memory = np.concatenate([np.zeros(3, np.uint8), small.view(np.uint8)])
    assert [id_at(views(memory), 3, 2, i) for i in range(5)] == small.tolist()


@settings(max_examples=150, deadline=None)
@given(IDS, st.integers(0, 2**16 - 1), st.data())
def test_search_finds_what_searchsorted_finds(ids, key, data):
    first = data.draw(st.integers(0, len(ids)))
    end = data.draw(st.integers(first, len(ids)))
    key = data.draw(st.sampled_from([key, *ids]))
    for dtype, size in ((np.uint16, 2), (np.uint32, 4)):
        at, probes = search(views(np.array(ids, dtype).view(np.uint8)), 0, size, first, end, key)
        assert at == (ids.index(key) if key in ids[first:end] else -1)
        assert probes <= (end - first).bit_length() and (probes > 0) == (end > first)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 2**27), min_size=1, max_size=30), st.floats(0, 1, exclude_max=True), st.data())
def test_draw_entry_inverts_the_running_sum(quanta, u, data):
    cum = np.cumsum(quanta).astype(np.uint32)
    memory = views(cum.view(np.uint8))
    quantum = int(u * int(QUANTA))
    first = data.draw(st.integers(0, len(quanta) - 1))
    at, read = draw_entry(memory, 0, 0, len(cum), u)
    assert at == (int(np.searchsorted(cum, quantum, side="right")) if quantum < cum[-1] else -1)
    assert 1 <= read <= len(cum).bit_length() + 1
    assert draw_entry(memory, 0, first, first, u) == (-1, 0)
    own = [own_quanta(memory, 0, first, i) for i in range(first, len(cum))]
    assert own == [int(cum[first]), *quanta[first + 1 :]]


@pytest.mark.parametrize("n", [1, 2, 63, 301])
def test_draw_is_the_readable_twin(n):
    """Both invert the cumulative softmax; at u = 0 and just below 1 the ends, and never a word of probability 0."""
    rng = np.random.default_rng(n)
    values = (4 * rng.standard_normal(n)).astype(np.float32)
    log_p = values.astype(np.float64) - log_sum_exp(values, n)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-12)
    for u in [0.0, *rng.random(50), np.nextafter(1.0, 0.0)]:
        assert draw(values, n, u) == full_head.draw(log_p, u)
    if n > 2:
        values[[0, -1]] = -np.inf
        assert {draw(values, n, u) for u in (0.0, np.nextafter(1.0, 0.0))}.isdisjoint({0, n - 1})


def test_log_sum_exp_of_large_numbers():
    assert log_sum_exp(np.array([1000, 1000], np.float32), 2) == pytest.approx(1000 + np.log(2), abs=1e-12)
    assert log_sum_exp(np.array([-1e30, 3], np.float32), 2) == 3
