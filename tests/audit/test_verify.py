"""Subjects from configurations and artifacts, verified; costs on text.  Oracles: the formula, the engine's log."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from audit.small_subjects import subject
from contract.cases import ALL, CASES, TRAINED, bench

from weightless.audit.counters import pages
from weightless.audit.counters.real_text import mode_s_costs, touched_on_text, windows
from weightless.audit.counters.subjects import made_tokens, of_artifact, of_configuration
from weightless.audit.counters.verify import verify
from weightless.base.errors import WeightlessError
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.lab.measure import CHANCE
from weightless.models import dense, experts, feather, ngram
from weightless.program.cost import touched_by_formula

CONFIGS = {
    "dense": dense.Config(211, 48, 1, context=19, kv_format="int8", weight_format="int4"),
    "feather": feather.Config(211, 60, 1, 2, 1, 14, 30, 19, rows_2=53, rows_3=9001),
    "experts": experts.Config(
        211, 40, 1, 2, 1, 5, 1, 14, scoring="sigmoid", balance="bias", context=19, weight_format="int8"
    ),
    "ngram": ngram.Config(211, 3, context=19),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_alone_can_be_verified(name):
    found = verify(of_configuration(name, CONFIGS[name]), trials=60)
    assert found.ok, found.counters
    plain = found.to_plain()
    assert plain["ok"] and plain["fed"] == "made weights and tokens" and plain["poison"]["complete"]
    names = [
        "configuration",
        "formula",
        "engine log",
        "compiled engine",
        "compiled log",
        "torch trace",
        "pages",
        "poison",
    ]
    assert [counter["name"] for counter in plain["counters"]] == names


def test_a_made_router_has_a_bias_that_matters():
    """Oracle: the score of the same weights without it."""
    made = of_configuration("experts", CONFIGS["experts"])
    offset, tensor = made.program.layout.places["block.0.router_bias"]
    without = made.weights.copy()
    without[offset : offset + tensor.nbytes] = 0
    plain = dataclasses.replace(made, weights=without)
    nats = [model.engine().score_stream(made.tokens, made.targets) for model in (made, plain)]
    assert not np.allclose(*nats)


def test_an_artifact_is_verified_with_its_own_weights(tmp_path):
    b = bench("feather", "as_it_comes")
    pack(tmp_path / "m.wl", b.name, b.config, b.arrays)
    model = of_artifact(open_packed(tmp_path / "m.wl"), "m", b.stream)
    assert np.array_equal(model.stream, b.stream) and model.source == "text"
    parameters = model.parameters()
    assert all(np.array_equal(parameters[name], value) for name, value in b.rounded().items())
    assert verify(model, trials=60).ok
    assert of_artifact(open_packed(tmp_path / "m.wl"), "m").source == "drawn tokens"
    with pytest.raises(WeightlessError, match="nothing to audit"):
        of_artifact(open_packed(tmp_path / "m.wl"), "m", b.stream[:1])


def test_where_pages_cannot_be_seen_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "_CLEAR", tmp_path / "nowhere" / "clear_refs")
    found = verify(subject("ngram", "order_2"), trials=10)
    told = {counter.name: counter for counter in found.counters}
    assert found.ok and told["pages"].verdict == "skipped" and "nowhere" in told["pages"].detail
    assert told["torch trace"].verdict == "skipped" and "ngram" in told["torch trace"].detail


EXACT = [case for case in TRAINED if not getattr(CASES[case[0]][case[1]], "exit_after", ())]
"""Models in which the data decides nothing; a token that may leave early decides how many layers it goes through."""


@pytest.mark.parametrize("case", EXACT, ids="-".join)
@pytest.mark.parametrize("head", ["score", "sample", "full"])
def test_on_text_an_exact_program_costs_what_the_formula_says(case, head):
    """T and U of every step follow from its position; only lines may depend on which rows are read."""
    b = bench(*case)
    if b.config.context > 40:
        pytest.skip("the longer contexts only take longer")
    text, formula = np.tile(b.stream, 3), touched_by_formula(b.program, head)
    measured = touched_on_text(b, text[: 2 * b.config.context + 1], head, limit=0)
    for key in ("mean", "p50", "max"):  # another percentile may interpolate between other neighbours
        assert getattr(measured.T, key) == getattr(formula.T, key)
        assert getattr(measured.U, key) == getattr(formula.U, key)
    assert measured.n_steps == 2 * b.config.context
    assert measured.T64.mean == pytest.approx(formula.T64.mean, rel=0.05)


def test_where_the_data_decides_the_text_is_below_the_bound():
    b = bench("ngram", "order_4")
    text = made_tokens(b.config.vocab_size, 400, seed=5)
    measured, bound = touched_on_text(b, text, limit=0), touched_by_formula(b.program)
    assert measured.T.max <= bound.T.max and measured.T.mean < bound.T.mean
    assert measured.T.p50 <= measured.T.p99 <= measured.T.max and measured.U.mean <= measured.T.mean
    full = touched_on_text(b, text, "full", limit=100)
    assert full.T.mean > 4 * b.config.vocab_size > measured.T.mean


@pytest.mark.parametrize("case", ALL, ids="-".join)
@pytest.mark.parametrize("continue_with", ["text", "samples"])
def test_sampling_costs_what_scoring_costs(case, continue_with):
    """Neural heads: the same bytes, to the byte, on a text and on the model's own continuation.

    Count tables: drawing stops at the first context that has the word, but where it falls through to the unigrams it
    bisects all of them (4 bytes per step, log2 V + 1 steps), where scoring looks two up.  So the mean may be above by
    that, and is below it when contexts are long.  Count mixing: the same token costs the same; on a text other tokens
    are drawn, whose paths are longer or shorter, by chance.
    """
    b = bench(*case)
    costs = mode_s_costs(b, b.stream, continue_with)
    if case in EXACT:
        assert costs["sample"] == costs["score"] == pytest.approx(touched_by_formula(b.program).T.mean)
    elif case in TRAINED:
        assert continue_with == "samples" or costs["sample"] == costs["score"]
        assert max(costs.values()) < touched_by_formula(b.program).T.max
    elif b.name == "countmix":
        if continue_with == "samples":
            assert costs["sample"] == costs["score"] and costs["error"] == 0
        else:
            assert 0 < abs(costs["sample"] - costs["score"]) <= CHANCE * costs["error"]
    elif b.name == "ngram":
        assert 0 < costs["sample"] <= costs["score"] + 4 * (b.config.vocab_size.bit_length() + 1)
        assert b.config.order < 5 or costs["sample"] < costs["score"]


def test_windows_are_spread_and_of_one_length():
    """By hand: 100 targets in windows of 10, of which 30 are wanted: windows 0, 3 and 6."""
    found = list(windows(np.arange(101), 10, 30))
    assert [w[0] for w in found] == [0, 30, 60] and all(len(w) == 11 for w in found)
    assert [len(w) for w in windows(np.arange(25), 10, 0)] == [11, 11, 5]
    with pytest.raises(WeightlessError, match="nothing to measure"):
        list(windows(np.arange(1), 10, 0))


def test_made_models_repeat_themselves():
    one, two = (of_configuration("feather", CONFIGS["feather"], seed=3) for _ in "ab")
    assert np.array_equal(one.weights, two.weights) and np.array_equal(one.stream, two.stream)
    other = of_configuration("feather", dataclasses.replace(CONFIGS["feather"]), seed=4)
    assert not np.array_equal(one.weights, other.weights)
    assert len(one.stream) == one.config.context + 1 and one.stream.max() < 211
