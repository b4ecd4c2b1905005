"""Every verb does its job on a small real run.  Oracles: the run's own files, the library called directly, UTF-8."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest


def test_run_leaves_everything_it_promises(small_run):
    folder = small_run[0]
    summary = json.loads((folder / "summary.json").read_text())
    assert [model["name"] for model in summary["models"]] == ["dense", "feather", "ngram"]
    assert all(check["ok"] for model in summary["models"] for check in model["checks"])
    for name in ("recipe.toml", "environment.json", "report.html", "data/manifest.json", "data/tokenizer.json"):
        assert (folder / name).exists(), name
    for model in ("dense", "feather"):
        for name in (
            "metrics.jsonl",
            "metrics.csv",
            "ledger.json",
            "eval.json",
            "model.wl",
            "sample.txt",
            "model.toml",
        ):
            assert (folder / "models" / model / name).exists(), (model, name)


def test_components_add_up_to_the_headline(small_run):
    for model in json.loads((small_run[0] / "summary.json").read_text())["models"]:
        assert sum(part["T"] for part in model["components"]) == pytest.approx(model["touched"]["T"]["mean"], rel=1e-9)


def test_bits_per_byte_and_nats_agree(small_run):
    """loss / (ln 2 bpb) = bytes per token, counted from the source text."""
    for model in json.loads((small_run[0] / "summary.json").read_text())["models"]:
        per_token = model["nats_per_token"] / (np.log(2) * model["bits_per_byte"])
        assert per_token == pytest.approx(model["eval_bytes"] / model["eval_tokens"], rel=1e-12)


def test_the_same_run_again_does_nothing_twice(command, small_run):
    folder, recipe, _ = small_run
    times = {path: os.stat(path).st_mtime_ns for path in folder.rglob("*") if path.name in ("model.wl", "done.json")}
    assert command("run", recipe, "--out", folder)[0] == 0
    assert times == {path: os.stat(path).st_mtime_ns for path in times}


def test_eval_repeats_the_recorded_loss(command, small_run):
    folder = small_run[0]
    for model in json.loads((folder / "summary.json").read_text())["models"]:
        code, out, _ = command("eval", folder / model["artifact"]["file"], "--tokens", "700", "--json")
        assert code == 0 and json.loads(out)["nats"] == pytest.approx(model["nats"], rel=1e-9)


def test_sliding_window_scores_every_target_once(command, small_run):
    path = small_run[0] / "models/dense/model.wl"
    results = [json.loads(command("eval", path, "--stride", s, "--tokens", "0", "--json")[1]) for s in ("64", "16")]
    assert results[0]["eval_tokens"] == results[1]["eval_tokens"]
    assert results[0]["eval_bytes"] == results[1]["eval_bytes"]


def test_generate_is_deterministic_and_starts_with_the_prompt(command, small_run):
    for model in ("dense", "feather", "ngram"):
        path = small_run[0] / f"models/{model}/model.wl"
        texts = [command("generate", path, "--prompt", "Once", "--max_tokens", "9", "--seed", "5")[1] for _ in range(2)]
        assert texts[0] == texts[1] and texts[0].startswith("Once")
        drawn = json.loads(command("generate", path, "--temperature", "1", "--top_p", "1", "--json")[1])
        assert drawn["mode"] == "S"


def test_count_of_artifact_recipe_and_folder_agree(command, small_run):
    folder, recipe, _ = small_run
    of_artifact = json.loads(command("count", folder / "models/dense/model.wl", "--json")[1])
    of_folder = json.loads(command("count", folder / "models/dense", "--json")[1])
    of_recipe = json.loads(command("count", recipe, "--json")[1])
    touched = [
        next(iter(of_artifact.values()))["touched"],
        of_folder["dense"]["touched"],
        of_recipe["dense"]["touched"],
    ]
    assert touched[0] == touched[1] == touched[2]


def test_tokenizer_round_trip(command, tmp_path, small_run):
    path, text = tmp_path / "t.json", "A hen, naïve as snow ☃, said: 0 < 1!"
    assert command("tokenizer", "train", small_run[2], "--out", path, "--vocab_size", "280")[0] == 0
    ids = command("tokenizer", "encode", path, text)[1].split()
    assert command("tokenizer", "decode", path, *ids)[1] == text + "\n"


@pytest.mark.parametrize("dash", ["_", "-"])
def test_train_takes_the_flags_of_the_field(command, tmp_path, small_run, dash):
    flags = {
        "batch_size": "2",
        "max_lr": "1e-4",
        "num_steps": "2",
        "d_model": "32",
        "n_layers": "1",
        "n_heads": "1",
        "context": "32",
        "eval_tokens": "64",
        "threads": "1",
    }
    arguments = [part for name, value in flags.items() for part in ("--" + name.replace("_", dash), value)]
    out = tmp_path / "m"
    code, text, err = command("train", "--data", small_run[0] / "data", "--out", out, *arguments, f"--no{dash}wandb")
    assert code == 0 and (out / "model.wl").exists(), err
    assert command("eval", out / "model.wl", "--data", small_run[0] / "data", "--tokens", "50")[0] == 0


def test_data_inspect_and_verify(command, small_run):
    assert "·" in command("data", "inspect", small_run[0] / "data", "--n", "20")[1]
    code, out, _ = command("data", "verify", small_run[0] / "data")
    assert code == 0 and "FAILED" not in out
