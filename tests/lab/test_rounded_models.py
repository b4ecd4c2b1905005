"""Models of a recipe that are another one's numbers in other formats: to nearest, or by GPTQ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.export.packed import open_packed
from weightless.lab.recipe import fingerprint, load_recipe
from weightless.lab.run import run
from weightless.quant.formats import decode_rows, encode_rows

RECIPE = """
name = "few"
seeds = [0, 1]
[data]
source = "fables"
vocab_size = 300
[eval]
tokens = 512
[[model]]
name = "whole"
family = "dense"
[model.config]
d_model = 32
n_layers = 1
n_heads = 1
context = 64
weight_format = "f32"
[model.train]
num_steps = 8
batch_size = 4
threads = 1
eval_tokens = 128
[[model]]
name = "nearest"
rounded_from = "whole"
[model.config]
weight_format = "int3"
[[model]]
name = "gptq"
rounded_from = "whole"
gptq = 512
[model.config]
weight_format = "int3"
plan = { embed = "t2@lsq" }
"""
NEAREST, GPTQ = 'rounded_from = "whole"\n[', 'rounded_from = "whole"\ngptq = 512'
INT3 = 'weight_format = "int3"\n[['


def recipe_file(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "few.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rounded")
    (folder / "run").mkdir()
    run(load_recipe(recipe_file(folder)), folder / "run", "weightless run few.toml")
    return folder / "run"


def values(path: Path) -> dict[str, np.ndarray]:
    packed = open_packed(path)
    return {t.name: decode_rows(packed.artifact.view(t.name), t.format, t.shape[1]) for t in packed.program.stored()}


def test_the_numbers_are_those_of_the_model_of_the_same_seed(made):
    for seed in (0, 1):
        whole, nearest, gptq = (values(made / f"models/{n}-s{seed}/model.wl") for n in ("whole", "nearest", "gptq"))
        for name, w in whole.items():
            if name.endswith("norm"):
                assert np.array_equal(nearest[name], w) and np.array_equal(gptq[name], w)
                continue
            rounded = decode_rows(encode_rows(w, "int3"), "int3", w.shape[1])
            assert np.array_equal(nearest[name], rounded) and not np.array_equal(gptq[name], rounded)
    formats = {t.name: t.format for t in open_packed(made / "models/gptq-s1/model.wl").program.stored()}
    assert formats["embed"] == "t2@lsq" and formats["block.0.up"] == "int3"


def test_the_record_says_where_they_are_from(made):
    summary = json.loads((made / "summary.json").read_text())
    by_name = {model["name"]: model for model in summary["models"]}
    assert all(check["ok"] for model in by_name.values() for check in model["checks"])
    told = [check for check in by_name["gptq-s1"]["checks"] if check["name"] == "rounded"]
    assert "of whole-s1, rounded by GPTQ over 512 training tokens" in told[0]["detail"]
    assert by_name["nearest-s0"]["tokens_seen"] == by_name["whole-s0"]["tokens_seen"]
    assert by_name["nearest-s0"]["commands"]["train"].endswith("--only whole nearest")
    assert by_name["nearest-s0"]["stored"]["weights"] < by_name["whole-s0"]["stored"]["weights"] / 4


def test_the_run_is_the_same_when_it_is_read_back_and_done_again(made, tmp_path):
    recipe = load_recipe(made / "recipe.toml")
    assert recipe == load_recipe(recipe_file(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.wl")}
    run(recipe, made, "weightless run few.toml")
    assert before == {path: path.stat().st_mtime_ns for path in made.rglob("*.wl")}


def test_the_order_of_a_plan_decides_what_a_model_is():
    """The first pattern that fits decides, so two orders are two models; an empty plan is as if there were none."""
    one, other = (
        {"config": {"plan": dict(pairs)}} for pairs in ([("a", "t2"), ("b", "f32")], [("b", "f32"), ("a", "t2")])
    )
    assert fingerprint(one) != fingerprint(other) and fingerprint(one) == fingerprint(dict(one))
    assert fingerprint({"config": {"plan": {}, "d": 1}}) == fingerprint({"config": {"d": 1}})


def test_it_is_not_made_before_what_it_is_rounded_from(tmp_path):
    recipe = load_recipe(recipe_file(tmp_path))
    (tmp_path / "run").mkdir()
    with pytest.raises(WeightlessError, match=r"whole-s0 is not made yet.*--only whole nearest"):
        run(recipe, tmp_path / "run", "weightless run few.toml", only=["nearest"])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (NEAREST, 'rounded_from = "hole"\nfamily = "dense"\n[', "'hole' is no model that stands before it .*'whole'"),
        (NEAREST, 'rounded_from = "hole"\n[', "missing key"),
        (NEAREST, 'rounded_from = ["whole"]\n[', "rounded_from should be str"),
        ('name = "nearest"', 'name = ["nearest"]', "name should be str"),
        ('name = "nearest"', 'name = "gptq"', "two models of the recipe are called 'gptq'"),
        (INT3, 'weight_format = ["int3"]\n[[', "weight_format should be str"),
        (GPTQ, 'rounded_from = "nearest"\ngptq = 512', "'nearest' is not trained"),
        (GPTQ, 'family = "dense"\ngptq = 512', "gptq = 512 rounds the numbers of another"),
        (INT3, 'weight_format = "int3"\nd_model = 64\n[[', "config.d_model is not that of 'whole'"),
        (INT3, 'weight_format = "int9"\n[[', "unknown format 'int9'"),
        (INT3, 'weight_format = "int3"\n[model.train]\nnum_steps = 3\n[[', "take train out"),
        ("gptq = 512", "gptq = -1", "a gptq of 0 or more"),
        ("gptq = 512", "gptq = 512\ntrain_tokens = [1000]", "family, train_tokens"),
    ],
)
def test_what_cannot_be_is_refused_when_the_recipe_is_read(old, new, told, tmp_path):
    assert old in RECIPE
    with pytest.raises(ConfigError, match=told):
        load_recipe(recipe_file(tmp_path, RECIPE.replace(old, new, 1)))
