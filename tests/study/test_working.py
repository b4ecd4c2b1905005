"""Diverged, failed, changed, tuned: each is what it is.  Oracles: planted faults, and the files of the cells."""

from __future__ import annotations

import json
import shutil

import pytest
from study.small_study import small_study

from weightless.base.errors import CorruptFileError
from weightless.base.folder_lock import folder_lock
from weightless.study import units
from weightless.study.cells import Cell
from weightless.study.records import chosen, from_plain, plain, read_evidence


def statuses(folder):
    return {f"{cell.arm}/{cell.seed}": (cell.status, cell.reason) for cell in read_evidence(folder).cells}


def test_a_diverged_run_is_a_point_and_no_failure(tmp_path, command):
    path = small_study(tmp_path, rates="[1e-3, 1e6]")
    code, out, err = command(
        "study", path, "--out", tmp_path / "s", "--set", "base.train.grad_clip=0", "--parallel", "1"
    )
    assert code == 0 and "1 of 2 cells done, 1 diverged" in out, err
    fine, wild = read_evidence(tmp_path / "s").cells
    entry = json.loads((tmp_path / "s" / fine.folder / "done.json").read_text())["entry"]
    assert fine.status == "done" and fine.figures["bits_per_byte"] == entry["bits_per_byte"]
    assert fine.figures["touched"] == entry["touched"]["T"]["mean"] and fine.figures["memory"] > 1e8
    assert fine.curve[-1]["step"] == 4 and fine.curve[-1]["val_loss"] == fine.figures["val_loss"]
    assert wild.status == "diverged" and "diverged at step" in wild.reason and "val_loss" not in wild.figures


def test_a_failing_unit_is_tried_once_more_then_recorded_and_the_others_go_on(tmp_path, command, monkeypatch):
    path, real, calls = small_study(tmp_path, seeds="[0, 1]"), units.run_model, []

    def failing(recipe, model, seed, corpus, folder):
        calls.append(folder.name)
        if folder.name == "max_lr=0.001-s0" or (folder.name == "max_lr=0.01-s0" and calls.count(folder.name) == 1):
            raise RuntimeError("out of something")
        return real(recipe, model, seed, corpus, folder)

    monkeypatch.setattr(units, "run_model", failing)
    code, out, err = command("study", path, "--out", tmp_path / "s", "--parallel", "1")
    assert code == 2 and "3 of 4 cells done, 1 failed" in out and "RuntimeError: out of something" in err
    found = statuses(tmp_path / "s")
    assert found.pop("max_lr=0.001/0") == ("failed", "RuntimeError: out of something")
    assert (
        set(found.values()) == {("done", "")} and calls.count("max_lr=0.001-s0") == calls.count("max_lr=0.01-s0") == 2
    )
    work = json.loads((tmp_path / "s/cells/max_lr=0.001-s0/work.json").read_text())
    assert any("out of something" in line for line in work["failures"][0]["traceback"])
    calls.clear()
    assert command("study", path, "--out", tmp_path / "s", "--parallel", "1")[0] == 2 and not calls
    monkeypatch.setattr(units, "run_model", real)
    code, out, err = command("study", path, "--out", tmp_path / "s", "--parallel", "1", "--retry")
    assert code == 0 and "4 of 4 cells done" in out, err


def test_an_owner_that_was_only_asleep_is_no_failure(tmp_path):
    """Its lock says that it is there, whatever its heart says."""
    import contextvars

    from weightless.study.arms import arms_of
    from weightless.study.study_file import load_study
    from weightless.study.working import _done_by_us

    study = load_study(small_study(tmp_path))
    unit = units.units_of(study, arms_of(study)[0], tmp_path / "s")[0]
    with folder_lock(unit.folder):
        assert contextvars.Context().run(_done_by_us, unit, None, 90.0, 10.0) is False
    assert units.n_failed(unit) == 0


def test_a_study_may_grow_and_change_its_texts_and_nothing_else(tmp_path, command):
    path = small_study(tmp_path)
    asked = ("study", path, "--out", tmp_path / "s", "--parallel", "1")
    assert command(*asked, "--only", "max_lr=0.001")[0] == 0
    assert {arm: status for arm, (status, _) in statuses(tmp_path / "s").items()} == {
        "max_lr=0.001/0": "done",
        "max_lr=0.01/0": "missing",
    }
    made = (tmp_path / "s/cells/max_lr=0.001-s0/done.json").stat().st_mtime_ns
    for change, told in (
        ("grid.train.max_lr=[1e-3]", "max_lr=0.01-s0 is gone"),
        ("base.train.num_steps=5", "is made in another way"),
        ("eval.tokens=100", "is made in another way"),
    ):
        for flags in ((), ("--plan",)):
            code, _, err = command(*asked[: 4 if flags else None], *flags, "--set", change)
            assert code == 2 and told in err
    code, _, err = command(*asked, "--set", "grid.train.max_lr=[1e-3, 1e-2, 3e-3]", "question.text='Which one?'")
    assert code == 0, err
    evidence = read_evidence(tmp_path / "s")
    assert [cell.arm for cell in evidence.cells] == ["max_lr=0.001", "max_lr=0.01", "max_lr=0.003"]
    assert all(cell.is_done for cell in evidence.cells) and evidence.study["question"]["text"] == "Which one?"
    assert (tmp_path / "s/cells/max_lr=0.001-s0/done.json").stat().st_mtime_ns == made
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    code, _, err = command("study", path, "--out", other)
    assert code == 2 and "holds no study" in err and [p.name for p in other.iterdir()] == ["letter.txt"]


