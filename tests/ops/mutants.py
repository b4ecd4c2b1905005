"""Mutants: a module of the package with one piece of its source replaced, run as if it were the module."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType


def mutated(module: ModuleType, old: str, new: str) -> ModuleType:
    """A copy of `module` in which `old`, which must occur exactly once, reads `new`."""
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {module.__name__}"
    mutant = ModuleType(f"{module.__name__}_mutant")
    mutant.__package__ = module.__package__
    sys.modules[mutant.__name__] = mutant  # dataclasses look their module up by name
    try:
        exec(compile(source.replace(old, new), f"<mutant of {module.__name__}>", "exec"), mutant.__dict__)
    finally:
        del sys.modules[mutant.__name__]
    return mutant
