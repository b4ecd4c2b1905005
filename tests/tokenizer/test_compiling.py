"""The second process that compiles: what it says is waited for, its end is noticed, and nothing is started twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from weightless.base.own_process import own_process
from weightless.tokenizer import compiling
from weightless.tokenizer.compiling import ENCODING, MERGING, Helper


def saying(program: str) -> Helper:
    helper = Helper()
    command = [sys.executable, "-c", program]
    helper._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return helper


def test_parts_are_waited_for_in_any_order():
    helper = saying("import sys, time; print('me', end='', flush=True); time.sleep(60)")
    helper.wait_for(ENCODING)
    helper.wait_for(MERGING)
    process = helper._process
    assert process is not None and process.poll() is None
    helper.end()
    assert process.poll() is not None and helper._process is None
    helper.end()


def test_the_end_of_the_process_ends_the_waiting():
    helper = saying("print('m', end='')")
    helper.wait_for(ENCODING)
    assert helper._process is None
    helper.wait_for(MERGING)  # nobody is there to wait for


@pytest.mark.parametrize(("compiled", "idle", "n"), [(False, True, 1), (True, True, 0), (False, False, 0)])
def test_it_is_started_where_it_is_of_use(monkeypatch, compiled, idle, n):
    asked = []
    monkeypatch.setattr(compiling, "is_compiled", lambda kernel: compiled)
    monkeypatch.setattr(compiling, "is_one_idle", lambda: idle)
    monkeypatch.setattr(compiling, "own_process", lambda *given, **options: asked.append(given))
    Helper().start("gpt2")
    assert asked == [("weightless.tokenizer.compiling", "compile_as_told", {"pattern": "gpt2"})] * n


def test_a_process_of_our_own_may_answer():
    process = own_process("builtins", "print", {"a": 1}, answers=True)
    assert process is not None and process.stdout is not None
    with process.stdout as out:
        assert json.loads(out.read()) == {"a": 1}
    assert process.wait() == 0


PROGRAM = """
import sys
from weightless.tokenizer import bpe_train, compiling, train_bpe, Tokenizer
compiling.is_one_idle = lambda: True
bpe_train.LIGHT_BYTES = -1
tokenizer = Tokenizer(*train_bpe([b"low lower lowest"], 260))
print(tokenizer._encoder.encode(b"low lower", True).tolist(), compiling.helper()._said.decode())
"""


@pytest.mark.slow
def test_a_cold_process_has_its_kernels_compiled_beside_it(tmp_path):
    values = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=values, check=True)
    assert done.stdout.split("] ")[1].strip() == "me" and done.stderr == ""
