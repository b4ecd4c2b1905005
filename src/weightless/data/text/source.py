"""A source of text: documents that can be read again and again, and the names by which it is asked for.

    Source(name, description, read)     iterating it reads the documents and tells once what was left out (left_out.py)
    Opener("docs", open, has_rows)      the source of that name; "hub:" and others with a colon: of all that begin so

Every file that is a source of its own declares one OPENER; sources.py lists them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightless.data.text.left_out import LeftOut

Reader = Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Entry:
    """A file of a source: its name below the path that was given, and what it is (text_files.py)."""

    name: str
    path: Path
    kind: str
    n_bytes: int


@dataclass(frozen=True)
class Source:
    """Documents that can be read again and again, and what the manifest says about them."""

    name: str
    description: dict[str, Any]
    read: Reader
    files: Callable[[], list[Reader]] | None = None
    """One reader for each file, which joined read the same; None when the text has no files."""
    entries: Callable[[], list[Entry]] | None = None
    """The files themselves, one for each reader."""
    left_out: LeftOut = field(default_factory=LeftOut)
    """Of the last reading, or of the one under way."""

    def __iter__(self) -> Iterator[bytes]:
        self.left_out.clear()
        yield from self.read()
        self.left_out.tell(self.name)


@dataclass(frozen=True)
class Opener:
    """How the sources of one name are opened: of `docs` alone, or of all names that begin with `hub:`."""

    name: str
    open: Callable[[str, str], Source]
    """Takes what was asked for and the field of a row that is its text."""
    has_rows: bool = False
    """Whether its documents are a field of rows."""

    @property
    def is_prefix(self) -> bool:
        return self.name.endswith(":")

    def takes(self, spec: str) -> bool:
        """Whether `spec` names a source of this opener."""
        return spec.startswith(self.name) if self.is_prefix else spec == self.name


def read_once(make: Callable[[], Iterable[bytes]]) -> Reader:
    """A reader that makes its documents at the first reading and keeps them."""
    kept: list[list[bytes]] = []

    def read() -> Iterator[bytes]:
        if not kept:
            kept.append(list(make()))
        return iter(kept[0])

    return read


def name_of(path: Path) -> str:
    """A name fit for file names: books_train.txt.xz -> books_train."""
    stem = path.resolve().name.split(".")[0] or "text"
    return re.sub(r"[^A-Za-z0-9-]+", "_", stem).strip("_") or "text"
