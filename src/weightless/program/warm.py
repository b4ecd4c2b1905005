"""Compile the operators of a program before they are needed: some seconds of one core, once per machine and version.

The compiled code is kept by numba's disk cache.  `in_background` does it in a process of its own, so that it
costs no time where another core is idle (collecting text, training on one thread).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from weightless.program.engine import Engine
from weightless.program.logged_engine import LoggedEngine
from weightless.program.operators.full_head import LogitsFull, LogitsSample, LogitsScore
from weightless.program.operators.lookup import AcceptToken, GatherRow
from weightless.program.program import OUTCOME, PROBABILITIES, Program
from weightless.program.tensor import Tensor


def smallest_program() -> Program:
    """Two tokens, each with its own row of two logits: enough to start an engine."""
    states = {"logits": (2, "f32"), OUTCOME: (1, "f32"), PROBABILITIES: (2, "f32"), "history": (4, "u32")}
    tensors = [Tensor("table", (2, 2), "f32", "table")]
    tensors += [Tensor(name, (1, width), form, "state", "state") for name, (width, form) in states.items()]
    body = (AcceptToken("history"), GatherRow("history", "table", "logits", add=False))
    heads = {
        "score": (LogitsScore("logits", OUTCOME),),
        "sample": (LogitsSample("logits", OUTCOME),),
        "full": (LogitsFull("logits", PROBABILITIES),),
    }
    return Program(2, 4, tuple(tensors), body, heads).validate()


def warm(programs: Mapping[str, Program], logged: bool = False) -> None:
    """Compile what these programs need, by name, or load it; for the engine that logs too, if it is wanted."""
    small = smallest_program()
    for kind in (Engine, LoggedEngine) if logged else (Engine,):
        engine = kind(small, np.zeros(small.layout.weight_bytes, dtype=np.uint8), name="the smallest model")
        engine.score_stream(np.zeros(1), np.zeros(1))
        for name, program in programs.items():
            engine.compile_for(program, f"{name}, with a log" if kind is LoggedEngine else name)


def in_background(programs: Mapping[str, Program]) -> subprocess.Popen[bytes]:
    """A process that warms the cache; `wait()` for it before compiling anything oneself."""
    silent = subprocess.DEVNULL
    code = "import sys; told = sys.stdin.read(); from weightless.program.warm import warm_as_told; warm_as_told(told)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=silent, stderr=silent)
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as told:  # whatever ended it: compiling can wait
        told.write(json.dumps({name: program.to_plain() for name, program in programs.items()}).encode())
    return process


def warm_as_told(told: str) -> None:
    """What `in_background` asks of its process: {name: program in its JSON form}."""
    warm({name: Program.from_plain(values) for name, values in json.loads(told).items()}, logged=True)
