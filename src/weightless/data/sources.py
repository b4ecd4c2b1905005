"""Where documents come from: files and folders of text, jsonl or parquet, and the two built-in corpora.

    open_source("docs")             prose of this Python installation (docs_corpus.py)
    open_source("fables")           synthetic stories of known entropy (fables.py)
    open_source("hub:OWNER/NAME")   a data set of the Hugging Face hub with a column of text (hub_text.py)
    open_source(path | [paths])     .jsonl (field "text") and .parquet (column "text"): one document a row;
                                    anything else: text, see documents.py for where it is cut
                                    .gz .xz .zst of text and jsonl are unpacked on the way
                                    a folder: all its files, recursively, sorted by path; hidden ones are left
                                    out, binary and empty ones are left out with a notice on standard error

A folder that is called docs or fables is written ./docs.  A Source can be iterated any number of times.
A file with a NUL byte, or in whose first MiB more than 30 % of the bytes are not UTF-8, is binary.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from weightless.base.errors import CorruptFileError, WeightlessError, nearest
from weightless.data.compressed import COMPRESSED, open_bytes
from weightless.data.documents import has_mark, lines_of, split_at_marks, split_into_sections

BUILT_IN = ("docs", "fables")
_LOOKED_AT = 1 << 20
_MOST_INVALID = 0.30


@dataclass(frozen=True)
class Source:
    """Documents that can be read again and again, and what the manifest says about them."""

    name: str
    description: dict[str, Any]
    read: Callable[[], Iterator[bytes]]
    files: Callable[[], list[Callable[[], Iterator[bytes]]]] | None = None
    """One reader for each file, which joined read the same; None when the text has no files."""

    def __iter__(self) -> Iterator[bytes]:
        return self.read()


def open_source(spec: str | Path | Iterable[str | Path], field: str = "text") -> Source:
    """The Source named by `spec`; WeightlessError when a path is missing (content is checked when read)."""
    if isinstance(spec, str) and spec in BUILT_IN:
        return _built_in(spec)
    if isinstance(spec, str) and spec.startswith("hub:"):
        from weightless.data import hub_text

        return hub_text.source(spec, field)
    paths = [Path(spec)] if isinstance(spec, (str, Path)) else [Path(item) for item in spec]
    if not paths:
        raise WeightlessError("no source of text given; name a file, a folder, docs or fables")
    for path in paths:
        if not path.exists():
            raise WeightlessError(f"no such file or folder: {path}; the built-in corpora are docs and fables")
    description = {"kind": "files", "paths": [path.name for path in paths], "field": field}
    return Source(name_of(paths[0]), description, lambda: _read_all(paths, field), lambda: _readers(paths, field))


def read_documents(spec: str | Path | Iterable[str | Path], field: str = "text") -> Iterator[bytes]:
    """The documents of `spec`, one after another."""
    return iter(open_source(spec, field))


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
        from weightless.data import docs_corpus

        return docs_corpus.source()
    from weightless.data import fables

    return fables.source()


def name_of(path: Path) -> str:
    """A name fit for file names: books_train.txt.xz -> books_train."""
    stem = path.resolve().name.split(".")[0] or "text"
    return re.sub(r"[^A-Za-z0-9-]+", "_", stem).strip("_") or "text"


def _read_all(paths: list[Path], field: str) -> Iterator[bytes]:
    found = False
    for path in paths:
        for document in _read_folder(path, field) if path.is_dir() else _read_file(path, field):
            found = True
            yield document
    if not found:
        raise WeightlessError(f"{', '.join(map(str, paths))}: no text in it")


def _readers(paths: list[Path], field: str) -> list[Callable[[], Iterator[bytes]]]:
    """A reader for each file that _read_all would read."""
    found: list[Path] = []
    for path in paths:
        inside = _files_under(path) if path.is_dir() else []
        found += [file for file in inside if _format_of(file) != "text" or not _why_binary(file)]
        found += [] if path.is_dir() else [path]
    return [partial(_read_file, path, field) for path in found]


def _read_folder(folder: Path, field: str) -> Iterator[bytes]:
    left_out = []
    for path in _files_under(folder):
        if _format_of(path) == "text" and (why := _why_binary(path)):
            left_out.append(f"{path.name} ({why})")
            continue
        yield from _read_file(path, field)
    if left_out:
        print(f"{folder}: left out {len(left_out)} binary file(s): {', '.join(left_out[:3])}", file=sys.stderr)


def _files_under(folder: Path) -> list[Path]:
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def _format_of(path: Path) -> str:
    plain = path.with_suffix("") if path.suffix in COMPRESSED else path
    return {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(plain.suffix, "text")


def _read_file(path: Path, field: str) -> Iterator[bytes]:
    reader = {"jsonl": _read_jsonl, "parquet": read_parquet}.get(_format_of(path))
    return reader(path, field) if reader else _read_text(path)


def _read_text(path: Path) -> Iterator[bytes]:
    if why := _why_binary(path):
        raise WeightlessError(f"{path} looks binary ({why}); give UTF-8 text, .jsonl or .parquet")
    with open_bytes(path) as stream:
        marked = any(map(has_mark, lines_of(stream)))
    with open_bytes(path) as stream:
        yield from (split_at_marks if marked else split_into_sections)(lines_of(stream))


def _why_binary(path: Path) -> str:
    """Why the first MiB is not text, or an empty string."""
    with open_bytes(path) as stream:
        head = stream.read(_LOOKED_AT)
    if b"\0" in head:
        return "it holds NUL bytes"
    valid = len(head.decode("utf-8", errors="ignore").encode())
    if len(head) - valid > _MOST_INVALID * len(head):
        return "most of it is not UTF-8" if valid < len(head) / 2 else "too much of it is not UTF-8"
    return ""


def _read_jsonl(path: Path, field: str) -> Iterator[bytes]:
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            text = _field_of(line, field, f"{path}, line {number}")
            if text.strip():
                yield text.encode("utf-8", errors="replace")  # a lone surrogate escape has no UTF-8 form


def _field_of(line: bytes, field: str, where: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{where} is not JSON ({error})") from None
    if not isinstance(row, dict):
        raise CorruptFileError(f"{where} is not a JSON object")
    if field not in row:
        raise WeightlessError(f"{where} has no field {field!r}: {nearest(field, row)}")
    if not isinstance(row[field], str):
        raise WeightlessError(f"{where}: field {field!r} is not a string")
    return row[field]


def read_parquet(path: Path, field: str) -> Iterator[bytes]:
    """The documents in a column of strings; CorruptFileError when the file is no parquet."""
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            if field not in columns:
                raise WeightlessError(f"{path} has no column {field!r}: {nearest(field, columns)}")
            kind = file.schema_arrow.field(field).type
            if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
                raise WeightlessError(f"{path}: column {field!r} holds {kind}, not strings")
            for batch in file.iter_batches(batch_size=1024, columns=[field]):
                for value in batch.column(0).cast(arrow.large_binary()):
                    document = value.as_py()
                    if document and document.strip():
                        yield document
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}") from None
