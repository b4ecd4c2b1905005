"""Every verb that writes into a folder over some time is refused while somebody else does.

Oracles: the holder's process number in the one line that is printed, and a folder that holds what it held before.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from weightless.base.folder_lock import folder_lock, is_lock


@contextmanager
def held(folder: Path, share: str = "") -> Iterator[None]:
    """Another thread, which counts as another writer, holds the folder."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with folder_lock(folder, share):
            taken.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture
def verbs(small_run, tmp_path):
    """Command lines that write into `tmp_path / "busy"`."""
    run, recipe, text = small_run
    busy, tokenizer = tmp_path / "busy", run / "data" / "tokenizer.json"
    parts = ["data", "prepare", busy, "--text", text, "--tokenizer", tokenizer]
    shard = sorted((run / "data").glob("*_train_*.bin"))[0]
    return {
        "train": ["train", "dense", "--data", run / "data", "--out", busy, "--num_steps", 1, "--context", 64],
        "run": ["run", recipe, "--out", busy],
        "prepare": ["data", "prepare", busy, "--text", text, "--vocab_size", 300],
        "prepare with a tokenizer": parts,
        "one part": [*parts, "--shard", "2/3"],
        "all parts": [*parts, "--shards", 2],
        "merge": ["data", "prepare", busy, "--merge"],
        "import": ["data", "import", shard, busy, "--vocab_size", 320, "--end_of_text", 319, "--validation", "none"],
        "launch": ["launch", "--logs", busy, "--", "--version"],
        "sweep": ["tokenizer", "sweep", text, "--sizes", 260, "--out", busy],
        "compare": ["report", run, run / "data" / "..", "--out", busy],
        "pack into it": ["pack", run / "models" / "dense", "--data", run / "data", "--out", busy / "other.wl"],
    }


VERBS = [
    "train",
    "run",
    "prepare",
    "prepare with a tokenizer",
    "one part",
    "all parts",
    "merge",
    "import",
    "launch",
    "sweep",
    "compare",
    "pack into it",
]


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_in_use_is_left_alone_and_its_holder_named(command, verbs, tmp_path, verb):
    busy = tmp_path / "busy"
    busy.mkdir()
    (busy / "precious").touch()
    with held(busy):
        code, out, err = command(*map(str, verbs[verb]))
    assert code == 2 and out == ""
    (line,) = [line for line in err.splitlines() if "in use" in line]
    assert f"{busy} is in use: process {os.getpid()} on " in line and line.startswith(f"weightless {verbs[verb][0]}: ")
    assert [path.name for path in busy.iterdir()] == ["precious"]


@pytest.mark.parametrize("verb", ["pack", "report"])
def test_what_is_there_is_not_written_anew_while_somebody_writes_it(command, small_run, tmp_path, verb):
    """Packing a checkpoint that training replaces, writing the page of a run that goes on."""
    shutil.copytree(small_run[0], tmp_path / "run")
    folder = tmp_path / "run" if verb == "report" else tmp_path / "run" / "models" / "dense"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    arguments = [verb, folder, *(["--weight_format", "int8"] if verb == "pack" else [])]
    with held(folder):
        code, out, err = command(*arguments)
        assert code == 2 and out == "" and f"{folder} is in use: process {os.getpid()} on " in err
        assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert command(*arguments)[0] == 0


def test_parts_run_beside_other_parts_but_not_beside_themselves_or_the_whole(command, verbs, tmp_path):
    for share, verb, expected in [
        ("part-001", "one part", 0),
        ("part-002", "one part", 2),
        ("part-001", "prepare", 2),
        ("part-001", "import", 2),
    ]:
        with held(tmp_path / "busy", share):
            code, _, err = command(*map(str, verbs[verb]))
            assert (code, "in use" in err) == (expected, expected == 2), (share, verb, err)


def test_nothing_of_a_lock_stays_when_the_work_is_done(command, verbs, tmp_path):
    assert command(*map(str, verbs["train"]))[0] == 0
    assert not [path for path in (tmp_path / "busy").rglob("*") if is_lock(path)]
