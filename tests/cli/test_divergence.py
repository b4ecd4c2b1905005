"""A model that diverges is recorded, shown, and not packed; the models behind it are made all the same.

Oracle: a learning rate of 10^20, which no training survives, beside a model that is counted.
"""

from __future__ import annotations

import json

import pytest

from weightless.data.text import fables
from weightless.lab import making

RECIPE = """
name = "wild"
[data]
source = "{text}"
vocab_size = 300
[eval]
tokens = 256
[sample]
max_tokens = 4
[[model]]
name = "wild"
family = "dense"
config = {{ d_model = 32, n_layers = 1, n_heads = 1, context = 64 }}
train = {{ num_steps = 40, batch_size = 2, threads = 1, eval_tokens = 128, max_lr = 1e20, muon_lr = 1e20 }}
[[model]]
name = "wild-mixture"
family = "mixture"
config = {{ context = 64, neural = "dense", neural_config = {{ d_model = 32, n_heads = 1 }}, counted_config = {{ order = 2 }} }}
train = {{ num_steps = 40, batch_size = 2, threads = 1, eval_tokens = 128, max_lr = 1e20, muon_lr = 1e20 }}
[[model]]
name = "counted"
family = "ngram"
config = {{ order = 2, context = 64 }}
"""  # noqa: E501


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wild")
    text = folder / "fables.txt"
    text.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=5, n_bytes=40_000)))
    path = folder / "wild.toml"
    path.write_text(RECIPE.format(text=text.as_posix()))
    return path


def test_a_run_goes_on_and_shows_what_diverged(recipe, tmp_path, command, monkeypatch):
    folder = tmp_path / "run"
    code, out, err = command("run", recipe, "--out", folder)
    assert code == 0, err
    assert "wild: diverged at step" in err and "wild-mixture: its neural part diverged at step" in err
    wild, mixture, counted = json.loads((folder / "summary.json").read_text())["models"]
    assert 0 < wild["diverged"]["step"] < 40 and wild["bits_per_byte"] is None and wild["artifact"] is None
    assert mixture["diverged"]["detail"].startswith("its neural part diverged") and counted["bits_per_byte"] > 0
    assert (folder / "models/counted/model.wl").exists() and not list(folder.glob("models/wild*/model.wl"))
    page = (folder / "report.html").read_text()
    assert f"wild: {wild['diverged']['detail'][:20]}" in page
    assert "wild, wild-mixture diverged before a validation loss was taken" in page
    assert "<td>diverged</td>" in page and "diverged" in out
    assert "Do not trust the numbers" not in page
    monkeypatch.setattr(making, "trained", None)  # nothing is trained a second time
    assert command("run", recipe, "--out", folder)[0] == 0
    code, out, _ = command("report", folder, "--markdown")
    assert code == 0 and "| diverged |" in out and f"wild {wild['diverged']['detail'][:20]}" in out


@pytest.mark.parametrize("norm", ["none", "post"])
def test_a_variant_that_diverges_is_recorded_too(norm, recipe, tmp_path, command):
    text = recipe.read_text().replace("n_layers = 1,", f'n_layers = 2, norm = "{norm}",', 1)
    (tmp_path / "variant.toml").write_text(text.replace("max_lr = 1e20, muon_lr = 1e20", "max_lr = 1e30", 1))
    code, _, err = command("run", tmp_path / "variant.toml", "--only", "wild", "--out", tmp_path / "run")
    (wild,) = json.loads((tmp_path / "run/summary.json").read_text())["models"]
    assert code == 0 and 0 < wild["diverged"]["step"] <= 40 and wild["artifact"] is None
    assert f"wild: {wild['diverged']['detail']}; recorded" in err
    assert "<td>diverged</td>" in (tmp_path / "run/report.html").read_text()


def test_a_run_of_nothing_else_is_reported_too(recipe, tmp_path, command):
    code, out, err = command("run", recipe, "--only", "wild", "--out", tmp_path / "run")
    assert code == 0 and "No model finished with a finite loss" in out.replace("\n", " ") and "diverged" in err
    assert (tmp_path / "run/report.html").exists()


def test_train_exits_with_its_own_code_and_packs_nothing(recipe, tmp_path, command):
    data = tmp_path / "data"
    assert command("data", "prepare", data, "--text", recipe.parent / "fables.txt", "--vocab_size", "300")[0] == 0
    train = [
        "train",
        "dense",
        "--data",
        data,
        "--out",
        tmp_path / "wild",
        "--d_model",
        32,
        "--n_layers",
        1,
        "--context",
        64,
        "--num_steps",
        40,
        "--batch_size",
        2,
        "--eval_tokens",
        128,
        "--max_lr",
        "1e20",
        "--muon_lr",
        "1e20",
        "--threads",
        1,
    ]
    told = []
    for _ in range(2):
        code, _, err = command(*map(str, train))
        told.append(next(line for line in err.splitlines() if line.startswith("weightless train: ")))
        assert code == 3 and not (tmp_path / "wild/model.wl").exists()
    assert told[0] == told[1] and "diverged at step" in told[0] and "--fresh" in told[0]
    code, _, err = command("pack", tmp_path / "wild", "--data", data)
    assert code == 2 and "diverged at step" in err and err.count("\n") == 1
