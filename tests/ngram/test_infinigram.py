"""The smoothed infinity-gram against its definition (ops.infinigram), which looks at the whole text every time.

Tolerances: the fast path adds the same float64 terms in the same order, and reads float32 weights; 1e-12 relative.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.base.errors import ConfigError, WeightlessError
from weightless.ngram import infinigram, suffix_array
from weightless.ngram.layout import QUANTA
from weightless.ops import infinigram as truth
from weightless.ops import suffix_array as suffixes_by_definition

V = 41


def text_of(n: int, seed: int = 0) -> np.ndarray:
    """Words that repeat in phrases, so that long contexts occur."""
    rng = np.random.default_rng(seed)
    words = (rng.zipf(1.4, n) - 1) % V
    for start in range(40, n - 12, 24):
        earlier = int(rng.integers(0, start - 12))
        words[start : start + 12] = words[earlier : earlier + 12]
    return words


def distribution(arrays: dict[str, np.ndarray], context: np.ndarray, max_length: int) -> np.ndarray:
    unigrams = np.diff(arrays["unigram.cum"], prepend=np.uint32(0)) / QUANTA
    return truth.distribution(arrays["text"], unigrams, arrays["weights"], context, max_length)


@pytest.mark.parametrize("max_length", [1, 2, 5, 16])
def test_log_probs_are_those_of_the_definition(max_length):
    arrays = infinigram.build(text_of(900), V, max_length)
    stream = np.concatenate([text_of(900)[500:540], text_of(60, seed=9), arrays["text"][-9:], [3]])
    have = infinigram.log_probs(arrays, stream)
    wanted = [np.log(distribution(arrays, stream[:t], max_length)[word]) for t, word in enumerate(stream)]
    np.testing.assert_allclose(have, wanted, rtol=1e-12, atol=1e-12)


def test_every_distribution_is_one_and_never_zero():
    arrays = infinigram.build(text_of(700, 1), V, 8)
    stream = text_of(300, 2)
    for t in range(0, 300, 7):
        p = distribution(arrays, stream[:t], 8)
        assert abs(p.sum() - 1) < 1e-12 and (p > 0).all()


@given(st.lists(st.integers(0, 3), min_size=2, max_size=50), st.lists(st.integers(0, 3), min_size=1, max_size=20))
@settings(max_examples=120, deadline=None)
def test_counts_of_any_small_text(words, stream):
    """n, n(x) and whether several words follow, at every position and length; oracle: counting by looking."""
    text, stream = np.array(words), np.array(stream)
    index = suffix_array.build(text, 4)
    n, hits, rows = infinigram.counts(index, stream.astype(np.uint16), 6)
    for t, word in enumerate(stream):
        for k in range(1, 7):
            behind = truth.followers(text, stream[t - k : t]) if k <= t else np.zeros(0)
            assert n[t, k - 1] == len(behind) and hits[t, k - 1] == np.count_nonzero(behind == word)
            if len(behind):
                assert rows[t, k - 1] == truth.weight_row(k, len(set(behind.tolist())) > 1, len(behind))


def test_the_longest_length_with_a_count_is_the_published_rule():
    """Liu et al. 2024, section 2: back off to the longest suffix with a count; here one that a word follows."""
    text, stream = text_of(600, 3), np.concatenate([text_of(600, 3)[200:260], text_of(40, 4)])
    n, _, _ = infinigram.counts(suffix_array.build(text, V), stream.astype(np.uint16), 12)
    for t in range(len(stream)):
        used = int((n[t] > 0).sum())
        assert used == suffixes_by_definition.longest_suffix(text[:-1], stream[:t], 12)
        assert (n[t, :used] > 0).all()


def test_fitting_makes_the_held_out_text_likelier():
    text = text_of(6000, 5)
    index = suffix_array.build(text[:5000], V)
    unigrams = np.full(V, 1 / V)
    n, hits, rows = infinigram.counts(index, text[5000:].astype(np.uint16), 6)

    def nats(weights: np.ndarray) -> float:
        w = np.where(n > 0, weights.astype(np.float64)[rows], 0)
        return -np.log(infinigram.mixed(w, hits / np.maximum(n, 1), unigrams[text[5000:]])).mean()

    fitted = infinigram.fit(index, unigrams, text[5000:], 6)
    halves = np.full_like(fitted, 0.5)
    assert nats(fitted) < nats(infinigram.prior(6)) - 0.05 and nats(fitted) < nats(halves)
    assert (
        fitted.dtype == np.float32 and infinigram.LEAST <= fitted.min() and fitted.max() <= np.float32(infinigram.MOST)
    )


def test_longer_contexts_help_where_text_repeats():
    text = text_of(6000, 6)
    held_out = np.concatenate([text[100:140], text[900:940]])
    short, long = (-infinigram.log_probs(infinigram.build(text, V, k), held_out)[10:].mean() for k in (2, 10))
    assert long < short - 0.2


def test_tiny_texts_and_bad_input():
    for text in ([0], [1, 1], [0, 1, 2]):
        arrays = infinigram.build(np.array(text), 3, 4)
        assert np.isfinite(infinigram.log_probs(arrays, np.array([0, 1, 2, 2]))).all()
    with pytest.raises(ConfigError, match="max_length"):
        infinigram.build(np.array([0, 1]), 3, 0)
    with pytest.raises(WeightlessError, match="vocabulary"):
        infinigram.build(np.array([0, 7]), 3, 2)
    with pytest.raises(WeightlessError):
        infinigram.build(np.zeros(0, np.int64), 3, 2)
