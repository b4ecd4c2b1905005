"""Damaged and hostile files: a CorruptFileError of one line each, or read with exactly the packed bytes."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weightless.artifact import Artifact, open_artifact
from weightless.base.errors import CorruptFileError, WeightlessError

HEADER = struct.Struct("<8sII4Q32s32s")


def assemble(content: bytes, meta: bytes | None = None, table: bytes | None = None, **header: Any) -> bytes:
    """The file with another meta, table or header fields, all checksums and lengths made to fit again."""
    magic, version, header_bytes, _, data_bytes, meta_bytes, table_bytes, _, _ = HEADER.unpack(content[: HEADER.size])
    data = content[128 : 128 + data_bytes]
    meta = content[128 + data_bytes :][:meta_bytes] if meta is None else meta
    table = content[len(content) - table_bytes :] if table is None else table
    fields = {
        "magic": magic,
        "version": version,
        "header_bytes": header_bytes,
        "file_bytes": 128 + data_bytes + len(meta) + len(table),
        "data_bytes": data_bytes,
        "meta_bytes": len(meta),
        "table_bytes": len(table),
        "meta_sha256": hashlib.sha256(meta).digest(),
        "table_sha256": hashlib.sha256(table).digest(),
        **header,
    }
    head = HEADER.pack(*fields.values())
    return head + hashlib.sha256(head).digest()[:16] + data + meta + table


def table_of(content: bytes) -> list[dict[str, Any]]:
    return json.loads(content[len(content) - HEADER.unpack(content[: HEADER.size])[6] :])


def with_table(content: bytes, rows: Any) -> bytes:
    return assemble(content, table=json.dumps(rows).encode())


def refused(path: Path, content: bytes, verify: bool = True) -> str:
    path.write_bytes(content)
    with pytest.raises(CorruptFileError) as caught:
        open_artifact(path, verify=verify)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 600
    return message.removeprefix(str(path))


def test_the_forger_of_these_tests_can_forge(packed):
    """Otherwise every refusal below might be for a wrong checksum."""
    content = packed.read_bytes()
    assert assemble(content) == content
    packed.write_bytes(with_table(content, table_of(content)))
    assert open_artifact(packed).view("head").shape == (3, 64)


def test_cut_anywhere(packed):
    content = packed.read_bytes()
    for length in range(len(content)):
        message = refused(packed, content[:length])
        assert "cut short" in message or "empty" in message


def test_every_single_byte_is_covered(packed):
    content = packed.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        refused(packed, bytes(damaged))


def test_foreign_bytes_at_the_end(packed):
    content = packed.read_bytes()
    assert "foreign bytes at its end" in refused(packed, content + b"\0")
    assert "foreign bytes at its end" in refused(packed, content + content)


@pytest.mark.parametrize(
    "content",
    [
        b"GGUF\3\0\0\0" * 50,
        b"PK\3\4" * 100,
        b"\x80\4\x95pickle" * 20,
        b"{}",
        b"\0" * 500,
        b"\x89PNG\r\n\x1a\n" * 40,
        b"\x89WL\n\x1a\n\0" + b"\0" * 300,
    ],
)
def test_other_kinds_of_files(packed, content):
    assert "not a weightless artifact" in refused(packed, content)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(WeightlessError, match="cannot read .*: No such file"):
        open_artifact(tmp_path / "absent.wl")
    with pytest.raises(WeightlessError, match="it is not a file"):
        open_artifact(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(WeightlessError, match="it is not a file"):
            open_artifact(tmp_path / "pipe")
    (tmp_path / "nothing.wl").touch()
    with pytest.raises(CorruptFileError, match="is empty"):
        open_artifact(tmp_path / "nothing.wl")


def test_headers_that_lie(packed):
    content = packed.read_bytes()
    size, (data, meta) = len(content), HEADER.unpack(content[: HEADER.size])[4:6]
    assert "version 2" in refused(packed, assemble(content, version=2))
    assert "do not add up" in refused(packed, assemble(content, header_bytes=64))
    assert "do not add up" in refused(packed, assemble(content, data_bytes=data + 64))
    assert "do not add up" in refused(packed, assemble(content, data_bytes=2**64 - 1))
    assert "cut short" in refused(packed, assemble(content, data_bytes=data + 64, file_bytes=size + 64))
    shifted = assemble(content, data_bytes=data - 64, meta_bytes=meta + 64)
    assert "damaged description" in refused(packed, shifted)


def test_descriptions_too_large_to_be_true(packed, monkeypatch):
    monkeypatch.setattr("weightless.artifact.header.MAX_TABLE_BYTES", 200)
    assert "too large to be true" in refused(packed, packed.read_bytes())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 200_000, "nested too deeply|Expecting value|deeper"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "nested"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper than 64"),
        (b"[]", "not an object"),
        (b"", "Expecting value"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":NaN}', "not a finite number"),
        (b'{"a":-Infinity}', "not a finite number"),
        (b'{"a":1e999}', "not a finite number"),
        (b'{"a":' + b"9" * 10_000 + b"}", "."),
        (b'{"a":"\xff"}', "utf-8"),
        (b'\xef\xbb\xbf{"a":1}', "BOM"),
        (b"{} {}", "Extra data"),
    ],
)
def test_hostile_descriptions_with_right_checksums(packed, text, message):
    assert re.search(message, refused(packed, assemble(packed.read_bytes(), meta=text)))


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (0, {"name": "head"}),
        (0, {"name": 7}),
        (0, {"name": ""}),
        (0, {"name": "a\nb"}),
        (0, {"name": "x" * 5000}),
        (0, {"format": None}),
        (0, {"format": "../x"}),
        (0, {"shape": [5]}),
        (0, {"shape": "55"}),
        (0, {"shape": [5, -1]}),
        (0, {"shape": [5.0, 64]}),
        (0, {"shape": [True, 64]}),
        (0, {"shape": [4, 64]}),
        (0, {"shape": [10**30, 64]}),
        (0, {"shape": [[[5]], 64]}),
        (0, {"row_bytes": 65}),
        (0, {"row_bytes": -1}),
        (0, {"row_bytes": "34"}),
        (0, {"row_stride": 63}),
        (0, {"row_stride": 2**63}),
        (0, {"row_stride": None}),
        (0, {"offset": 64}),
        (0, {"offset": -64}),
        (5, {"offset": 0}),
        (5, {"offset": 577}),
        (5, {"offset": 2**64}),
        (5, {"nbytes": 2**62}),
        (5, {"nbytes": 0}),
        (5, {"nbytes": 191}),
        (5, {"shape": [4, 64], "nbytes": 256}),
        (5, {"shape": [2, 64], "nbytes": 128}),
        (1, {"shape": [1, 64], "nbytes": 256}),
        (4, {"nbytes": 1e0}),
        (0, {"sha256": ""}),
        (0, {"sha256": "0" * 63}),
        (0, {"sha256": "G" * 64}),
        (0, {"sha256": "0" * 64}),
        (0, {"offset": "\n"}),
        (0, {"extra": 1}),
        (4, {"shape": [True, 1]}),
        (4, {"row_bytes": True}),
        (4, {"nbytes": True}),
    ],
)
def test_table_entries_that_lie_with_right_checksums(packed, index, change):
    content = packed.read_bytes()
    rows = table_of(content)
    rows[index] |= change
    refused(packed, with_table(content, rows))


def test_tables_that_are_no_tables(packed):
    content = packed.read_bytes()
    rows = table_of(content)
    missing = [{key: value for key, value in row.items() if key != "nbytes"} for row in rows]
    for table in ({}, None, [1], [[]], "x", rows[:-1], rows[1:], rows[::-1], rows + rows[-1:], missing, []):
        refused(packed, with_table(content, table), verify=False)


def test_nonzero_fill_bytes(packed):
    damaged = bytearray(packed.read_bytes())
    damaged[128 + 320 + 140] = 1
    assert "nonzero fill bytes behind 'blocks.0.qkv'" in refused(packed, bytes(damaged))


def test_unverified_reading_checks_all_but_the_data(packed):
    content = packed.read_bytes()
    damaged = bytearray(content)
    damaged[128] ^= 1
    packed.write_bytes(damaged)
    assert open_artifact(packed, verify=False).view("embed").shape == (5, 64)
    start_of_meta = 128 + HEADER.unpack(content[: HEADER.size])[4]
    for position in (9, 60, 100, 120, start_of_meta, len(content) - 1):
        damaged = bytearray(content)
        damaged[position] ^= 1
        refused(packed, bytes(damaged), verify=False)


def corrupt(content: bytes, rng: np.random.Generator) -> bytes:
    """One random accident."""
    size = len(content)
    at, length = int(rng.integers(size)), int(rng.integers(1, 200))
    kind = int(rng.integers(7))
    damaged = bytearray(content)
    if kind == 0:
        for position in rng.integers(0, size, int(rng.integers(1, 9))):
            damaged[position] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        damaged[at : at + length] = rng.bytes(min(length, size - at))
    elif kind == 2:
        damaged[at : at + length] = bytes([int(rng.choice([0, 255, 10, 32]))]) * min(length, size - at)
    elif kind == 3:
        del damaged[at:]
    elif kind == 4:
        damaged[at:at] = rng.bytes(length)
    elif kind == 5:
        source = int(rng.integers(size))
        block = content[source : source + length]
        damaged[at : at + len(block)] = block
    else:
        del damaged[at : at + length]
    return bytes(damaged)


def forge(content: bytes, rng: np.random.Generator) -> bytes:
    """A table or meta edited at random, its checksums made right again: only its meaning can give it away."""
    numbers = [0, 1, -1, 2, 63, 64, 65, 128, 2**31, 2**32, 2**48, 2**63, 2**64, 10**30, 1.5, None, True, "x", [], {}]
    if rng.random() < 0.4:
        text = bytearray(json.dumps(table_of(content)).encode())
        for position in rng.integers(0, len(text), int(rng.integers(1, 4))):
            text[position] = int(rng.choice(list(b'0123456789{}[]":,-eE. aZ\xff\0')))
        return assemble(content, **{str(rng.choice(["table", "meta"])): bytes(text)})
    rows = copy.deepcopy(table_of(content))
    for _ in range(int(rng.integers(1, 3))):
        row = rows[int(rng.integers(len(rows)))]
        key = str(rng.choice(list(row)))
        value = numbers[int(rng.integers(len(numbers)))]
        row[key] = [value, numbers[int(rng.integers(len(numbers)))]] if key == "shape" and rng.random() < 0.7 else value
    rows = [rows[i] for i in rng.permutation(len(rows))] if rng.random() < 0.1 else rows
    return with_table(content, rows)


def is_well_formed(artifact: Artifact) -> bool:
    """What a forged but consistent file must still satisfy: every view inside the data region, of the stated shape."""
    return all(
        artifact.view(name).shape == (entry.shape[0], entry.row_stride)
        and 0 <= entry.row_bytes <= entry.row_stride
        and entry.offset % 64 == 0
        and 0 <= entry.offset <= entry.offset + entry.nbytes <= len(artifact.data)
        and hashlib.sha256(artifact.view(name).tobytes()).hexdigest() == entry.sha256
        for name, entry in artifact.entries.items()
    )


def test_ten_thousand_corruptions(packed, tensors):
    """7,000 accidents: refused, or read bit for bit as packed.  3,000 forgeries: refused, or at least within bounds."""
    content = packed.read_bytes()
    wanted = {tensor.name: open_artifact(packed).view(tensor.name).tobytes() for tensor in tensors}
    rng = np.random.default_rng(20240520)
    began, n_refused = time.monotonic(), 0
    for trial in range(10_000):
        is_accident = trial % 10 < 7
        packed.write_bytes((corrupt if is_accident else forge)(content, rng))
        try:
            artifact = open_artifact(packed)
        except CorruptFileError as error:
            n_refused += 1
            assert "\n" not in str(error)
            continue
        if is_accident:
            assert {name: artifact.view(name).tobytes() for name in artifact.entries} == wanted, trial
        else:
            assert is_well_formed(artifact), trial
    assert n_refused > 9_000
    assert time.monotonic() - began < 120, "a corruption made reading hang"
