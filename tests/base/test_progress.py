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
    assert capsys.readouterr().err == "resume: 95/100 (95 %), 1 steps/s\n"


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


def test_a_wait_is_told_as_far_as_it_has_come(capsys):
    done = ["a", "b"]
    with told_if_slow(lambda: f"{len(done)} are done", after=0.05):
        done.append("c")
        time.sleep(0.2)
    assert capsys.readouterr().err == "3 are done\n"


def test_slow_steps_are_told_by_their_length(clock, capsys):
    """Oracle: the words of a person; "0 steps/s" says nothing."""
    with progress("train", 10, "steps") as tick:
        for _ in range(4):
            clock.now += 12
            tick()
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "train: 2/10 (20 %), 12.0 s/step, 1 min 36 s left"
    with progress("read", 100, "documents") as tick:
        for _ in range(20):
            clock.now += 0.4
            tick()
    assert "2.5 documents/s" in capsys.readouterr().err


def test_what_is_compiled_before_the_first_tick_is_in_no_rate(clock, capsys):
    """A minute of compiling, then two steps a second: nothing is foretold before a rate is known."""
    with progress("train", 1000, "steps") as tick:
        clock.now += 60
        tick()
        for _ in range(40):
            clock.now += 0.5
            tick()
    lines = capsys.readouterr().err.splitlines()
    assert "left" not in lines[0]
    assert lines[1] == "train: 11/1,000 (1 %), 2 steps/s, 8 min 14 s left"


def test_the_rate_is_that_of_late(clock, capsys):
    """Ten slow minutes count no longer after half a minute of fast work."""
    with progress("train", 10_000, "steps") as tick:
        for _ in range(60):
            clock.now += 10
            tick()
        for _ in range(400):
            clock.now += 0.1
            tick()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("train: 460/10,000 (4 %), 10 steps/s, 15 min 5"), last


def test_more_than_all_is_all(clock, capsys):
    """Oracle: 102 % exists for nobody; and 99.7 % is not 100 %."""
    with progress("train", 1000, "steps") as tick:
        for amount in (997, 23):
            clock.now += 5
            tick(amount)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("train: 997/1,000 (99 %)") and last.startswith("train: 1,000/1,000 (100 %)")


def test_no_line_is_longer_than_a_terminal(clock, capsys):
    """Whole parts go, from the end: a number is never cut."""
    with progress("a-model-with-a-rather-long-name-of-its-own-s12", 123_456_789, "tokens") as tick:
        for _ in range(30):
            clock.now += 1
            tick(1_234_567, note="loss 3.123, 123,456,789 tokens/s, gradient norm 12.345")
    with progress("模型" * 20, 10, "steps") as tick:
        clock.now += 6
        tick(3, note="loss 3.0")
    lines = capsys.readouterr().err.splitlines()
    assert all(len(line) < 80 for line in lines)
    assert lines[0] == "a-model-with-a-rather-long-na…: 6,172,835/123,456,789 (4 %), 1,234,567 tokens/s"
    assert lines[-1] == "模型模型模型模型模型模型模型…: 3/10 (30 %), 2.0 s/step, loss 3.0"


def test_threads_lose_no_count(capsys):
    from concurrent.futures import ThreadPoolExecutor

    with progress("count", 4000, "steps") as tick, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: tick(), range(4000)))
    assert "4,000/4,000 (100 %)" in capsys.readouterr().err


def test_a_long_wait_shows_that_it_goes_on(capsys, monkeypatch):
    monkeypatch.setattr(module, "WAIT_EVERY_SECONDS", 0.05)
    with told_if_slow("compiling", after=0.01):
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "compiling" and lines[1].startswith("compiling: 0.") and lines[1].endswith("so far")
    assert lines[-1].startswith("compiling: took 0.")


def test_a_bar_stays_on_its_line(monkeypatch, capsys):
    """Oracle: 80 columns; a line that wraps would be drawn again and again, one below the other."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    with progress("a-model-with-a-rather-long-name-of-its-own-s12", 123_456_789, "tokens") as tick:
        for _ in range(3):
            tick(1_234_567, note="loss 3.123, 123,456,789 tokens/s, gradient norm 12.345")
    err = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    lines = [line for line in re.split(r"[\r\n]+", err) if line.strip()]
    assert lines and all(len(line.rstrip()) <= 80 for line in lines), lines
    assert all(line.count("a-model") == 1 for line in lines), lines
