"""Code under audit runs in a process of its own.  Oracle: the same predictors of planted.py called in this process."""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from audit import planted

from weightless.audit.predictors import entry_worker
from weightless.audit.predictors.audit import audit
from weightless.audit.predictors.entry_point import EntryPoint, Limits, is_entry_point
from weightless.audit.predictors.predictor import ObjectPredictor
from weightless.base.errors import ConfigError, WeightlessError

FILE = Path(planted.__file__)
TEXT = np.array(list(b"the cat sat on the mat and the dog sat on the cat"), dtype=np.int64)
HASTY = Limits(load_seconds=60.0, answer_seconds=1.0, cpu_seconds=60)


def entry(name: str, limits: Limits | None = None) -> EntryPoint:
    return EntryPoint(f"{FILE}:{name}", limits)


@pytest.mark.parametrize("name", ["Adaptive", "made", "ready", "Talkative"])
def test_answers_are_those_of_the_object_itself(name):
    """A class, a factory, an object, and one that prints: bit for bit what it gives in this process."""
    here = ObjectPredictor(planted.Remembering if name == "ready" else planted.Adaptive)
    with entry(name) as there:
        assert there.vocab_size == 256 and there.context is None and there.offers == {"score"}
        for t in (1, 5, len(TEXT)):
            assert np.array_equal(there.log_probs(TEXT[:t]), here.log_probs(TEXT[:t]))
        assert np.array_equal(there.score(TEXT), here.score(TEXT))


def test_every_surface_crosses_the_pipe():
    with entry("TailTwice") as there:
        assert there.offers == {"score", "scored_ranges"}
        assert np.array_equal(there.scored_ranges(200), planted.TailTwice().scored_ranges(200))


def test_a_bare_function_says_its_vocabulary_with_its_first_answer():
    with entry("uniform") as there:
        assert there.vocab_size == 0 and len(there.log_probs(TEXT)) == 256 == there.vocab_size
        there.fresh()
        assert there.vocab_size == 256


def test_a_module_is_found_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "putting.py").write_text("class Box:\n    def log_probs(prefix): return [0.0]\nnested = Box\n")
    monkeypatch.chdir(tmp_path)
    with EntryPoint("putting:nested.log_probs") as there:
        assert there.log_probs(TEXT[:1]) == [0.0]
    assert "putting" not in sys.modules, "code under audit is never imported by the auditor"


def test_what_is_kept_on_disk_for_the_next_start_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PLANTED_CACHE", str(tmp_path / "cache"))
    with entry("KeptOnDisk") as there:
        report = audit(there, np.tile(TEXT, 2), positions=60)
    assert report.failed == ["single pass"] and "fresh start" in report.findings[3].detail


@pytest.mark.parametrize(
    ("name", "limits", "told"),
    [
        ("WrongShape", None, r"257 numbers does not fit.*has 256"),
        ("Crashing", None, "RuntimeError: no such row at all"),
        ("Dying", None, "ended with code 3"),
        ("Hanging", HASTY, "no answer in time"),
        ("Greedy", Limits(memory_bytes=2 * 10**9), "MemoryError|Unable to allocate"),
        ("absent", None, "AttributeError"),
        ("PAD", None, "no method log_probs"),
    ],
)
def test_what_goes_wrong_is_one_line(name, limits, told):
    with pytest.raises(WeightlessError, match=told) as caught, entry(name, limits) as there:
        there.log_probs(TEXT)
    assert "\n" not in str(caught.value)


def test_the_process_ends_with_the_audit():
    there = entry("Adaptive")
    assert there._process is not None
    number = there._process.pid
    assert number != os.getpid()
    there.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    with pytest.raises(WeightlessError, match="has ended"):
        there.log_probs(TEXT)


def test_fresh_is_another_process_only_when_something_was_asked():
    with entry("Adaptive") as there:
        first = there._process
        there.fresh()
        assert there._process is first
        there.log_probs(TEXT)
        there.fresh()
        assert there._process is not first


@pytest.mark.parametrize(
    "message",
    [
        entry_worker.HEADER.pack(b"REAL", 1 << 60),  # a length nobody would allocate
        entry_worker.HEADER.pack(b"WHOL", 8 * 256) + bytes(8 * 256),
        entry_worker.HEADER.pack(b"FAIL", 1 << 40),
        b"PK\x03\x04 something else entirely",
    ],
)
def test_answers_that_break_the_protocol_are_refused(message, tmp_path):
    """Code that writes to the pipe itself: every length is checked before it is believed."""
    forged = tmp_path / "forged.py"
    forged.write_text(
        "import os\n"
        "class Forged:\n"
        "    vocab_size = 256\n"
        "    def log_probs(self, prefix):\n"
        "        for fd in range(3, 9):\n"
        "            try: os.write(fd, " + repr(message) + ")\n"
        "            except OSError: pass\n"
        "        return [0.0] * 256\n"
    )
    with EntryPoint(f"{forged}:Forged", HASTY) as there, pytest.raises(WeightlessError, match="log_probs:"):
        there.log_probs(TEXT)


def test_a_long_prefix_does_not_block(tmp_path):
    """A megabyte of prefix is more than a pipe holds."""
    with entry("uniform") as there:
        began = time.monotonic()
        assert len(there.log_probs(np.zeros(300_000, dtype=np.int64))) == 256
        assert time.monotonic() - began < 60


@pytest.mark.parametrize("what", ["model.wl", "runs/books", "a:b:c d", ":x", "x:", "C:/x.py"])
def test_words_that_name_no_code(what):
    assert not is_entry_point(what)
    with pytest.raises(ConfigError, match="names no code"):
        EntryPoint(what)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(WeightlessError, match="no such file"):
        EntryPoint(f"{tmp_path}/absent.py:x")


def test_the_header_is_twelve_bytes():
    assert entry_worker.HEADER.size == 12 and struct.calcsize("<3q") == 24
