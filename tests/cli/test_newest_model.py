"""`python eval.py` without arguments: the newest model, on the corpus that it was trained with.

Oracle: `weightless eval MODEL --data CORPUS`, everything named.
"""

from __future__ import annotations

import json
import os

from cli.small_training import SMALL

from weightless.base.files import write_json


def test_the_newest_model_on_its_own_corpus(command, small_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = command("eval")
    assert code == 2 and "name the one to score" in err and err.count("\n") == 1
    for out in ("runs/old", "runs/new"):
        assert command("train", "dense", "--data", small_run[0] / "data", "--out", out, *SMALL)[0] == 0
    os.utime("runs/old/model.wl", (1, 1))
    named = json.loads(command("eval", "runs/new/model.wl", "--data", small_run[0] / "data", "--json")[1])
    code, out, err = command("eval", "--json")
    found = json.loads(out)
    assert code == 0 and "newest model: runs/new/model.wl" in err
    assert found["artifact"] == "runs/new/model.wl" and found["nats"] == named["nats"]
    assert found["eval_tokens"] == named["eval_tokens"]
    record = json.loads((tmp_path / "runs/new/trained-on.json").read_text())
    write_json(tmp_path / "runs/new/trained-on.json", {**record, "data": str(tmp_path / "gone")})
    code, _, err = command("eval")
    assert code == 2 and "--data" in err and "gone" in err and err.strip().count("\n") <= 1
