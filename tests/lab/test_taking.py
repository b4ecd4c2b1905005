"""Models of a recipe that learn from another one, or begin with its numbers.

Oracles: the artifact and the checkpoint of the other one, the engine's own distributions, and the same folder exported
and imported again.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from weightless.base.errors import ConfigError, WeightlessError
from weightless.data.shards.corpus import corpus
from weightless.export.packed import open_packed
from weightless.export.to_folder import export_folder
from weightless.lab.lineage import EngineTeacher, TorchTeacher, start_of, teacher_of
from weightless.lab.recipe import load_recipe
from weightless.lab.run import run
from weightless.train.checkpoint import load_checkpoint

RECIPE = """
name = "taken"
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
kv_format = "f32"
[model.train]
num_steps = 8
batch_size = 4
threads = 1
eval_tokens = 128
[[model]]
name = "student"
family = "dense"
init_from = "whole"
[model.config]
d_model = 32
n_layers = 1
n_heads = 1
context = 64
weight_format = "t2"
kv_format = "f32"
[model.train]
num_steps = 6
batch_size = 4
threads = 1
eval_tokens = 128
qat_start = 0.0
[model.distil]
teacher = "whole"
weight = 0.75
top_k = 8
"""
TEACHER, BEGIN = 'teacher = "whole"', 'init_from = "whole"'
LONGER = 'd_model = 32\nn_layers = 1\nn_heads = 1\ncontext = 128\nweight_format = "t2"'
SHAPE = 'd_model = 32\nn_layers = 1\nn_heads = 1\ncontext = 64\nweight_format = "t2"'


def recipe_file(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "taken.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taken")
    (folder / "run").mkdir()
    run(load_recipe(recipe_file(folder)), folder / "run", "weightless run taken.toml")
    return folder / "run"


def test_the_record_says_from_whom_and_what_it_cost(made):
    summary = json.loads((made / "summary.json").read_text())
    for seed in (0, 1):
        (entry,) = [model for model in summary["models"] if model["name"] == f"student-s{seed}"]
        checks = {check["name"]: check for check in entry["checks"]}
        assert all(check["ok"] for check in checks.values())
        assert f"as they are in whole-s{seed} (" in checks["initial weights"]["detail"]
        assert f"KL to whole-s{seed} (" in checks["distillation"]["detail"]
        assert "in 6 of 6 steps" in checks["distillation"]["detail"]
        teacher = entry["teacher"]
        assert teacher["tokens"] == 6 * 4 * 64 == entry["tokens_seen"] and teacher["flops"] > 0 < teacher["seconds"]
        artifact = made / f"models/whole-s{seed}/model.wl"
        assert teacher["sha256"] == next(
            m["artifact"]["sha256"] for m in summary["models"] if m["name"] == artifact.parent.name
        )
        assert entry["commands"]["train"].endswith("--only whole student")
    assert "KL to whole-s1" in (made / "report.html").read_text()


def test_it_is_the_same_when_it_is_read_back_and_done_again(made, tmp_path):
    recipe = load_recipe(made / "recipe.toml")
    assert recipe == load_recipe(recipe_file(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.wl")}
    run(recipe, made, "weightless run taken.toml")
    assert before == {path: path.stat().st_mtime_ns for path in made.rglob("*.wl")}


def test_teachers_of_every_kind_say_the_same(made, tmp_path):
    """PyTorch with the stored numbers, the engine, and an exported folder of it: rounding of float32 sums apart."""
    data, path = corpus(made / "data"), made / "models/whole-s0"
    by_torch = teacher_of(str(path), data, 64)
    packed = open_packed(path / "model.wl")
    by_engine = EngineTeacher("engine", "", 1.0, packed)
    export_folder(packed, tmp_path / "hf")
    by_folder = teacher_of(str(tmp_path / "hf"), data, 64)
    tokens_BT = np.asarray(data.tokens("val")[:34]).reshape(2, 17)
    said = [teacher.log_probs(tokens_BT, None).log_softmax(-1) for teacher in (by_torch, by_engine, by_folder)]
    assert isinstance(by_torch, TorchTeacher) and said[0].shape == (2, 17, 300)
    torch.testing.assert_close(said[1], said[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(said[2], said[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="runs in the engine, which reads across documents"):
        by_engine.log_probs(tokens_BT, tokens_BT)


def test_a_folder_begins_with_its_checkpoint_and_an_artifact_with_what_is_stored(made):
    data, path = corpus(made / "data"), made / "models/student-s0"
    saved = load_checkpoint(path / "checkpoint")
    masters, stored = start_of(str(path), data), start_of(str(path / "model.wl"), data)
    assert all(torch.equal(masters.parameters[name], value) for name, value in saved.parameters.items())
    values = stored.parameters["block.0.up"]
    assert len(values.unique()) > 2 and not torch.equal(values, saved.parameters["block.0.up"])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (TEACHER, 'teacher = "hole"', "distil.teacher = 'hole' is no model that stands before it.*'whole'"),
        (TEACHER, 'teacher = "student"', "distil.teacher = 'student' is this model itself"),
        (TEACHER, "", "missing key 'distil.teacher'"),
        (BEGIN, 'init_from = "hole"', "init_from = 'hole' is no model that stands before it"),
        ("top_k = 8", "topk = 8", "unknown key 'distil.topk'.*'top_k'"),
        ("top_k = 8", "top_k = 301", "distil.top_k = 301 is more than the 300 tokens"),
        ("weight = 0.75", "weight = 2.0", "distil.weight = 2.0"),
        (
            SHAPE,
            SHAPE.replace("d_model = 32", "d_model = 64"),
            "init_from = 'whole': tensor 'block.0.attn_norm' is 1 x 32",
        ),
        (SHAPE, LONGER, "'whole' sees 64 tokens"),
        (BEGIN, BEGIN + '\nrounded_from = "whole"', "init_from is for a model that is trained by gradient"),
    ],
)
def test_what_cannot_be_is_refused_when_the_recipe_is_read(old, new, told, tmp_path):
    assert RECIPE.count(old) == 1
    text = RECIPE.replace(old, new)
    with pytest.raises(ConfigError, match=told):
        load_recipe(recipe_file(tmp_path, text))


def test_nothing_is_made_when_what_it_takes_from_is_missing_or_reads_other_tokens(made, tmp_path):
    recipe = load_recipe(recipe_file(tmp_path))
    (tmp_path / "run").mkdir()
    with pytest.raises(WeightlessError, match=r"whole-s0 is not made yet.*--only whole student"):
        run(recipe, tmp_path / "run", "weightless run taken.toml", only=["student"])
    assert not list((tmp_path / "run").iterdir())
    text = RECIPE.replace(TEACHER, f'teacher = "{made / "models/whole-s0"}"').replace(BEGIN, "").replace(SHAPE, LONGER)
    text = text.replace('source = "fables"', f'source = "{made / "data"}"')
    with pytest.raises(ConfigError, match=r"model 'student': teacher .*whole-s0 sees 64 tokens, .* windows of 128"):
        run(load_recipe(recipe_file(tmp_path, text)), tmp_path / "run", "weightless run taken.toml")
    assert not (tmp_path / "run" / "models").exists()
    data = corpus(made / "data")
    other = SimpleNamespace(manifest={"tokenizer_sha256": "0" * 64}, folder="elsewhere", vocab_size=300)
    for opened in (
        lambda: teacher_of(str(made / "models/whole-s0"), other, 64),
        lambda: start_of(str(made / "models/student-s0"), other),
    ):
        with pytest.raises(ConfigError, match=r"has another tokenizer \(\w{12}\) than elsewhere \(0{12}\)"):
            opened()
    with pytest.raises(WeightlessError, match="is a run of several models: name one of them"):
        teacher_of(str(made), data, 64)
