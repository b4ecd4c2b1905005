"""Units run, fail, are tried again, skipped, stopped.  Oracles: what the units wrote, their logs, their processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.lab import launchers
from weightless.lab.launch import filled_in, last_lines, launch

# A unit that appends its name to a file, and then does what it was told.
SCRIPT = """
import os, sys, time
name, deed = sys.argv[1:3]
with open("ran.txt", "a") as file:
    file.write(name + "\\n")
print("hello from", name, flush=True)
if os.path.exists("broken"):
    sys.exit(5)
if deed == "fail":
    sys.exit("line one\\nthe reason of " + name)
if deed == "once" and open("ran.txt").read().split().count(name) == 1:
    sys.exit(3)
if deed == "die":
    os.kill(os.getpid(), 9)
if deed == "sleep":
    time.sleep(600)
if deed == "short":
    time.sleep(0.3)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launchers, "program", lambda: [sys.executable, "-c", SCRIPT])
    return tmp_path


def ran(folder: Path) -> list[str]:
    return sorted((folder / "ran.txt").read_text().split())


def go(*deeds, **options):
    commands = [[chr(ord("a") + i), deed] for i, deed in enumerate(deeds)]
    return launch(commands, "logs", **{"show_progress": False, "n_parallel": 2, **options})


def test_all_run_each_with_a_log_and_the_next_launch_does_nothing(here):
    outcomes = go("", "", "")
    assert [(o.code, o.attempts) for o in outcomes] == [(0, 1)] * 3 and ran(here) == ["a", "b", "c"]
    assert "hello from b" in (here / "logs/unit-002.log").read_text()
    assert [o.attempts for o in go("", "", "")] == [0] * 3 and ran(here) == ["a", "b", "c"]
    assert [o.attempts for o in go("", "once", "")] == [0, 1, 0]  # other arguments, other unit
    go("", "", "", again=True)
    assert len(ran(here)) == 7
    (here / "broken").touch()
    with pytest.raises(WeightlessError, match="3 of 3"):
        go("", "", "", again=True, retries=0)
    (here / "broken").unlink()
    assert [o.attempts for o in go("", "", "")] == [1] * 3, "what failed last is not done"


def test_a_failure_is_named_with_its_log_and_the_others_finish(here, capsys):
    with pytest.raises(WeightlessError, match=r"2 of 4 units failed: unit-002 \(exit 1\), unit-003 \(exit -9\)"):
        go("", "fail", "die", "", retries=2)
    assert ran(here) == ["a", "b", "b", "b", "c", "c", "c", "d"]
    err = capsys.readouterr().err
    assert "weightless b fail" in err and "exit code 1 after 3 attempt(s)" in err and "the reason of b" in err
    assert str(here / "logs/unit-002.log") in err
    (here / "ran.txt").unlink()
    with pytest.raises(WeightlessError, match="2 of 4"):
        go("", "fail", "die", "", retries=0)
    assert ran(here) == ["b", "c"], "only what is missing runs again"


def test_a_unit_that_fails_once_is_tried_again(here):
    assert [(o.code, o.attempts) for o in go("once", "")] == [(0, 2), (0, 1)]
    assert (here / "logs/unit-001.log").read_text().count("--- attempt") == 2


@pytest.mark.parametrize("n_parallel", [1, 3])
def test_no_more_than_asked_for_run_at_a_time(here, monkeypatch, n_parallel):
    running, most = set(), []
    plain_start, plain_poll = launchers.LocalLauncher.start, launchers.LocalLauncher.poll

    def start(self, unit, attempt):
        handle = plain_start(self, unit, attempt)
        running.add(handle)
        most.append(len(running))
        return handle

    def poll(self, handle):
        code = plain_poll(self, handle)
        if code is not None:
            running.discard(handle)
        return code

    monkeypatch.setattr(launchers.LocalLauncher, "start", start)
    monkeypatch.setattr(launchers.LocalLauncher, "poll", poll)
    go(*["short"] * 5, n_parallel=n_parallel)
    assert max(most) == n_parallel and ran(here) == list("abcde")


LAUNCH = """
    import sys
    from weightless.cli.main import main
    from weightless.lab import launchers
    launchers.program = lambda: [sys.executable, "-c", {script!r}]
    sys.exit(main(["launch", "--n", "3", "--n_parallel", "2", "--logs", "logs", "--", "u{{i}}", "sleep"]))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_what_runs_and_starts_nothing_more(tmp_path, how):
    program = textwrap.dedent(LAUNCH).format(script=SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not (tmp_path / "ran.txt").exists() or len(ran(tmp_path)) < 2):
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    os.kill(process.pid, how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on" in err
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive and ran(tmp_path) == ["u1", "u2"]
    assert not list((tmp_path / "logs").glob("*.done.json"))


def test_templates():
    assert filled_in(["x", "--shard", "{i}/{n}", "{i0}{other}"], 2) == [
        ["x", "--shard", "1/2", "0{other}"],
        ["x", "--shard", "2/2", "1{other}"],
    ]
    assert filled_in(["x"], 1) == [["x"]]
    with pytest.raises(ConfigError, match="same command"):
        filled_in(["x", "{n}"], 2)
    with pytest.raises(ConfigError, match="at least one"):
        filled_in(["{i}"], 0)


def test_refusals(here, monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'slurm'"):
        go("", how="slurn")
    for wrong in ({"retries": -1}, {"n_parallel": 0}):
        with pytest.raises(ConfigError, match="at least"):
            go("", **wrong)
    for how in ("ray", "submitit"):
        monkeypatch.setitem(sys.modules, how, None)  # as if it were not installed
    for how in ("ray", "slurm"):
        with pytest.raises(WeightlessError, match="./do setup sweep"):
            go("", how=how)
    assert not (here / "ran.txt").exists()


def test_slurm_without_slurm(here, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(WeightlessError, match="no sbatch"):
        go("", how="slurm")


def test_last_lines(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * 9000 + b"\n\nbar 1\rbar 2\r\nend \xff\n")
    assert last_lines(path, 3) == ["bar 1", "bar 2", "end \ufffd"]
    assert "cannot be read" in last_lines(tmp_path / "absent")[0]
