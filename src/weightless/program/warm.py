"""Compile the operators of a program before they are needed: some seconds of one core, once per machine and version.

The compiled code is kept by numba's disk cache.  `in_background` does it in a process of its own, so that it
costs no time where another core is idle (collecting text, training on one thread).  An empty file beside the compiled
code remembers that all of it is there, so that nobody starts a process to find that out.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from weightless.base.compiled import cache_folder
from weightless.program.companion import own_process
from weightless.program.engine import Engine
from weightless.program.linking import Compiling
from weightless.program.logged_engine import LoggedEngine
from weightless.program.operators.full_head import LogitsFull, LogitsSample, LogitsScore
from weightless.program.operators.lookup import AcceptToken, GatherRow
from weightless.program.program import HEADS, OUTCOME, PROBABILITIES, Program
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


def warm(programs: Mapping[str, Program], logged: bool = False, compiling: Compiling = "helped") -> None:
    """Compile what these programs need, by name, or load it; for the engine that logs too, if it is wanted."""
    for kind in (Engine, LoggedEngine) if logged else (Engine,):
        engine = _started(kind)
        for name, program in programs.items():
            engine.compile_for(program, f"{name}, with a log" if kind is LoggedEngine else name, compiling)


def _started(kind: type[Engine]) -> Engine:
    """An engine whose loop is compiled."""
    small = smallest_program()
    engine = kind(small, np.zeros(small.layout.weight_bytes, dtype=np.uint8), name="the smallest model")
    engine.score_stream(np.zeros(1), np.zeros(1))
    return engine


def in_background(programs: Mapping[str, Program]) -> subprocess.Popen[bytes] | None:
    """A process that warms the cache, or None where none can be had or is needed; `wait()` for it before compiling
    oneself."""
    cold = {name: program.to_plain() for name, program in programs.items() if not mark_of(program).exists()}
    return own_process("warm_as_told", cold) if cold else None


def mark_of(program: Program) -> Path:
    """The file that is there once all was compiled which a program of such operators over such formats needs."""
    formats = {tensor.name: tensor.format for tensor in program.tensors}
    needs = set()
    for op in (*program.body, *(op for head in HEADS for op in program.heads[head])):
        words = " ".join(value for value in vars(op).values() if isinstance(value, str)).split()
        needs.add((type(op).__name__, *sorted({formats[word] for word in words if word in formats})))
    told = json.dumps([sys.version, version("numba"), sorted(needs)])
    return cache_folder() / f"compiled-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def warm_as_told(told: str) -> None:
    """What `in_background` asks of its process: {name: program in its JSON form}."""
    programs = {name: Program.from_plain(values) for name, values in json.loads(told).items()}
    warm(programs, logged=True, compiling="alone")
    for program in programs.values():
        mark_of(program).touch()


def compile_from_the_end(told: str) -> None:
    """What `companion` asks of its process: {"program": its JSON form, "logged": for the engine that logs}."""
    values = json.loads(told)
    small = smallest_program()
    kind = LoggedEngine if values["logged"] else Engine
    engine = kind(small, np.zeros(small.layout.weight_bytes, dtype=np.uint8))
    engine.compile_for(Program.from_plain(values["program"]), "this model", "from the end")
