"""A Bench that loads a solution into this process: for writing cards, and for mutants; no walls here.

Like the sandbox it hands over copies and takes plain values only, so that a card that works here works there.
`peak_bytes` is what Python and NumPy have allocated since it was first asked for.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from weightless.deck.bench import Handle, Limits
from weightless.deck.outcome import Failed


class Here:
    """A Worker without walls."""

    def __init__(self, folder: Path) -> None:
        self.objects: list[Any] = []
        self._began = time.process_time()
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "weightless"}
        sys.path.insert(0, str(folder))
        try:
            spec = importlib.util.spec_from_file_location("solution", folder / "solution.py")
            assert spec and spec.loader
            self.module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self.module)
        finally:
            sys.path.remove(str(folder))
            for name in [name for name in sys.modules if name.split(".")[0] == "weightless"]:
                del sys.modules[name]
            sys.modules.update(hidden)

    @property
    def cpu_seconds(self) -> float:
        return time.process_time() - self._began

    @property
    def peak_bytes(self) -> int:
        if not tracemalloc.is_tracing():
            tracemalloc.start()
        return tracemalloc.get_traced_memory()[1]

    def _given(self, value: Any) -> Any:
        """A fresh copy, or the object that a handle stands for."""
        if isinstance(value, Handle):
            return self.objects[value.number]
        if isinstance(value, np.ndarray):
            return value.copy()
        if isinstance(value, (list, tuple)):
            return type(value)(self._given(part) for part in value)
        if isinstance(value, dict):
            return {key: self._given(part) for key, part in value.items()}
        return _across(value) if callable(value) else value

    def _run(self, function: Any, arguments: tuple, named: dict) -> Any:
        try:
            with np.errstate(all="ignore"):
                return function(*map(self._given, arguments), **{key: self._given(named[key]) for key in named})
        except Failed:
            raise
        except MemoryError as error:
            raise Failed("OOM", str(error)) from error
        except Exception as error:
            raise Failed("CRASH", f"{type(error).__name__}: {error}") from error

    def _found(self, name: str, found: Any = None) -> Any:
        found = self.module if found is None else found
        for part in name.split("."):
            if not hasattr(found, part):
                raise Failed("CONTRACT", f"{getattr(found, '__name__', type(found).__name__)} has no {name}")
            found = getattr(found, part)
        return found

    def _kept(self, value: Any) -> Handle:
        self.objects.append(value)
        return Handle(len(self.objects) - 1)

    def call(self, name: str, /, *arguments: Any, **named: Any) -> Any:
        return plain(self._run(self._found(name), arguments, named))

    def make(self, name: str, /, *arguments: Any, **named: Any) -> Handle:
        return self._kept(self._run(self._found(name), arguments, named))

    def method(self, handle: Handle, name: str, /, *arguments: Any, **named: Any) -> Any:
        return plain(self._run(self._found(name, self.objects[handle.number]), arguments, named))

    def hold(self, value: Any, /, *, strided: bool = False) -> Handle:
        if strided:
            wide = np.full((*value.shape[:-1], 2 * value.shape[-1]), np.nan if value.dtype.kind == "f" else 0)
            wide = wide.astype(value.dtype)
            wide[..., ::2] = value
            return self._kept(wide[..., ::2])
        return self._kept(self._given(value))

    def take(self, handle: Handle, index: int, /) -> Handle:
        found = self.objects[handle.number]
        if not isinstance(found, (tuple, list)) or not -len(found) <= index < len(found):
            raise Failed("WRONG_SHAPE", f"what was returned is a {type(found).__name__} without a part {index}")
        return self._kept(found[index])

    def read(self, handle: Handle, /) -> Any:
        return plain(self.objects[handle.number])

    def raises(self, name: str, /, *arguments: Any, **named: Any) -> str | None:
        try:
            self._found(name)(*map(self._given, arguments), **{key: self._given(named[key]) for key in named})
        except Failed:
            raise
        except Exception as error:
            return type(error).__name__
        return None


def plain(value: Any) -> Any:
    """The value as it would cross, or Failed."""
    if value is None or isinstance(value, (bool, int, float, str, Handle)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return value.copy()
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(plain(part) for part in value)
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    raise Failed("WRONG_SHAPE", f"a {type(value).__name__} was returned, which is no plain value")


def _across(hook: Any) -> Any:
    """A hook that sees and gives plain values only; what goes wrong in it is the check's."""

    def called(*arguments: Any, **named: Any) -> Any:
        return hook(*map(plain, arguments), **{key: plain(value) for key, value in named.items()})

    return called


class HereBench:
    """`solution` and `reference` are folders with a solution.py."""

    def __init__(self, solution: Path, reference: Path, seed: int = 0, variant: str = "clarified") -> None:
        self.folders, self.rng, self.variant = (solution, reference), np.random.default_rng(seed), variant

    @contextmanager
    def solution(self, limits: Limits | None = None) -> Iterator[Here]:
        yield from _opened(self.folders[0])

    @contextmanager
    def reference(self, limits: Limits | None = None) -> Iterator[Here]:
        yield from _opened(self.folders[1])


def _opened(folder: Path) -> Iterator[Here]:
    try:
        yield Here(folder)
    finally:
        tracemalloc.stop()
