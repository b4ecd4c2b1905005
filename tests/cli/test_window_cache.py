"""A window cache from the command line: one flag in training, and every verb that opens the artifact goes on.

Oracle: the same verbs over the model without one; what the artifact holds.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli.small_training import SMALL

from weightless.export.packed import open_packed
from weightless.lab.recipe import load_recipe
from weightless.program.cached import CACHE_WEIGHTS


@pytest.fixture(scope="module")
def trained(small_run, tmp_path_factory):
    from weightless.cli.main import main

    folder = tmp_path_factory.mktemp("cached")
    words = [
        "train",
        "dense",
        "--data",
        str(small_run[0] / "data"),
        "--out",
        str(folder),
        *SMALL,
        "--window_cache",
        "3",
    ]
    assert main(words) == 0
    return folder


def weights_in(path) -> np.ndarray:
    return open_packed(path).artifact.view(CACHE_WEIGHTS).view(np.float32)


def test_scoring_drawing_counting_and_auditing(trained, small_run, command):
    model, data = trained / "model.wl", small_run[0] / "data"
    code, out, _ = command("eval", model, "--data", data, "--tokens", "700", "--json")
    scored = json.loads(out)
    own = json.loads(command("eval", small_run[0] / "models/dense/model.wl", "--data", data, "--json")[1])
    assert code == 0 and 0 < scored["nats_per_token"] < own["nats_per_token"], "fables repeat themselves"
    for flags in ((), ("--temperature", "0.5")):
        assert command("generate", model, "--prompt", "Once", "--max_tokens", "9", *flags)[0] == 0
    assert command("count", model, "--text", small_run[2], "--tokens", "300")[0] == 0
    code, out, _ = command("count", model, "--verify", "--json")
    assert code == 0 and "without its window cache, which is not PyTorch's" in out
    code, out, _ = command("audit", model, "--data", data, "--json")
    assert code == 0, out


def test_another_format_keeps_the_weights_and_says_so(trained, small_run, command, tmp_path):
    data = ("--data", small_run[0] / "data", "--out", tmp_path / "int8.wl")
    code, _, told = command("pack", trained, *data, "--weight_format", "int8")
    assert code == 0 and "packed as int8; its window cache keeps the weights that were fitted for bf16" in told
    assert np.array_equal(weights_in(tmp_path / "int8.wl"), weights_in(trained / "model.wl"))
    code, _, told = command("pack", trained, *data, "--weight_format", "bf16")
    assert code == 0 and "window cache" not in told


@pytest.mark.parametrize("name, own", [("ngram", "order=2"), ("mixture", "counted_config={order=2}")])
def test_a_variant_by_one_field_is_verified(name, own, command):
    """Every family is in the contract suite, which runs the same counters."""
    code, out, wrong = command("count", name, "--set", "vocab_size=97", "context=17", "window_cache=3", own, "--verify")
    assert code == 0 and "window cache" in out, (out, wrong)


def test_a_field_that_would_do_nothing_is_refused_in_a_line(command):
    code, _, wrong = command("count", "mixture", "--set", "neural_config={window_cache=4}")
    assert code == 2 and "neural_config.window_cache = 4" in wrong and wrong.count("\n") == 1


def test_the_recipe_pairs_every_model_with_the_same_one_and_a_cache():
    models = {model.name: model for model in load_recipe("recipes/window_cache.toml").model}
    pairs = {name: models[f"{name}-cache"] for name in ("ngram", "infinigram", "feather", "dense", "mixture")}
    assert len(models) == 2 * len(pairs)
    for name, cached in pairs.items():
        assert cached.train == models[name].train and cached.family == models[name].family
        assert cached.config == {**models[name].config, "window_cache": 4}
