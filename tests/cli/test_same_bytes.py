"""The same recipe, seed and machine make the same artifacts, to the byte: whatever the folder, the verb and the breaks.

Oracle: the SHA-256 of the files of an undisturbed run, and sha256sum's own format.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal

import pytest
from cli.small_training import small

from weightless.artifact.file import open_artifact
from weightless.lab import stages
from weightless.train import loop

MODELS = ("dense", "feather", "ngram")
TRAIN = small(num_steps=3, eval_tokens=256)


def _sums(folder):
    return {name: hashlib.sha256((folder / f"models/{name}/model.wl").read_bytes()).hexdigest() for name in MODELS}


@pytest.fixture
def elsewhere(small_run, tmp_path):
    """A recipe of the same content in another place, with another name for the text's folder."""
    _, recipe, text = small_run
    moved = tmp_path / "other" / text.name
    moved.parent.mkdir()
    shutil.copy(text, moved)
    path = moved.parent / "again.toml"
    path.write_text(recipe.read_text().replace(text.as_posix(), moved.as_posix()))
    return path


def test_another_folder_and_a_break_change_nothing(small_run, elsewhere, tmp_path, command, monkeypatch):
    """Ctrl-C in the second step of the first model, and then the same command again."""
    step = loop.train_step

    def interrupted(*arguments, **more):
        if more["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        assert command("run", elsewhere, "--out", tmp_path / "deep/er")[0] == 130
    assert list((tmp_path / "deep/er/models/dense/checkpoint").glob("step_000000002"))
    code, out, err = command("run", elsewhere, "--out", tmp_path / "deep/er")
    assert code == 0 and str(tmp_path / "deep/er/SHA256SUMS") in out, err
    assert _sums(tmp_path / "deep/er") == _sums(small_run[0])


def test_who_is_stopped_while_measuring_has_only_to_measure(small_run, elsewhere, tmp_path, command, monkeypatch):
    """Nothing is made a second time, and the figures are those of the run that was not stopped."""

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages.measure, "score", stopped)
        assert command("run", elsewhere, "--out", tmp_path / "run", "--only", "ngram")[0] == 130
    folder = tmp_path / "run/models/ngram"
    assert not (folder / "done.json").exists()

    def made(*_, **__):
        raise AssertionError("made again")

    with monkeypatch.context() as patch:
        patch.setattr(stages, "make", made)
        code, _, err = command("run", elsewhere, "--out", tmp_path / "run", "--only", "ngram")
        assert code == 0, err
        (folder / "done.json").unlink()  # as the message says that tells of a damaged one
        assert command("run", elsewhere, "--out", tmp_path / "run", "--only", "ngram")[0] == 0
        (folder / "done.json").unlink()
        (folder / "model.wl").write_bytes(b"another")
        with pytest.raises(AssertionError, match="made again"):
            command("run", elsewhere, "--out", tmp_path / "run", "--only", "ngram")
    entries = [json.loads((run / "models/ngram/eval.json").read_text()) for run in (small_run[0], tmp_path / "run")]
    assert entries[0]["nats"] == entries[1]["nats"]


def test_the_sums_are_published(small_run):
    """In the format of sha256sum, and on the page."""
    folder, sums = small_run[0], _sums(small_run[0])
    assert (folder / "SHA256SUMS").read_text() == "".join(f"{sums[m]}  models/{m}/model.wl\n" for m in MODELS)
    page = (folder / "report.html").read_text()
    assert all(digest in page for digest in sums.values())


def test_train_and_pack_make_the_file_of_the_run(small_run, tmp_path, command):
    """Two verbs more that end in the same bytes, each from another folder."""
    folder, sums = small_run[0], _sums(small_run[0])
    data = tmp_path / "data"
    shutil.copytree(folder / "data", data)
    code, out, err = command("train", "dense", "--data", data, "--out", tmp_path / "mine", *TRAIN)
    assert code == 0, err
    assert f"SHA-256 {sums['dense']}" in out
    assert hashlib.sha256((tmp_path / "mine/model.wl").read_bytes()).hexdigest() == sums["dense"]
    for name in ("dense", "feather"):
        code, out, err = command("pack", folder / "models" / name, "--out", tmp_path / f"{name}.wl")
        assert code == 0 and sums[name] in out, err
        assert hashlib.sha256((tmp_path / f"{name}.wl").read_bytes()).hexdigest() == sums[name]


def test_an_artifact_holds_no_clock(small_run):
    """What it says of itself: nothing but what the recipe and the text decide."""
    notes = open_artifact(small_run[0] / "models/dense/model.wl").meta["notes"]
    assert notes.keys() == {"seed", "steps", "corpus_sha256", "tokenizer_sha256"} and (
        notes["seed"],
        notes["steps"],
    ) == (0, 3)
    assert (small_run[0] / "models/dense/training.json").exists()


@pytest.mark.parametrize("spoil", ["gone", "damaged"])
def test_an_artifact_that_is_not_the_one_that_was_measured_is_made_again(small_run, tmp_path, command, spoil):
    folder, recipe, _ = small_run
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run/models/ngram/model.wl"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink() if spoil == "gone" else path.write_bytes(content)
    code, _, err = command("run", recipe, "--out", tmp_path / "run")
    assert code == 0 and "it is made again" in err
    assert _sums(tmp_path / "run") == _sums(folder)


def test_a_torn_record_of_a_finished_model_says_what_to_do(small_run, tmp_path, command):
    folder, recipe, _ = small_run
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run/models/ngram/done.json"
    path.write_bytes(path.read_bytes()[:200])
    code, _, err = command("run", recipe, "--out", tmp_path / "run")
    assert code == 2 and "done.json is damaged: delete it" in err
    path.unlink()
    assert command("run", recipe, "--out", tmp_path / "run")[0] == 0
    assert _sums(tmp_path / "run") == _sums(folder)
