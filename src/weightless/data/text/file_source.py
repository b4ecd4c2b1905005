"""Files and folders as one source of text.

    source(paths, field, whole) -> Source     a reader for each file that has text, in the order of text_files.py

What each file is, text_files.py says; how its documents are read, text_rows.py; what was left out, left_out.py.
Errors: WeightlessError for a path that is a pipe; when it is read, for a named file that looks binary and for paths
without any text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from weightless.base.compressed import require_regular, without_packing
from weightless.base.errors import WeightlessError
from weightless.data.text.left_out import BY_CONTENT, TABLES, LeftOut
from weightless.data.text.source import Entry, Reader, Source, name_of
from weightless.data.text.text_files import files_under, look
from weightless.data.text.text_rows import documents_of


def source(paths: Sequence[Path], field: str, whole: Sequence[str]) -> Source:
    """The documents of these paths, of which there is at least one and which exist; `field`, `whole`: open_source."""
    for path in paths:
        require_regular(path)
    texts = _Files(paths, field, tuple(string.encode() for string in whole if string))
    description = {"kind": "files", "paths": [path.name for path in paths], "field": field}
    return Source(name_of(paths[0]), description, texts.read, texts.readers, texts.entries, texts.left_out)


@dataclasses.dataclass
class _Files:
    """Files and folders as one text."""

    paths: Sequence[Path]
    field: str
    whole: Sequence[bytes]
    left_out: LeftOut = dataclasses.field(default_factory=LeftOut)

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
