"""A body with exits over many rows: every row goes through every layer, and where it has exited its stream stays.

What a layer leaves in memory for a row whose stream stays is what it leaves when it is passed over: that is the meaning
of it (`layers.layer.through`).  So keys and values lie in the caches in the order of the rows, whichever of them exit,
and a row that goes on finds those of every earlier one.  The work of rows that have exited is done in vain: batching is
about seconds, not about bytes.

A program from a file may let anything run where a token exits; `is_foreseen` says whether it is what the layers leave.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from weightless.program.batch import Batch
from weightless.program.flow import BIT, EXITED
from weightless.program.program import Program

WHOLE = {"first": 0, "count": 0, "queries": True, "answers": True}
"""Fields by which an operator does a part of its work, and what they are where it does all of it."""


def run_body(program: Program, rows: Batch) -> None:
    """Every operator of the body but those that run instead of others."""
    flow, at = program.flow, 0
    inside: list[tuple[int, int, str, np.ndarray]] = []
    while at < len(program.body):
        op = program.body[at]
        before = {stream: rows.values[stream] for _, _, stream, _ in inside}
        op.batch(rows)
        for _, _, stream, exited_N in inside:
            rows.values[stream] = np.where(exited_N[:, None], before[stream], rows.values[stream])
        if flow.route[at, BIT]:
            inside.append((int(flow.route[at, EXITED]), flow.ends[flow.tests.index(at)], op.x, rows.exits_N))
        at += 1
        while inside and at == inside[-1][0]:
            at = inside.pop()[1]


def is_foreseen(program: Program) -> bool:
    """Whether what runs where a token exits are parts of what runs otherwise, and leave all that this leaves."""
    for at, end in zip(program.flow.tests, program.flow.ends, strict=True):
        middle = int(program.flow.route[at, EXITED])
        full, lite = program.body[at + 1 : middle], program.body[middle:end]
        if not {_whole(op) for op in lite} <= {_whole(op) for op in full}:
            return False
        if _left(full) != _left(lite):
            return False
    return True


def _whole(op: Any) -> Any:
    fields = {f.name for f in dataclasses.fields(op)}
    return dataclasses.replace(op, **{name: value for name, value in WHOLE.items() if name in fields})


def _left(ops: tuple[Any, ...]) -> set[str]:
    return {name for op in ops for name in op.kept()}
