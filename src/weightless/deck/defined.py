"""What a Python file defines, read from its syntax tree and never run.  Floor 9.

    defined("class A:\\n def f(self, x): ...")  ->  {"A": (), "A.f": ("x",)} as Definitions

Names bound at the top of a file count, also inside `if` and `try`: functions, classes with their methods, assignments
and imports.  What only running would tell (a name that is assigned, a class with a base from elsewhere, a star import)
is there with unknown parameters, and is left to the first call.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Definition:
    """A name and its parameters in order (no self); `parameters` is None where only running would tell.

    `required` are those without a default, `open_positions` says that it takes *args, `open_names` **kwargs.
    """

    name: str
    parameters: tuple[str, ...] | None = None
    required: tuple[str, ...] = ()
    open_positions: bool = False
    open_names: bool = False
    is_sketch: bool = False


@dataclass(frozen=True)
class Defined:
    """All names of one file; `stars` are modules from which everything is imported, `unknown` whole classes."""

    names: dict[str, Definition]
    stars: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()


def defined(text: str) -> Defined:
    """The names of a file.  Raises SyntaxError, ValueError (null bytes), RecursionError (nested without end)."""
    names: dict[str, Definition] = {}
    stars, unknown = [], set()
    for node in _top(ast.parse(text).body):
        if isinstance(node, _FUNCTIONS):
            names[node.name] = _function(node, node.name)
        elif isinstance(node, ast.ClassDef):
            names |= _class(node, names)
            if any(not isinstance(base, ast.Name) or base.id not in {*names, "object"} for base in node.bases):
                unknown.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            names |= {name: _assigned(name, node.value) for name in _targets(node)}
        elif isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            stars.append(node.module or "")
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            imported = [alias.asname or alias.name.split(".")[0] for alias in node.names]
            names |= {name: Definition(name) for name in imported}
    return Defined(names, tuple(stars), frozenset(unknown))


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the file is loaded; not those under `if __name__ == "__main__"`."""
    for node in body:
        if isinstance(node, ast.If):
            if "'__main__'" not in ast.dump(node.test):
                yield from _top(node.body)
            yield from _top(node.orelse)
        elif isinstance(node, ast.Try):
            for part in (node.body, node.orelse, node.finalbody, *(handler.body for handler in node.handlers)):
                yield from _top(part)
        elif isinstance(node, ast.With):
            yield from _top(node.body)
        else:
            yield node


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if node.value else []
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def _assigned(name: str, value: ast.expr | None) -> Definition:
    return _function(value, name) if isinstance(value, ast.Lambda) else Definition(name)


def _function(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, name: str, drop_first: bool = False
) -> Definition:
    given = node.args
    places = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    required = places[: len(places) - len(given.defaults)]
    if drop_first:
        required, places = [n for n in required if n != places[0]] if places else [], places[1:]
    alone = [argument.arg for argument in given.kwonlyargs]
    required += [n for n, default in zip(alone, given.kw_defaults) if default is None]
    sketch = not isinstance(node, ast.Lambda) and _is_sketch(node)
    return Definition(
        name, (*places, *alone), tuple(required), given.vararg is not None, given.kwarg is not None, sketch
    )


def _is_sketch(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether nothing but a docstring, `pass`, `...` or raising that it is not implemented is in it."""
    for statement in node.body:
        empty = isinstance(statement, ast.Pass) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        )
        left_out = isinstance(statement, ast.Raise) and "'NotImpl" + "ementedError'" in ast.dump(statement)
        if not empty and not left_out:
            return False
    return True


def _class(node: ast.ClassDef, known: dict[str, Definition]) -> dict[str, Definition]:
    """The class, with the parameters of its constructor, and its methods with those of bases in the same file."""
    found: dict[str, Definition] = {}
    for base in node.bases:
        if isinstance(base, ast.Name):
            front = base.id + "."
            for name, one in known.items():
                if name.startswith(front):
                    found[node.name + "." + name.removeprefix(front)] = one
    for part in _top(node.body):
        if isinstance(part, _FUNCTIONS):
            static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in part.decorator_list)
            name = f"{node.name}.{part.name}"
            found[name] = _function(part, name, drop_first=not static)
        elif isinstance(part, ast.Assign):
            found |= {f"{node.name}.{name}": Definition(f"{node.name}.{name}") for name in _targets(part)}
    made = found.get(f"{node.name}.__init__")
    return {node.name: _constructor(node, made), **found}


def _constructor(node: ast.ClassDef, made: Definition | None) -> Definition:
    if made is not None:
        return replace(made, name=node.name, is_sketch=False)
    if not any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list):
        return Definition(node.name, None if node.bases else ())
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
    named = [(part.target.id, part.value is None) for part in fields if isinstance(part.target, ast.Name)]
    return Definition(node.name, tuple(n for n, _ in named), tuple(n for n, bare in named if bare))
