"""Threads are counted by what this process may use.  Oracles: the operating system's affinity mask; the sources."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import weightless
from weightless.base import cores as module
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


def test_a_core_is_idle_where_fewer_run_than_there_are_cores(monkeypatch, tmp_path):
    """Of two cores one is idle while this thread runs alone.  Where a system does not say who runs, its load does."""
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "LOAD", tmp_path / "loadavg")
    for running, expected in ((1, True), (2, False), (7, False)):
        (tmp_path / "loadavg").write_text(f"9.10 8.00 7.00 {running}/314 159\n")
        assert is_one_idle() == expected
    (tmp_path / "loadavg").write_text("something else")
    for load, expected in ((1.0, True), (1.9, True), (2.0, False)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 9.0, 9.0), raising=False)
        assert is_one_idle() == expected
    monkeypatch.delattr(os, "getloadavg")
    assert is_one_idle()


def test_nobody_counts_cores_in_another_way():
    files = [*Path(weightless.__file__).parent.rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    assert len(files) > 200
    others = [path.name for path in files if re.search(r"cpu_count|sched_getaffinity", path.read_text())]
    assert others == ["cores.py"]
