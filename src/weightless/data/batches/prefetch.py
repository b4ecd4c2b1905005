"""Batches prepared ahead by a thread: the same batches in the same order, only earlier.

    with Prefetched(batches.batch, ahead=2, first=0) as prepared:
        batch = prepared.batch(step)

A thread calls `make(step)` for first, first + 1, … and waits when `ahead` of them are ready.  Whoever asks for the
steps in order takes them from the queue; a step out of order starts the thread anew there.  What `make` raises is
raised by the call that asks for that step.  Leaving the context ends the thread, ready batches or not.
`make` must be a pure function of the step, and is never called by two threads at a time.

Off by default, because there is nothing to gain at this project's scale: a batch takes 0.05 to 0.7 ms, well below 1 %
of a step of the demo's models (`benchmarks/batches.py`), and the thread competes with the step for the interpreter.  It
is for batches that wait for a slow disk.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from weightless.base.errors import ConfigError

T = TypeVar("T")


class Prefetched(Generic[T]):
    """make(first), make(first + 1), … by a thread, `ahead` of them ready; close it, or use it as a context.

    `make` is a pure function of the step and is never called by two threads at a time; what it raises is raised by the
    call that asks for that step.  ConfigError for `ahead` below 1.
    """

    def __init__(self, make: Callable[[int], T], ahead: int, first: int = 0) -> None:
        if ahead < 1:
            raise ConfigError(f"prefetch = {ahead}: give the number of batches to prepare ahead, at least 1")
        self._make, self._ahead = make, ahead
        self._start(first)

    def batch(self, step: int) -> T:
        """make(step); waits until it is there."""
        has_ended = not self._thread.is_alive() and self._ready.empty()
        if step != self._next or has_ended:
            self.close()
            self._start(step)
        made, error = self._ready.get()
        self._next += 1
        if error is not None:
            self.close()
            raise error
        return made  # type: ignore[return-value]

    def close(self) -> None:
        """End the thread; `batch` may still be called afterwards, and starts another."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()  # room, so that a waiting thread sees the end
            except queue.Empty:
                self._thread.join(0.01)
        self._ready = queue.Queue(self._ahead)

    def __enter__(self) -> Prefetched[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, first: int) -> None:
        self._next, self._stop = first, threading.Event()
        self._ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(self._ahead)
        arguments = (self._ready, self._stop, first)
        self._thread = threading.Thread(target=self._run, args=arguments, name="prefetch", daemon=True)
        self._thread.start()

    def _run(self, ready: queue.Queue[tuple[T | None, BaseException | None]], stop: threading.Event, step: int) -> None:
        while not stop.is_set():
            try:
                ready.put((self._make(step), None))
            except Exception as error:  # handed to the thread that asks for this step
                ready.put((None, error))
                return
            step += 1
