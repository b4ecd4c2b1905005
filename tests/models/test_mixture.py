"""A mixture of two models: its weights, its parts, its cost.

Oracles: closed forms of mixing, a grid of weights for the fit, the parts' own programs for bytes and probabilities.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from contract.cases import CASES, bench, part_of

from weightless.audit.counters.real_text import mode_s_costs
from weightless.base.config import from_dict, to_dict
from weightless.base.errors import ConfigError
from weightless.models import dense, feather, infinigram, mixture, ngram
from weightless.program.compose import mixture as mixed_program
from weightless.program.compose import n_classes
from weightless.program.cost import formula, is_exact, step_bytes
from weightless.program.program import Program

EVERY = [case for case, config in CASES["mixture"].items() if not config.window_cache and not config.mixes]


@pytest.fixture(params=EVERY)
def b(request):
    return bench("mixture", request.param)


def nats_of(weights: np.ndarray, gates: np.ndarray, one: np.ndarray, two: np.ndarray) -> float:
    w = weights[:, 0].astype(np.float64)[gates]
    return float(-np.log(w * np.exp(-one) + (1 - w) * np.exp(-two)).mean())


def test_the_fit_finds_the_weights_that_made_the_text():
    """Targets drawn from known mixtures of two distributions; 40,000 per class, so 0.02 is four deviations."""
    rng, wanted = np.random.default_rng(0), np.array([0.15, 0.5, 0.9])
    one, two = rng.dirichlet(np.ones(50)), rng.dirichlet(np.ones(50))
    gates = np.repeat(np.arange(3), 40_000)
    words = np.concatenate([rng.choice(50, 40_000, p=w * one + (1 - w) * two) for w in wanted])
    found = mixture.fit(-np.log(one[words]), -np.log(two[words]), gates, 4)
    assert found.shape == (4, 1) and np.abs(found[:3, 0] - wanted).max() < 0.02
    assert abs(found[3, 0] - wanted.mean()) < 0.03, "a class that was never seen takes the weight of all"
    grid = [nats_of(np.full((4, 1), w), gates, -np.log(one[words]), -np.log(two[words])) for w in np.linspace(0, 1, 21)]
    assert nats_of(found, gates, -np.log(one[words]), -np.log(two[words])) < min(grid)


def test_the_fit_stays_within_bounds_when_one_part_is_always_better():
    better, worse, gates = np.full(500, 1.0), np.full(500, 40.0), np.zeros(500, np.int64)
    assert mixture.fit(better, worse, gates, 1)[0, 0] == pytest.approx(1 - mixture.LEAST, abs=1e-6)
    assert mixture.fit(worse, better, gates, 1)[0, 0] == pytest.approx(mixture.LEAST, abs=1e-6)


def test_the_distribution_is_between_those_of_its_parts(b):
    whole, parts = b.engine(), [part_of(b, name).engine() for name in ("neural", "counted")]
    for token in b.tokens:
        for engine in (whole, *parts):
            engine.feed(int(token))
    p, (one, two) = whole.distribution(), [engine.distribution() for engine in parts]
    low, high = np.minimum(one, two), np.maximum(one, two)
    assert (p >= low - 1e-7).all() and (p <= high + 1e-7).all() and not np.allclose(p, one) and not np.allclose(p, two)


def test_the_cost_is_that_of_the_parts_the_gate_and_the_mixing(b):
    """By formula at every position, line by line: what is not a part's is gate, outcomes and one weight."""
    neural, counted = (part_of(b, name).program for name in ("neural", "counted"))
    for t in (1, 2, b.config.context):
        whole = formula(b.program, t)
        parts = [formula(program, t) for program in (neural, counted)]
        gate = [op for op in b.program.body if op.name.startswith("gate_")]
        own = step_bytes(b.program, [op.accesses(b.program.by_name, t) for op in (*gate, b.program.heads["score"][-1])])
        accepted = 4  # the history is shared: the token is written once, not twice
        for line in whole:
            summed = sum(part[line].T for part in (*parts, own) if line in part)
            assert whole[line].T == summed - (accepted if line == "activations" else 0), line


def test_sampling_costs_what_scoring_costs(b):
    """The neural part by formula exactly; on the model's own draws the counted part at most what scoring reads."""
    neural = part_of(b, "neural").program
    for t in (1, b.config.context):
        assert formula(neural, t, "score") == formula(neural, t, "sample")
    costs = mode_s_costs(b, b.stream)
    assert costs["sample"] <= costs["score"] and costs["sample"] > 0.99 * costs["score"] - 300


def test_survives_the_round_trip(b):
    assert from_dict(mixture.Config, to_dict(b.config)) == b.config
    assert Program.from_plain(b.program.to_plain()) == b.program
    assert not is_exact(b.program)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"neural": "ngram"}, "not trained"),
        ({"counted": "dense"}, "not counted"),
        ({"neural": "mixture"}, "not trained"),
        ({"counted_config": {"order": 1}}, "no context"),
        ({"counted_config": {"order": 8}}, "order 7"),
        ({"neural_config": {"d_modle": 3}}, "d_model"),
        ({"neural_config": {"context": 7}}, "leave it out"),
        ({"held_out": 0}, "held_out"),
    ],
)
def test_parts_that_cannot_be_mixed_are_told(values, words):
    with pytest.raises(ConfigError, match=words):
        mixture.Config(**values)


def test_vocabularies_must_agree():
    one, two = dense.FAMILY.decode_program(dense.Config(64, 32, 1)), ngram.decode_program(ngram.Config(65, 2))
    with pytest.raises(ConfigError, match="64 and 65"):
        mixed_program(one, two)


def test_any_trained_family_mixes_with_any_counted_one():
    for neural in (dense.Config(64, 32, 1, context=16), feather.Config(64, 40, 1, 2, 1, 20, 40, 16, 7, 0)):
        for counted in (ngram.Config(64, 3, 16), infinigram.Config(64, 4, 16, n_tokens=99)):
            rooms = {dense.Config: dense, feather.Config: feather, ngram.Config: ngram, infinigram.Config: infinigram}
            programs = [rooms[type(c)].FAMILY.decode_program(c) for c in (neural, counted)]
            program = mixed_program(*programs)
            assert program.context == 16 and len(program.by_name) == len(program.tensors)
            assert program.by_name["mixing.weights"].shape == (n_classes(programs[1]), 1)
            assert dataclasses.replace(program).validate() == program


@pytest.mark.parametrize("part", ["neural", "counted"])
def test_a_window_is_counted_once_for_both_parts(part):
    with pytest.raises(ConfigError, match=f"{part}_config.window_cache = 4: .* set window_cache beside them"):
        mixture.Config(**{f"{part}_config": {"window_cache": 4}})
