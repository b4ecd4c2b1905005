"""A count that takes minutes outlives kills.  Oracle: the arrays of the same count, undisturbed, byte for byte."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from countmix.small import PIECES, SHAPE, V, learner, text

from weightless.base.errors import CorruptFileError
from weightless.base.saved_work import SavedWork
from weightless.countmix import learning, saving
from weightless.countmix.counting import Request, count_text
from weightless.kernels.numba.count_saving import expand, squeeze

REQUEST = Request(SHAPE, V, 10**6, 600)
CHILD = """
import sys
from pathlib import Path
from countmix.test_saving import counted, small_blocks
from weightless.countmix.saving import Session
after = Session.after
def told(*arguments):
    print("block", flush=True)
    after(*arguments)
Session.after = told
small_blocks()
counted(Path(sys.argv[1]))
"""


def small_blocks() -> None:
    learning.BLOCK = 512


def counted(path: Path, n: int = 6000) -> dict[str, bytes]:
    found = count_text(REQUEST, text(n), PIECES, saved=SavedWork(path, every=0.0, share=1e9))
    return {name: array.tobytes() for name, array in found.arrays.items()}


@pytest.fixture
def blocks(monkeypatch):
    monkeypatch.setattr(learning, "BLOCK", 512)


@pytest.fixture(scope="module")
def undisturbed():
    before, learning.BLOCK = learning.BLOCK, 512
    found = count_text(REQUEST, text(6000), PIECES)
    learning.BLOCK = before
    return {name: array.tobytes() for name, array in found.arrays.items()}


def stopped(path: Path, n_blocks: int, number: int, seconds: float = 0.0) -> int:
    """The exit code of a count that is sent a signal so many seconds after so many blocks."""
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tests, stderr=subprocess.DEVNULL) as child:
        for _ in range(n_blocks):
            child.stdout.readline()
        time.sleep(seconds)
        child.send_signal(number)
        child.stdout.read()
        return child.wait()


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path, blocks, undisturbed, capsys):
    """What it is killed at is drawn: 14 blocks of 512, of which two are tuned on and two counted at last."""
    path, rng = tmp_path / "counting.part", random.Random(5)
    for _ in range(3):
        assert stopped(path, rng.randint(1, 4), signal.SIGKILL, rng.random() / 100) == -signal.SIGKILL
    assert path.exists()
    assert counted(path) == undisturbed
    assert capsys.readouterr().err == ""


def test_asked_to_stop_it_saves_first(tmp_path, blocks, undisturbed):
    path = tmp_path / "counting.part"
    assert stopped(path, 3, signal.SIGTERM) in (143, -signal.SIGTERM)
    assert path.exists()
    assert counted(path) == undisturbed


@pytest.fixture
def half(tmp_path, blocks, monkeypatch) -> Path:
    """The file of a count that was stopped behind its eighth block."""
    after, n = saving.Session.after, [0]

    def stops(*arguments):
        after(*arguments)
        n[0] += 1
        if n[0] == 8:
            raise KeyboardInterrupt

    path = tmp_path / "counting.part"
    with monkeypatch.context() as patched:
        patched.setattr(saving.Session, "after", stops)
        with pytest.raises(KeyboardInterrupt):
            counted(path)
    return path


def test_it_goes_on_where_it_stopped(half, undisturbed, monkeypatch):
    """Behind eight of eleven blocks three are left, and what follows them."""
    reached = []
    monkeypatch.setattr(saving.Session, "after", lambda self, learner, stage, at, learned=None: reached.append(at))
    assert counted(half) == undisturbed
    assert reached[0] == 9 * 512


@pytest.mark.parametrize("how", ["cut", "longer", "flipped", "emptied", "another file", "only its end gone"])
def test_a_damaged_file_is_told_and_the_count_begins_anew(half, undisturbed, capsys, how):
    content = bytearray(half.read_bytes())
    rng = random.Random(how)
    if how == "flipped":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    damaged = {
        "cut": content[: len(content) // 2],
        "longer": content + b"\0" * 12,
        "flipped": content,
        "emptied": b"",
        "another file": b"\x89PNG" + content,
        "only its end gone": content[:-12],
    }[how]
    half.write_bytes(damaged)
    assert counted(half) == undisturbed
    told = capsys.readouterr().err
    assert (how == "longer" and not told) or ("begins anew" in told and told.count("\n") == 1)


def test_every_byte_is_checked(half):
    """A flipped bit anywhere is noticed before the count goes on: 200 places."""
    content, rng = half.read_bytes(), random.Random(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        half.write_bytes(damaged)
        made = learner(text(2000))
        session = saving.Session(SavedWork(half), None)
        session.begin({}, lambda made=made: made, V)
        assert session.reached == 0


def test_another_text_begins_anew(half, capsys):
    assert counted(half, 5000) != {}
    assert "is of other work (text): it begins anew" in capsys.readouterr().err


def test_a_full_disk_stops_nothing(tmp_path, blocks, undisturbed, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 5))
    assert counted(tmp_path / "counting.part") == undisturbed
    told = capsys.readouterr().err
    assert "5 B free" in told and "goes on unsaved" in told and told.count("\n") == 1
    assert not (tmp_path / "counting.part").exists()


def test_rows_are_squeezed_and_expanded():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2**32, (1023, 13), np.uint32)
    rows[rng.random(rows.shape) < 0.6] = 7
    rows[rng.random(1023) < 0.3] = 0
    masks, values = np.zeros(1023, np.uint16), np.empty(rows.size, np.uint32)
    n = squeeze(rows, np.uint32(7), masks, values)
    there = (rows[:, :1] != 0) & ((rows != 7) | (np.arange(13) == 0))
    assert (values[:n] == rows[there]).all() and (masks == there @ (1 << np.arange(13))).all()
    again = np.zeros_like(rows)
    assert expand(masks, values[:n], again, np.uint32(7)) == n and (again == rows).all()
    assert expand(masks, values[: n - 1], np.zeros_like(rows), np.uint32(7)) == -1
    assert expand(masks | 1 << 13, values[:n], np.zeros_like(rows), np.uint32(7)) == -1


@pytest.mark.parametrize("key", [1 << 9 | 7 << 10, 1 << 9 | 7 << 13, 1 << 9 | V << 16])
def test_a_key_of_no_node_is_refused(key):
    made = learner(text(500))
    made.tables.nodes[5, 0] = key
    chunks = iter(list(saving.chunks_of(made.tables, made.learned)))
    other = learner(text(500))
    with pytest.raises(CorruptFileError, match="counts of no node"):
        saving.restore(chunks, other.tables, other.learned, len(SHAPE.dense), V)


def test_seconds_of_all_sessions_are_of_the_clock_that_was_asked_for(tmp_path):
    now = iter(range(0, 1000, 10))
    first = SavedWork(tmp_path / "half", clock=lambda: next(now))
    first.begin({"of": 1}, lambda at, chunks: None)
    assert first.save({}, iter(()), 10)
    second = SavedWork(tmp_path / "half", clock=lambda: 0.0)
    assert second.begin({"of": 1}, lambda at, chunks: None) and second.seconds == 10
