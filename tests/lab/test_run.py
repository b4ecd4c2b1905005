"""Recipes are strict; a run that is interrupted goes on and ends with the same bits.

Oracles: an uninterrupted run of the same recipe (same files, bit for bit); the messages a person needs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from weightless.base.config import from_dict, to_dict
from weightless.base.errors import ConfigError
from weightless.base.files import sha256_file
from weightless.data.text import fables
from weightless.lab.recipe import Recipe, load_recipe
from weightless.models.catalog import family
from weightless.program.cost import touched_by_formula

RECIPE = """
name = "small"
[data]
source = "{text}"
vocab_size = 300
[eval]
tokens = 256
[sample]
max_tokens = 4
[[model]]
name = "dense"
family = "dense"
config = {{ d_model = 32, n_layers = 1, n_heads = 1, context = 64 }}
train = {{ num_steps = 150, batch_size = 2, threads = 1, eval_tokens = 128, checkpoint_every = 0.2 }}
"""
CALL = [sys.executable, "-c", "import sys; from weightless.cli.main import main; sys.exit(main(sys.argv[1:]))", "run"]


def written(folder):
    text = folder / "fables.txt"
    text.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=5, n_bytes=40_000)))
    path = folder / "small.toml"
    path.write_text(RECIPE.format(text=text.as_posix()))
    return path


@pytest.fixture
def recipe(tmp_path):
    return written(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(recipe, folder) of a run that nobody interrupted."""
    place = tmp_path_factory.mktemp("whole")
    path = written(place)
    assert subprocess.run([*CALL, str(path), "--out", str(place / "run")], capture_output=True).returncode == 0
    return path, place / "run"


def test_recipe_survives_the_round_trip(recipe):
    loaded = load_recipe(recipe)
    assert from_dict(Recipe, to_dict(loaded)) == loaded


@pytest.mark.parametrize("name", ["demo", "books", "ablation", "feather_anew", "parameter_golf", "scan"])
def test_shipped_recipes_load(name, request):
    assert load_recipe(request.config.rootpath / "recipes" / f"{name}.toml").name == name


def test_the_models_of_the_scan_recipe_touch_the_same_bytes(request):
    """As its first lines say: within 0.1 %."""
    loaded = load_recipe(request.config.rootpath / "recipes" / "scan.toml")
    sizes = {"vocab_size": loaded.data.vocab_size}
    rooms = {model.name: (family(model.family), {**sizes, **model.config}) for model in loaded.model}
    means = [touched_by_formula(room.decode_program(room.Config(**config))).T.mean for room, config in rooms.values()]
    assert len(means) == 5 and max(means) < 1.001 * min(means)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("vocab_size = 300", "vocab = 300", ("data.vocab", "vocab_size")),
        ("d_model = 32", "d_modle = 32", ("d_modle", "d_model")),
        ('family = "dense"', 'family = "dens"', ("dens", "dense")),
        ("d_model = 32", 'd_model = "32"', ("d_model", "int")),
        ("d_model = 32", "d_model = 33", ("33",)),
    ],
)
def test_mistakes_name_the_key(recipe, old, new, words):
    recipe.write_text(recipe.read_text().replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "small.toml" in str(caught.value)


@pytest.mark.parametrize("how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_an_interrupted_run_ends_with_the_same_bits(whole, tmp_path, how):
    (recipe, whole), broken = whole, tmp_path / "broken"
    child = subprocess.Popen(
        [*CALL, str(recipe), "--out", str(broken)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # the test itself may run with it ignored
    )
    pointer = broken / "models/dense/checkpoint"
    deadline = time.monotonic() + 120
    while not list(pointer.glob("step_*")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(how)
    _, err = child.communicate(timeout=120)
    assert child.returncode == (130 if how == signal.SIGINT else -how), err
    assert how == signal.SIGKILL or "the same command goes on" in err
    assert subprocess.run([*CALL, str(recipe), "--out", str(broken)], capture_output=True).returncode == 0
    artifacts = [folder / "models/dense/model.wl" for folder in (whole, broken)]
    losses = [json.loads((folder / "models/dense/eval.json").read_text())["nats"] for folder in (whole, broken)]
    assert losses[0] == losses[1]
    curves = [_curve(folder) for folder in (whole, broken)]
    assert curves[0] == curves[1] and len(curves[0]) > 5
    assert artifacts[0].read_bytes() == artifacts[1].read_bytes(), "to the byte, notes and all"
    assert os.path.exists(broken / "report.html")


def _curve(folder):
    lines = (folder / "models/dense/metrics.jsonl").read_text().splitlines()
    return [(line["step"], line["train_loss"], line["val_loss"]) for line in map(json.loads, lines)]


def test_a_second_run_changes_nothing_but_the_record(whole):
    """Oracle: the hashes of everything that was made the first time."""
    recipe, folder = whole
    first = hashes_of(folder)
    assert subprocess.run([*CALL, str(recipe), "--out", str(folder)], capture_output=True).returncode == 0
    assert hashes_of(folder) == first and "models/dense/model.wl" in first


def hashes_of(folder):
    made = [path for part in ("data", "models") for path in sorted((folder / part).rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in made}
