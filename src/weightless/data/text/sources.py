"""Where documents come from: every source of text by its name.

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

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from weightless.base.errors import WeightlessError
from weightless.data.text import docs_corpus, fables, file_source, hub_text
from weightless.data.text.source import Opener, Source

OPENERS = (docs_corpus.OPENER, fables.OPENER, hub_text.OPENER)
"""To add a source: a file with an OPENER, and its place here.  Any other name is a path."""


def open_source(spec: str | Path | Iterable[str | Path], field: str = "text", whole: Sequence[str] = ()) -> Source:
    """The Source named by `spec`; WeightlessError when a path is missing or a pipe (content is checked when read).

    `field` of JSON and parquet rows is their text; empty, JSON is text itself.  Where a text without marks is cut, it
    is never within one of the strings `whole`.
    """
    if isinstance(spec, str) and (opener := _opener(spec)):
        return opener.open(spec, field)
    paths = [Path(spec)] if isinstance(spec, (str, Path)) else [Path(item) for item in spec]
    built_in = [opener.name for opener in OPENERS if not opener.is_prefix]
    if not paths:
        raise WeightlessError(f"no source of text given; name a file, a folder, {' or '.join(built_in)}")
    for path in paths:
        if not os.path.exists(path):  # Path.exists raises for a name that is too long
            raise WeightlessError(f"no such file or folder: {path}; the built-in corpora are {' and '.join(built_in)}")
    return file_source.source(paths, field, whole)


def _opener(spec: str) -> Opener | None:
    return next((opener for opener in OPENERS if opener.takes(spec)), None)


def read_documents(spec: str | Path | Iterable[str | Path], field: str = "text") -> Iterator[bytes]:
    """The documents of `spec`, one after another."""
    return iter(open_source(spec, field))


def has_rows(*specs: str) -> bool:
    """Whether any of these sources has rows of JSON or parquet, of which a field is read, as far as anybody can see."""
    for spec in specs:
        if opener := _opener(spec):
            if opener.has_rows:
                return True
            continue
        if not os.path.exists(spec):
            return True  # what is not there is told by whoever reads it
        try:
            entries = open_source(spec).entries
            if entries and any(entry.kind in ("json", "parquet") for entry in entries()):
                return True
        except WeightlessError:  # it begins like JSON, say, which an empty field would settle
            return True
    return False
