"""The repository as the rules see it: every Python file parsed once, every text file read once.

Files are those git tracks or would track (so build folders and caches stay out); where there is no git
repository, as in the planted trees of test_rules_catch.py, every file counts.
"""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "src/weightless/"
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".cfg", ".sh", ".yml", ".yaml", ".json", ""}
LARGEST_TEXT = 1 << 20


@dataclass(frozen=True)
class Source:
    """One Python file: path from the root with forward slashes, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def in_package(self) -> bool:
        return self.path.startswith(PACKAGE)

    @property
    def module(self) -> tuple[str, ...]:
        """Dotted name of a package file as parts: ('weightless', 'base', 'files')."""
        parts = self.path.removeprefix("src/").removesuffix(".py").split("/")
        return tuple(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def folder(self) -> str:
        """The room: the first folder under the package, or '' for the package's own files."""
        rest = self.path.removeprefix(PACKAGE).split("/")
        return rest[0] if len(rest) > 1 else ""

    def at(self, node: ast.AST, message: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {message}"


@dataclass(frozen=True)
class Repository:
    """The files under one root; rules take it and return a line for each violation."""

    root: Path

    @functools.cached_property
    def paths(self) -> list[str]:
        listed = _tracked(self.root) if (self.root / ".git").exists() else _everything(self.root)
        return sorted(path for path in listed if (self.root / path).is_file())

    @functools.cached_property
    def texts(self) -> dict[str, str]:
        """Path to content, for files that look like text."""
        return dict(self._readable())

    @functools.cached_property
    def package(self) -> list[Source]:
        return [source for source in self.python if source.in_package]

    @functools.cached_property
    def python(self) -> list[Source]:
        return [_parse(path, text) for path, text in self.texts.items() if path.endswith(".py")]

    def _readable(self) -> Iterator[tuple[str, str]]:
        for path in self.paths:
            file = self.root / path
            if file.suffix not in TEXT_SUFFIXES or file.stat().st_size > LARGEST_TEXT:
                continue
            try:
                yield path, file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def _parse(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text, filename=path))


def _tracked(root: Path) -> list[str]:
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, check=True)
    return [name for name in done.stdout.decode().split("\0") if name]


def _everything(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if "__pycache__" not in path.parts]


def dotted(node: ast.AST) -> str:
    """'np.load' for the expression np.load; '' for what is not a plain dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr}" if front else node.attr
    return ""
