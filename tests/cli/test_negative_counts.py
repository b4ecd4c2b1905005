"""No flag of any verb takes a negative count: one line before anything is read.  Oracle: the flag's own name."""

from __future__ import annotations

from itertools import pairwise

import pytest

CASES = [
    ("eval", "x.wl", "--threads", "-1"),
    ("train", "--threads", "-1"),
    ("train", "--d_ff", "-8"),
    ("generate", "x.wl", "--max_tokens", "-1"),
    ("generate", "x.wl", "--top_k", "-1"),
    ("data", "prepare", "out", "--workers", "-1"),
    ("data", "prepare", "out", "--vocab_size", "-1"),
    ("data", "import", "x.bin", "out", "--max_tokens", "-1"),
    ("data", "inspect", "x", "--start", "-1"),
    ("tokenizer", "train", "docs", "--vocab_size", "-1"),
    ("count", "dense", "--positions", "-1"),
    ("count", "dense", "--training", "--context", "-1"),
    ("fit", "dense", "--touched", "1MB", "--vocab", "-1"),
    ("audit", "x.wl", "--positions", "-1"),
    ("launch", "--n", "-1", "--", "count", "dense"),
]


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_a_negative_count_is_refused_by_name(words, command):
    code, out, err = command(*words)
    flag = next(before for before, word in pairwise(words) if word in ("-1", "-8"))
    assert (code, out) == (2, "") and err.count("\n") == 1 and flag[2:] in err


def test_a_device_that_is_not_there_is_told_before_anything_is_written(command, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = command("train", "--device", "cuda", "--out", tmp_path / "m", "--data", tmp_path / "d")
    assert code == 2 and err.count("\n") == 1 and "'cuda'" in err and not list(tmp_path.iterdir())


def test_a_recipe_for_a_device_that_is_not_there_is_refused_before_its_text_is_prepared(command, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    recipe = tmp_path / "r.toml"
    recipe.write_text("""
name = "there"
[data]
source = "fables"
vocab_size = 300
[[model]]
name = "second"
family = "dense"
config = { d_model = 32, n_layers = 1, n_heads = 1, context = 64 }
train = { num_steps = 3, batch_size = 2, eval_tokens = 256, device = "cuda" }
""")
    code, _, err = command("run", recipe, "--out", tmp_path / "out")
    assert code == 2 and err.count("\n") == 1 and "model 'second'" in err and "'cuda'" in err
    assert list(tmp_path.iterdir()) == [recipe]
