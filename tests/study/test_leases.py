"""One owner for a unit, until its heartbeat or its process has ended.  Oracle: the operating system's processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from weightless.study import leases
from weightless.study.leases import holder, lease

HOLD = (
    "import sys, time, pathlib; from weightless.study.leases import lease\n"
    "with lease(pathlib.Path(sys.argv[1]), 'a-s0') as ours: print(ours, flush=True); time.sleep(60)"
)


def test_one_of_many_gets_it_and_gives_it_back(tmp_path):
    found, inside = [], []

    def one():
        barrier.wait()
        with lease(tmp_path, "a-s0", beat=0.01) as ours:
            inside.append(ours)
            barrier.wait()  # nobody leaves before all have tried
        found.append(ours)

    for _ in range(5):
        barrier = threading.Barrier(9)
        threads = [threading.Thread(target=one) for _ in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(inside) == 1 and len(inside) == 9
        inside.clear()
        assert holder(tmp_path, "a-s0") is None and not list(tmp_path.iterdir())


def test_of_two_that_saw_nobody_one_gets_it(tmp_path, monkeypatch):
    """Both have looked before either has written, and both want the same number."""
    monkeypatch.setattr(leases, "holder", lambda folder, name, stale: None)
    with lease(tmp_path, "a-s0") as first, lease(tmp_path, "a-s0") as second:
        assert first and not second


def test_names_that_begin_alike_are_apart(tmp_path):
    with (
        lease(tmp_path, "a=0.1-s0") as first,
        lease(tmp_path, "a=0.1-s0.1") as second,
        lease(tmp_path, "a-s0") as third,
    ):
        assert first and second and third


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_a_killed_owner_is_lost_at_once_here_and_never_while_it_lives(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    held = holder(tmp_path, "a-s0")
    assert held is not None and held.is_alive and str(process.pid) in held.told
    with lease(tmp_path, "a-s0") as ours:
        assert not ours
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    held = holder(tmp_path, "a-s0")
    assert held is not None and not held.is_alive
    with lease(tmp_path, "a-s0") as ours:
        assert ours and [path.name for path in sorted(tmp_path.iterdir())] == ["a-s0.0001.json", "a-s0.0002.json"]
    assert not list(tmp_path.iterdir())


def test_another_machine_is_lost_when_its_heart_stands_still(tmp_path):
    """No lock says anything of another machine; the time is the file system's."""
    path = tmp_path / "a-s0.0001.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "then"}))
    held = holder(tmp_path, "a-s0", stale=0.3)
    assert held is not None and held.is_alive
    time.sleep(0.2)
    os.utime(path)
    time.sleep(0.2)
    assert holder(tmp_path, "a-s0", stale=0.3).is_alive
    time.sleep(0.2)
    held = holder(tmp_path, "a-s0", stale=0.3)
    assert not held.is_alive and "process 1 on elsewhere" in held.told
    with lease(tmp_path, "a-s0", stale=0.3) as ours:
        assert ours


def test_the_heart_of_a_living_owner_beats(tmp_path):
    with lease(tmp_path, "a-s0", stale=0.3, beat=0.05):
        first = (tmp_path / "a-s0.0001.json").stat().st_mtime_ns
        time.sleep(0.2)
        assert (tmp_path / "a-s0.0001.json").stat().st_mtime_ns > first
        assert holder(tmp_path, "a-s0", stale=0.3).is_alive


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"host": 1}'])
def test_a_lease_that_says_nothing_is_waited_for_and_then_lost(tmp_path, content):
    path = tmp_path / "a-s0.0007.json"
    path.write_bytes(content)
    assert holder(tmp_path, "a-s0").is_alive
    os.utime(path, (1, 1))
    with lease(tmp_path, "a-s0") as ours:
        assert ours and (tmp_path / "a-s0.0008.json").exists()
