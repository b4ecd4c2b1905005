"""Where documents come from: files and folders of text, JSON or parquet, and the two built-in corpora.

    open_source("docs")             prose of this Python installation (docs_corpus.py)
    open_source("fables")           synthetic stories of known entropy (fables.py)
    open_source("hub:OWNER/NAME")   a data set of the Hugging Face hub with a column of text (hub_text.py)
    open_source(path | [paths])     JSON (field "text") and parquet (column "text"): one document a row, text_rows.py;
                                    anything else: text, see documents.py for where it is cut
                                    .gz .xz .zst of text and JSON are unpacked on the way
                                    a folder: all its files, as text_files.py says

What was left out is counted and told (left_out.py).  A folder that is called docs or fables is written ./docs.  A
Source can be iterated any number of times, so what can be read once only (a pipe) is refused.
A file with a NUL byte, or in whose first MiB more than 30 % of the bytes are not UTF-8, is binary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from weightless.base.compressed import require_regular, without_packing
from weightless.base.errors import WeightlessError
from weightless.data.text.left_out import BY_CONTENT, TABLES, LeftOut
from weightless.data.text.text_files import files_under, look
from weightless.data.text.text_rows import documents_of

BUILT_IN = ("docs", "fables")
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


def open_source(spec: str | Path | Iterable[str | Path], field: str = "text", whole: Sequence[str] = ()) -> Source:
    """The Source named by `spec`; WeightlessError when a path is missing or a pipe (content is checked when read).

    `field` of JSON and parquet rows is their text; empty, JSON is text itself.  Where a text without marks is cut, it
    is never within one of the strings `whole`.
    """
    if isinstance(spec, str) and spec in BUILT_IN:
        return _built_in(spec)
    if isinstance(spec, str) and spec.startswith("hub:"):
        from weightless.data.text import hub_text

        return hub_text.source(spec, field)
    paths = [Path(spec)] if isinstance(spec, (str, Path)) else [Path(item) for item in spec]
    if not paths:
        raise WeightlessError("no source of text given; name a file, a folder, docs or fables")
    for path in paths:
        if not path.exists():
            raise WeightlessError(f"no such file or folder: {path}; the built-in corpora are docs and fables")
        require_regular(path)
    texts = _Files(paths, field, tuple(string.encode() for string in whole if string))
    description = {"kind": "files", "paths": [path.name for path in paths], "field": field}
    return Source(name_of(paths[0]), description, texts.read, texts.readers, texts.entries, texts.left_out)


def read_documents(spec: str | Path | Iterable[str | Path], field: str = "text") -> Iterator[bytes]:
    """The documents of `spec`, one after another."""
    return iter(open_source(spec, field))


def has_rows(*specs: str) -> bool:
    """Whether any of these sources has rows of JSON or parquet, of which a field is read, as far as anybody can see."""
    for spec in specs:
        if spec.startswith("hub:"):
            return True
        if spec in BUILT_IN:
            continue
        if not Path(spec).exists():
            return True  # what is not there is told by whoever reads it
        try:
            entries = open_source(spec).entries
            if entries and any(entry.kind in ("json", "parquet") for entry in entries()):
                return True
        except WeightlessError:  # it begins like JSON, say, which an empty field would settle
            return True
    return False


def read_once(make: Callable[[], Iterable[bytes]]) -> Callable[[], Iterator[bytes]]:
    """A reader that makes its documents at the first reading and keeps them."""
    kept: list[list[bytes]] = []

    def read() -> Iterator[bytes]:
        if not kept:
            kept.append(list(make()))
        return iter(kept[0])

    return read


def _built_in(name: str) -> Source:
    if name == "docs":
        from weightless.data.text import docs_corpus

        return docs_corpus.source()
    from weightless.data.text import fables

    return fables.source()


def name_of(path: Path) -> str:
    """A name fit for file names: books_train.txt.xz -> books_train."""
    stem = path.resolve().name.split(".")[0] or "text"
    return re.sub(r"[^A-Za-z0-9-]+", "_", stem).strip("_") or "text"


@dataclass
class _Files:
    """Files and folders as one text."""

    paths: list[Path]
    field: str
    whole: Sequence[bytes]
    left_out: LeftOut = field(default_factory=LeftOut)

    def read(self) -> Iterator[bytes]:
        found = False
        for reader in self.readers():
            for document in reader():
                found = True
                yield document
        if not found:
            self.left_out.tell(", ".join(map(str, self.paths)))
            raise WeightlessError(f"{', '.join(map(str, self.paths))}: no text in it")

    def readers(self) -> list[Reader]:
        return [
            partial(documents_of, entry.path, entry.kind, self.field, self.left_out, self.whole)
            for entry in self._found(self.left_out)
        ]

    def entries(self) -> list[Entry]:
        return list(self._found(LeftOut()))

    def _found(self, left_out: LeftOut) -> Iterator[Entry]:
        """Every file that has text."""
        for root in self.paths:
            inside = files_under(root, left_out) if root.is_dir() else [root]
            for path in inside:
                found = look(path, self.field)
                if found.kind == "binary" and path == root:
                    raise WeightlessError(f"{path} looks binary ({found.why}); give UTF-8 text, .jsonl or .parquet")
                if found.kind in ("binary", "empty"):
                    left_out.add(found.kind, f"{path.name}: {found.why}" if found.why else path.name)
                else:
                    left_out.add(BY_CONTENT, path.name, found.is_by_content)
                    is_table = found.kind == "text" and without_packing(path).suffix.lower() in (".csv", ".tsv")
                    left_out.add(TABLES, path.name, is_table)
                    name = path.name if path == root else path.relative_to(root).as_posix()
                    yield Entry(name, path, found.kind, path.stat().st_size)
