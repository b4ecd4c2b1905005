"""Oracles: ndarray.tofile as nanoGPT writes its bins, struct for llm.c's header, Python lists for parquet rows."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from data.fake_tokenizer import ByteTokenizer
from data.hub_server import masked_rows, table_bytes, value_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.data.imports import token_parquet, token_rows
from weightless.data.imports.row_sets import open_rows
from weightless.data.imports.token_parquet import ParquetRows, Reading
from weightless.data.imports.token_rows import START, FlatFiles, Place, RowStream

V = 300


def read(source, place: Place = START) -> list[int]:
    return [int(i) for block in source.blocks(place) for i in block.ids]


def rows_in(tmp_path, content: bytes, **options) -> ParquetRows:
    (tmp_path / "rows.parquet").write_bytes(content)
    return open_rows(str(tmp_path / "rows.parquet"), Reading(V, **options)).source("train")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(token_rows, "BLOCK_TOKENS", 64)
    monkeypatch.setattr(token_parquet, "BATCH_ROWS", 4)


def test_nanogpt_bins(tmp_path):
    ids = np.random.default_rng(0).integers(0, V, 1023).astype(np.uint16)
    ids.tofile(tmp_path / "train.bin")
    ids[:63].tofile(tmp_path / "val.bin")
    rows = open_rows(str(tmp_path), Reading(V))
    assert rows.splits == ["train", "val"]
    assert read(rows.source("train")) == ids.tolist() and read(rows.source("val")) == ids[:63].tolist()
    assert rows.source("train").n_tokens == 1023
    with pytest.raises(WeightlessError, match="no split 'test'"):
        rows.source("test")


def test_llm_c_shards(tmp_path):
    ids = list(range(200))
    for number, part in enumerate((ids[:77], ids[77:])):
        header = struct.pack("<3i", 20240520, 1, len(part)) + bytes(1024 - 12)
        (tmp_path / f"fineweb_train_{number:06d}.bin").write_bytes(header + struct.pack(f"<{len(part)}H", *part))
    (tmp_path / "fineweb_val_000000.bin").write_bytes(struct.pack("<3i", 20240520, 1, 1) + bytes(1012) + b"\7\0")
    rows = open_rows(str(tmp_path), Reading(V))
    assert read(rows.source("train")) == ids and read(rows.source("val")) == [7]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("train.bin", b"123", "3 bytes, an odd number"),
        ("x.bin", bytes(2000), "begins with 0, not 20240520; .* say --layout uint16"),
        ("train.bin", struct.pack("<3i", 20240520, 2, 1) + bytes(1014), "version 2"),
        ("a_train_000000.bin", struct.pack("<3i", 20240520, 1, 9) + bytes(1014), "promises 9 tokens but has 1026"),
        ("a_train_000000.bin", struct.pack("<3i", 20240801, 7, 1) + bytes(1016), "begins with 20240801"),
        ("train.bin", struct.pack("<2H", 1, V), f"id {V}, but the vocabulary has {V}"),
    ],
)
def test_flat_files_that_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptFileError, match=message):
        read(open_rows(str(tmp_path / name), Reading(V)).source("train"))


def test_a_bin_of_another_name_is_read_when_asked(tmp_path):
    np.arange(9, dtype=np.uint16).tofile(tmp_path / "x.bin")
    assert read(open_rows(str(tmp_path / "x.bin"), Reading(V), "uint16").source("train")) == list(range(9))
    with pytest.raises(ConfigError, match="layout"):
        open_rows(str(tmp_path / "x.bin"), Reading(V), "guess")


@pytest.mark.parametrize("kind", [pa.list_(pa.int32()), pa.large_list(pa.uint16()), pa.list_(pa.int64(), 3)])
@pytest.mark.parametrize("column", ["input_ids", "values", "tokens", "else"])
def test_every_list_column(tmp_path, kind, column):
    rows = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    content = table_bytes({"id": ["a", "b", "c"], column: pa.array(rows, kind)}, 2)
    if column == "else":
        with pytest.raises(
            WeightlessError, match="no column input_ids or values or tokens or text: its columns are id"
        ):
            read(rows_in(tmp_path, content))
    assert read(rows_in(tmp_path, content, column=column)) == list(range(1, 10))


def test_text_is_encoded(tmp_path):
    content = table_bytes({"text": ["ab", " ", None, "c"]})
    assert read(rows_in(tmp_path, content, tokenizer=ByteTokenizer())) == [256, 97, 98, 256, 99]
    with pytest.raises(ConfigError, match="holds text, not ids: name a tokenizer"):
        read(rows_in(tmp_path, content))


@pytest.mark.parametrize("means_keep", [True, False])
def test_padding_is_neither_stored_nor_counted(tmp_path, means_keep):
    content, kept = masked_rows(31, V, seed=3, means_keep=means_keep)
    source = rows_in(tmp_path, content)
    assert read(source) == kept
    stream = RowStream(source)
    while n := len(stream.ready()):
        stream.advance(n)
    assert stream.n_pads == 31 * 33 - len(kept) and stream.place == Place(1)


def test_rows_as_documents(tmp_path):
    content = table_bytes({"values": pa.array([[1, 2], [], [0, 3], [4]], pa.list_(pa.int32()))})
    assert read(rows_in(tmp_path, content, row_is_document=True, end_of_text=0)) == [0, 1, 2, 0, 3, 0, 4]
    with pytest.raises(ConfigError, match="row_is_document needs the id"):
        read(rows_in(tmp_path, content, row_is_document=True))


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"values": [[1, 2], [3, V]]}, f"row group 0, row 1: id {V}, but the vocabulary has {V}"),
        ({"values": [[1, 2], [-1]]}, "row 1: id -1"),
        ({"values": [[1, 2], None]}, "row 1: column 'values' has missing values"),
        ({"values": [[1, None]]}, "column 'values' has missing values"),
        ({"input_ids": [[1, 2], [3, 4]], "pad_mask": [[1, 1], [1]]}, "row 1: pad_mask has 1 values for 2 ids"),
        ({"input_ids": [[1, 2, 3]], "attention_mask": [[1, 0, 1]]}, "row 0: attention_mask hides positions"),
        ({"values": [1, 2]}, "column 'values' holds int64, not lists of integers"),
        ({"values": [[1.5]]}, "not lists of integers"),
        ({"values": [[True]]}, "holds bool, not ids"),
    ],
)
def test_rows_that_are_refused(tmp_path, columns, message):
    with pytest.raises(WeightlessError, match=message):
        read(rows_in(tmp_path, table_bytes(columns)))


def test_a_corrupt_parquet_is_named(tmp_path):
    content, _ = value_rows(50, V, 1)
    unreadable_name = content.replace(b"values", b"\x92alues")
    assert unreadable_name != content
    for damaged in (content[:-9], content[:300] + bytes(200) + content[500:], unreadable_name, b"", b"PAR1"):
        with pytest.raises(CorruptFileError, match=r"rows.parquet cannot be read as parquet"):
            read(rows_in(tmp_path, damaged))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.data())
def test_a_stream_goes_on_anywhere(tmp_path_factory, seed, data):
    """Left after any number of ids and entered again at its place, it gives the rest, and counts every padding once."""
    folder = tmp_path_factory.mktemp("rows")
    contents = [masked_rows(9, V, seed, length=7), masked_rows(6, V, seed + 1, length=7)]
    for number, (content, _) in enumerate(contents):
        (folder / f"{number}.parquet").write_bytes(content)
    kept = [i for _, ids in contents for i in ids]
    source = open_rows(str(folder), Reading(V, mask_means="keep")).source("train")
    place, pads, taken = START, 0, []
    while len(taken) < len(kept):
        stream, n = RowStream(source, place, pads), data.draw(st.integers(1, 20))
        while n and len(ids := stream.ready()[:n]):
            stream.advance(len(ids))
            taken += ids.tolist()
            n -= len(ids)
        place, pads = stream.place, stream.n_pads
    assert taken == kept and pads == 15 * 7 - len(kept)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=4), st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_flat_files_go_on_anywhere(tmp_path_factory, sizes, n):
    folder = tmp_path_factory.mktemp("flat")
    paths = [folder / f"{number}.bin" for number in range(len(sizes))]
    whole = np.arange(sum(sizes)) % V
    for path, part in zip(paths, np.split(whole, np.cumsum(sizes)[:-1])):
        part.astype(np.uint16).tofile(path)
    source = FlatFiles(paths, V, header=False)
    stream, taken = RowStream(source), []
    while len(taken) < n and len(ids := stream.ready()[: n - len(taken)]):
        stream.advance(len(ids))
        taken += ids.tolist()
    assert taken + read(source, stream.place) == whole.tolist()


def test_the_mask_means_the_same_after_a_resume(tmp_path):
    """The first rows alone tell; reading that begins further on must not be led by rows that look otherwise."""
    columns = {
        "input_ids": pa.array([[1, 2, 0, 0]] + [[5, 6, 7, 8]] * 20, pa.list_(pa.int32())),
        "pad_mask": pa.array([[0, 0, 1, 1]] + [[0, 0, 0, 0]] * 20, pa.list_(pa.int8())),
    }
    whole = read(rows_in(tmp_path, table_bytes(columns)))
    assert whole == [1, 2] + [5, 6, 7, 8] * 20
    assert read(rows_in(tmp_path, table_bytes(columns)), Place(0, 1, 2, 3)) == whole[2 + 4 * 8 + 3 :]
    columns["pad_mask"] = pa.array([[0, 0, 1, 1]] + [[1, 1, 1, 1]] * 20, pa.list_(pa.int8()))
    assert read(rows_in(tmp_path, table_bytes(columns)), Place(0, 1)) == []  # all padding, as the first row says
