"""The fast build against the slow truth (ops.kneser_ney.KneserNey), its layout, its determinism, its refusals.

Tolerance 1e-6 on probabilities: the arrays hold quanta of 2.3e-10, and each of at most 8 levels adds one or two of
rounding.  (The slow twin is exact up to float64.)
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ngram.streams import flat, zipfian

from weightless.base.errors import ConfigError, WeightlessError
from weightless.kernels.numba.ngram import quantise_lists, quantise_unigrams
from weightless.ngram.kneser_ney import build, build_with_report
from weightless.ngram.layout import QUANTA, check_layout, word_dtype
from weightless.ngram.score import log_probs
from weightless.ops.kneser_ney import KneserNey

SHAPES = [(1, 2), (2, 3), (63, 5), (1023, 7), (257, 300), (333, 70000)]


def assert_equals_slow(tokens, vocab_size, order, min_counts=None, at_most=200):
    arrays = build(tokens, vocab_size, order, min_counts)
    check_layout(arrays)
    slow = KneserNey(tokens.tolist(), vocab_size, order, min_counts)
    found = np.exp(log_probs(arrays, tokens, order))
    history = tokens.tolist()
    positions = range(max(0, len(history) - at_most), len(history))
    expected = [slow.prob(history[:t], history[t]) for t in positions]
    np.testing.assert_allclose(found[positions.start :], expected, rtol=0, atol=1e-6)
    # A stream the model has not seen leaves the trie early and often.
    other = flat(63, vocab_size, seed=9)
    unseen = [slow.prob(other[:t].tolist(), int(other[t])) for t in range(other.size)]
    np.testing.assert_allclose(np.exp(log_probs(arrays, other, order)), unseen, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("n_tokens, vocab_size", SHAPES)
def test_build_equals_brute_force(n_tokens, vocab_size, order):
    assert_equals_slow(zipfian(n_tokens, vocab_size, seed=order), vocab_size, order)


@pytest.mark.parametrize("order", [2, 5])
def test_build_equals_brute_force_on_a_flat_stream(order):
    assert_equals_slow(flat(1023, 11), 11, order)


@pytest.mark.parametrize("min_counts", [[1, 1, 1, 2], [1, 2, 2, 3], [2, 1, 3, 1], [1, 9, 9, 9], [1, 99, 1, 1]])
def test_pruned_build_equals_brute_force(min_counts):
    assert_equals_slow(zipfian(1023, 37), 37, 4, min_counts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 6), st.integers(1, 3))
def test_any_short_stream(words, order, least):
    assert_equals_slow(np.array(words, np.uint16), 5, order, [1] + [least] * (order - 1))


@pytest.mark.parametrize("vocab_size", [300, 70000])
@pytest.mark.parametrize("min_counts", [None, [2, 2, 2]])
def test_arrays_have_the_promised_types_and_shapes(vocab_size, min_counts):
    arrays = build(zipfian(1023, vocab_size), vocab_size, 3, min_counts)
    check_layout(arrays)
    assert set(arrays) == {
        "cont.0.cum",
        "ctx.1.node",
        "cont.1.word",
        "cont.1.cum",
        "ctx.2.word",
        "ctx.2.node",
        "cont.2.word",
        "cont.2.cum",
    }
    assert arrays["ctx.1.node"].shape == (vocab_size + 1, 2) and arrays["ctx.2.node"].shape[1] == 1
    assert arrays["cont.2.word"].dtype == arrays["ctx.2.word"].dtype == word_dtype(vocab_size)
    assert int(arrays["cont.0.cum"][-1]) == 2**32 - 1
    assert all(array.flags.c_contiguous for array in arrays.values())


def test_rounding_costs_less_than_a_millionth_of_a_nat():
    tokens = zipfian(2047, 300)
    slow = KneserNey(tokens.tolist(), 300, 3)
    exact = np.log([slow.prob(tokens[max(0, t - 2) : t].tolist(), int(tokens[t])) for t in range(tokens.size)])
    assert np.mean(np.abs(log_probs(build(tokens, 300, 3), tokens, 3) - exact)) < 1e-6


def test_shares_below_one_quantum_are_lent_one():
    # Ones beside four thousand million: (1 - D1) / total is 0.0002 quanta; and gamma is about as thin.
    count = np.array([1, 4_000_000_000, 1, 1, 4_000_000_000, 300, 7], np.uint32)
    start = np.array([0, 4, 4, 6, 7], np.uint32)
    cum = quantise_lists(start, count, 0.999, 0.999, 1e-6, 1)
    for begin, end in zip(start[:-1], start[1:], strict=True):
        one_list = [0, *cum[begin:end].tolist(), QUANTA]
        assert all(low < high for low, high in zip(one_list, one_list[1:], strict=False)) or begin == end


def test_unigrams_below_one_quantum_are_lent_one():
    count = np.zeros(1023, np.uint32)
    count[511] = 4_000_000_000
    cum = quantise_unigrams(count, 0.5, 1.0, 1e-6, 1).tolist()
    assert min(np.diff([0, *cum])) >= 1 and cum[-1] == QUANTA


def test_context_limit_is_the_lower_order_of_the_same_model():
    tokens = zipfian(511, 20)
    arrays, slow = build(tokens, 20, 4), KneserNey(tokens.tolist(), 20, 4)
    for limit in range(4):
        expected = [slow.prob(tokens[max(0, t - limit) : t].tolist(), int(tokens[t])) for t in range(tokens.size)]
        np.testing.assert_allclose(np.exp(log_probs(arrays, tokens, 4, limit)), expected, rtol=0, atol=1e-6)


def test_same_stream_same_arrays():
    tokens = zipfian(1023, 300)
    first, second = build(tokens, 300, 5), build(tokens.astype(np.int64), 300, 5)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_the_input_is_left_alone():
    tokens = zipfian(257, 300).astype(np.uint16)
    tokens.flags.writeable = False
    build(tokens, 300, 3, [1, 2, 2])


def test_report_tells_what_was_counted(capfd):
    model = build_with_report(zipfian(1023, 50), 50, 3, min_counts=[1, 1, 2], show_progress=True)
    assert [report.order for report in model.reports] == [1, 2, 3]
    kept = [report.n_kept for report in model.reports]
    assert kept[1] == model.reports[1].n_ngrams == model.arrays["cont.1.word"].size
    assert kept[2] == model.arrays["cont.2.word"].size < model.reports[2].n_ngrams
    assert model.n_bytes == sum(array.nbytes for array in model.arrays.values())
    assert "counting n-grams" in capfd.readouterr().err


@pytest.mark.parametrize(
    "change, error",
    [
        ({"order": 0}, "order = 0"),
        ({"order": 9}, "order = 9"),
        ({"vocab_size": 0}, "vocab_size = 0"),
        ({"vocab_size": 4}, "token id 4 is outside"),
        ({"tokens": np.array([1, -1])}, "token id -1 is outside"),
        ({"tokens": np.zeros((2, 2), np.uint16)}, "one flat, non-empty array"),
        ({"tokens": np.zeros(0, np.uint16)}, "one flat, non-empty array"),
        ({"tokens": np.zeros(3, np.float32)}, "one flat, non-empty array"),
        ({"min_counts": [1, 1]}, "3 counts"),
        ({"min_counts": [1, 0, 1]}, "at least 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(change, error):
    arguments = {"tokens": flat(63, 5) * 0 + 4, "vocab_size": 5, "order": 3, "min_counts": None} | change
    with pytest.raises(WeightlessError, match=error) as refusal:
        build(**arguments)
    assert "\n" not in str(refusal.value)


def test_scoring_refuses_another_order_and_a_negative_limit():
    arrays = build(flat(63, 5), 5, 3)
    with pytest.raises(ConfigError, match="model of order 3"):
        log_probs(arrays, flat(9, 5), 4)
    with pytest.raises(ConfigError, match="context_limit"):
        log_probs(arrays, flat(9, 5), 3, context_limit=-1)
    with pytest.raises(WeightlessError, match="outside the vocabulary"):
        log_probs(arrays, flat(9, 50) + 5, 3)
