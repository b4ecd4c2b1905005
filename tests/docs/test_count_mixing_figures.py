"""The figures of docs/count_mixing.md are what figures.py draws today from the record of what a model said.

Oracle: the committed SVG files, byte for byte (they are written by hand, not by matplotlib); the record's own sums.
"""

from __future__ import annotations

import json
import math
import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "count_mixing"


def test_figures_are_drawn_from_the_record(tmp_path):
    drawn = runpy.run_path(str(FOLDER / "figures.py"))["draw"](tmp_path)
    assert sorted(path.name for path in drawn) == sorted(path.name for path in FOLDER.glob("*.svg"))
    for path in drawn:
        same = path.read_text("utf-8") == (FOLDER / path.name).read_text("utf-8")
        assert same, f"{path.name}: run docs/count_mixing/figures.py"


def test_the_chapter_shows_every_figure_and_no_other():
    page = (DOCS / "count_mixing.md").read_text("utf-8")
    assert set(re.findall(r"\]\(count_mixing/([\w.]+\.svg)\)", page)) == {path.name for path in FOLDER.glob("*.svg")}


def test_the_record_adds_up():
    """Weights are kept to 1e-6 and sums rounded to 1/256 of a logit, five of them."""
    said = json.loads((FOLDER / "said.json").read_text("utf-8"))["said"]
    p = [step["p_right"] if step["right"] else 1 - step["p_right"] for step in said["steps"]]
    assert -sum(map(math.log, p)) == pytest.approx(said["nats"], abs=1e-9)
    for step in said["steps"]:
        logit = math.log(step["p_right"] / (1 - step["p_right"]))
        if abs(logit) < 4:
            pushes = [x * w for x, w in zip(step["logits"], step["weights"], strict=True)]
            assert sum(pushes) == pytest.approx(logit, abs=(0.5 * 5 * 2 + 1) / 256)
