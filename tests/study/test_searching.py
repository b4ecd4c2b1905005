"""A search proposes, stops, and is compared with its base by seeds.  Oracles: its own record, equal seeds."""

from __future__ import annotations

import sys

import pytest
from study.small_study import small_study

from weightless.base.errors import ConfigError
from weightless.study.records import read_evidence
from weightless.study.searching import arms_of_search
from weightless.study.study_file import load_study

SEARCH = """
[search]
trials = {trials}
prune = {prune}
prune_after = 1
[search.parameters]
"train.max_lr" = {{ low = 1e-3, high = 1e-1, log = true }}
"config.norm" = {{ choices = ["pre", "none"] }}
"""


def small_search(folder, trials=2, steps=3, prune="false"):
    path = small_study(folder, steps=steps, seeds="[3, 4]")
    path.write_text(path.read_text().partition("[grid]")[0] + SEARCH.format(trials=trials, prune=prune))
    return path


def test_every_end_of_a_range_is_checked_before_anything_runs(tmp_path):
    path = small_search(tmp_path)
    assert [arm.name for arm in arms_of_search(load_study(path), tmp_path / "s")] == ["base", "best"]
    for old, new, told in (("high = 1e-1", "high = -1.0", "below high"), ('"none"]', '"nun"]', "nun")):
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(ConfigError, match=told):
            arms_of_search(load_study(path), tmp_path / "s")
        path.write_text(path.read_text().replace(new, old))


def test_without_its_package_one_line_says_how_to_get_it(tmp_path, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = command("study", small_search(tmp_path), "--out", tmp_path / "s", "--parallel", "1")
    assert code == 2 and "./do setup search" in err and not (tmp_path / "s").exists()


def test_the_best_trial_is_run_beside_the_base_with_every_seed(tmp_path, command):
    pytest.importorskip("optuna")
    path = small_search(tmp_path)
    asked = ("study", path, "--out", tmp_path / "s", "--parallel", "1")
    code, out, err = command(*asked)
    assert code == 0 and "4 of 4 cells done" in out, err
    found = read_evidence(tmp_path / "s")
    assert [(c.arm, c.seed) for c in found.cells] == [("base", 3), ("best", 3), ("base", 4), ("best", 4)]
    first = min(found.tried, key=lambda cell: cell.figures["val_loss"])
    best = found.cells[1]
    assert len(found.tried) == 2 and best.setting == first.setting
    assert best.figures["nats_per_token"] == first.figures["nats_per_token"]  # the same seed: the same numbers
    code, _, err = command(*asked, "--set", "search.trials=1")
    assert code == 2 and "only more trials" in err
    code, _, err = command(*asked, "--set", "search.trials=3", "--seeds", "3")
    assert code == 2 and "is gone" in err


@pytest.mark.slow
def test_a_hopeless_trial_is_stopped_and_said_to_be(tmp_path, command):
    """Two processes share the trials; what is stopped is neither done nor failed."""
    pytest.importorskip("optuna")
    path = small_search(tmp_path, trials=6, steps=400, prune="true")
    code, out, err = command("study", path, "--out", tmp_path / "s", "--parallel", "2")
    assert code == 0 and "4 of 4 cells done" in out, err
    found = read_evidence(tmp_path / "s")
    statuses = [cell.status for cell in found.tried]
    assert len(statuses) == 6 and "stopped" in statuses and set(statuses) <= {"stopped", "done", "diverged"}
    assert len({str(cell.setting) for cell in found.tried}) == 6
