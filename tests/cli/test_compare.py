"""Folders side by side: trained models and runs of one corpus, paired by seed; what cannot be compared is refused.

Oracles: `weightless eval` of each artifact; scipy's paired t interval, where scipy is installed, else its closed form
for three pairs (t = 4.302653 at two degrees of freedom, Student's table).
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import xml.etree.ElementTree as ET

import pytest

T_95_OF_2 = 4.302652729911275

SMALL = (
    "--d_model",
    "32",
    "--n_layers",
    "1",
    "--n_heads",
    "1",
    "--context",
    "64",
    "--num_steps",
    "3",
    "--batch_size",
    "2",
    "--threads",
    "1",
    "--eval_tokens",
    "128",
    "--no_wandb",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_run):
    """Folders of two models with three seeds each, trained apart on the run's corpus."""
    from weightless.cli.main import main

    place = tmp_path_factory.mktemp("trained")
    for name, more in (("slow", ("--max_lr", "1e-4")), ("fast", ("--max_lr", "3e-3"))):
        for seed in range(3):
            out = place / f"{name}-s{seed}"
            words = ["train", "dense", "--data", str(small_run[0] / "data"), "--out", str(out), *SMALL, *more]
            assert main([*words, "--seed", str(seed)]) == 0
    return place


def test_losses_side_by_side_with_a_paired_interval(command, trained, small_run, tmp_path):
    folders = sorted(path for path in trained.iterdir() if path.is_dir())
    code, out, err = command("report", *folders, "--out", tmp_path / "side by side")
    assert code == 0, err
    summary = json.loads((tmp_path / "side by side" / "summary.json").read_text())
    losses = {}
    for folder in folders:
        args = ("eval", folder / "model.wl", "--data", small_run[0] / "data", "--json")
        losses[folder.name] = json.loads(command(*args)[1])["bits_per_byte"]
    assert {m["name"]: m["bits_per_byte"] for m in summary["models"]} == pytest.approx(losses, rel=1e-9)
    apart = [losses[f"slow-s{seed}"] - losses[f"fast-s{seed}"] for seed in range(3)]
    mean, half = statistics.mean(apart), T_95_OF_2 * statistics.stdev(apart) / math.sqrt(3)
    better, worse = ("fast", "slow") if mean > 0 else ("slow", "fast")
    line = next(line for line in out.splitlines() if line.startswith(f"{worse}: "))
    assert f"{abs(mean):+.4f} ± {half:.4f} bits per byte against {better} (paired over 3 seeds" in line
    page = (tmp_path / "side by side" / "report.html").read_text()
    assert f"{abs(mean):+.4f} ± {half:.4f}" in page


def test_a_trained_model_beside_a_run_is_scored_as_the_run_was(command, trained, small_run, tmp_path):
    code, out, err = command("report", small_run[0], trained / "fast-s0", "--out", tmp_path / "page")
    assert code == 0, err
    models = {m["name"]: m for m in json.loads((tmp_path / "page" / "summary.json").read_text())["models"]}
    assert set(models) == {"dense", "feather", "ngram", "fast-s0"}
    assert models["fast-s0"]["eval_tokens"] == models["dense"]["eval_tokens"]
    assert "no interval: the models share fewer than two seeds, and one of them has a single one" in out


