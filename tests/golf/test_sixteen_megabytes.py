"""docs/sixteen_megabytes.md says what the recorded runs say, and its arithmetic is that of the equations.

Oracles: hand-made runs whose differences, sums and words are known; the recorded summaries for the page itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import sixteen_megabytes as page_maker  # noqa: E402

sys.path.remove(str(ROOT / "benchmarks"))  # its decode.py would stand in for the tests' own folder of that name

PAGE = ROOT / "docs/sixteen_megabytes.md"


def model(name: str, seed: int, bits: float, tokens: int = 1_000_000) -> dict:
    return {
        "name": f"{name}-s{seed}",
        "seed": seed,
        "bits_per_byte": bits,
        "tokens_seen": tokens,
        "train_seconds": 150.0,
        "curve": [{"train_loss": 5.0}],
        "stored": {"file": 1_000_000},
        "touched": {"T": {"mean": 500.0}},
    }


def arms(bits: dict[str, list[float]], foretold: dict[str, float]) -> page_maker.Arms:
    models = {name: {seed: model(name, seed, b) for seed, b in enumerate(values)} for name, values in bits.items()}
    return page_maker.Arms("golf_laptop", models, foretold)


BITS = {"base": [2.0, 2.1, 2.2], "gain": [1.9, 2.0, 2.1], "loss": [2.1, 2.2, 2.3], "unsure": [2.1, 2.0, 2.2]}


def test_differences_are_paired_by_seed():
    found = arms(BITS, {}).beside("gain")
    assert found.mean == pytest.approx(-0.1) and found.half == pytest.approx(0, abs=1e-12)  # the same at every seed


@pytest.mark.parametrize(
    ("foretold", "word"), [(-0.1, "as foretold"), (-0.109, "as foretold"), (-0.12, "worse"), (0.0, "better")]
)
def test_words_of_a_prediction(foretold, word):
    assert page_maker.verdict(arms(BITS, {}).beside("gain"), foretold) == word


def test_what_failed_is_named_with_what_equal_steps_say():
    steps = arms({**BITS, "loss": [1.9, 2.0, 2.1]}, {})
    lines = page_maker.refuted(arms(BITS, {}), steps)
    assert len(lines) == 1 and "**loss** costs +0.100" in lines[0] and "at equal steps it gains: -0.100" in lines[0]


def test_gains_that_add_up_are_all_of_the_sum(monkeypatch):
    monkeypatch.setattr(page_maker, "COMBINED", {"both": ("gain", "other")})
    time = arms({**BITS, "other": [1.8, 1.9, 2.0]}, {})
    combined = arms({"both": [1.7, 1.8, 1.9]}, {"both": 1.75})
    assert "| both | gain, other | 1.800 | 1.800 ± 0.248 | 100% | 1.750 |" in page_maker.sums(time, combined)


def test_predictions_are_read_from_the_recipe(tmp_path):
    (tmp_path / "golf_laptop.toml").write_text("# PREDICTION: base 2.08   gain 1.9\n#   loss +0.02\nname = 'x'\n")
    (tmp_path / "golf_laptop").mkdir()
    summary = {"models": [model(name, 0, 2.0) for name in ("base", "gain", "loss")]}
    (tmp_path / "golf_laptop/summary.json").write_text(json.dumps(summary))
    assert page_maker.arms_of(tmp_path / "golf_laptop", tmp_path).foretold == {"base": 2.08, "gain": 1.9, "loss": 0.02}


@pytest.mark.skipif(not PAGE.exists(), reason="the page is written once all of its runs are recorded")
def test_the_page_is_what_the_runs_say():
    assert PAGE.read_text() == page_maker.page()
