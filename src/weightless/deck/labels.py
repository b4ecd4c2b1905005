"""What a submission imports and calls that it should not need: labels beside a result, which decide nothing.  Floor 9.

Read from the syntax tree, so what is hidden on purpose is not seen here; the worker's environment has only NumPy, and
the sandbox holds whatever is tried.  A reader of the results is shown where to look.
"""

from __future__ import annotations

import ast
from pathlib import Path

from weightless.deck.copying import shown

_MODULES = frozenset(
    "torch jax tensorflow numba scipy cupy triton mlx ctypes cffi os subprocess socket sys gc inspect importlib "
    "multiprocessing threading signal pickle shutil tempfile urllib requests http builtins resource mmap".split()
)
_CALLS = frozenset("open eval exec compile __import__ globals breakpoint".split())
_MOST = 40


def labels(folder: Path) -> list[str]:
    """Lines like "solution.py:3 imports torch", sorted by file and line; files that are no Python give none."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        name = shown(path.relative_to(folder).as_posix(), 100)
        try:
            tree = ast.parse(path.read_text(encoding="utf-8-sig"))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        told = {(getattr(node, "lineno", 0), what) for node in ast.walk(tree) for what in _of(node)}
        found += [f"{name}:{line} {what}" for line, what in sorted(told)]
    return found[:_MOST]


def _of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        tops = [alias.name.split(".")[0] for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        tops = [(node.module or "").split(".")[0]]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        return [f"calls {node.func.id}"]
    else:
        return []
    return [f"imports {top}" for top in tops if top in _MODULES]
