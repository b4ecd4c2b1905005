"""A study that is killed, or shared, ends as one that was not.  Oracle: the same study in one go, figure by figure."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from weightless.study.cells import Evidence
from weightless.study.leases import holder
from weightless.study.records import read_evidence, same_figures

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills by signal")
CALL = [sys.executable, "-c", "import sys; from weightless.cli.main import main; sys.exit(main(sys.argv[1:]))", "study"]


def started(path, out, *flags):
    return subprocess.Popen(
        [*CALL, str(path), "--out", str(out), "--parallel", "1", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


def cells(evidence: Evidence) -> list[tuple[str, int, str]]:
    return sorted((cell.arm, cell.seed, cell.status) for cell in evidence.cells)


def test_two_processes_share_a_study_and_one_takes_up_what_the_other_was_killed_at(whole, tmp_path, command):
    path, undisturbed = whole
    out = tmp_path / "shared"
    other = started(path, out)
    wait_for(lambda: list(out.glob("cells/*/checkpoint/latest.json")))  # it is in the middle of its first unit
    theirs = next(out.glob("cells/*/checkpoint")).parent.name

    def kill_when_we_have_one():
        wait_for(
            lambda: any(str(os.getpid()) in (holder(out / "leases", p.name[:-10]) or other_).told for p in leases())
        )
        other.send_signal(signal.SIGKILL)

    def leases():
        return list((out / "leases").glob("*.0001.json"))

    other_ = holder(out / "leases", theirs)
    assert other_ is not None and str(other.pid) in other_.told
    killer = threading.Thread(target=kill_when_we_have_one)
    killer.start()
    code, _, err = command("study", path, "--out", out, "--parallel", "1")
    killer.join()
    other.wait()
    assert code == 0, err
    assert f"taken up from process {other.pid}" in err
    found = read_evidence(out)
    assert cells(found) == [("max_lr=0.001", 0, "done"), ("max_lr=0.01", 0, "done")]
    assert same_figures(found) == same_figures(read_evidence(undisturbed))
    assert not list((out / "leases").glob("*.json"))


@pytest.mark.slow
def test_a_study_killed_at_random_moments_ends_with_the_same_figures(whole, tmp_path, command):
    path, undisturbed = whole
    for draw in range(3):
        rng, out = random.Random(draw), tmp_path / f"killed-{draw}"
        for _ in range(6):
            process = started(path, out)
            wait_for((out / "study.toml").exists)
            time.sleep(rng.uniform(0, 5))
            process.send_signal(signal.SIGKILL)
            process.wait()
        code, _, err = command("study", path, "--out", out, "--parallel", "1")
        assert code == 0, err
        assert same_figures(read_evidence(out)) == same_figures(read_evidence(undisturbed))


@pytest.mark.slow
def test_launched_units_end_with_the_same_figures(whole, tmp_path, command):
    path, undisturbed = whole
    code, _, err = command("study", path, "--out", tmp_path / "launched", "--parallel", "2")
    assert code == 0, err
    assert same_figures(read_evidence(tmp_path / "launched")) == same_figures(read_evidence(undisturbed))
    assert len(list((tmp_path / "launched/logs").glob("*/*.log"))) == 2


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_and_nobody_seems_lost(whole, tmp_path, command):
    path, _ = whole
    out = tmp_path / "stopped"
    process = started(path, out)
    wait_for(lambda: list(out.glob("cells/*/checkpoint/latest.json")))
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    found = read_evidence(out)
    assert [cell.status for cell in found.cells if cell.status != "done"].count("missing") >= 1
    assert any("checkpoint" in cell.reason for cell in found.cells)
    assert not list((out / "leases").glob("*.json"))
