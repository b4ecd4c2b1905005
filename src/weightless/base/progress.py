"""Progress a person can read: a bar on a terminal, plain lines now and then elsewhere; a word about a wait.

    train: 25/100 (25 %), 5 steps/s, 15.0 s left, loss 3.0

A line fits into the width of the terminal, or into 80 columns: what does not fit is left out from the end, in whole
parts, so that no number is cut.  The share is never above 100 %, and is 100 % only at the end.  The rate is that of the
last half minute, and begins with the first tick: what is compiled, opened or allocated before it is in no rate.  Time
left is told only once there is such a rate to tell it by; below one unit per second the rate is told as s/step.
"""

from __future__ import annotations

import math
import sys
import threading
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from weightless.base.units import human_bytes, human_seconds

PLAIN_EVERY_SECONDS = 5.0
WAIT_EVERY_SECONDS = 10.0
WINDOW_SECONDS = 30.0
SURE_AFTER_SECONDS = 2.0
COLUMNS, LONGEST_LABEL, BAR_COLUMNS = 80, 30, 16
SECONDS = "s"  # a budget of time: how fast it passes is no news


class Ticker(Protocol):
    """What `progress` yields: call it with the amount done since the last call, and an optional note."""

    def __call__(self, amount: float = 1, note: str = "") -> None: ...


@contextmanager
def progress(label: str, total: float | None, unit: str = "", start: float = 0) -> Iterator[Ticker]:
    """Show the advance of one long job on standard error, with rate and time left.

    `unit` is shown behind the rate ('tokens', 'steps'; 'B' prints decimal bytes); `start` is what a resumed
    job had done before, which counts as done but not towards the rate.  Threads may share the ticker.
    """
    shown = _RichBar if sys.stderr.isatty() else _PlainLines
    bar = shown(_Advance(label, total, unit, start))
    try:
        yield bar.tick
    finally:
        bar.close()


@contextmanager
def told_if_slow(message: str | Callable[[], str], after: float = 2.0) -> Iterator[None]:
    """Say `message` on standard error if the block takes longer than `after` seconds, and then how long it takes.

    A function is asked for the message each time: it can say how far the work has come.
    """
    over, began = threading.Event(), time.monotonic()
    now = message if callable(message) else lambda: message

    def tell() -> None:
        if over.wait(after):
            return
        print(now(), file=sys.stderr, flush=True)
        while not over.wait(WAIT_EVERY_SECONDS):
            print(f"{now()}: {human_seconds(time.monotonic() - began)} so far", file=sys.stderr, flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
        took = time.monotonic() - began
        if took >= after + WAIT_EVERY_SECONDS:
            print(f"{now()}: took {human_seconds(took)}", file=sys.stderr, flush=True)


class _Advance:
    """What is done, how fast, and how that is said in one line."""

    def __init__(self, label: str, total: float | None, unit: str, start: float) -> None:
        self.label = _shortened(label)
        self.total, self.unit, self.start, self.done, self.note = total, unit, start, start, ""
        self.began = time.monotonic()
        self.marks: deque[tuple[float, float]] = deque()  # (time, done): the first tick, or what the window reaches
        self.lock = threading.Lock()

    def add(self, amount: float, note: str) -> float:
        """One tick; returns the time."""
        with self.lock:
            now = time.monotonic()
            self.done += amount
            self.note = note or self.note
            if not self.marks or now - self.marks[-1][0] >= 1.0:
                self.marks.append((now, self.done))
                while now - self.marks[1 if len(self.marks) > 1 else 0][0] > WINDOW_SECONDS:
                    self.marks.popleft()
            return now

    @property
    def share(self) -> float:
        """Of the total, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def line(self, now: float, columns: int) -> str:
        """As much as fits, in whole parts."""
        done = _amount(min(self.done, self.total) if self.total else self.done, self.unit)
        if self.total:
            done += f"/{_amount(self.total, self.unit)} ({math.floor(100 * self.share + 1e-9)} %)"
        rate, is_sure = self._rate(now)
        parts = [f"{self.label}: {done}"]
        if self.unit != SECONDS and rate > 0:
            parts.append(_rate_told(rate, self.unit))
        left = self._left(rate, is_sure)
        if left is not None:
            parts.append(f"{human_seconds(left)} left")
        kept = ""
        for part in [*parts, *(self.note.split(", ") if self.note else [])]:
            longer = f"{kept}, {part}" if kept else part
            if kept and _width(longer) > columns - 1:
                break
            kept = longer
        return kept

    def _rate(self, now: float) -> tuple[float, bool]:
        """(units per second, whether anything can be foretold by it)."""
        if self.marks:
            at, done = self.marks[0]
            if self.done > done and now > at:
                return (self.done - done) / (now - at), now - at >= SURE_AFTER_SECONDS
        return (self.done - self.start) / max(now - self.began, 1e-9), False

    def _left(self, rate: float, is_sure: bool) -> float | None:
        if not self.total or self.done >= self.total:
            return None
        if self.unit == SECONDS:
            return self.total - self.done
        return (self.total - self.done) / rate if is_sure else None


class _PlainLines:
    def __init__(self, advance: _Advance) -> None:
        self.advance, self.said = advance, advance.began
        self.said_done: float | None = None

    def tick(self, amount: float = 1, note: str = "") -> None:
        now = self.advance.add(amount, note)
        if now - self.said >= PLAIN_EVERY_SECONDS:
            self.said = now
            self._say(now)

    def _say(self, now: float) -> None:
        print(self.advance.line(now, COLUMNS), file=sys.stderr, flush=True)
        self.said_done = self.advance.done

    def close(self) -> None:
        if self.said_done != self.advance.done:
            self._say(time.monotonic())


class _RichBar:
    def __init__(self, advance: _Advance) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn
        from rich.table import Column
        from rich.text import Text

        console = Console(stderr=True)

        class Line(ProgressColumn):
            def render(self, task):  # type: ignore[no-untyped-def]
                room = console.width - BAR_COLUMNS - 1
                return Text(advance.line(time.monotonic(), room), no_wrap=True, overflow="ellipsis", end="")

        self.advance = advance
        self.bar = Progress(BarColumn(BAR_COLUMNS), Line(table_column=Column(no_wrap=True)), console=console)
        self.task = self.bar.add_task("", total=1.0 if advance.total else None, completed=0)
        self.bar.start()

    def tick(self, amount: float = 1, note: str = "") -> None:
        self.advance.add(amount, note)
        self.bar.update(self.task, completed=self.advance.share)  # type: ignore[arg-type]

    def close(self) -> None:
        self.bar.update(self.task, completed=self.advance.share)  # type: ignore[arg-type]
        self.bar.stop()


def _amount(value: float, unit: str) -> str:
    return human_bytes(value) if unit == "B" else f"{value:,.0f}"


def _rate_told(value: float, unit: str) -> str:
    """5 steps/s, 2.5 steps/s, 4.0 s/step, 500 kB/s."""
    if unit == "B":
        return f"{human_bytes(value)}/s"
    if value < 0.95:
        return f"{human_seconds(1 / value)}/{unit.removesuffix('s') or 'unit'}"
    return f"{f'{value:,.0f}' if value >= 9.95 else f'{value:.1f}'.removesuffix('.0')} {unit}/s"


def _shortened(label: str) -> str:
    """At most LONGEST_LABEL columns of it."""
    if _width(label) <= LONGEST_LABEL:
        return label
    while _width(label) >= LONGEST_LABEL:
        label = label[:-1]
    return label + "…"


def _width(text: str) -> int:
    """Columns of a terminal: ideographs and the like take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