def test_runs_that_score_other_targets_are_refused(command, small_run, tmp_path):
    """The same corpus and models, scored on 700 targets and on 600: two losses of different things."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("summary.json", "recipe.toml"):
        shutil.copy(small_run[0] / name, other)
    assert command("report", small_run[0], other, "--out", tmp_path / "alike")[0] == 0
    for key, value in (("tokens = 700", "tokens = 600"), ("stride = 0", "stride = 32")):
        recipe = (small_run[0] / "recipe.toml").read_text()
        assert key in recipe
        (other / "recipe.toml").write_text(recipe.replace(key, value))
        code, out, err = command("report", small_run[0], other, "--out", tmp_path / "page")
        assert code == 2 and out == "" and err.count("\n") == 1, err
        assert "score different targets" in err and f"{other}: " in err and value.split(" = ")[1] in err
        assert not (tmp_path / "page").exists()


def test_windows_of_another_length_lie_elsewhere(command, small_run, tmp_path):
    """As many targets of the same text in windows of 32: other targets, unless all are scored."""
    other, whole = tmp_path / "other", tmp_path / "whole"
    for folder, scored in ((other, "tokens = 700"), (whole, "tokens = 0")):
        folder.mkdir()
        shutil.copy(small_run[0] / "summary.json", folder)
        recipe = (small_run[0] / "recipe.toml").read_text().replace("context = 64", "context = 32")
        (folder / "recipe.toml").write_text(recipe.replace("tokens = 700", scored))
    code, _, err = command("report", small_run[0], other, "--out", tmp_path / "page")
    assert code == 2 and "score different targets" in err and "stretch = 64" in err and "stretch = 32" in err
    assert command("report", whole, whole, "--out", tmp_path / "alike")[0] == 0


def test_other_corpora_are_refused_by_name(command, trained, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained / "fast-s0", other)
    record = json.loads((other / "trained-on.json").read_text())
    record["corpus"] = {"name": "elsewhere", "sha256": "0" * 64}
    (other / "trained-on.json").write_text(json.dumps(record))
    code, _, err = command("report", trained / "fast-s0", other, "--out", tmp_path / "page")
    assert code == 2 and "elsewhere" in err and "cannot be compared" in err and err.count("\n") == 1
    assert not (tmp_path / "page").exists()
    code, _, err = command("report", tmp_path / "nothing", other, "--out", tmp_path / "page")
    assert code == 2 and "neither a finished run" in err


@pytest.fixture(scope="module")
def apart(tmp_path_factory, small_run):
    """The same text prepared twice with one tokenizer and other validation documents, and a model trained on each."""
    from weightless.cli.main import main

    place = tmp_path_factory.mktemp("apart")
    tokenizer = ("--tokenizer", str(small_run[0] / "data" / "tokenizer.json"))
    for name, n in (("few", "9"), ("many", "99")):
        words = ["data", "prepare", str(place / name), "--text", str(small_run[2]), *tokenizer, "--val_last", n]
        assert main(words) == 0
        assert main(["train", "dense", "--data", str(place / name), "--out", str(place / f"m-{name}"), *SMALL]) == 0
    return place


def test_losses_on_other_documents_of_one_text_are_not_compared(command, apart, small_run, tmp_path):
    for other in (apart / "m-many", small_run[0]):
        code, _, err = command("report", apart / "m-few", other, "--out", tmp_path / "page")
        assert code == 2 and "different held-out documents" in err and err.count("\n") == 1
        assert "9 documents" in err and str(other) in err and not (tmp_path / "page").exists()


def test_what_was_learned_is_not_scored_as_held_out(command, apart, tmp_path):
    """The corpus of the training is replaced by one whose validation text the model has learned."""
    shutil.copytree(apart / "few", tmp_path / "data")
    assert command("train", "dense", "--data", tmp_path / "data", "--out", tmp_path / "m", *SMALL)[0] == 0
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(apart / "many", tmp_path / "data")
    for words in (
        ("eval", tmp_path / "m" / "model.wl"),
        ("report", tmp_path / "m", "--out", tmp_path / "page"),
        ("audit", tmp_path / "m" / "model.wl"),
    ):
        code, _, err = command(*words)
        assert code == 2 and "splits the text otherwise" in err and err.count("\n") == 1
    code, _, err = command("eval", tmp_path / "m" / "model.wl", "--data", tmp_path / "data", "--tokens", "64")
    assert code == 0 and "WARNING" in err and "may have been learned" in err


def test_training_draws_its_curve(trained):
    """The picture is XML of its own, with both panels and nothing outside its frame."""
    root = ET.fromstring((trained / "fast-s0" / "curve.svg").read_text())
    words = "".join(root.itertext())
    assert "training tokens" in words and "seconds of training" in words and "bits per byte" in words
