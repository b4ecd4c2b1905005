"""Rules about imports: floors, parts of a room, families, dynamic imports, declared dependencies.

Every import counts, at whatever depth it stands: `import`, `from … import` (absolute and relative), and
`importlib.import_module("literal")`.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath

from structure.source_tree import Repository, Source, dotted

FLOORS = {
    "base": 0,
    "scratch": 0,
    "ops": 1,
    "artifact": 1,
    "ledger": 1,
    "kernels": 2,
    "quant": 2,
    "tokenizer": 2,
    "program": 3,
    "ngram": 3,
    "countmix": 3,
    "data": 3,
    "layers": 4,
    "models": 5,
    "train": 6,
    "export": 6,
    "decode": 7,
    "evals": 7,
    "audit": 7,
    "lab": 8,
    "deck": 9,
    "golf": 9,
    "study": 9,
    "xray": 9,
    "serve": 10,
    "cli": 11,
    "api": 12,
}
ROOF, HANDED_ON = "src/weightless/__init__.py", "api"
"""What `import weightless` offers are names of this room, loaded when they are asked for."""

# Rooms that are divided: each part, and the other parts that it may import from.
PARTS = {
    "data": {"text": (), "shards": ("text",), "imports": ("text", "shards"), "batches": ()},
    "audit": {"counters": (), "predictors": ("counters",)},
}

# The only file that imports by a computed name, the scripts that load foreign code in a process of their own (they
# import nothing of the house), and the files of models/ that are no family.
DYNAMIC_IMPORT = "src/weightless/models/catalog.py"
LOADS_FOREIGN_CODE = (
    "src/weightless/audit/predictors/entry_worker.py",
    "src/weightless/deck/worker.py",
)
NOT_FAMILIES = {"__init__", "catalog", "family"}
DYNAMIC_CALLS = {"__import__", "import_module", "spec_from_file_location", "run_path", "run_module"}

# Import names that differ from the name of the distribution that brings them.
TOOLS = {"pytest-xdist", "pytest-timeout", "ruff", "pyright"}
"""Declared for what they do on the command line."""
HANDED_IN = {"solution", "solution_numba", "solution_triton"}
"""Files of a solution of the deck: its tests and wrappers are put beside them and run there."""
DISTRIBUTION = {"yaml": "pyyaml", "PIL": "pillow"}


def imports(source: Source) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """Every imported module of a file as (node, parts of the absolute dotted name)."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            front = _absolute(source, node.module or "", node.level)
            for alias in node.names:
                yield node, (*front, alias.name)
        elif isinstance(node, ast.Call) and (name := _literal_target(node)) is not None:
            level = len(name) - len(name.lstrip("."))
            yield node, _absolute(source, name.lstrip("."), level)


def _absolute(source: Source, name: str, level: int) -> tuple[str, ...]:
    parts = tuple(part for part in name.split(".") if part)
    if level == 0:
        return parts
    package = source.module if source.path.endswith("__init__.py") else source.module[:-1]
    return (*package[: len(package) - (level - 1)], *parts)


def _literal_target(call: ast.Call) -> str | None:
    """The module name that import_module("…") or __import__("…") is given, when it is a literal."""
    if dotted(call.func).split(".")[-1] not in ("import_module", "__import__") or not call.args:
        return None
    argument = call.args[0]
    return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else None


def floors(repository: Repository) -> list[str]:
    """A file imports from floors below its own, or from its own folder."""
    found = []
    for source in repository.package:
        if source.folder and source.folder not in FLOORS:
            found.append(f"{source.path}:1: folder {source.folder!r} has no floor; known: {', '.join(FLOORS)}")
            continue
        for node, target in imports(source):
            if target[0] == "weightless":
                found += _climbs(source, node, target)
    return found


def _climbs(source: Source, node: ast.AST, target: tuple[str, ...]) -> list[str]:
    if len(target) == 1:
        return [source.at(node, "`import weightless` hides which floor is meant; import the module by name")]
    room = target[1]
    if room not in FLOORS:
        inside = room.startswith("__") or room == "*"
        return [] if inside else [source.at(node, f"imports weightless.{room}, which has no floor")]
    if source.path == ROOF and room == HANDED_ON and node not in source.tree.body:
        return []
    own = FLOORS[source.folder] if source.folder else _floor_of_roof(source)
    if room == source.folder or FLOORS[room] < own:
        return []
    return [source.at(node, f"floor {own} ({source.folder}) imports from floor {FLOORS[room]} ({room})")]


