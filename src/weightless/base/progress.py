"""Progress a person can read: a rich bar on a terminal, plain lines now and then elsewhere; a word about a wait."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from weightless.base.units import human_bytes, human_seconds

PLAIN_EVERY_SECONDS = 5.0
SECONDS = "s"  # a budget of time: how fast it passes is no news


class Ticker(Protocol):
    """What `progress` yields: call it with the amount done since the last call, and an optional note."""

    def __call__(self, amount: float = 1, note: str = "") -> None: ...


@contextmanager
def progress(label: str, total: float | None, unit: str = "", start: float = 0) -> Iterator[Ticker]:
    """Show the advance of one long job on standard error, with rate and time left.

    `unit` is shown behind the rate ('tokens', 'steps'; 'B' prints decimal bytes); `start` is what a resumed
    job had done before, which counts as done but not towards the rate.
    """
    shown = _RichBar if sys.stderr.isatty() else _PlainLines
    bar = shown(label, total, unit, start)
    try:
        yield bar.tick
    finally:
        bar.close()


@contextmanager
def told_if_slow(message: str, after: float = 2.0) -> Iterator[None]:
    """Say `message` on standard error, once, if the block takes longer than `after` seconds."""
    timer = threading.Timer(after, print, (message,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _amount(value: float, unit: str) -> str:
    return human_bytes(value) if unit == "B" else f"{value:,.0f}"


def _rate(value: float, unit: str) -> str:
    return f"{_amount(value, unit)}{'' if unit == 'B' else ' ' + unit}/s"


class _PlainLines:
    def __init__(self, label: str, total: float | None, unit: str, start: float) -> None:
        self.label, self.total, self.unit, self.done, self.start = label, total, unit, start, start
        self.began = self.said = time.monotonic()
        self.note = ""
        self.said_done: float | None = None

    def tick(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        now = time.monotonic()
        if now - self.said >= PLAIN_EVERY_SECONDS:
            self.said = now
            self._say(now)

    def _say(self, now: float) -> None:
        elapsed = max(now - self.began, 1e-9)
        rate = (self.done - self.start) / elapsed
        parts = [_amount(self.done, self.unit)]
        if self.total:
            parts[0] += f"/{_amount(self.total, self.unit)} ({100 * self.done / self.total:.0f} %)"
        parts += [_rate(rate, self.unit)] if self.unit != SECONDS else []
        if self.total and rate > 0 and self.done < self.total:
            parts.append(f"{human_seconds((self.total - self.done) / rate)} left")
        if self.note:
            parts.append(self.note)
        print(f"{self.label}: " + ", ".join(parts), file=sys.stderr, flush=True)
        self.said_done = self.done

    def close(self) -> None:
        if self.said_done != self.done:
            self._say(time.monotonic())


class _RichBar:
    def __init__(self, label: str, total: float | None, unit: str, start: float) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task):  # type: ignore[no-untyped-def]
                speed = task.finished_speed or task.speed or 0.0
                return Text(_rate(speed, unit) if unit != SECONDS else "", style="cyan")

        self.bar = Progress(TextColumn("{task.description:<22}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
                            Rate(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
                            console=Console(stderr=True))  # fmt: skip
        self.task = self.bar.add_task(label, total=total, completed=int(start), note="")
        self.bar.start()

    def tick(self, amount: float = 1, note: str = "") -> None:
        if note:
            self.bar.update(self.task, advance=amount, note=note)
        else:
            self.bar.update(self.task, advance=amount)

    def close(self) -> None:
        self.bar.stop()
