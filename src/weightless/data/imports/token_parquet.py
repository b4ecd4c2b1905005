"""Rows of token ids in parquet files: any list column of integers, with or without a mask; or text, to be encoded.

    input_ids | values | tokens     list of ids: the first of these columns that is there, or the one named
    pad_mask | attention_mask | loss_mask      list of 0 and 1 (row_masks.py): padding is dropped and counted
    text                            a string: <|endoftext|> and the ids of the text (needs a tokenizer)

Both public FineWeb-edu schemas are of this kind: `values` alone, rows of any length; `input_ids` of 513 ids with
`pad_mask` (1 = text there).  Rows are joined in order, so a chunk that goes on in the next row goes on in the stream;
with `row_is_document` an <|endoftext|> goes before every row that does not begin with one.

Files are read batch by batch of a row group, so that memory stays flat whatever the size of a row group, and a file
is fetched only when its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError, nearest
from weightless.data.imports.row_masks import MASKS, kept, polarity
from weightless.data.imports.token_rows import START, Block, Place, check_ids

if TYPE_CHECKING:
    from weightless.data.shards.corpus import TextEncoder

ID_COLUMNS = ("input_ids", "values", "tokens")
TEXT_COLUMN = "text"
BATCH_ROWS = 2048


@dataclass(frozen=True)
class Reading:
    """How rows are read: the vocabulary they must fit, and what to do with columns and masks."""

    vocab_size: int
    end_of_text: int | None = None
    tokenizer: TextEncoder | None = None
    column: str = ""  # empty: the first of ID_COLUMNS, else text
    mask: str = ""  # empty: the first of MASKS that is there; "none": no mask
    mask_means: str = "auto"  # what a 1 of the mask means: keep, pad, or auto
    row_is_document: bool = False


class ParquetRows:
    """Parquet files one after another; `fetch(i)` gives the path of file i when it is needed."""

    n_tokens = None

    def __init__(
        self, names: Sequence[str], fetch: Callable[[int], Path], description: dict[str, Any], reading: Reading
    ) -> None:
        self.names, self.fetch, self.reading = list(names), fetch, reading
        options = {
            "column": reading.column,
            "mask": reading.mask,
            "mask_means": reading.mask_means,
            "row_is_document": reading.row_is_document,
        }
        self.description = {"layout": "parquet", **description, "reading": options}
        self._text_value: int | None = None  # of the mask, once it is known

    def blocks(self, place: Place = START) -> Iterator[Block]:
        import pyarrow as arrow
        from pyarrow import parquet

        if place != START and self._text_value is None and self.reading.mask_means == "auto":
            next(self.blocks(START), None)  # the first rows of all decide what the mask means, wherever reading goes on
        for number in range(place.file, len(self.names)):
            path, name = self.fetch(number), self.names[number]
            try:
                with parquet.ParquetFile(path) as file:
                    yield from self._file_blocks(file, number, place if number == place.file else Place(number))
            except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
                message = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise CorruptFileError(f"{name} cannot be read as parquet: {message}; fetch or make it again") from None

    def _file_blocks(self, file: Any, number: int, place: Place) -> Iterator[Block]:
        name = self.names[number]
        columns = self._columns(file.schema_arrow, name)
        for group in range(place.group, file.num_row_groups):
            row, skip = (place.row, place.token) if group == place.group else (0, 0)
            where, seen = f"{name}, row group {group}", 0
            n_rows = file.metadata.row_group(group).num_rows
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                first, seen = seen, seen + len(batch)
                if seen <= row:
                    continue
                batch = batch.slice(max(0, row - first))
                at = max(first, row)
                after = Place(number, group, seen) if seen < n_rows else Place(number, group + 1)
                if after.group == file.num_row_groups:
                    after = Place(number + 1)
                start = Place(number, group, at, skip)
                yield self._block(batch, columns, start, after, where)
                skip = 0

    def _columns(self, schema: Any, name: str) -> list[str]:
        """[ids or text] or [ids, mask]; errors name what is there."""
        there, reading = schema.names, self.reading
        wanted = (reading.column,) if reading.column else (*ID_COLUMNS, TEXT_COLUMN)
        chosen = next((column for column in wanted if column in there), None)
        if chosen is None:
            hint = nearest(reading.column, there) if reading.column else f"its columns are {', '.join(there)}"
            raise WeightlessError(f"{name} has no column {' or '.join(wanted)}: {hint}")
        if _is_text(schema.field(chosen).type):
            if reading.tokenizer is None or reading.tokenizer.end_of_text is None:
                raise ConfigError(
                    f"{name}: column {chosen!r} holds text, not ids: name a tokenizer with <|endoftext|> "
                    "to encode it with"
                )
            return [chosen]
        _check_lists(schema, chosen, name)
        if reading.mask == "none":
            return [chosen]
        masks = [mask for mask in ((reading.mask,) if reading.mask else MASKS) if mask in there]
        if reading.mask and not masks:
            raise WeightlessError(f"{name} has no column {reading.mask!r}: {nearest(reading.mask, there)}")
        for mask in masks[:1]:
            _check_lists(schema, mask, name)
        return [chosen, *masks[:1]]

    def _block(self, batch: Any, columns: list[str], place: Place, after: Place, where: str) -> Block:
        """The rows of a record batch; the first `place.token` kept ids of its first row are left out."""
        if _is_text(batch.schema.field(columns[0]).type):
            ids, ends = self._encoded(batch.column(columns[0]), where, place.row)
            pads = np.zeros(len(ends), np.int64)
        else:
            ids, ends, pads = self._listed(batch, columns, where, place.row)
        if place.token:
            ids, ends = ids[place.token :], ends - place.token
        return Block(ids.astype(np.uint16), ends, np.cumsum(pads), place, after)

    def _encoded(self, column: Any, where: str, row: int) -> tuple[np.ndarray, np.ndarray]:
        import pyarrow as arrow

        tokenizer = self.reading.tokenizer
        assert tokenizer is not None
        mark = np.array([tokenizer.end_of_text])
        parts = [np.zeros(0, np.uint16)]
        for value in column.cast(arrow.large_binary()):
            text = value.as_py()
            blank = not text or not text.strip()
            parts.append(parts[0] if blank else np.concatenate((mark, tokenizer.encode_ordinary_array(text))))
        ids = np.concatenate(parts)
        check_ids(ids, self.reading.vocab_size, f"{where}, rows from {row}")
        return ids, np.cumsum([len(part) for part in parts[1:]], dtype=np.int64)

    def _listed(
        self, batch: Any, columns: list[str], where: str, row: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids, lengths = _flat(batch.column(columns[0]), columns[0], where, row)
        ends = np.cumsum(lengths)
        if not np.issubdtype(ids.dtype, np.integer):
            raise CorruptFileError(f"{where}: column {columns[0]!r} holds {ids.dtype}, not ids")
        if len(columns) > 1:
            ids, ends = self._unpadded(ids, lengths, batch.column(columns[1]), columns[1], where, row)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self.reading.vocab_size:
            at = int(np.argmax((ids < 0) | (ids >= self.reading.vocab_size)))
            bad = row + int(np.searchsorted(ends, at, side="right"))
            check_ids(ids[at : at + 1], self.reading.vocab_size, f"{where}, row {bad}")
        pads = lengths - np.diff(ends, prepend=0)
        return (*self._marked(ids, ends), pads) if self.reading.row_is_document else (ids, ends, pads)

    def _unpadded(
        self, ids: np.ndarray, lengths: np.ndarray, column: Any, name: str, where: str, row: int
    ) -> tuple[np.ndarray, np.ndarray]:
        mask, sizes = _flat(column, name, where, row)
        if (sizes != lengths).any():
            at = int(np.flatnonzero(sizes != lengths)[0])
            raise CorruptFileError(f"{where}, row {row + at}: {name} has {sizes[at]} values for {lengths[at]} ids")
        ends = np.cumsum(lengths)
        mask = mask.astype(np.int64) if mask.dtype == bool else mask
        if self._text_value is None:
            self._text_value = polarity(name, self.reading.mask_means, ids, mask, ends, where)
        keep = kept(name, mask, ends, self._text_value, where, row)
        before = np.concatenate((np.zeros(1, np.int64), np.cumsum(keep)))
        return ids[keep], before[ends]

    def _marked(self, ids: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """<|endoftext|> before each row that has text and does not begin with one."""
        mark = self.reading.end_of_text
        if mark is None:
            raise ConfigError("row_is_document needs the id of <|endoftext|>: name a tokenizer, or --end_of_text")
        starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
        rows = np.flatnonzero(ends > starts)
        rows = rows[ids[starts[rows]] != mark]
        added = np.zeros(len(ends), np.int64)
        added[rows] = 1
        return np.insert(ids, starts[rows], mark), ends + np.cumsum(added)


def _is_text(kind: Any) -> bool:
    import pyarrow as arrow

    return arrow.types.is_string(kind) or arrow.types.is_large_string(kind)


def _check_lists(schema: Any, column: str, name: str) -> None:
    import pyarrow as arrow

    kind = schema.field(column).type
    is_list = arrow.types.is_list(kind) or arrow.types.is_large_list(kind) or arrow.types.is_fixed_size_list(kind)
    if not is_list or not (arrow.types.is_integer(kind.value_type) or arrow.types.is_boolean(kind.value_type)):
        raise WeightlessError(f"{name}: column {column!r} holds {kind}, not lists of integers")


def _flat(column: Any, name: str, where: str, row: int) -> tuple[np.ndarray, np.ndarray]:
    """(all values one after another, length of each row); CorruptFileError where a row or a value is missing."""
    import pyarrow.compute as compute

    values = column.flatten()
    if column.null_count or values.null_count:
        missing = column.is_null().to_pylist()
        at = f", row {row + missing.index(True)}" if True in missing else ""
        raise CorruptFileError(f"{where}{at}: column {name!r} has missing values")
    return _as_numpy(values), _as_numpy(compute.call_function("list_value_length", [column])).astype(np.int64)


def _as_numpy(values: Any) -> np.ndarray:
    """A view of an array of numbers without missing ones (its own to_numpy would import pandas: seconds)."""
    import pyarrow as arrow

    if arrow.types.is_boolean(values.type):  # bits
        return _as_numpy(values.cast(arrow.uint8())).astype(bool)
    data = values.buffers()[1]
    kind = np.dtype(str(values.type))
    if data is None:
        return np.zeros(0, kind)
    return np.frombuffer(data, kind, len(values), values.offset * kind.itemsize)
