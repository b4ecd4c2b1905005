"""Threads are counted by what this process may use.  Oracles: the operating system's affinity mask; the sources."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import weightless
from weightless.base.cores import cores, is_one_idle

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


def test_a_core_is_idle_where_the_load_leaves_one(monkeypatch):
    """Of two cores, a load of 1.0 leaves one; where a system tells no load, there is none."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    for load, expected in ((0.0, True), (1.0, True), (1.01, False), (2.5, False)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 9.0, 9.0), raising=False)
        assert is_one_idle() == expected
    monkeypatch.delattr(os, "getloadavg")
    assert is_one_idle()


def test_nobody_counts_cores_in_another_way():
    files = [*Path(weightless.__file__).parent.rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    assert len(files) > 200
    others = [path.name for path in files if re.search(r"cpu_count|sched_getaffinity", path.read_text())]
    assert others == ["cores.py"]
