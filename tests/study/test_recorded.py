"""docs/studies is what the recorded studies say: made by the writer from study.json, never typed.

Oracle: the writer itself on runs/recorded/NAME/study.json; to make pages anew: benchmarks/record_study.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import record_study  # noqa: E402

sys.path.remove(str(ROOT / "benchmarks"))  # its decode.py would stand in for the tests' own folder of that name

RECORDED = sorted((ROOT / "runs/recorded").glob("*/study.json"))


@pytest.mark.parametrize("kept", RECORDED, ids=lambda path: path.parent.name)
def test_pages_are_what_the_evidence_says(kept):
    shown = ROOT / "docs/studies" / kept.parent.name
    assert {path.name: path.read_bytes() for path in shown.iterdir()} == record_study.pages(kept)
    assert "/tmp" not in kept.read_text(encoding="utf-8")


def test_every_page_has_its_evidence():
    folder = ROOT / "docs/studies"
    shown = {path.name for path in folder.iterdir() if path.is_dir()} if folder.exists() else set()
    assert shown == {path.parent.name for path in RECORDED}


def test_places_of_a_machine_become_a_readers(tmp_path):
    run = tmp_path / "somewhere"
    run.mkdir()
    cell = {"arm": "a", "seed": 0, "status": "done"}
    told = {
        "name": "lr",
        "cells": [cell],
        "command": f"weightless study lr --text /data/books_train.txt.xz --out {run}",
    }
    (run / "study.json").write_text(json.dumps(told))
    kept = json.loads(record_study.recorded(run, "runs/text"))
    assert kept["command"] == "weightless study lr --text runs/text/books_train.txt.xz --out runs/lr"
    (run / "study.json").write_text(json.dumps({**told, "cells": [{**cell, "status": "lost"}]}))
    with pytest.raises(SystemExit, match="not over"):
        record_study.recorded(run, "runs/text")
