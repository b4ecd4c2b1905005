"""SIGTERM and Ctrl-C as requests: the loop finishes its step, saves, and only then stops.

A second signal is not held back, unless it is the echo of the first: a launcher passes on to its processes what a
terminal has already given them.  Outside the main thread Python delivers no signals, and nothing is changed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Context manager; `requested` is the first signal that came; others within `echo` seconds are the same one."""

    def __init__(self, echo: float = 0.0) -> None:
        self.echo, self.came = echo, 0.0
        self.requested: int | None = None
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self.before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def agree(self, number: int | None) -> None:
        """What was asked of any of several processes is asked of all."""
        if number is not None and self.requested is None:
            self.requested, self.came = number, time.monotonic()

    def stop_if_requested(self) -> None:
        """Raise what the signal would have: KeyboardInterrupt, or SystemExit(143) for SIGTERM."""
        if self.requested == signal.SIGINT:
            raise KeyboardInterrupt
        if self.requested is not None:
            raise SystemExit(128 + self.requested)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested is None:
            self.requested, self.came = number, time.monotonic()
        if not self.echo:
            self._give_back()
        elif time.monotonic() - self.came > self.echo:
            self._give_back()
            os.kill(os.getpid(), number)

    def _give_back(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}
