"""The slow truth itself, against figures computed by hand from Chen and Goodman's equations."""

from __future__ import annotations

import pytest

from weightless.ops.kneser_ney import START, KneserNey, modified_discounts, ngram_counts


def test_discounts_by_hand():
    # n1..n4 = 10, 4, 3, 2: Y = 10/18 = 5/9; D1 = 1 - 2 (5/9)(4/10), D2 = 2 - 3 (5/9)(3/4), D3 = 3 - 4 (5/9)(2/3).
    found = modified_discounts([10, 4, 3, 2])
    assert not found.fallback
    assert [found.d1, found.d2, found.d3] == pytest.approx([5 / 9, 3 / 4, 41 / 27], rel=1e-12)
    assert [found.of(c) for c in (0, 1, 2, 3, 99)] == [0, found.d1, found.d2, found.d3, found.d3]


@pytest.mark.parametrize("counts", [(0, 1, 1, 1), (5, 0, 1, 1), (5, 4, 0, 1), (5, 4, 3, 0), (100, 1, 9, 1)])
def test_degenerate_counts_of_counts_fall_back(counts):
    found = modified_discounts(counts)
    assert found.fallback and (found.d1, found.d2, found.d3) == (0.5, 1.0, 1.5)


def test_counts_by_hand():
    # The stream a b a b is preceded by one mark: bigrams (a b) twice, (b a) once, (mark a) once.
    unigrams, bigrams = ngram_counts([0, 1, 0, 1], order=2)
    assert bigrams == {(START, 0): 1, (0, 1): 2, (1, 0): 1}
    assert unigrams == {(0,): 2, (1,): 1}  # distinct left neighbours: {mark, b} and {a}


def test_probabilities_by_hand():
    # Fall-back discounts everywhere.  Unigrams: a has count 2, b has 1, total 3, D = 1.0 and 0.5, V = 4:
    # p(a) = 1/3 + gamma/4, p(b) = 0.5/3 + gamma/4, others gamma/4, gamma = 1.5/3.
    # After a: only b, twice: p(b|a) = (2 - 1)/2 + (1/2) p(b).
    model = KneserNey([0, 1, 0, 1], vocab_size=4, order=2)
    p_a, p_b, other = 1 / 3 + 0.125, 0.5 / 3 + 0.125, 0.125
    assert [model.prob([], w) for w in range(4)] == pytest.approx([p_a, p_b, other, other], rel=1e-12)
    assert model.prob([3, 0], 1) == pytest.approx(0.5 + 0.5 * p_b, rel=1e-12)
    assert model.prob([1], 3) == pytest.approx(0.5 * other, rel=1e-12)
    assert model.prob([2], 0) == pytest.approx(p_a, rel=1e-12)  # a context that never occurred


def test_pruning_by_hand():
    # min_count 2 for bigrams drops (b a); all of its mass goes to gamma(b) = 1, so p(a|b) = p(a).
    model = KneserNey([0, 1, 0, 1], vocab_size=4, order=2, min_counts=[1, 2])
    assert model.prob([1], 0) == pytest.approx(model.prob([], 0), rel=1e-12)
    assert sum(model.prob([0], w) for w in range(4)) == pytest.approx(1, rel=1e-12)
