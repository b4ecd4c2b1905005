"""The engine room: one thread in which all texts are written, each in its turn.  Floor 10.

A round gives every text that is being written one turn: a piece of its prompt, or one token.  A text joins at the next
round when one of `most` places is free, else it waits, at most `queue` of them; it leaves when it is done or nobody
wants it any more.  There is no batch of matrix products: the compiled engine reads the few megabytes of such models
from the cache, in a quarter of the time that a batch of 64 rows takes (benchmarks/serving.py), and to the last bit as
if it were alone.  What is written goes to the event loop of `start`, and no text waits for its reader.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

from weightless.serve.jobs import Job
from weightless.serve.metrics import Metrics
from weightless.serve.refusals import Refusal
from weightless.serve.writer import Piece

TOGETHER = 0.005
"""Seconds for which pieces are gathered before the event loop is woken."""
RETRY_AFTER = 1


class Stopping(Refusal):
    """The server is going; what was not finished stays so."""

    def __init__(self) -> None:
        super().__init__(503, "the server is shutting down: ask another, or again later", code="shutting_down", wait=5)


class EngineRoom:
    """At most `most` texts are written together, and `queue` wait."""

    def __init__(self, most: int, queue: int, metrics: Metrics) -> None:
        self.most, self.queue, self.metrics = most, queue, metrics
        self._waiting: deque[Job] = deque()
        self._active: list[_Running] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._n_active = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="engine room", daemon=True)
        self._out: list[tuple[Job, Piece | Exception]] = []
        self._sent = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread.start()

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def load(self) -> tuple[int, int]:
        """(texts that are being written, texts that wait)."""
        with self._changed:
            return self._n_active, len(self._waiting)

    def check_number(self, n: int) -> None:
        """Refusal (400) for so many texts at once that they would never find a place."""
        if n > self.most + self.queue:
            told = f"{n} texts in one request (prompts times n), and this server takes {self.most + self.queue}"
            raise Refusal(400, f"{told}: ask in parts", param="prompt")

    def submit(self, jobs: Sequence[Job]) -> None:
        """All of them or none; Refusal (429) when they find no place, 503 when closing."""
        with self._changed:
            if self._stopping:
                raise Stopping
            if self._n_active + len(self._waiting) + len(jobs) > self.most + self.queue:
                told = f"{self._n_active} texts are being written and {len(self._waiting)} wait: ask again later"
                raise Refusal(429, told, code="too_many_requests", wait=RETRY_AFTER)
            self._waiting.extend(jobs)
            self._changed.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Their reader has gone: free the places at the next turn."""
        with self._changed:
            for job in jobs:
                job.cancelled = True
            self._waiting = deque(job for job in self._waiting if not job.cancelled)

    def stop(self) -> None:
        """End everything now; each reader is told.  Any thread may ask, and ask twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self, seconds: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while self._admit():
            for running in list(self._active):
                if self._stopping:
                    break
                self._turn(running)
            self._send()
        with self._changed:
            jobs = [*(running.job for running in self._active), *self._waiting]
            self._waiting.clear()
        self._active, self._n_active = [], 0
        self._out += [(job, Stopping()) for job in jobs]
        self._send()

    def _admit(self) -> bool:
        """Wait for work, and begin what there is room for; False when it is time to go."""
        with self._changed:
            while not (self._waiting or self._active or self._stopping):
                self._changed.wait()
            joining = []
            while self._waiting and self._n_active < self.most:
                joining.append(self._waiting.popleft())
                self._n_active += 1
        self._active += [_Running(job) for job in joining]
        return not self._stopping

    def _turn(self, running: _Running) -> None:
        job = running.job
        try:
            piece = None if job.cancelled else running.next()
        except Exception as error:  # one text's trouble is not the others'
            self._leave(running)
            self._out.append((job, error))
            return
        if piece is not None:
            if piece.n_tokens:
                self.metrics.drawn(job.model.name, *running.since())
            if piece.touched:
                self.metrics.count("weightless_bytes_touched_total", piece.touched, model=job.model.name)
            self._out.append((job, piece))
        if job.cancelled or (piece is not None and piece.reason):
            self._leave(running)
        if time.perf_counter() - self._sent > TOGETHER:
            self._send()

    def _leave(self, running: _Running) -> None:
        running.close()
        self._active.remove(running)
        with self._changed:
            self._n_active -= 1

    def _send(self) -> None:
        out, self._out = self._out, []
        self._sent = time.perf_counter()
        if out and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_deliver, out)


class _Running:
    """A job with its engine."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._taken: Any = None
        self._turns: Generator[Piece | None, None, None] | None = None
        self._last = 0.0

    def next(self) -> Piece | None:
        if self._turns is None:
            self._taken = self.job.model.take()
            self._turns = self.job.turns(*self._taken)
        return next(self._turns)

    def since(self) -> tuple[bool, float]:
        """(whether this is the first token, seconds since the one before, or since it was asked for)."""
        now, before = time.perf_counter(), self._last
        self._last = now
        return not before, now - (before or self.job.asked)

    def close(self) -> None:
        if self._turns is not None:
            self._turns.close()
            self.job.model.give_back(self._taken)


def _deliver(out: list[tuple[Job, Piece | Exception]]) -> None:
    for job, piece in out:
        if not job.cancelled:
            job.deliver(piece)
