"""Counts of a window as dictionaries, and the weights of its contexts.

Oracles: counting anew from the tokens at every position, while no list is full; fractions for the sum of a mixture;
a search over a grid for the weights.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from weightless.ops.window_cache import (
    CLASSES,
    LARGEST,
    MOST,
    WORDS,
    Listed,
    WindowCounts,
    cached_distribution,
    cached_nats,
    class_of,
    mixed_nats,
    usable,
)
from weightless.ops.window_weights import fitted, held_out_from, initial_weights, mean_nats, seen_in, side_by_side


def counted_anew(tokens: list[int], k: int) -> Counter[int]:
    """What followed the last k tokens before, by looking at every position."""
    n = len(tokens)
    places = range(k, n)
    return Counter(tokens[i] for i in places if tokens[i - k : i] == tokens[n - k :])


@pytest.mark.parametrize("vocab_size", [2, 5, WORDS, 200])
def test_counts_are_those_of_counting_anew(vocab_size):
    """Up to 63 tokens: no count reaches its end, and with 200 words no list is full."""
    tokens = (np.random.default_rng(vocab_size).zipf(1.4, 63) % vocab_size).tolist()
    counts = WindowCounts(5)
    for n, token in enumerate(tokens, start=1):
        counts.enter(token)
        wanted = [counted_anew(tokens[:n], k) for k in range(5)]
        found = counts.found()
        assert [context.counts for context in found] == [anew for anew in wanted if anew]
        numbers = [class_of(k, sum(anew.values()), len(anew)) for k, anew in enumerate(wanted) if anew]
        assert [context.number for context in found] == numbers


def test_classes_by_hand():
    """(order, total, distinct) -> the class of the total is its power of two, that of the share fourths of it."""
    table = {(0, 1, 1): 4, (0, 2, 1): 7, (0, 3, 3): 9, (1, 4, 1): CLASSES + 11, (2, 511, 3): 2 * CLASSES + 40}
    assert {key: class_of(*key) for key in table} == table
    assert class_of(0, 512, 512) == class_of(0, 10**6, 10**6) == CLASSES - 1


def test_a_count_stops_and_does_not_wrap():
    counts = WindowCounts(2, [7] * 600 + [3, 7])
    (_, listed) = counts.found()
    assert listed.counts == {7: MOST, 3: 1} and listed.total == MOST + 1


def test_a_full_list_gives_the_place_of_the_word_counted_least():
    listed = Listed()
    for word in [*range(WORDS), *range(1, WORDS)]:
        assert listed.enter(word) is None
    assert listed.enter(99) == 0 and listed.counts[0] == 1 and listed.total == 2 * WORDS - 1
    assert listed.enter(98) == 99, "of words counted once it is the only one"
    listed = Listed()
    gone = [listed.enter(word) for word in range(2 * WORDS + 3)]
    assert gone == [None] * WORDS + list(range(WORDS + 3)), "of equals the one that has been there longest"
    assert listed.total == WORDS


def test_with_a_word_goes_the_context_that_it_ended():
    """(0, 1) and (0, 1, 2) are reached through word 1 in the list of 0."""
    tokens = [0, 1, 2]
    for word in range(3, 3 + WORDS):
        tokens += [0, word]
    counts = WindowCounts(3, [*tokens, 0, 1])
    assert len(counts.found()) == 2, "what followed 0 1 is forgotten"
    kept = WindowCounts(3, [*tokens[:-2], 0, 1])
    assert len(kept.found()) == 3


def test_a_mixture_sums_to_one_as_fractions_do():
    """q_k are fractions that sum to one exactly, and so do the weights: float64 adds 2^-53 per term."""
    rng = np.random.default_rng(3)
    counts = WindowCounts(4)
    weights = rng.uniform(0, 1, 4 * CLASSES).astype(np.float32)
    for token in (rng.zipf(1.3, 400) % 37).tolist():
        counts.enter(token)
        for context in counts.found():
            assert sum(Fraction(c, context.total) for c in context.counts.values()) == 1
        p_V = rng.dirichlet(np.full(37, 0.2))
        assert abs(cached_distribution(p_V, counts, weights).sum() - p_V.sum()) < 1e-14


def test_nats_are_the_logarithm_of_the_distribution():
    rng, weights = np.random.default_rng(4), initial_weights(3)[0]
    stream = (rng.zipf(1.3, 121) % 23).tolist()
    p_NV = rng.dirichlet(np.full(23, 0.3), 120)
    own = -np.log(p_NV[np.arange(120), stream[1:]])
    counts, wanted = WindowCounts(3), []
    for p_V, token, target in zip(p_NV, stream[:-1], stream[1:], strict=True):
        counts.enter(token)
        wanted.append(-np.log(cached_distribution(p_V, counts, weights)[target]))
    np.testing.assert_allclose(cached_nats(own, stream[:-1], stream[1:], weights), wanted, rtol=1e-12)


def test_what_is_impossible_to_the_model_is_not_to_the_window_and_the_other_way_round():
    assert mixed_nats(5000.0, 0.5, 0.25) == pytest.approx(-np.log(0.25))
    assert mixed_nats(5000.0, 0.5, 0.0) == pytest.approx(5000 + np.log(2))
    assert [usable(w) for w in (-1.0, float("nan"), 0.5, 2.0, float("inf"))] == [0.0, 0.0, 0.5, LARGEST, LARGEST]


def test_first_weights_are_probabilities_that_grow_with_what_repeats():
    weights = initial_weights(4).reshape(4, 10, 5)
    assert weights.dtype == np.float32 and 0 < weights.min() and weights.max() < LARGEST
    assert (np.diff(weights, axis=2) <= 0).all(), "more different words, less weight"
    assert (np.diff(weights, axis=0) > 0).all(), "a longer context, more weight"


def test_windows_side_by_side():
    assert side_by_side(np.arange(6), 2) == [([0, 1], [1, 2]), ([2, 3], [3, 4]), ([4], [5])]
    assert side_by_side(np.arange(5), 2) == [([0, 1], [1, 2]), ([2, 3], [3, 4])]


def test_what_is_held_out_begins_with_a_document_where_one_does():
    """800 tokens, of which the last eighth are 100; documents begin with a 0."""
    tokens = np.ones(800, np.uint16)
    tokens[[0, 699, 700, 720, 760, 790]] = 0
    assert [held_out_from(tokens, n, 0) for n in (10, 11, 40, 41, 80, 81, 100, 101)] == [
        790,
        760,
        760,
        720,
        720,
        700,
        700,
        699,
    ]
    assert held_out_from(tokens, 90, None) == held_out_from(tokens, 90, 7) == 710


def test_one_weight_is_where_a_search_finds_it():
    """Windows of two tokens: order 0 alone, one class per position; the best of a grid, and EM's, agree to its step."""
    rng = np.random.default_rng(5)
    firsts = rng.integers(0, 9, 4000).tolist()
    windows = [([a], [a if rng.random() < 0.3 else int(rng.integers(9))]) for a in firsts]
    nats, seen = np.full(4000, np.log(9.0)), seen_in(windows, 1)
    grid = np.arange(0.01, 0.99, 0.002)
    losses = [mean_nats(nats, seen, np.full((1, CLASSES), w)) for w in grid]
    weights = fitted(nats, seen)
    assert abs(weights[0, class_of(0, 1, 1)] - grid[np.argmin(losses)]) < 0.004
    unseen = np.delete(weights[0], class_of(0, 1, 1))
    np.testing.assert_allclose(unseen, weights[0, class_of(0, 1, 1)], atol=2e-3), "a class never met has its order's"


def test_fitting_is_better_than_where_it_begins_and_the_same_each_time():
    rng = np.random.default_rng(6)
    stream = (rng.zipf(1.2, 2001) % 61).astype(np.int64)
    stream[1000:1400] = stream[600:1000]
    windows = side_by_side(stream, 250)
    seen, nats = seen_in(windows, 4), np.full(2000, 3.0)
    weights = fitted(nats, seen)
    assert mean_nats(nats, seen, weights) < min(mean_nats(nats, seen, initial_weights(4)), nats.mean())
    assert np.array_equal(weights, fitted(nats, seen)) and weights.shape == (1, 4 * CLASSES)
    flat = np.concatenate([cached_nats(np.full(len(a), 3.0), a, b, weights[0]) for a, b in windows])
    assert flat.mean() == pytest.approx(mean_nats(nats, seen, weights), rel=1e-12)
