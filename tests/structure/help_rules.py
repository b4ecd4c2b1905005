"""Rules about help: what `help(function)` shows stands alone, and names nothing that a reader cannot use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from structure.source_tree import Repository

ELSEWHERE = re.compile(r"\bsee (the |its )?module\b|\bthe module('s docstring| says| for\b)|\bmodule docstring\b", re.I)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def help_elsewhere(repository: Repository) -> list[str]:
    """A public docstring says it itself: `help` does not show the module's."""
    return [
        source.at(node, f"{node.name}: its docstring sends the reader to the module")
        for source in repository.package
        for node in public(source.tree.body)
        if ELSEWHERE.search(" ".join((ast.get_docstring(node) or "").split()))
    ]


def private_in_signatures(repository: Repository) -> list[str]:
    """No argument, annotation or default of a public function or class begins with an underscore."""
    found = []
    for source in repository.package:
        for node in public(source.tree.body):
            found += [source.at(node, f"{node.name}: {name!r} in its signature is private") for name in shown(node)]
    return found


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Functions, classes and methods that `help` shows; a constructor is shown with its class."""
    for node in body:
        if isinstance(node, FUNCTIONS) and (not node.name.startswith("_") or node.name == "__init__"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node
            yield from public(node.body)


def shown(node: ast.AST) -> list[str]:
    """Private names in a signature: of a function, or of the constructor that a dataclass is given."""
    if isinstance(node, ast.ClassDef):
        return _fields(node) if any("dataclass" in ast.unparse(d) for d in node.decorator_list) else []
    arguments = node.args  # type: ignore[attr-defined]
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    parts = [a.annotation for a in given] + [node.returns, *arguments.defaults, *arguments.kw_defaults]  # type: ignore[attr-defined]
    return [a.arg for a in given if a.arg.startswith("_")] + [name for part in parts if part for name in _names(part)]


def _fields(node: ast.ClassDef) -> list[str]:
    fields = [f for f in node.body if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)]
    return [
        f.target.id
        for f in fields  # type: ignore[union-attr]
        if f.target.id.startswith("_") and "init=False" not in ast.unparse(f)
    ]  # type: ignore[union-attr]


def _names(part: ast.AST) -> list[str]:
    names = [getattr(n, "id", "") or getattr(n, "attr", "") for n in ast.walk(part)]
    return [name for name in names if name.startswith("_") and not name.startswith("__")]
