"""The command line of a submission's script, called here as the script calls it; oracle: what the build recorded."""

from __future__ import annotations

import json

import pytest

from weightless.golf.entry import ACTIONS, FLAGS, SWITCHES, main


def test_it_scores_what_was_recorded(honest, golf_data, capsys):
    values = json.loads((honest / "submission.json").read_text())
    assert main(honest, ["--score", str(golf_data), "--json", "--threads=1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["nats"] == pytest.approx(values["eval_nats"], rel=1e-12)
    assert told["eval_tokens"] == values["eval_tokens"] and told["bits_per_byte"] == pytest.approx(values["val_bpb"])
    assert main(honest, ["--score", str(golf_data), "--whole-windows", "--threads", "1"]) == 0
    assert "cut off (whole windows)" in capsys.readouterr().out


def test_it_says_its_sizes(honest, capsys):
    values = json.loads((honest / "submission.json").read_text())
    assert main(honest, ["--sizes"]) == 0
    assert f"total         {values['bytes_total']:>12,} bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say one of"),
        (["--sizes", "--score", "x"], "say one of"),
        (["--scor", "x"], "did you mean '--score'?"),
        (["--score", "nowhere"], "no such file or folder: nowhere"),
        (["--score", "x", "--tokens", "many"], "invalid int value"),
        (["--score", "x", "--out", "y"], "--out does nothing with --score"),
        (["--sizes", "--json"], "--json does nothing with --sizes"),
        (["--score", "x", "more"], "unknown argument 'more'"),
    ],
)
def test_what_cannot_be_is_one_line(honest, capsys, arguments, told):
    assert main(honest, arguments) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_folder_without_its_files_is_told(tmp_path, capsys):
    assert main(tmp_path, ["--sizes"]) == 2
    assert "holds no train_gpt.py" in capsys.readouterr().err


def test_every_flag_belongs_to_what_it_serves():
    known = {name for name, *_ in (*FLAGS, *SWITCHES)}
    assert set(ACTIONS) | set().union(*ACTIONS.values()) == known
