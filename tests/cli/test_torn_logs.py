"""A folder whose logs were torn by a kill goes on.  Oracle: the summary and the curve without the torn lines."""

from __future__ import annotations

import json
import shutil

import pytest
from cli.small_training import small


@pytest.mark.parametrize("torn", ['{"ended": "2026', '{"ended": "2026", "seconds"\n', "\x00\x00\x00\n"])
def test_a_run_with_a_torn_list_of_sessions_goes_on(command, small_run, tmp_path, torn):
    run, recipe, _ = small_run
    shutil.copytree(run, tmp_path / "run")
    sessions = tmp_path / "run" / "sessions.jsonl"
    sound = sessions.read_text().splitlines()  # other tests may have gone on with this run, too
    before = sum(json.loads(line)["seconds"] for line in sound)
    sessions.write_text(sessions.read_text() + torn)
    for _ in range(2):
        code, _, err = command("run", recipe, "--out", tmp_path / "run")
        assert code == 0 and f"{sessions}: line {len(sound) + 1} is torn" in err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["wall_seconds"] >= before and len(summary["models"]) == 3


def test_a_damaged_record_of_a_finished_model_is_told_in_one_line(command, small_run, tmp_path):
    run, recipe, _ = small_run
    shutil.copytree(run, tmp_path / "run")
    done = tmp_path / "run" / "models" / "ngram" / "done.json"
    for damage in ("{}", "[]", '{"entry"'):
        done.write_text(damage)
        code, _, err = command("run", recipe, "--out", tmp_path / "run")
        assert code == 2 and str(done) in err.splitlines()[-1]


def test_torn_metrics_do_not_stop_a_training(command, small_run, tmp_path):
    flags = small(num_steps=3, eval_tokens=256)
    own = ("train", "dense", "--data", small_run[0] / "data", "--out", tmp_path, *flags, "--eval_every", "1")
    assert command(*own)[0] == 0
    metrics = tmp_path / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([lines[0], lines[1][:20], lines[2], '{"step"']))
    code, _, err = command(*own)
    assert code == 0 and f"{metrics}: line 2, 4 is torn and left out" in err
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == [1, 3]
