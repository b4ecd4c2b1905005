"""A Bench that loads a solution into this process: for writing cards, and for mutants; no walls here."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from weightless.deck.bench import Handle, Limits
from weightless.deck.outcome import Failed


class Here:
    """A Worker without walls."""

    def __init__(self, folder: Path, module: str = "solution") -> None:
        self.objects: list[Any] = []
        self.peak_bytes, self._began = 0, time.process_time()
        own = ("weightless", "solution")
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in own}
        sys.path.insert(0, str(folder))
        try:
            spec = importlib.util.spec_from_file_location(module, folder / f"{module}.py")
            assert spec and spec.loader
            self.module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self.module)
        finally:
            sys.path.remove(str(folder))
            for name in [name for name in sys.modules if name.split(".")[0] in own]:
                del sys.modules[name]
            sys.modules.update(hidden)

    @property
    def cpu_seconds(self) -> float:
        return time.process_time() - self._began

    def _run(self, function: Any, arguments: tuple, named: dict) -> Any:
        try:
            with np.errstate(all="ignore"):
                return function(*map(self._there, arguments), **{k: self._there(v) for k, v in named.items()})
        except Failed:
            raise
        except Exception as error:
            raise Failed("CRASH", f"{type(error).__name__}: {error}") from error

    def _there(self, value: Any) -> Any:
        """What the worker would see: its own object, or a copy, since nothing is shared through a pipe."""
        if isinstance(value, Handle):
            return self.objects[value.number]
        return value.copy() if isinstance(value, np.ndarray) else value

    def _found(self, name: str) -> Any:
        found: Any = self.module
        for part in name.split("."):
            if not hasattr(found, part):
                raise Failed("CONTRACT", f"solution.py has no {name}")
            found = getattr(found, part)
        return found

    def call(self, name: str, /, *arguments: Any, **named: Any) -> Any:
        return self._run(self._found(name), arguments, named)

    def make(self, name: str, /, *arguments: Any, **named: Any) -> Handle:
        self.objects.append(self._run(self._found(name), arguments, named))
        return Handle(len(self.objects) - 1)

    def method(self, handle: Handle, name: str, /, *arguments: Any, **named: Any) -> Any:
        return self._run(getattr(self.objects[handle.number], name), arguments, named)

    def raises(self, name: str, /, *arguments: Any, **named: Any) -> str | None:
        function = self._found(name)
        try:
            with np.errstate(all="ignore"):
                function(*map(self._there, arguments), **{k: self._there(v) for k, v in named.items()})
        except Exception as error:
            return type(error).__name__
        return None


class HereBench:
    """`solution` and `reference` are folders with a solution.py."""

    def __init__(self, solution: Path, reference: Path, seed: int = 0, variant: str = "clarified") -> None:
        self.folders, self.rng, self.variant = (solution, reference), np.random.default_rng(seed), variant

    @contextmanager
    def solution(self, limits: Limits | None = None) -> Iterator[Here]:
        yield Here(self.folders[0])

    @contextmanager
    def reference(self, limits: Limits | None = None) -> Iterator[Here]:
        yield Here(self.folders[1])
