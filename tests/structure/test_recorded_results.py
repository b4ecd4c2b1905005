"""Tables in README and LOG are what the recorded runs say: generated, never typed.

Oracle: `markdown_table` of the recorded summary.json; to write a table anew: `weightless report FOLDER --markdown`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weightless.lab.recipe import load_recipe
from weightless.lab.report import check_summary, markdown_table

ROOT = Path(__file__).resolve().parents[2]
RECORDED = sorted((ROOT / "runs/recorded").glob("*/summary.json"))
SHOWN = {
    "books": "README.md",
    "families": "README.md",
    "ablation": "LOG.md",
    "tokens_curve": "LOG.md",
    "feather_anew": "LOG.md",
    "countmix_context": "LOG.md",
    "countmix": "README.md",
    "demo_inside": "LOG.md",
    "tokens_curve_counts": "LOG.md",
    "countmix_feather": "LOG.md",
    "window_cache": "LOG.md",
    "feather_cache": "LOG.md",
    "few_bits": "LOG.md",
    "golf_counts": "LOG.md",
    "golf_laptop": "LOG.md",
    "golf_laptop_steps": "LOG.md",
    "golf_combined": "LOG.md",
    "golf_winner": "LOG.md",
    "ternary_qwen3": "LOG.md",
    "window_cache_books": "LOG.md",
}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.parent.name)
def test_recorded_runs_are_whole(path):
    summary = check_summary(json.loads(path.read_text()), str(path))
    recipe = load_recipe(path.parent / "recipe.toml")
    assert len(summary["models"]) == len(recipe.model) * len(recipe.seeds)
    assert all(check["ok"] for model in summary["models"] for check in model["checks"])
    for model in summary["models"]:
        parts = sum(part["T"] for part in model["components"])
        assert parts == pytest.approx(model["touched"]["T"]["mean"], rel=1e-9)


@pytest.mark.parametrize(("name", "page"), SHOWN.items())
def test_tables_are_generated(name, page):
    summary = json.loads((ROOT / "runs/recorded" / name / "summary.json").read_text())
    table = markdown_table(summary).strip()
    assert table in (ROOT / page).read_text(), f"{page}: run `weightless report runs/recorded/{name} --markdown`"
