"""One distribution, one draw: exact arithmetic with fractions over the stored integers is the oracle."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ngram.streams import flat, zipfian

from weightless.base.errors import ConfigError
from weightless.ngram.kneser_ney import build
from weightless.ngram.layout import QUANTA
from weightless.ngram.score import context_lists, distribution, log_probs, sample

HISTORIES = [[], [0], [3, 1], [0, 0, 0], [1, 0, 2, 0], [10, 10, 10, 10, 10]]
PRUNED = [1, 2, 2, 2]


def exact_distribution(arrays, history):
    """p(. | history) as fractions, shortest context first, straight from the layout's equation."""
    unigrams = arrays["cont.0.cum"].tolist()
    p = [Fraction(high - low, QUANTA) for low, high in zip([0, *unigrams], unigrams, strict=False)]
    for words, cum in context_lists(arrays, history):
        steps = [0, *cum.tolist()]
        p = [Fraction(QUANTA - steps[-1], QUANTA) * value for value in p]
        for word, low, high in zip(words.tolist(), steps, steps[1:], strict=False):
            p[word] += Fraction(high - low, QUANTA)
    return p


def sampler_intervals(arrays, history):
    """(start, end) of every interval of u on which the sampler cannot change its mind, as fractions."""
    begin, width, intervals = Fraction(0), Fraction(1), []
    lists = [cum.tolist() for _, cum in context_lists(arrays, history)][::-1] + [arrays["cont.0.cum"].tolist()]
    for cum in lists:
        for low, high in zip([0, *cum], cum, strict=False):
            intervals.append((begin + width * Fraction(low, QUANTA), begin + width * Fraction(high, QUANTA)))
        taken = Fraction(cum[-1] if cum else 0, QUANTA)
        begin, width = begin + width * taken, width * (1 - taken)
    return intervals


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("min_counts", [None, PRUNED])
def test_distribution_equals_exact_arithmetic(history, min_counts):
    arrays = build(zipfian(1023, 11), 11, 4, min_counts)
    exact = exact_distribution(arrays, history)
    assert sum(exact) == 1
    # float64: at most a dozen roundings of numbers below one.
    np.testing.assert_allclose(distribution(arrays, history), [float(p) for p in exact], rtol=1e-14, atol=0)


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("min_counts", [None, PRUNED])
def test_the_sampler_draws_exactly_the_distribution(history, min_counts):
    arrays = build(zipfian(1023, 11), 11, 4, min_counts)
    mass, tiny = defaultdict(Fraction), Fraction(1, 10**80)
    intervals = sampler_intervals(arrays, history)
    assert intervals[0][0] == 0 and intervals[-1][1] == 1
    assert all(end == start for (_, end), (start, _) in zip(intervals, intervals[1:], strict=False))
    for start, end in intervals:
        word = sample(arrays, history, start)
        assert word == sample(arrays, history, end - tiny)
        mass[word] += end - start
    assert [mass[word] for word in range(11)] == exact_distribution(arrays, history)


def test_a_float_draws_what_the_fraction_draws():
    arrays = build(zipfian(1023, 300), 300, 5)
    for u in np.random.default_rng(1).random(300).tolist() + [0.0, np.nextafter(1.0, 0.0)]:
        assert sample(arrays, [0, 1, 0, 0], u) == sample(arrays, [0, 1, 0, 0], Fraction(u))


@pytest.mark.parametrize("vocab_size", [300, 70000])
def test_one_distribution_agrees_with_batch_scores(vocab_size):
    tokens = zipfian(513, vocab_size)
    arrays = build(tokens[:400], vocab_size, 5)
    scores = log_probs(arrays, tokens, 5)
    for t in (0, 1, 2, 3, 4, 5, 199, 400, 401, 512):
        p = distribution(arrays, tokens[:t])
        assert abs(p.sum() - 1) < 1e-12
        assert np.log(p[tokens[t]]) == pytest.approx(scores[t], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 5), st.lists(st.integers(0, 6), max_size=6))
def test_every_distribution_sums_to_one(words, order, history):
    arrays = build(np.array(words, np.uint16), 7, order)
    assert sum(exact_distribution(arrays, history)) == 1
    assert abs(distribution(arrays, history).sum() - 1) < 1e-12


def test_refusals():
    arrays = build(flat(63, 5), 5, 3)
    with pytest.raises(ConfigError, match="outside \\[0, 1\\)"):
        sample(arrays, [1], 1.0)
    with pytest.raises(ConfigError, match="outside the vocabulary"):
        distribution(arrays, [5])
