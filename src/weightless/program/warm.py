"""Compile the engine before it is needed: about a minute of one core, once per machine and version of the code.

The compiled code is kept by numba's disk cache.  `in_background` does it in a process of its own, so that it
costs no time where another core is idle (collecting text, training on one thread).
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from weightless.program.engine import Engine
from weightless.program.logged_engine import LoggedEngine
from weightless.program.operators.full_head import LogitsFull, LogitsSample, LogitsScore
from weightless.program.operators.lookup import AcceptToken, GatherRow
from weightless.program.program import OUTCOME, PROBABILITIES, Program
from weightless.program.tensor import Tensor


def smallest_program() -> Program:
    """Two tokens, each with its own row of two logits: enough to compile every operator's code."""
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


def warm(logged: bool = False) -> None:
    """Compile, or load what was compiled before; the engine that logs too, if it is wanted."""
    program = smallest_program()
    for kind in (Engine, LoggedEngine) if logged else (Engine,):
        kind(program, np.zeros(program.layout.weight_bytes, dtype=np.uint8)).score_stream(np.zeros(1), np.zeros(1))


def in_background() -> subprocess.Popen[bytes]:
    """A process that warms the cache; `wait()` for it before compiling anything oneself."""
    command = [sys.executable, "-c", "from weightless.program.warm import warm; warm(logged=True)"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
