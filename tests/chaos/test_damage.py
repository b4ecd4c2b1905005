"""Some thousand of the cases of benchmarks/chaos.py, always the same ones: no traceback, no silent change.

Oracle: what opening the undamaged file gives, and WeightlessError as the only way to refuse.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")
sys.path.append(BENCHMARKS)

from chaos_damage import ANOTHER, EQUAL, FAULT, REFUSED, Bench  # noqa: E402
from chaos_specimens import shelf  # noqa: E402

sys.path.remove(BENCHMARKS)  # its decode.py would stand in for the tests' own folder of that name

pytest.importorskip("sentencepiece", reason="one of the specimens is a model of that package")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX only, as the benchmark says")

N_CASES = 2000


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    return Bench(shelf(folder / "shelf"), 1, folder / "scratch")


def test_two_thousand_damaged_files(bench):
    verdicts: Counter[str] = Counter()
    faults = []
    for number in range(N_CASES):
        what, verdict, seen = bench.try_case(number)
        verdicts[verdict] += 1
        if verdict == FAULT:
            faults.append(f"{number}: {what}: {seen}")
    assert not faults, "\n".join(faults[:9])
    assert verdicts[REFUSED] > N_CASES / 2 and min(verdicts[EQUAL], verdicts[ANOTHER]) > 50, verdicts


def test_the_hunt_notices_a_silent_change(bench, monkeypatch):
    """A planted fault: hashes of shards are no longer compared."""
    monkeypatch.setattr("weightless.data.shards.corpus.sha256_file", lambda path: _promised(path))
    seen = [bench.try_case(number)[1:] for number in range(600)]
    assert (FAULT, "silent change") in seen


def _promised(path):
    manifest = json.loads((path.parent / "manifest.json").read_text())
    return next(s["sha256"] for split in manifest["splits"].values() for s in split["shards"] if s["file"] == path.name)
