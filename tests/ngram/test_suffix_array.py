"""The suffix array and its lookups, against sorting and counting by definition (ops.suffix_array): all exact."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.base.errors import ConfigError, WeightlessError
from weightless.ngram import suffix_array as rooms
from weightless.ngram.suffix_array import SuffixArray, build
from weightless.ops import suffix_array as truth

V = 301
RNG_TEXTS = {
    "one word": lambda rng, n: np.full(n, 7),
    "two words": lambda rng, n: rng.integers(0, 2, n),
    "period of three": lambda rng, n: np.tile([1, 2, 0], n)[:n],
    "period of eleven": lambda rng, n: np.tile(rng.integers(0, V, 11), n)[:n],
    "a document twice": lambda rng, n: np.tile(rng.integers(0, V, max(1, n // 2)), 3)[:n],
    "as a text": lambda rng, n: (rng.zipf(1.3, n) - 1) % V,
    "every word once": lambda rng, n: rng.permutation(max(n, V))[:n] % V,
    "largest word last": lambda rng, n: np.append(rng.integers(0, 3, n - 1), V - 1),
}


def text_of(kind: str, n: int) -> np.ndarray:
    return RNG_TEXTS[kind](np.random.default_rng(n), n).astype(np.int64)


def holds(array: SuffixArray) -> bool:
    """Sorted, by comparing neighbours; a permutation; and the table of first words delimits them."""
    text, order = array.text.astype(np.int64), array.suffixes.astype(np.int64)
    assert np.array_equal(np.sort(order), np.arange(len(text)))
    rank = np.empty(len(text) + 1, np.int64)
    rank[order], rank[-1] = np.arange(len(text)), -1
    before, after = order[:-1], order[1:]
    first, second = text[before], text[after]
    tied = first == second
    in_order = (first < second) | (tied & (rank[before + 1] < rank[after + 1]))
    return bool(in_order.all()) and np.array_equal(np.diff(array.first_row), np.bincount(text, minlength=V))


@pytest.mark.parametrize("kind", RNG_TEXTS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 63, 200, 777])
def test_equals_sorting_the_suffixes(kind, n):
    text = text_of(kind, n)
    array = build(text, V)
    assert array.suffixes.tolist() == truth.suffix_array(text)
    assert holds(array)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_any_small_text(words, copies):
    text = np.array(words * copies)
    assert build(text, 5).suffixes.tolist() == truth.suffix_array(text)


@pytest.mark.parametrize("vocab_size", [1, 2, 256, 4096, 65_536, 65_537, 2**24])
def test_every_width_of_a_word(vocab_size):
    """From 60 words in a key down to one, and stored words of two and four bytes."""
    rng = np.random.default_rng(vocab_size)
    text = rng.choice(rng.integers(0, vocab_size, 9), 700)
    text[-3:] = vocab_size - 1
    array = build(text, vocab_size)
    assert array.text.dtype == (np.uint16 if vocab_size <= 65_536 else np.uint32)
    assert array.suffixes.tolist() == truth.suffix_array(text)


def test_chunks_of_groups_make_no_difference(monkeypatch):
    text = np.tile((np.random.default_rng(3).zipf(1.4, 3000) - 1) % V, 2)
    whole = build(text, V).suffixes
    for chunk in (2, 17, 1000):
        monkeypatch.setattr(rooms, "CHUNK", chunk)
        assert np.array_equal(build(text, V).suffixes, whole)


def test_repetition_costs_passes_not_squares():
    """300,000 words: a comparison sort of suffixes would look at 10^10 words, log2 n passes at 10^7."""
    n = 300_000
    build(text_of("as a text", 1000), V)
    for kind in ("one word", "period of eleven", "a document twice"):
        started = time.process_time()
        array = build(text_of(kind, n), V)
        assert time.process_time() - started < 5, kind
        assert holds(array)


def patterns_of(text: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Stretches of the text (also its end), stretches with a changed last word, random words, and nothing."""
    found: list[np.ndarray] = [text[len(text) - k :] for k in range(1, 6)]
    for _ in range(30):
        begin, length = int(rng.integers(0, len(text))), int(rng.integers(1, 9))
        there = text[begin : begin + length].copy()
        found.append(there)
        found.append(np.append(there[:-1], rng.integers(0, V)))
    return [*found, *(rng.integers(0, V, k) for k in range(4)), text, np.append(text, 0)]


@pytest.mark.parametrize("kind", RNG_TEXTS)
def test_ranges_hold_exactly_the_occurrences(kind):
    rng, text = np.random.default_rng(5), text_of(kind, 400)
    array, patterns = build(text, V), patterns_of(text, rng)
    low, high = array.ranges(patterns)
    for first, end, pattern in zip(low, high, patterns, strict=True):
        assert sorted(array.suffixes[first:end].tolist()) == truth.occurrences(text, pattern)
    assert np.array_equal(array.count(patterns), high - low)


@pytest.mark.parametrize("kind", RNG_TEXTS)
@pytest.mark.parametrize("most", [1, 3, 1000])
def test_longest_suffix_is_the_longest(kind, most):
    rng, text = np.random.default_rng(6), text_of(kind, 200)
    array, contexts = build(text, V), [rng.integers(0, V, 4), np.zeros(0, np.int64)]
    for _ in range(20):
        end, length = int(rng.integers(1, len(text))), int(rng.integers(1, 40))
        contexts.append(np.append(rng.integers(0, V, 2), text[max(0, end - length) : end]))
        contexts.append(rng.choice(text, length))
    lengths, low, high = array.longest_suffix(contexts, most)
    for length, first, end, context in zip(lengths, low, high, contexts, strict=True):
        assert length == truth.longest_suffix(text, context, most)
        assert end - first == len(truth.occurrences(text, context[len(context) - length :]))


def test_patterns_as_one_array():
    text = text_of("as a text", 500)
    array, windows = build(text, V), np.lib.stride_tricks.sliding_window_view(text_of("as a text", 500), 3)
    assert np.array_equal(array.count(windows), array.count(list(windows))) and array.count(windows).min() >= 1
    assert array.count(np.zeros((0, 3), np.int64)).shape == (0,) == array.count([]).shape


def test_bad_input_is_told():
    array = build(np.arange(5), V)
    for wrong in ([[V]], [[-1]], np.array([[0, V]])):
        with pytest.raises(ConfigError, match="vocabulary"):
            array.count(wrong)
    for text in (np.zeros(0, np.int64), np.zeros((2, 2), np.int64), np.zeros(3), np.array([V])):
        with pytest.raises(WeightlessError):
            build(text, V)
