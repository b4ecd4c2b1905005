"""The grader's end of a worker: questions, deadlines, hooks, and what each way of ending is called.  Floor 9.

What arrives is bytes of strangers.  A header, a tree and arrays are each held against what may come next before they
are read; anything else is TAMPER, and after that, as after a deadline or an end, the worker is gone for good: every
further question raises the same Failed.

    IMPORT       loading raised, or ended the process
    CONTRACT     what is called is not there, or does not take these arguments
    CRASH        the call raised, or ended the process
    TIMEOUT      no answer within the wall seconds, or all processor seconds used
    OOM          MemoryError, or all its processes together held more than the limit
    WRONG_SHAPE  what came back is none of the plain values
    TAMPER       bytes that are no message, an answer to nothing, a message out of its turn
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from weightless.base.errors import WeightlessError
from weightless.deck.bench import Handle, Limits
from weightless.deck.copying import shown
from weightless.deck.outcome import Failed, Status
from weightless.deck.watching import Watched
from weightless.deck.worker import HEADER, LARGEST_ARRAYS, LARGEST_TREE, MAGIC, Unfit, described, pack, unpack

LOOK_EVERY_SECONDS = 0.05
MOST_HOOK_CALLS = 200_000
_HOOKS_MAY_TAKE, _ALL_CALLS_MAY_TAKE = 4.0, 6.0
_LONGEST_START_SECONDS, _SHORTEST_LOAD_SECONDS, _LONGEST_PARTING_SECONDS = 60.0, 10.0, 2.0
_STATUS: dict[str, Status] = {
    "missing": "CONTRACT",
    "signature": "CONTRACT",
    "raised": "CRASH",
    "memory": "OOM",
    "unfit": "WRONG_SHAPE",
}


class Remote:
    """The Worker of `bench.py` over two pipes."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits, outer: int) -> None:
        assert process.stdin and process.stdout
        self.process, self.limits = process, limits
        self._sink, self._source = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self._sink, False)
        self._watched = Watched(process.pid, outer)
        self._sequence, self._hooks, self._handles, self._hook_calls = 0, list[Callable[..., Any]](), 0, 0
        self._seconds, self._deadline, self._latest, self._looked = 0.0, 0.0, 0.0, 0.0
        self._over: Failed | None = None
        self._last = time.monotonic() + _LONGEST_START_SECONDS + _ALL_CALLS_MAY_TAKE * limits.seconds

    def load(self, file: str, said: Callable[[], str]) -> None:
        """Import the submission's file.  Raises Failed; WeightlessError when the worker itself does not start.

        `said` gives the last words of the wrapper, which is silent once the worker answers.
        """
        try:
            self._ask(b"HELO", None, _LONGEST_START_SECONDS)
        except Failed as error:
            raise WeightlessError(f"a worker does not start here: {shown(said()) or error.told}") from None
        try:
            self._ask(b"LOAD", file, max(self.limits.seconds, _SHORTEST_LOAD_SECONDS))
        except Failed as error:
            status: Status = "IMPORT" if error.status in ("CRASH", "CONTRACT") else error.status
            raise self._again(status, f"{file}: {error.told}") from None

    def call(self, name: str, /, *arguments: Any, **named: Any) -> Any:
        return self._call(None, name, arguments, named)

    def make(self, name: str, /, *arguments: Any, **named: Any) -> Handle:
        return self._kept(self._call(None, name, arguments, named, keep=True))

    def hold(self, value: Any, /, *, strided: bool = False) -> Handle:
        return self._kept(self._ask(b"HOLD", {"value": value, "strided": strided}))

    def take(self, handle: Handle, index: int, /) -> Handle:
        return self._kept(self._ask(b"TAKE", {"of": handle, "index": index}))

    def read(self, handle: Handle, /) -> Any:
        return self._ask(b"READ", handle)

    def _kept(self, number: Any) -> Handle:
        if type(number) is not int or number != self._handles:
            raise self._stop("TAMPER", "an object was answered for with a number that is not its own")
        self._handles += 1
        return Handle(number)

    def method(self, handle: Handle, name: str, /, *arguments: Any, **named: Any) -> Any:
        return self._call(handle.number, name, arguments, named)

    def raises(self, name: str, /, *arguments: Any, **named: Any) -> str | None:
        try:
            self.call(name, *arguments, **named)
        except Raised as error:
            if error.how == "missing":
                raise
            return None if error.how == "unfit" else error.raised
        return None

    @property
    def peak_bytes(self) -> int:
        self._look(0.0)
        return self._watched.peak_bytes

    @property
    def cpu_seconds(self) -> float:
        self._look(0.0)
        return self._watched.cpu_seconds

    def part(self) -> None:
        """Ask whether it is still there, so that a second answer to the last question shows.  Raises Failed: TAMPER."""
        try:
            self._ask(b"HELO", None, _LONGEST_PARTING_SECONDS)
        except Failed as error:
            if error.status == "TAMPER":
                raise

    def close(self) -> None:
        """End all its processes.  Raises Failed with TAMPER when it spoke without being asked, or cannot be ended."""
        pending = not self._over and bool(select.select([self._source], [], [], 0)[0]) and self._unasked()
        left = self._watched.end()
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        if left:
            raise Failed("TAMPER", f"{len(left)} of its processes could not be ended")
        if pending:
            raise Failed("TAMPER", "it wrote to the grader without being asked")

    def _unasked(self) -> bool:
        """Whether something lies in the pipe where there should be nothing (its end is no speech)."""
        return bool(os.read(self._source, 1))

    def _call(self, on: int | None, name: str, arguments: tuple, named: dict[str, Any], keep: bool = False) -> Any:
        asked = {"on": on, "name": name, "arguments": list(arguments), "named": named, "keep": keep}
        return self._ask(b"CALL", asked)

    def _ask(self, kind: bytes, asked: Any, seconds: float | None = None) -> Any:
        """Send one question, serve the hooks it asks, return its answer."""
        if self._over:
            raise Failed(self._over.status, self._over.told)
        if select.select([self._source], [], [], 0)[0] and self._unasked():
            raise self._stop("TAMPER", "it wrote to the grader without being asked")
        self._sequence += 1
        began, self._seconds = time.monotonic(), seconds or self.limits.seconds
        self._deadline = min(began + self._seconds, self._last)
        self._latest = began + _HOOKS_MAY_TAKE * self._seconds
        self._send(kind, asked)
        while True:
            kind, value = self._receive()
            if kind == b"DONE":
                self._look(0.0)
                return value
            if kind == b"FAIL":
                raise self._told(value)
            self._serve(value)

    def _serve(self, question: Any) -> None:
        """Run a hook here.  A check's own Failed ends the worker; what else a hook raises is raised there."""
        parts = ("hook", "arguments", "named")
        number, arguments, named = (question.get(part) if isinstance(question, dict) else None for part in parts)
        if type(number) is not int or number not in range(len(self._hooks)):
            raise self._stop("TAMPER", "it asked for a hook that it was not given")
        if not isinstance(arguments, tuple) or not isinstance(named, dict):
            raise self._stop("TAMPER", "it called a hook without arguments")
        self._hook_calls += 1
        if self._hook_calls > MOST_HOOK_CALLS:
            raise self._stop("TIMEOUT", f"it called its hooks more than {MOST_HOOK_CALLS:,} times")
        began = time.monotonic()
        try:
            packed = pack(self._hooks[number](*arguments, **named), self._special)
        except Failed as error:
            raise self._stop(error.status, error.told) from None
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, Unfit) as error:
            self._send(b"OOPS", f"{type(error).__name__}: {error}"[:1000])
            return
        finally:
            took = time.monotonic() - began
            self._deadline, self._last = min(self._deadline + took, self._latest), self._last + took
        self._write_message(b"ANSW", *packed)

    def _send(self, kind: bytes, value: Any) -> None:
        try:
            self._write_message(kind, *pack(value, self._special))
        except Unfit as error:
            raise TypeError(f"the grader cannot hand over {error}") from None

    def _write_message(self, kind: bytes, text: bytes, arrays: list[Any]) -> None:
        length = sum(array.nbytes for array in arrays)
        self._write(HEADER.pack(MAGIC, kind, self._sequence, len(text), length) + text)
        for array in arrays:
            if array.nbytes:
                self._write(array.reshape(-1).view(np.uint8).data)

    def _special(self, value: Any) -> list[Any] | None:
        if isinstance(value, Handle):
            return ["h", value.number]
        if callable(value):
            if value not in self._hooks:
                self._hooks.append(value)
            return ["f", self._hooks.index(value)]
        return None

    def _write(self, content: Any) -> None:
        view = memoryview(content)
        while len(view):
            self._wait([], [self._sink])
            try:
                view = view[os.write(self._sink, view[: 1 << 20]) :]
            except BlockingIOError:
                continue
            except OSError:
                raise self._ended() from None

    def _receive(self) -> tuple[bytes, Any]:
        """The next message, held against what may come."""
        magic, kind, sequence, n_tree, n_arrays = HEADER.unpack(self._read(HEADER.size))
        if magic != MAGIC or kind not in (b"DONE", b"FAIL", b"ASKS"):
            raise self._stop("TAMPER", "it wrote bytes to the grader that are no message")
        if sequence != self._sequence:
            raise self._stop("TAMPER", f"it answered question {sequence} where {self._sequence} was asked")
        if n_tree > LARGEST_TREE or n_arrays > LARGEST_ARRAYS:
            raise self._stop("TAMPER", f"it announced a message of {n_tree + n_arrays:,} bytes")
        try:
            text = self._read(n_tree)
            arrays = [self._array(*entry) for entry in described(text, n_arrays)]
            return kind, unpack(text, arrays, _nothing_else)
        except (Unfit, ValueError, MemoryError) as error:
            raise self._stop("TAMPER", f"it wrote {error} to the grader") from None

    def _array(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty(shape, dtype)
        if array.nbytes:
            self._fill(array.reshape(-1).view(np.uint8).data)
        return array

    def _read(self, length: int) -> bytes:
        content = bytearray(length)
        self._fill(memoryview(content))
        return bytes(content)

    def _fill(self, view: memoryview) -> None:
        while len(view):
            self._wait([self._source], [])
            n = os.readv(self._source, [view[: 1 << 20]])
            if not n:
                raise self._ended()
            view = view[n:]

    def _wait(self, sources: list[int], sinks: list[int]) -> None:
        """Until a pipe is ready; looks at the clock and at what the processes take meanwhile."""
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise self._stop("TIMEOUT", f"no answer within {self._seconds:g} s")
            ready = select.select(sources, sinks, [], min(left, LOOK_EVERY_SECONDS))
            self._look(LOOK_EVERY_SECONDS)
            if ready[0] or ready[1]:
                return

    def _look(self, every: float) -> None:
        """Measure, at most so often, and end what takes too much."""
        now = time.monotonic()
        if self._over or now - self._looked < every:
            return
        self._looked = now
        self._watched.look()
        if self._watched.resident_bytes > self.limits.memory_bytes + (64 << 20):
            raise self._stop("OOM", f"its processes held more than {self.limits.memory_bytes:,} bytes")
        if self._watched.cpu_seconds > self.limits.cpu_seconds:
            raise self._stop("TIMEOUT", f"{self.limits.cpu_seconds} s of processor time are used up")

    def _told(self, value: Any) -> Failed:
        """The Failed for a FAIL."""
        parts = [value.get(part) for part in ("how", "class", "told")] if isinstance(value, dict) else []
        said = [shown(part) for part in parts if isinstance(part, str)]
        if len(said) != 3 or said[0] not in _STATUS:
            return self._stop("TAMPER", "it wrote a failure that is none")
        how, name, told = said
        if how == "unfit":
            return Raised(how, name, f"it returned {told}")
        return Raised(how, name, told if how == "missing" else f"{name}: {told}".rstrip(": "))

    def _ended(self) -> Failed:
        """The Failed for a process that is gone."""
        self._watched.look()
        if self._watched.cpu_seconds > self.limits.cpu_seconds - 0.5:
            return self._stop("TIMEOUT", f"{self.limits.cpu_seconds} s of processor time are used up")
        return self._stop("CRASH", "the process ended without an answer")

    def _stop(self, status: Status, told: str) -> Failed:
        """End everything now; `told` is the answer to all further questions."""
        if not self._over:
            self._over = Failed(status, told)
            self._watched.end()
        return Failed(status, told)

    def _again(self, status: Status, told: str) -> Failed:
        self._over = Failed(status, told)
        return Failed(status, told)


class Raised(Failed):
    """A failure that the worker itself told of: how, and the name of the class that was raised."""

    def __init__(self, how: str, raised: str, told: str) -> None:
        super().__init__(_STATUS[how], told)
        self.how, self.raised = how, raised


def _nothing_else(tag: str, number: int) -> Any:
    raise Unfit(f"a reference {shown(tag, 20)!r} that only the grader makes")
