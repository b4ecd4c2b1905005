"""What a check may do: start workers that hold a solution, call it, and hold what it returns to the truth.

A worker is a process in the sandbox that has loaded one folder.  Inputs, truths and comparisons stay with the
caller; the worker is given plain values and gives plain values back:

    None, bool, int, float, str, list, tuple, dict with str keys, ndarray of numbers or bools, and Handle.

A Handle as an argument stands for the object itself.  NumPy scalars come back as numbers of Python.  Nothing else
crosses, in either direction; what a solution returns beyond these is WRONG_SHAPE with a line that says
what it is.  A Python function among the arguments is a hook: the worker's code can call it with plain values, and it
runs *here*, so how often it was called and with what cannot be forged.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

GIGABYTE = 10**9


@dataclass(frozen=True)
class Limits:
    """What a worker may use: wall seconds for one call, processor seconds in all, bytes of data (RLIMIT_DATA)."""

    seconds: float = 30.0
    cpu_seconds: int = 120
    memory_bytes: int = 2 * GIGABYTE


@dataclass(frozen=True)
class Handle:
    """An object that stays in the worker: `Worker.method` calls it."""

    number: int


class Worker(Protocol):
    """A loaded solution.  Arguments are fresh copies in every call, but for handles.

    Every method raises Failed: IMPORT, CONTRACT, CRASH, TIMEOUT, OOM, TAMPER, WRONG_SHAPE.
    """

    def call(self, name: str, /, *arguments: Any, **named: Any) -> Any:
        """`solution.name(*arguments, **named)`; the name may be dotted.  An exception of the solution is CRASH."""
        ...

    def make(self, name: str, /, *arguments: Any, **named: Any) -> Handle:
        """The same for what cannot cross: the object stays there."""
        ...

    def method(self, handle: Handle, name: str, /, *arguments: Any, **named: Any) -> Any:
        """`handle.name(*arguments, **named)`."""
        ...

    def hold(self, value: Any, /, *, strided: bool = False) -> Handle:
        """Put a plain value there, to be given as an argument and read again.  `strided`: an array arrives as every
        second element of a larger one along its last axis, so that it is not contiguous.
        """
        ...

    def take(self, handle: Handle, index: int, /) -> Handle:
        """`handle[index]`, one part of a tuple or list that stays there.  WRONG_SHAPE when there is no such part."""
        ...

    def read(self, handle: Handle, /) -> Any:
        """The plain value that a handle stands for now."""
        ...

    def raises(self, name: str, /, *arguments: Any, **named: Any) -> str | None:
        """The class name of the exception that the call raised, or None when it returned."""
        ...

    @property
    def peak_bytes(self) -> int:
        """Largest resident memory of the worker so far, as the system counts it from outside."""
        ...

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the worker and its children so far, as the system counts it from outside."""
        ...


class Bench(Protocol):
    """One check's surroundings.  `rng` is drawn from the grading's secret seed and the check's name."""

    rng: np.random.Generator
    variant: str

    def solution(self, limits: Limits | None = None) -> AbstractContextManager[Worker]:
        """A fresh worker with the submission."""
        ...

    def reference(self, limits: Limits | None = None) -> AbstractContextManager[Worker]:
        """A fresh worker with our own solution: what time and memory are measured beside."""
        ...


Hook = Callable[..., Any]
