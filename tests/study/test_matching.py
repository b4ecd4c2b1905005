"""Arms that are made equal.

Oracles: brute force over every value of a dial; parameters of the model that PyTorch builds; the sums of `lab.fit` and
of the training account, which count bytes and FLOPs along other paths than the search; arithmetic by hand for budgets.
"""

from __future__ import annotations

import json

import pytest

from weightless.base.config import to_dict
from weightless.base.errors import ConfigError
from weightless.lab.accounting import family_model
from weightless.lab.fit import Request, costs_of
from weightless.lab.recipe import ModelRecipe
from weightless.models.catalog import Trained, families, family, trained
from weightless.study.dials import turned, value_of, values_of
from weightless.study.matching import ArmConfig, solve
from weightless.study.quantities import Counter
from weightless.train.initialise import initial_parameters

VOCABULARY, CONTEXT = 300, 33
TRAINED = [name for name in families() if isinstance(family(name), Trained)]
SMALL = {"d_model": 16, "n_layers": 1, "n_heads": 2, "context": 9}


def smallest(name: str) -> ArmConfig:
    """Size 1 of a family, with a short context so that the headline has few positions."""
    room = family(name)
    default, made = to_dict(room.Config()), to_dict(room.Config.at(1, vocab_size=VOCABULARY))
    config = {key: value for key, value in made.items() if default[key] != value and key != "vocab_size"}
    return ArmConfig(name, name, {**config, "context": CONTEXT})


def built(arm: dict):
    return ModelRecipe(arm["name"], arm["family"], config=arm["config"]).build_config(VOCABULARY)


def recounted(arm: dict, quantity: str) -> float:
    """The quantity along another path than the one that the search takes."""
    config = built(arm)
    if quantity == "flops":
        return sum(family_model(arm["family"], config).forward_flops(CONTEXT, True).values()) / CONTEXT
    if quantity == "parameters":
        return sum(weight.parameters for weight in family_model(arm["family"], config).weights)
    request = Request(arm["family"], {}, VOCABULARY, positions=CONTEXT)
    name = {"bytes": "touched", "stored": "stored"}[quantity]
    return sum(costs_of(request, config, (name,))[name].values())


QUANTITIES = ("parameters", "bytes", "flops", "stored")


@pytest.mark.parametrize(
    ("quantity", "n_others"),
    [
        *((quantity, 1) for quantity in QUANTITIES[:3]),
        *(pytest.param(quantity, len(TRAINED) - 1, marks=pytest.mark.slow) for quantity in QUANTITIES),
    ],
)
def test_every_pair_of_families_within_one_percent(quantity, n_others):
    """Every pair when slow; else each family with the next one, in alphabetical order."""
    assert len(TRAINED) >= 10
    for i, reference in enumerate(TRAINED):
        arms = [smallest(name) for name in (reference, *(TRAINED[i + 1 :] + TRAINED[:i])[:n_others])]
        solved, mismatch = solve(arms, quantity, VOCABULARY)
        assert solved[0]["config"] == arms[0].config
        target = recounted(solved[0], quantity)
        for arm in solved[1:]:
            off = recounted(arm, quantity) / target - 1
            assert abs(off) <= 0.01, (reference, arm)
            assert mismatch[arm["name"]][quantity] == pytest.approx(off, abs=1e-9)


@pytest.mark.parametrize("name", ["dense", "experts", "feather"])
def test_parameters_are_those_that_pytorch_builds(name):
    solved, _ = solve([smallest("llama"), smallest(name)], "parameters", VOCABULARY)
    models = [trained(arm["family"]).Model(built(arm)) for arm in solved]
    llama, other = (
        sum(tensor.numel() for tensor in initial_parameters(model.tensors(), 0).values()) for model in models
    )
    assert abs(other / llama - 1) <= 0.01


