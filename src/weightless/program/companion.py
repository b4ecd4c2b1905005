"""A second process that compiles a program from its last operator on, while this one compiles from the first.

numba compiles under one lock, so threads would wait for each other.  Processes meet in its disk cache: what the other
one has compiled by then, this one loads.  It is started only once something had to be compiled here, so that nobody
with a warm cache pays for it, and only where a second core may be used and seems idle.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from weightless.base.cores import is_one_idle
from weightless.base.own_process import own_process as base_own_process

if TYPE_CHECKING:
    from weightless.program.program import Program

FEWEST = 4
"""Functions to be compiled at least: with fewer, the second process has hardly started when all is done."""


class Companion:
    """The helper of one linking, which lives as long as the block; `logged` says which engine it compiles for."""

    def __init__(self, program: Program, logged: bool) -> None:
        self._program, self._logged = program, logged
        self._process: subprocess.Popen[bytes] | None = None

    def after(self, function: Any, n_left: int) -> None:
        """Start, if `function` was not in the cache and enough is left to be compiled."""
        if self._process is None and n_left >= FEWEST and function.stats.cache_misses and is_one_idle():
            told = {"program": self._program.to_plain(), "logged": self._logged}
            self._process = own_process("compile_from_the_end", told)

    def __enter__(self) -> Companion:
        return self

    def __exit__(self, *_: object) -> None:
        """End it: what it is compiling now, nobody waits for."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def own_process(function: str, told: Any) -> subprocess.Popen[bytes] | None:
    """A silent process that calls a function of `program.warm` with the JSON of `told`; None where none can be had."""
    return base_own_process("weightless.program.warm", function, told)
