"""Logs survive what a kill leaves of them.  Oracle: the objects that were written whole, in their order."""

from __future__ import annotations

import json

import pytest

from weightless.base.files import append_line, is_number, read_log

TORN = [
    b'{"seconds": 3',
    b"\xff\xfe",
    b"null",
    b"[1]",
    b'{"other": 1}',
    b'{"seconds": NaN}',
    b'{"seconds": 1e999}',
    b'{"seconds": ' + b"9" * 400 + b"}",
    b'{"seconds": true}',
    b"[" * 100_000,
    b'{"seconds": "\xe2\x80\xa8"}',
    b"\x00" * 4096,
]


def read(path):
    return read_log(path, lambda line: is_number(line.get("seconds")))


@pytest.mark.parametrize("torn", TORN)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_torn_line_is_left_out_and_told_with_its_number(tmp_path, capsys, torn, at):
    path = tmp_path / "sessions.jsonl"
    lines = [b'{"seconds": 1}', b'{"seconds": 2.5}']
    path.write_bytes(b"\n".join([*lines[:at], torn, *lines[at:]]))
    assert [line["seconds"] for line in read(path)] == [1, 2.5]
    assert capsys.readouterr().err == f"{path}: line {at + 1} is torn and left out\n"
    append_line(path, json.dumps({"seconds": 4}))
    assert [line["seconds"] for line in read(path)] == [1, 2.5, 4]


def test_whole_logs_and_missing_ones_are_read_in_silence(tmp_path, capsys):
    path = tmp_path / "log"
    assert read(path) == []
    for seconds in range(3):
        append_line(path, json.dumps({"seconds": seconds, "command": "a\u2028b\x0cc"}, ensure_ascii=False))
    assert [line["seconds"] for line in read(path)] == [0, 1, 2] and capsys.readouterr().err == ""


def test_many_torn_lines_are_one_message(tmp_path, capsys):
    path = tmp_path / "log"
    path.write_bytes(b"{\n" * 9)
    assert read(path) == []
    assert capsys.readouterr().err == f"{path}: line 1, 2, 3, 4, 5, … is torn and left out\n"
