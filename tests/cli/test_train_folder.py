"""What a model's folder says is what was trained in it, whatever was tried there before.

Oracles: the same command in a folder of its own (weights and program to the last bit), and folders compared file by
file before and after a refusal.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from weightless.base.config import load_toml
from weightless.export.packed import open_packed

TINY = (
    "--d_model",
    32,
    "--n_layers",
    1,
    "--n_heads",
    1,
    "--context",
    64,
    "--num_steps",
    2,
    "--batch_size",
    2,
    "--threads",
    1,
    "--eval_tokens",
    256,
    "--no_wandb",
)


@pytest.fixture
def train(command, small_run):
    """`train FAMILY …` on the shared corpus, a tiny model unless the flags say otherwise."""

    def run(out, *arguments, family="dense", data=small_run[0] / "data"):
        own = {flag for flag in arguments if str(flag).startswith("--")}
        tiny = [part for pair in zip(TINY[::2], TINY[1::2], strict=False) if pair[0] not in own for part in pair]
        return command("train", family, "--data", data, "--out", out, *map(str, [*tiny, TINY[-1], *arguments]))

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_model(one: Path, other: Path) -> bool:
    """Whether two artifacts hold the same program and the same weights."""
    models = [open_packed(path) for path in (one, other)]
    programs = [json.dumps(model.program.to_plain()) for model in models]
    return programs[0] == programs[1] and np.array_equal(models[0].weights, models[1].weights)


@pytest.mark.parametrize(
    "refused",
    [
        ("--context", 8192),
        ("--context", 64, "--eval_tokens", 9),
        ("--d_model", 33),
        ("--warmup", 2),
        ("--weight_format", "int9"),
        ("--order", "score"),
        ("--kv_format", "int4"),
    ],
)
def test_a_refused_training_leaves_nothing_behind(train, tmp_path, refused):
    code, _, err = train(tmp_path / "model", *refused)
    assert code == 2 and err.strip()
    assert list(tmp_path.iterdir()) == []


def test_what_was_refused_before_does_not_decide_the_model(train, tmp_path):
    """The artifact of context 8192 was worse, and touched more bytes, than the one that was asked for."""
    assert train(tmp_path / "model", "--context", 8192)[0] == 2
    (tmp_path / "model").mkdir(exist_ok=True)
    (tmp_path / "model" / "model.toml").write_text('family = "dense"\n[config]\nvocab_size = 320\ncontext = 8192\n')
    assert train(tmp_path / "model")[0] == 0
    assert train(tmp_path / "other" / "model")[0] == 0
    assert open_packed(tmp_path / "model" / "model.wl").program.context == 64
    assert same_model(tmp_path / "model" / "model.wl", tmp_path / "other" / "model" / "model.wl")
    assert load_toml(tmp_path / "model" / "model.toml") == load_toml(tmp_path / "other" / "model" / "model.toml")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--rope_theta", 500.0), ["rope_theta 10000.0 (now 500.0)"]),
        (("--eps", 0.01, "--kv_format", "int8"), ["eps 1e-05 (now 0.01)", "kv_format bf16 (now int8)"]),
        (("--activation", "relu2", "--max_lr", 0.01), ["activation swiglu (now relu2)", "max_lr 0.003 (now 0.01)"]),
        (("--weight_format", "int4"), ["weight_format bf16 (now int4)"]),
        (("--context", 32), ["context 64 (now 32)"]),
        (("--num_steps", 5), ["num_steps 2 (now 5)"]),
        (("--d_model", 64), ["d_model 32 (now 64)"]),
    ],
)
def test_another_training_is_refused_by_the_name_of_every_difference(train, tmp_path, change, told):
    assert train(tmp_path)[0] == 0
    before = contents(tmp_path)
    code, out, err = train(tmp_path, *change)
    assert code == 2 and out == "" and contents(tmp_path) == before
    (line,) = [line for line in err.splitlines() if line.startswith("weightless train: ")]
    assert all(difference in line for difference in told)
    assert line.count("(now ") == len(told), "nothing but what differs"
    assert "--out" in line and "--fresh" in line


def test_another_family_and_another_corpus_are_refused_by_name(command, train, small_run, tmp_path):
    assert train(tmp_path / "model")[0] == 0
    before = contents(tmp_path / "model")
    assert "family dense (now feather)" in train(tmp_path / "model", family="feather")[2]
    text = tmp_path / "other.txt"
    text.write_bytes(small_run[2].read_bytes() * 2 + b"\n<|endoftext|>\nanother text")
    prepare = ("data", "prepare", tmp_path / "data", "--text", text)
    assert command(*prepare, "--tokenizer", small_run[0] / "data" / "tokenizer.json")[0] == 0
    err = train(tmp_path / "model", data=tmp_path / "data")[2]
    assert "text fables " in err and "(now other " in err and "tokenizer" not in err
    text.write_bytes(small_run[2].read_bytes().swapcase().replace(b"<|ENDOFTEXT|>", b"<|endoftext|>"))
    assert command("data", "prepare", tmp_path / "own", "--text", text, "--vocab_size", "320")[0] == 0
    assert "tokenizer " in train(tmp_path / "model", data=tmp_path / "own")[2]
    assert contents(tmp_path / "model") == before


def test_the_same_command_again_changes_nothing_of_a_finished_model(train, tmp_path):
    assert train(tmp_path)[0] == 0
    before = contents(tmp_path)
    assert train(tmp_path, "--checkpoint_every", 5)[0] == 0
    assert contents(tmp_path) == before


def test_fresh_destroys_nothing_before_everything_is_checked(train, tmp_path):
    assert train(tmp_path)[0] == 0
    before = contents(tmp_path)
    assert train(tmp_path, "--fresh", "--context", 8192)[0] == 2
    assert contents(tmp_path) == before


def test_a_fresh_training_puts_the_earlier_artifact_aside(train, tmp_path):
    assert train(tmp_path)[0] == 0
    old = (tmp_path / "model.wl").read_bytes()
    code, _, err = train(tmp_path, "--fresh", "--no-pack", "--rope_theta", 500.0)
    assert code == 0 and "kept as model.previous.wl" in err
    assert (tmp_path / "model.previous.wl").read_bytes() == old
    assert not (tmp_path / "model.wl").exists(), "it would pass for that of the new training"
    assert load_toml(tmp_path / "model.toml")["config"]["rope_theta"] == 500.0


def test_an_older_checkpoint_is_of_what_its_model_file_says(train, tmp_path):
    """Checkpoints did not say what they are of before they held an origin."""
    assert train(tmp_path)[0] == 0
    (state,) = tmp_path.glob("checkpoint/step_*/state.json")
    found = json.loads(state.read_text())
    del found["origin"]
    state.write_text(json.dumps(found))
    assert "rope_theta 10000.0 (now 500.0)" in train(tmp_path, "--rope_theta", 500.0)[2]
    assert train(tmp_path)[0] == 0


@pytest.mark.parametrize("origin", [[], {}, {"family": "dense"}, {"family": "dense", "config": {}, "corpus": 3}])
def test_a_checkpoint_whose_origin_is_damaged_is_told_in_one_line(train, tmp_path, origin):
    assert train(tmp_path)[0] == 0
    (state,) = tmp_path.glob("checkpoint/step_*/state.json")
    state.write_text(json.dumps({**json.loads(state.read_text()), "origin": origin}))
    code, _, err = train(tmp_path)
    assert code == 2 and "--fresh" in err.splitlines()[-1]


def test_pack_takes_only_the_corpus_that_the_model_was_trained_on(command, train, small_run, tmp_path):
    """A vocabulary of equal size made the artifact speak gibberish.  An older checkpoint is held to the tokens."""
    assert train(tmp_path / "model")[0] == 0
    packed, text = (tmp_path / "model" / "model.wl").read_bytes(), tmp_path / "other.txt"
    text.write_bytes(small_run[2].read_bytes().swapcase().replace(b"<|ENDOFTEXT|>", b"<|endoftext|>"))
    assert command("data", "prepare", tmp_path / "other", "--text", text, "--vocab_size", "320")[0] == 0
    pack = ("pack", tmp_path / "model", "--out", tmp_path / "packed.wl", "--data")
    code, _, err = command(*pack, tmp_path / "other")
    assert code == 2 and "tokenizer " in err and "--data" in err and not (tmp_path / "packed.wl").exists()
    (state,) = (tmp_path / "model").glob("checkpoint/step_*/state.json")
    found = json.loads(state.read_text())
    del found["origin"]
    state.write_text(json.dumps(found))
    code, _, err = command(*pack, tmp_path / "other")
    assert code == 2 and "other tokens" in err and not (tmp_path / "packed.wl").exists()
    assert command(*pack, small_run[0] / "data")[0] == 0
    assert (tmp_path / "packed.wl").read_bytes() == packed


def test_a_model_file_that_was_changed_since_is_not_packed(command, train, small_run, tmp_path):
    assert train(tmp_path)[0] == 0
    file = tmp_path / "model.toml"
    file.write_text(file.read_text().replace("rope_theta = 10000.0", "rope_theta = 500.0"))
    code, _, err = command("pack", tmp_path, "--data", small_run[0] / "data", "--out", tmp_path / "packed.wl")
    assert code == 2 and "rope_theta 10000.0 (now 500.0)" in err and "model.toml" in err


def test_the_record_of_a_training_is_that_of_the_checkpoint(train, command, small_run, tmp_path, monkeypatch):
    """A training begun anew on another text, interrupted and packed by hand, is not scored on the old one."""
    other = tmp_path / "other"
    words = ("--text", small_run[2], "--tokenizer", small_run[0] / "data" / "tokenizer.json", "--val_last", "30")
    assert command("data", "prepare", other, *words)[0] == 0
    assert train(tmp_path / "m")[0] == 0
    monkeypatch.setattr("weightless.train.loop._Run.advance", _interrupted)
    with monkeypatch.context():
        train(tmp_path / "m", "--fresh", data=other)
    record = json.loads((tmp_path / "m" / "trained-on.json").read_text())
    assert record["data"] == other.resolve().as_posix()


def _interrupted(self):
    raise KeyboardInterrupt
