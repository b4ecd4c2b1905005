"""Streams and names that are not UTF-8, full or closed: one line or the thing itself, never a traceback.

Oracle: the ids of the same bytes on standard input; the exit code and the single line of the program.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from weightless.base.config import load_toml, save_toml
from weightless.base.errors import ConfigError
from weightless.base.files import json_line, read_json, write_json
from weightless.lab.recipe import DataRecipe
from weightless.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
NAME = os.fsdecode(b"na\xefve")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A file of a tokenizer of bytes, under a name that is not UTF-8."""
    path = tmp_path_factory.mktemp("names") / f"{NAME}.json"
    Tokenizer({i: bytes([i]) for i in range(256)}, []).save(path)
    return path


def program(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "weightless", *arguments],
        env=environment,
        timeout=120,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.parametrize("encoding", ["ascii", *(pytest.param(e, marks=pytest.mark.slow) for e in ("cp1252", "utf-8"))])
def test_the_same_bytes_give_the_same_ids_in_any_encoding(encoding, tokenizer):
    text = "naïve ±".encode() + b"\xef\xff"
    environment = {"PYTHONIOENCODING": encoding}
    as_argument = program("tokenizer", "encode", os.fsencode(tokenizer), text, env=environment, stdout=subprocess.PIPE)
    on_input = program("tokenizer", "encode", tokenizer, env=environment, input=text, stdout=subprocess.PIPE)
    assert as_argument.stdout.split() == [str(byte).encode() for byte in text]
    assert on_input.stdout == as_argument.stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_an_error_names_such_a_file_in_one_line(encoding):
    done = program("eval", b"na\xefve.wl", "--text", "x", env={"PYTHONIOENCODING": encoding}, stdout=subprocess.PIPE)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and rb"na\udcefve.wl" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_name_is_printed_as_the_bytes_that_it_is(encoding, tokenizer, tmp_path):
    out = os.fsencode(tmp_path) + b"/m\xefx"
    done = program(
        "tokenizer",
        "convert",
        os.fsencode(tokenizer),
        out,
        "--to",
        "weightless",
        env={"PYTHONIOENCODING": encoding},
        stdout=subprocess.PIPE,
    )
    assert done.returncode == 0 and done.stdout.startswith(out + b": ") and os.path.exists(out)


def test_what_an_encoding_lacks_is_escaped(tokenizer):
    ids = [str(byte) for byte in "ж".encode()]
    done = program("tokenizer", "decode", tokenizer, *ids, env={"PYTHONIOENCODING": "ascii"}, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"\\u0436\n")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["count", "dense"]], ids=" ".join)
def test_a_full_disk_behind_standard_output_is_one_line(words):
    with open("/dev/full", "wb") as full:
        done = program(*words, stdout=full)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"No space left" in done.stderr


def test_a_reader_that_has_seen_enough_ends_the_program_quietly(tokenizer):
    reading, writing = os.pipe()
    os.close(reading)
    done = program("tokenizer", "decode", tokenizer, "65", stdout=writing)
    os.close(writing)
    assert done.returncode in (141, 1) and done.stderr == b""  # 1: rich noticed first


@pytest.mark.parametrize("word", ["²", "٣", "1" * 5000, "1.0", "-1"])
def test_decode_takes_ids_only(word, tokenizer):
    done = program("tokenizer", "decode", tokenizer, input=word.encode(), stdout=subprocess.PIPE)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"not a token id" in done.stderr


def test_json_keeps_a_name_that_is_no_text(tmp_path):
    write_json(tmp_path / "x.json", {"name": NAME})
    assert read_json(tmp_path / "x.json") == {"name": NAME}
    assert json.loads(json_line({"name": NAME}).encode()) == {"name": NAME}


def test_toml_refuses_a_name_that_is_no_text_and_writes_nothing(tmp_path):
    with pytest.raises(ConfigError, match="no UTF-8"):
        save_toml(tmp_path / "x.toml", DataRecipe(NAME))
    assert not list(tmp_path.iterdir())
    save_toml(tmp_path / "x.toml", DataRecipe("naïve"))
    assert load_toml(tmp_path / "x.toml")["source"] == "naïve"


def test_a_run_refuses_such_a_name_before_it_begins(command, tmp_path):
    text = tmp_path / f"{NAME}.txt"
    text.write_text("x\n")
    code, _, err = command("demo", "--text", text, "--out", tmp_path / "run")
    assert code == 2 and "no UTF-8" in err and not (tmp_path / "run").exists()