@pytest.mark.parametrize(
    ("name", "config", "dial", "quantity"),
    [
        ("dense", {**SMALL, "weight_format": "int8"}, "d_ff", "bytes"),
        ("dense", {**SMALL, "activation": "silu", "match_d_ff": True}, "d_ff", "parameters"),
        ("experts", {**SMALL, "d_expert": 9}, "d_expert", "flops"),
        ("feather", {**SMALL, "rows_2": 640, "rows_3": 160}, "rows", "parameters"),
        ("memory", {**SMALL, "top_k": 3, "n_slots": 25, "memory_every": 1}, "n_slots", "stored"),
        ("feather", {**SMALL, "rows_2": 64, "rows_3": 0}, "d_ff", "bytes"),
    ],
)
def test_the_nearest_of_all_values(name, config, dial, quantity):
    arm = ArmConfig("arm", name, config, free=(dial,))
    start = built({"name": "arm", "family": name, "config": config})
    values = [value for value in values_of(name, start, dial) if value <= 1500][:160]
    counter = Counter()
    counts = {value: counter.exactly(name, turned(start, dial, value), quantity) for value in values}
    for aim in (values[len(values) // 3], values[len(values) * 2 // 3]):
        other = ArmConfig("aim", "gpt2", {**SMALL, "d_model": 8, "n_heads": 1, "context": 33})
        reference = built({"name": "aim", "family": "gpt2", "config": other.config})
        target = counter.exactly(name, turned(start, dial, aim), quantity) * 1.004
        key = ("gpt2", counter_key(reference), quantity, False)
        found, _ = solve_towards(target, key, [other, arm], quantity)
        best = min(values, key=lambda value: abs(counts[value] - target))
        at = value_of(built(found), dial)
        assert abs(counts[at] - target) == abs(counts[best] - target)


def counter_key(config) -> str:
    return json.dumps(to_dict(config))


def solve_towards(target: float, key, arms, quantity: str):
    """Solve for an amount that is given instead of counted: the reference's is planted."""
    from weightless.study import matching

    class Planted(Counter):
        def exactly(self, family_name, config, name):
            self._known.setdefault(key, target)
            return super().exactly(family_name, config, name)

    kept, matching.Counter = matching.Counter, Planted
    try:
        solved, mismatch = solve(arms, quantity, VOCABULARY, tolerance=0.5)
    finally:
        matching.Counter = kept
    return solved[1], mismatch


def test_what_the_arms_are_about_stays():
    one = ArmConfig("shallow", "dense", {**SMALL, "d_model": 32})
    other = ArmConfig("deep", "dense", {**SMALL, "d_model": 32, "n_layers": 3})
    solved, mismatch = solve([one, other], "parameters", VOCABULARY)
    assert solved[1]["config"]["n_layers"] == 3
    assert abs(mismatch["deep"]["parameters"]) <= 0.01 < abs(mismatch["deep"]["bytes"])
    unmatched, shares = solve([one, other], "none", VOCABULARY)
    assert unmatched[1]["config"] == other.config
    assert shares["shallow"] == {"parameters": 0, "bytes": 0, "stored": 0, "flops": 0}
    assert shares["deep"]["parameters"] > 0.5


def test_tokens_and_seconds_give_the_first_arms_budget():
    first = ArmConfig("one", "dense", SMALL, {"batch_size": 4, "num_steps": 120})
    other = ArmConfig("two", "dense", SMALL, {"batch_size": 32, "grad_accumulation": 1, "seconds": 9.0, "clock": "cpu"})
    solved, mismatch = solve([first, other], "tokens", VOCABULARY)
    assert solved[1]["train"] == {"batch_size": 32, "grad_accumulation": 1, "num_steps": 15}
    assert mismatch["two"]["tokens"] == 0
    timed = ArmConfig("one", "dense", SMALL, {"seconds": 7.5, "clock": "cpu"})
    solved, mismatch = solve([timed, ArmConfig("n", "ngram", {"order": 3}), other], "seconds", VOCABULARY)
    assert [arm["train"].get("seconds") for arm in solved] == [7.5, None, 7.5]
    assert mismatch["n"] == {} and mismatch["two"]["seconds"] == 0
    with pytest.raises(
        ConfigError, match=r"arm 'two' cannot see 4,320 tokens within 1.0%: 2 steps of 2,304 are \+6.7%"
    ):
        solve([first, ArmConfig("two", "dense", SMALL, {"batch_size": 256})], "tokens", VOCABULARY)


def test_refusals_say_how_near_and_by_what():
    first = ArmConfig("dense", "dense", {**SMALL, "d_ff": 40, "n_layers": 5})
    rigid = ArmConfig("flat", "llama", {**SMALL, "n_kv_heads": 1, "d_head": 8, "d_ff": 99}, free=("n_layers",))
    with pytest.raises(ConfigError) as told:
        solve([first, rigid], "parameters", VOCABULARY)
    assert "arm 'flat' cannot be matched to" in str(told.value) and "within 1.0%: the nearest is" in str(told.value)
    assert "by n_layers (n_layers = " in str(told.value)
    solved, mismatch = solve([first, rigid], "parameters", VOCABULARY, tolerance=0.2)
    assert 0.01 < abs(mismatch["flat"]["parameters"]) <= 0.2 and solved[1]["config"]["d_ff"] == 99
    for arms, match, message in (
        ([first, ArmConfig("n", "ngram")], "bytes", "family 'ngram' are known when its text was read"),
        ([first, ArmConfig("l", "dense", SMALL, free=("d_fff",))], "bytes", "did you mean 'd_ff'?"),
        ([first, first], "paramters", "did you mean 'parameters'?"),
        ([first, first], "seconds", "should give train.seconds"),
    ):
        with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
            solve(arms, match, VOCABULARY)
