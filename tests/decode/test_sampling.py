"""Sampling against transformers' logits processors, stop strings against str.find on the whole text."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.decode.sampling import Sampling, StopStrings, adjusted, draw


def by_transformers(p: np.ndarray, sampling: Sampling, seen: list[int]) -> np.ndarray:
    """The same settings through transformers, float64, scores = log p."""
    torch = pytest.importorskip("torch")
    logits = pytest.importorskip("transformers.generation.logits_process")
    chain = []
    if sampling.repetition_penalty != 1:
        chain.append(logits.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    chain.append(logits.TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k:
        chain.append(logits.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        chain.append(logits.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        chain.append(logits.MinPLogitsWarper(sampling.min_p))
    scores = torch.log(torch.tensor(p, dtype=torch.float64))[None]
    for step in chain:
        scores = step(torch.tensor([seen]), scores)
    return torch.softmax(scores, -1)[0].numpy()


SETTINGS = [
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.3, "top_p": 1.0, "top_k": 5},
    {"temperature": 1.0, "top_p": 1.0, "min_p": 0.2},
    {"temperature": 0.9, "top_p": 0.8, "top_k": 9, "min_p": 0.05, "repetition_penalty": 1.4},
    {"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 0.7},
    {"temperature": 1.0, "top_p": 0.01},
    {"temperature": 2.0, "top_p": 1.0, "top_k": 1000},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_transformers(settings, seed):
    """1e-12: the same operations in float64.  Random probabilities have no ties at an edge."""
    sampling = Sampling(**settings)
    p = np.random.default_rng(seed).dirichlet(np.full(31, 0.3)) + 1e-9
    p /= p.sum()
    seen = [3, 7, 7, 30]
    np.testing.assert_allclose(sampling.distribution(p, seen), by_transformers(p, sampling, seen), atol=1e-12)


def test_nothing_bent_is_the_model_itself():
    """temperature 1 and every cut off: bit for bit what the model says (in float64), and mode S."""
    p = np.random.default_rng(0).dirichlet(np.ones(9))
    sampling = Sampling(temperature=1, top_p=1)
    np.testing.assert_allclose(sampling.distribution(p), p, rtol=1e-14)
    assert sampling.is_plain and sampling.mode == "sample"
    for other in ({"top_k": 3}, {"min_p": 0.1}, {"repetition_penalty": 1.1}, {"temperature": 0.9}, {"top_p": 0.9}):
        assert Sampling(**{"temperature": 1, "top_p": 1, **other}).mode == "full"


def test_greedy_is_exact_and_takes_the_lowest_of_equals():
    p = np.array([0.2, 0.4, 0.4])
    assert adjusted(p, 0, 1).tolist() == [0, 1, 0]
    assert Sampling(temperature=0, repetition_penalty=3.0).distribution(p, [1]).tolist() == [0, 0, 1]


def test_ties_at_an_edge_go_to_the_lower_id():
    p = np.array([0.25, 0.25, 0.25, 0.25])
    assert adjusted(p, 1, 1, top_k=2).tolist() == [0.5, 0.5, 0, 0]
    assert adjusted(p, 1, 0.5).tolist() == [0.5, 0.5, 0, 0]


def test_drawing_never_takes_what_is_impossible():
    """u just below 1 with a sum of 1 - 1e-16 falls on the last possible token, not on the last one."""
    p = np.array([0.5, 0.5 - 1e-16, 0.0])
    assert draw(p, np.nextafter(1, 0)) == 1
    assert draw(np.array([0.0, 1.0]), 0.0) == 1


@given(
    st.lists(st.text(alphabet="ab.", max_size=4), max_size=12),
    st.lists(st.text(alphabet="ab.", min_size=1, max_size=4), max_size=3),
)
def test_stop_strings_cut_where_the_whole_text_would(pieces, stops):
    """However the text is divided: what comes out is the text up to the first stop string that is complete first."""
    cutter = StopStrings(stops)
    out = "".join(cutter.push(piece) for piece in pieces) + ("" if cutter.stopped else cutter.finish())
    text = "".join(pieces)
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    if not ends:
        assert out == text and not cutter.stopped
    else:
        assert cutter.stopped
        assert text.startswith(out) and not any(stop in out for stop in stops)
        assert any(text[len(out) :].startswith(stop) for stop in stops)


BAD = [
    ({"top_k": -1}, "top_k -1"),
    ({"min_p": 1.5}, "min_p 1.5"),
    ({"repetition_penalty": 0.0}, "repetition_penalty 0"),
    ({"stop": ("",)}, "empty stop string"),
    ({"temperature": float("nan")}, "temperature nan"),
]


@pytest.mark.parametrize("settings, message", BAD)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        Sampling(**settings)


TINY = [5e-324, 1e-310, 1e-300, 2.3e-308, 1e-16]


@pytest.mark.parametrize("temperature", [*TINY, 1e-3, 0.5, 1.0, 99.99])
@pytest.mark.parametrize("seed", range(3))
def test_every_temperature_gives_a_distribution(temperature, seed):
    """Oracle: softmax of the differences to the best, with exact rational quotients; below 1e-10 that is one-hot."""
    log_p = np.log(np.random.default_rng(seed).dirichlet(np.full(17, 0.3)) + 1e-12)
    p = np.exp(log_p)
    found = adjusted(p, temperature, 1.0)
    best = max(Fraction(float(v)) for v in np.log(p))
    quotients = [(Fraction(float(v)) - best) / Fraction(temperature) for v in np.log(p)]
    wanted = np.array([math.exp(max(q, -1000)) for q in quotients])
    np.testing.assert_allclose(found, wanted / wanted.sum(), rtol=1e-12, atol=1e-300)
    assert abs(found.sum() - 1) < 1e-15 * len(p)
    if temperature in TINY:
        assert found.argmax() == p.argmax() and found.max() == 1


def test_the_smallest_temperature_shares_ties_and_draws_what_is_possible():
    p = np.array([0.0, 0.4, 0.2, 0.4])
    for temperature in TINY:
        np.testing.assert_array_equal(adjusted(p, temperature, 1.0), [0, 0.5, 0, 0.5])
        assert draw(adjusted(p, temperature, 0.3), 0.999) == 1


@pytest.mark.parametrize("penalty", [5e-324, 1e-310, 1e-3, 1e3, 1e300, 1.7e308])
@pytest.mark.parametrize("seen", [[0], [1, 2], [0, 1, 2, 3, 4]])
def test_every_penalty_gives_a_distribution(penalty, seen):
    """What is possible stays possible before rounding, and the distribution sums to one; all penalised or few."""
    p = np.array([0.5, 0.25, 0.125, 0.125, 0.0])
    found = Sampling(temperature=0.7, top_p=0.9, repetition_penalty=penalty).distribution(p, seen)
    assert np.isfinite(found).all() and abs(found.sum() - 1) < 1e-15 and found[4] == 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [np.nan, np.inf, -np.inf, -1e-310, -1, 100, 1e300]),
        ("top_p", [np.nan, np.inf, 0.0, -0.5, 1.0000000000000002, 1e300]),
        ("min_p", [np.nan, np.inf, -5e-324, 1.5]),
        ("repetition_penalty", [np.nan, np.inf, 0.0, -1.0]),
        ("top_k", [-1]),
        ("max_tokens", [-1]),
    ],
)
def test_what_does_not_work_is_refused_by_name(name, values):
    for value in values:
        with pytest.raises(ConfigError, match=name):
            Sampling(**{name: value})


def test_the_smallest_cuts_keep_the_best():
    p = np.array([0.2, 0.5, 0.3])
    np.testing.assert_array_equal(adjusted(p, 1.0, 5e-324), [0, 1, 0])
    np.testing.assert_allclose(adjusted(p, 1.0, 1.0, top_k=10**18), p, rtol=1e-15)
    np.testing.assert_allclose(adjusted(p, 1.0, 1.0, min_p=5e-324), p, rtol=1e-15)