def test_the_record_stands_alone(whole, tmp_path, command):
    _, folder = whole
    evidence = read_evidence(folder)
    assert from_plain(json.loads(json.dumps(plain(evidence)))) == evidence
    shutil.copy(folder / "study.json", tmp_path / "study.json")
    code, out, err = command("study", tmp_path, "--report")
    assert code == 0 and "2 of 2 cells done" in out, err
    code, _, err = command("study", tmp_path / "nowhere", "--report")
    assert code == 2 and err.count("\n") == 1


@pytest.mark.parametrize("key", ["cells", "study", "tried", "mismatch", "version", "command"])
def test_a_damaged_record_is_refused(whole, key):
    values = json.loads((whole[1] / "study.json").read_text())
    for bad in (None, 1.5, "x" if key != "command" else 3, [3]):
        with pytest.raises(CorruptFileError, match=key):
            from_plain({**values, key: bad})
    for name, bad in (("status", "fine"), ("figures", {"val_loss": "low"}), ("curve", [{}]), ("seed", "0"), ("arm", 1)):
        cells = [{**values["cells"][0], name: bad}]
        with pytest.raises(CorruptFileError, match="damaged|missing"):
            from_plain({**values, "cells": cells})


def test_of_a_tuned_arm_the_best_by_all_its_seeds_counts():
    def cell(arm, seed, loss):
        return Cell(arm, seed, "done" if loss else "missing", figures={"val_loss": loss} if loss else {})

    cells = [
        ("", cell("base", 0, 3.0)),
        *(("a", cell("a~1", seed, loss)) for seed, loss in enumerate([1.0, 5.0])),
        *(("a", cell("a~2", seed, loss)) for seed, loss in enumerate([2.0, 2.0])),
        *(("a", cell("a~3", seed, loss)) for seed, loss in enumerate([0.5, None])),
    ]
    ours, others, renamed = chosen(cells)
    assert [(c.arm, c.seed, c.figures["val_loss"]) for c in ours] == [("base", 0, 3.0), ("a", 0, 2.0), ("a", 1, 2.0)]
    assert [c.arm for c in others] == ["a~1", "a~1", "a~3", "a~3"] and renamed == {"a~2": "a"}


def test_a_plan_writes_nothing_and_says_where_its_seconds_come_from(whole, tmp_path, command):
    path, folder = whole
    code, out, err = command("study", path, "--plan", "--out", tmp_path / "s")
    assert code == 0 and out.count("probe") == 2 and "2 runs, 2 left" in out and not (tmp_path / "s").exists(), err
    evidence = read_evidence(folder)
    total = sum(cell.figures["training_flops"] for cell in evidence.cells)
    code, out, err = command("study", path, "--plan", "--out", folder)
    assert code == 0 and out.count("finished") == 2 and "2 runs, 0 left: 0.0 s of training" in out, err
    assert f"{total:.3g} FLOPs in all" in out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("data.source='nowhere.txt'", "nowhere.txt"),
        ("data.validation='nowhere.txt'", "nowhere.txt"),
        ("base.train.device=cuda:9", "cuda"),
        ("base.train.num_step=3", "num_steps"),
        ("bse.family=dense", "base"),
        ("seeds=[]", "seeds"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(tmp_path, command, change, told):
    asked = ("study", small_study(tmp_path), "--out", tmp_path / "s", "--parallel", "1", "--set", change)
    code, _, err = command(*asked)
    assert code == 2 and told in err and err.count("\n") == 1 and not (tmp_path / "s").exists()


def test_arms_are_changed_by_name_and_a_text_that_no_arm_reads_is_refused(tmp_path, command):
    path = small_study(tmp_path)
    arms = '[[arm]]\nname = "a"\ndata.source = "fables"\n[[arm]]\nname = "a.b"\n"data.source" = "docs"\n'
    path.write_text(path.read_text().partition("[grid]")[0] + arms)
    code, _, err = command("study", path, "--plan", "--text", "fables")
    assert code == 2 and "--text does nothing" in err and "--set arm.NAME.data.source" in err
    code, _, err = command("study", path, "--plan", "--set", "arm.a.data.source=nowhere", "arm.a.b.data.vocab_size=-1")
    assert code == 2 and "arm 'a.b'" in err and "vocab_size = -1" in err
    code, _, err = command("study", path, "--plan", "--set", "arm.c.data.source=nowhere")
    assert code == 2 and "arm.NAME.KEY" in err
    asked = ("study", path, "--out", tmp_path / "s", "--set", "arm.a.data.source=fables", "arm.a.b.data.source=nowhere")
    code, _, err = command(*asked)
    assert code == 2 and "nowhere" in err and not (tmp_path / "s").exists()
