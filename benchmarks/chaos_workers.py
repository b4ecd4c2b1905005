"""Try numbered cases in forked processes that may hang, crash or run out of memory without taking the hunt along.

    hunt(make, numbers, workers=2, hang_seconds=30, memory_bytes=3 << 30) -> iterator of Result

`make()` is called once in every worker and returns `try_case(number) -> (what, verdict, detail)`.  A worker that says
nothing for `hang_seconds` is killed, one that dies is recorded with its signal, and another takes over behind the case
at fault.  The number decides everything about a case, so any case can be repeated alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

HANG, CRASH = "HANG", "CRASH"
BATCH = 200
FIRST_SECONDS = 600  # a first case may have to compile kernels
TryCase = Callable[[int], tuple[str, str, str]]


@dataclass(frozen=True)
class Result:
    """One case: its number, what was done to what, the verdict, and what was seen."""

    number: int
    what: str
    verdict: str
    detail: str


class _Worker:
    """One forked process and the batch of numbers it is busy with."""

    def __init__(self, make: Callable[[], TryCase], batch: range, memory_bytes: int) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.batch, self.next, self.talk = batch, batch.start, ours
        self.patience: float = FIRST_SECONDS
        context = multiprocessing.get_context("fork")
        self.process: Any = context.Process(target=_work, args=(make, theirs, memory_bytes), daemon=False)
        self.process.start()
        self._hear()
        theirs.close()
        self.give(batch)

    def give(self, batch: range) -> None:
        self.batch, self.next = batch, batch.start
        self.talk.send_bytes(json.dumps([batch.start, batch.stop]).encode())

    def read(self, hang_seconds: float) -> list[Result]:
        """What has arrived; EOFError when the process is gone."""
        found = []
        while self.talk.poll():
            number, what, verdict, detail = json.loads(self.talk.recv_bytes())
            found.append(Result(number, what, verdict, detail))
            self.next = number + 1
            self.patience = hang_seconds
            self._hear()
        return found

    def _hear(self) -> None:
        self.heard, self.used = time.monotonic(), _processor_seconds(self.process.pid)

    @property
    def is_late(self) -> bool:
        """By processor time, which a busy machine does not use up; one that only waits is late after much longer."""
        waited = time.monotonic() - self.heard
        return waited > self.patience and (
            waited > 20 * self.patience or _processor_seconds(self.process.pid) - self.used > self.patience
        )

    def end(self) -> int:
        self.process.kill()
        self.process.join()
        self.talk.close()
        return self.process.exitcode


def hunt(
    make: Callable[[], TryCase],
    numbers: range,
    workers: int = 1,
    hang_seconds: float = 30,
    memory_bytes: int = 3 << 30,
    until: float = float("inf"),
) -> Iterator[Result]:
    """Results as they come, until the numbers are used up or the clock (time.monotonic) passes `until`."""
    batches = iter([range(a, min(a + BATCH, numbers.stop)) for a in range(numbers.start, numbers.stop, BATCH)])
    crew = [_Worker(make, batch, memory_bytes) for _, batch in zip(range(workers), batches)]
    try:
        while crew:
            wait([worker.talk for worker in crew], timeout=1)
            for worker in list(crew):
                yield from _attend(worker, crew, make, hang_seconds, memory_bytes)
                if worker in crew and worker.next >= worker.batch.stop:
                    batch = next(batches, None) if time.monotonic() < until else None
                    if batch is None:
                        worker.end()
                        crew.remove(worker)
                    else:
                        worker.give(batch)
    finally:
        for worker in crew:
            worker.end()


def _attend(
    worker: _Worker, crew: list[_Worker], make: Callable[[], TryCase], hang_seconds: float, memory_bytes: int
) -> Iterator[Result]:
    """Read one worker; when it hangs or has died, record that and put another in its place."""
    gone = False
    try:
        yield from worker.read(hang_seconds)
    except (EOFError, ConnectionResetError):
        gone = True
    if not gone and not worker.is_late:
        return
    code, number = worker.end(), worker.next
    told = signal.Signals(-code).name if gone and code < 0 else f"exit {code}"
    yield Result(number, "?", CRASH if gone else HANG, told if gone else f"no answer for {worker.patience:g} s")
    crew.remove(worker)
    if number + 1 < worker.batch.stop:
        crew.append(_Worker(make, range(number + 1, worker.batch.stop), memory_bytes))


def _work(make: Callable[[], TryCase], talk: Connection, memory_bytes: int) -> None:
    """The worker: silent, limited in memory, one batch after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "r+b", buffering=0) as nothing:
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try_case, limited = make(), False
    while True:
        start, stop = json.loads(talk.recv_bytes())
        for number in range(start, stop):
            talk.send_bytes(json.dumps([number, *try_case(number)]).encode())
            if not limited:  # only now are the kernels loaded and the libraries' own reservations made
                limited = True
                limit_memory(memory_bytes)


def _processor_seconds(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:  # it has died, which its pipe will tell
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def limit_memory(more: int) -> None:
    """Let this process take so many bytes beyond what it has now; MemoryError after that."""
    with open("/proc/self/statm") as file:
        most = int(file.read().split()[0]) * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
