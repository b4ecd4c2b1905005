"""Our own solutions as submissions: a card's solution.py with the modules of this library that it stands on.

    own_solution(card, into)    writes the card's files and weightless/... beside them; returns the paths, relative

The worker's environment has nothing but NumPy, so every module of weightless that the files import is copied, with all
that it imports in turn: what passes the deck is what the library ships, and not a second version of it.  Data of a
solution (solution_weights.npz) is copied as it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from weightless.base.errors import ConfigError
from weightless.base.files import atomic_write

ROOT = Path(__file__).parent.parent
CARDS = Path(__file__).parent / "cards"


def own_solution(card: str, into: Path) -> list[Path]:
    """Write our solution of a card into the folder `into`.  Raises ConfigError when the folder holds something."""
    if into.exists() and any(into.iterdir()):
        raise ConfigError(f"{into} is not empty; name a new folder for our solution of {card}")
    own = sorted((CARDS / card).glob("solution*.*")) + sorted((CARDS / card).glob("test_solution*.py"))
    if not own:
        raise ConfigError(f"no solution of {card} here")
    return with_library({Path(path.name): path.read_bytes() for path in own}, into)


def with_library(files: dict[Path, bytes], into: Path) -> list[Path]:
    """Write files into `into`, and beside them every module of weightless that those in Python import."""
    wanted = dict(files)
    for module in closure([content.decode() for path, content in files.items() if path.suffix == ".py"]):
        wanted[Path("weightless") / module.relative_to(ROOT)] = module.read_bytes()
    for package in {parent for path in wanted for parent in path.parents if parent.parts[:1] == ("weightless",)}:
        wanted.setdefault(package / "__init__.py", b"")
    for path, content in wanted.items():
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(into / path, content)
    return sorted(wanted)


def closure(texts: list[str]) -> list[Path]:
    """Files of all modules of weightless that Python sources import, at whatever depth."""
    found: dict[Path, None] = {}
    while texts:
        for module in _imported(texts.pop()):
            if module not in found:
                found[module] = None
                texts.append(module.read_text())
    return list(found)


def _imported(text: str) -> Iterator[Path]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "weightless":
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                path = ROOT.joinpath(*name.split(".")[1:]).with_suffix(".py")
                if path.is_file():
                    yield path
