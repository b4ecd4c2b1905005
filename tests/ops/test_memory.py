"""Which slots product keys find: the best of halves against all M sums, in NumPy, PyTorch and the compiled operator.

Oracle: brute force over all n^2 slots, sorted by (-sum, number).  Scores of few whole numbers add exactly and tie
often; of normal numbers, the chosen sums are still the k largest, whatever rounding did to ties.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.layers import functions as L
from weightless.ops.memory import best_slots, pairs_that_can_win, slot_gates
from weightless.program.operators.memory import compiled


def exhaustive(s_2N: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    """The k best of all slots (i n + j), of equal sums the lower number."""
    n = s_2N.shape[1]
    sums = [float(s_2N[0, i] + s_2N[1, j]) for i in range(n) for j in range(n)]
    best = sorted(range(n * n), key=lambda slot: (-sums[slot], slot))[:k]
    return best, [sums[slot] for slot in best]


def best_of_compiled(scores, k, at, value):
    return compiled._best(scores, len(scores), k, at, value)


def slots_of_compiled(best, n, k, at, sums):
    """The loop over pairs of `choose_slots`."""
    found = 0
    for a in range(k):
        for b in range(k // (a + 1)):
            slot = int(best[a]) * n + int(best[2 * k + b])
            found = compiled._enter(at, sums, found, k, slot, best[k + a] + best[3 * k + b])
    return found


def by_engine(s_2N: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    best, at, sums = np.zeros(4 * k, np.float32), np.zeros(k, np.float32), np.zeros(k, np.float32)
    for half in range(2):
        assert best_of_compiled(
            s_2N[half].astype(np.float32), k, best[2 * half * k :], best[(2 * half + 1) * k : (2 * half + 2) * k]
        )
    assert slots_of_compiled(best, s_2N.shape[1], k, at, sums) == k
    return at.astype(int).tolist(), sums.tolist()


def by_torch(s_2N: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    slots, gates = L.choose_slots(torch.from_numpy(s_2N)[None, None], k, "sigmoid")
    return slots[0, 0].tolist(), torch.logit(gates[0, 0].double()).tolist()


@st.composite
def scores(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    n = draw(st.integers(1, 9))
    values = draw(st.lists(st.integers(-3, 3), min_size=2 * n, max_size=2 * n))
    return np.array(values, dtype=np.float32).reshape(2, n), draw(st.integers(1, n))


@settings(max_examples=300, deadline=None)
@given(case=scores())
def test_halves_find_what_brute_force_finds_ties_included(case):
    s_2N, k = case
    slots, sums = exhaustive(s_2N, k)
    found = best_slots(s_2N, k)
    assert (found[0].tolist(), found[1].tolist()) == (slots, sums)
    assert by_engine(s_2N, k) == (slots, sums)
    assert by_torch(s_2N, k)[0] == slots


@pytest.mark.parametrize(("n", "k"), [(63, 16), (63, 63), (7, 1), (33, 5)])
def test_of_any_numbers_the_chosen_sums_are_the_largest(n, k):
    rng = np.random.default_rng(n + k)
    for _ in range(5):
        s_2N = rng.standard_normal((2, n)).astype(np.float32)
        every = np.sort((s_2N[0][:, None] + s_2N[1]).ravel())[::-1][:k]
        assert np.array_equal(best_slots(s_2N, k)[1], every)
        assert np.array_equal(by_engine(s_2N, k)[1], every)
        assert by_engine(s_2N, k)[0] == best_slots(s_2N, k)[0].tolist() == by_torch(s_2N, k)[0]


@pytest.mark.parametrize("k", [1, 2, 3, 16, 63])
def test_pairs_that_can_win_are_those_with_fewer_than_k_as_good(k):
    first, second = pairs_that_can_win(k)
    wanted = [(a, b) for a in range(k) for b in range(k) if (a + 1) * (b + 1) - 1 < k]
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == wanted


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_what_is_no_number_is_not_among_the_best(bad):
    scores = np.array([1.0, bad, 3.0, bad, 2.0], np.float32)
    at, value = np.zeros(3, np.float32), np.zeros(3, np.float32)
    assert best_of_compiled(scores, 3, at, value) and at.tolist() == [2, 4, 0]
    at, value = np.zeros(4, np.float32), np.zeros(4, np.float32)
    assert not best_of_compiled(scores, 4, at, value)


def test_gates_are_the_softmax_or_the_sigmoids():
    sums = np.array([[2.0, 0.0, -800.0]])
    e = np.exp([0.0, -2.0, -802.0])
    np.testing.assert_allclose(slot_gates(sums, "softmax")[0], e / e.sum(), rtol=1e-14)
    np.testing.assert_allclose(slot_gates(sums, "sigmoid")[0], [1 / (1 + np.exp(-2)), 0.5, 0.0], rtol=1e-14)


@pytest.mark.parametrize("k", [0, 6])
def test_more_or_fewer_than_there_are_is_refused(k):
    with pytest.raises(ConfigError, match=f"{k} of 5 half-keys"):
        best_slots(np.zeros((2, 5)), k)
    with pytest.raises(ConfigError, match=f"{k} of 5 half-keys"):
        L.choose_slots(torch.zeros(1, 1, 2, 5), k, "softmax")
