"""Progress without a terminal: plain lines, seldom, ending in the final state. Oracle: a clock turned by hand."""

from __future__ import annotations

import re
import time

import pytest

from weightless.base import progress as module
from weightless.base.progress import progress, told_if_slow


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_plain_lines_come_every_few_seconds(clock, capsys):
    with progress("train", 100, "steps") as tick:
        for _ in range(100):
            clock.now += 0.2
            tick(1, note="loss 3.0")
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "", "standard output belongs to results"
    assert len(lines) == 4  # at 5, 10, 15 and 20 seconds; the last is also the end
    assert lines[0] == "train: 25/100 (25 %), 5 steps/s, 15.0 s left, loss 3.0"
    assert lines[-1] == "train: 100/100 (100 %), 5 steps/s, loss 3.0"


def test_the_end_is_always_told(clock, capsys):
    with progress("pack", 1_000_000, "B") as tick:
        clock.now += 2
        tick(1_000_000)
    assert capsys.readouterr().err == "pack: 1 MB/1 MB (100 %), 500 kB/s\n"


def test_what_was_done_before_counts_as_done_but_not_as_fast(clock, capsys):
    with progress("resume", 100, "steps", start=90) as tick:
        clock.now += 5
        tick(5)
    assert capsys.readouterr().err == "resume: 95/100 (95 %), 1 steps/s, 5.0 s left\n"


def test_without_a_total_nothing_is_promised(clock, capsys):
    with progress("read", None, "documents") as tick:
        clock.now += 10
        tick(1234)
    assert capsys.readouterr().err == "read: 1,234, 123 documents/s\n"


def test_a_failing_job_says_how_far_it_came(clock, capsys):
    with pytest.raises(ZeroDivisionError), progress("train", 10, "steps") as tick:
        clock.now += 1
        tick(3)
        raise ZeroDivisionError
    assert "3/10 (30 %)" in capsys.readouterr().err


def test_no_time_at_all_is_no_division_by_zero(clock, capsys):
    with progress("train", 10, "steps"):
        pass
    assert "0/10 (0 %)" in capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress("train", 3, "steps") as tick:
        tick(1)
        tick(2, note="loss 3.0")
    err = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "train" in err
    assert "100 %" in err


def test_a_budget_of_seconds_has_no_rate(clock, capsys):
    """Oracle: the sentence a person expects; "1 s/s" would tell nothing."""
    with progress("train", 60, "s") as tick:
        clock.now += 6
        tick(6, note="loss 3.0, 9,000 tokens/s")
        clock.now += 1
    assert capsys.readouterr().err.splitlines()[0] == "train: 6/60 (10 %), 54.0 s left, loss 3.0, 9,000 tokens/s"


def test_a_wait_is_told_once_and_a_short_one_not_at_all(capsys):
    with told_if_slow("wait a while", after=30):
        pass
    assert capsys.readouterr().err == ""
    with told_if_slow("wait a while", after=0.01):
        time.sleep(0.2)
    assert capsys.readouterr().err == "wait a while\n"