def parts(repository: Repository) -> list[str]:
    """In a divided room every file stands in a part, and imports from it or from the parts it may see."""
    found = []
    for source in repository.package:
        known = PARTS.get(source.folder)
        own = "/".join(source.path.split("/")[3:-1])
        if known is None or (not own and source.path.endswith("__init__.py")):
            continue
        if own not in known:
            found.append(f"{source.path}:1: {source.folder} is divided; a file stands in one of {', '.join(known)}")
            continue
        for node, target in imports(source):
            if target[:2] == ("weightless", source.folder) and target[2:3] not in [(own,), *((p,) for p in known[own])]:
                seen = ", ".join(known[own]) or "no other part"
                found.append(source.at(node, f"{own} imports {'.'.join(target[1:])}; it may see {seen}"))
    return found


def _floor_of_roof(source: Source) -> int:
    """The package's own files stand on nothing, but for the two that only hand on what the rooms make.

    (The roof itself hands on the names of `api`, late: in a function, or for type checkers.)
    """
    return len(FLOORS) if source.module[-1] in ("__main__", "reference") else -1


def families(repository: Repository) -> list[str]:
    """One family = one file of models/, which no other family imports."""
    found = []
    for source in repository.package:
        if source.folder != "models":
            continue
        if source.path.count("/") > 3:
            found.append(f"{source.path}:1: a family is one file of models/, not a folder")
        own = source.module[-1]
        for node, target in imports(source):
            family = target[2] if target[:2] == ("weightless", "models") and len(target) > 2 else None
            if family and family != own and family not in NOT_FAMILIES:
                found.append(source.at(node, f"{own} imports the family {family}; share it through layers/"))
    return found


def dynamic_imports(repository: Repository) -> list[str]:
    """Only models/catalog.py imports by a computed name.

    A literal import_module is an import like any other.  A package's __init__ may load a module of its own folder
    late, by import_module(f"{__name__}.…"): that cannot climb.
    """
    found = []
    for source in repository.package:
        if source.path in (DYNAMIC_IMPORT, *LOADS_FOREIGN_CODE):
            continue
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Call):
                continue
            name = dotted(node.func).split(".")[-1]
            allowed = name == "import_module" and (_literal_target(node) is not None or _own_folder(source, node))
            if name in DYNAMIC_CALLS and not allowed:
                found.append(source.at(node, f"{name}: only {DYNAMIC_IMPORT} imports by a computed name"))
    return found


def _own_folder(source: Source, call: ast.Call) -> bool:
    """Whether the argument is f"{__name__}.…" in an __init__.py."""
    name = call.args[0] if call.args else None
    if not source.path.endswith("__init__.py") or not isinstance(name, ast.JoinedStr) or len(name.values) < 2:
        return False
    first, second = name.values[:2]
    own = isinstance(first, ast.FormattedValue) and dotted(first.value) == "__name__"
    return own and isinstance(second, ast.Constant) and str(second.value).startswith(".")


def declared_dependencies(repository: Repository) -> list[str]:
    """Every third-party import of the package is a dependency or an extra in pyproject.toml."""
    project = tomllib.loads((repository.root / "pyproject.toml").read_text())["project"]
    groups = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    declared = {_canonical(requirement) for group in groups for requirement in group}
    found = []
    for source in repository.package:
        for node, target in imports(source):
            top = target[0] if target else "weightless"
            distribution = _canonical(DISTRIBUTION.get(top, top))
            if top in HANDED_IN and PurePosixPath(source.path).match("deck/cards/*/*.py"):
                continue
            if top != "weightless" and top not in sys.stdlib_module_names and distribution not in declared:
                found.append(source.at(node, f"imports {top}, which pyproject.toml does not declare"))
    return found


def used_dependencies(repository: Repository) -> list[str]:
    """Every dependency and extra in pyproject.toml is imported somewhere, or is a tool that no code imports."""
    project = tomllib.loads((repository.root / "pyproject.toml").read_text())["project"]
    groups = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    declared = {_canonical(requirement) for group in groups for requirement in group} - TOOLS
    tops = {target[0] for source in repository.python for _, target in imports(source) if target}
    tops |= {word for source in repository.python for word in re.findall(r'importorskip\("(\w+)', source.text)}
    used = {_canonical(DISTRIBUTION.get(top, top)) for top in tops}
    return [f"pyproject.toml: {name} is declared, and nothing imports it" for name in sorted(declared - used)]


def _canonical(requirement: str) -> str:
    name = requirement
    for sign in "[<>=!~; ":
        name = name.split(sign)[0]
    return name.lower().replace("_", "-")
