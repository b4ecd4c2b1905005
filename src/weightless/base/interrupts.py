"""SIGTERM and Ctrl-C as requests: the loop finishes its step, saves, and only then stops.

A second signal is not held back.  Outside the main thread Python delivers no signals, and nothing is changed.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Context manager; `requested` is the first signal that came."""

    def __init__(self) -> None:
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

    def stop_if_requested(self) -> None:
        """Raise what the signal would have: KeyboardInterrupt, or SystemExit(143) for SIGTERM."""
        if self.requested == signal.SIGINT:
            raise KeyboardInterrupt
        if self.requested is not None:
            raise SystemExit(128 + self.requested)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = number
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}
