"""Threads are counted by what this process may use.  Oracles: the operating system's affinity mask; the sources."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import weightless
from weightless.base.cores import cores

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_a_process_that_is_pinned_uses_what_it_has():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cores() == len(before)


def test_a_system_without_affinity_has_what_the_machine_has(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for told, expected in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda told=told: told)
        assert cores() == expected


def test_nobody_counts_cores_in_another_way():
    files = [*Path(weightless.__file__).parent.rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    assert len(files) > 200
    others = [path.name for path in files if re.search(r"cpu_count|sched_getaffinity", path.read_text())]
    assert others == ["cores.py"]
