"""The documents of one file: text cut at marks or into sections, rows of JSON, rows of parquet.

A row's text is its field (column) of that name; a string that is a row is its own text.  Null and blank rows are
counted as left out, everywhere alike; a row without the field is an error that names the nearest one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from weightless.base.compressed import open_bytes
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError, nearest
from weightless.data.text.documents import (
    BOM,
    MARK,
    count_marks,
    is_blank,
    lines_of,
    split_at_marks,
    split_into_sections,
)
from weightless.data.text.json_rows import rows_of
from weightless.data.text.left_out import WITHIN, LeftOut
from weightless.data.text.text_files import AS_TEXT

_BLOCK = 1 << 18


def documents_of(path: Path, kind: str, field: str, left_out: LeftOut, whole: Sequence[bytes] = ()) -> Iterator[bytes]:
    """The documents of a file that `look` has called text, json or parquet; no string of `whole` is cut."""
    if kind == "text":
        return _of_text(path, left_out, (MARK, *whole))
    return _counted(path, _of_json(path, field) if kind == "json" else parquet_texts(path, field), left_out)


def blocks_of(path: Path) -> Iterator[bytes]:
    """The unpacked content without a byte order mark at its start."""
    with open_bytes(path) as stream:
        first = stream.read(len(BOM))
        yield first.removeprefix(BOM) + stream.read(_BLOCK)
        while block := stream.read(_BLOCK):
            yield block


def _of_text(path: Path, left_out: LeftOut, whole: Sequence[bytes]) -> Iterator[bytes]:
    n_marks, n_within = count_marks(blocks_of(path))
    left_out.add(WITHIN, path.name, n_within)
    blocks = blocks_of(path)
    texts = split_at_marks(blocks) if n_marks else split_into_sections(lines_of(blocks, whole), whole=whole)
    first = next(texts, None)
    if first is None:
        left_out.add("blank", path.name)
        return
    yield first
    yield from texts


def _counted(path: Path, texts: Iterator[bytes | None], left_out: LeftOut) -> Iterator[bytes]:
    """The texts that are there and not blank."""
    for text in texts:
        if text is None or is_blank(text):
            left_out.add("null" if text is None else "blank", path.name)
        else:
            left_out.add(WITHIN, path.name, text.count(MARK))
            yield text


def _of_json(path: Path, field: str) -> Iterator[bytes | None]:
    n_rows = 0
    try:
        for place, row in rows_of(blocks_of(path), str(path)):
            n_rows += 1
            text = _field_of(row, field, place) if isinstance(row, dict) else row
            # a lone surrogate escape has no UTF-8 form
            yield None if text is None else text.encode("utf-8", errors="replace")
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}" if n_rows else f"{error}; {AS_TEXT}") from None


def _field_of(row: dict[str, Any], field: str, place: str) -> str | None:
    if field not in row:
        raise WeightlessError(
            f"{place} has no field {field!r}: {nearest(field, row)}; name it with --field, or {AS_TEXT}"
        )
    if not isinstance(row[field], str | None):
        raise WeightlessError(f"{place}: field {field!r} is not a string")
    return row[field]


def parquet_texts(path: Path, field: str) -> Iterator[bytes | None]:
    """A column of strings; CorruptFileError when the file is no parquet."""
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _check_column(path, file.schema_arrow, field)
            for batch in file.iter_batches(batch_size=1024, columns=[field]):
                for value in batch.column(0).cast(arrow.large_string()).cast(arrow.large_binary()):
                    yield value.as_py()
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}") from None


def _check_column(path: Path, schema: Any, field: str) -> None:
    """ConfigError unless exactly one column of that name holds strings."""
    from pyarrow import types

    if schema.names.count(field) > 1:
        raise ConfigError(f"{path} has several columns {field!r}: rename all but one, or name another with --field")
    if field not in schema.names:
        raise ConfigError(f"{path} has no column {field!r}: {nearest(field, schema.names)}; name it with --field")
    kind = schema.field(field).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        raise ConfigError(f"{path}: column {field!r} holds {kind}, not strings")
