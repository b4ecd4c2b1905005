"""How much memory a program may ask for: in proportion to its file, and to its context, which is bounded.

Oracle: the arithmetic in the comments.
"""

from __future__ import annotations

import copy
import dataclasses
import resource

import pytest
from contract.cases import ALL, bench

from weightless.base.errors import CorruptFileError
from weightless.program.engine import Engine
from weightless.program.operator import REGISTRY, Operator, need, operator
from weightless.program.program import MAX_CONTEXT, MAX_STATE_BYTES, SMALL_STATE, Program
from weightless.program.tensor import Tensor


def resized(program: Program, context: int) -> Program:
    """The same program for another context: its caches and its history grow with it."""
    tensors = []
    for t in program.tensors:
        rows, cols = (context if size == program.context and t.kind == "state" else size for size in t.shape)
        tensors.append(dataclasses.replace(t, shape=(rows, cols)))
    return dataclasses.replace(program, context=context, tensors=tuple(tensors))


@pytest.mark.parametrize("case", ALL, ids="-".join)
def test_every_family_keeps_within_the_rule(case):
    program = bench(*case).program
    assert program.validate() is program


def test_a_context_beyond_the_limit_is_refused():
    program = bench("ngram", "order_3").program
    assert resized(program, MAX_CONTEXT).validate().context == MAX_CONTEXT
    with pytest.raises(CorruptFileError, match="context"):
        resized(program, MAX_CONTEXT + 1).validate()


def test_more_state_than_the_limit_is_refused_with_a_remedy():
    """3 layers of 36 float32 keys and values are 432 bytes per position; 20 more of them pass the limit at 2^20."""
    program = bench("dense", "untied_mqa_relu2_bf16").program
    wide = dataclasses.replace(
        program,
        tensors=tuple(
            dataclasses.replace(t, format="f32") if t.component == "kv cache" else t for t in program.tensors
        ),
    )
    layers = [t for t in wide.tensors if t.component == "kv cache"]
    assert MAX_CONTEXT * sum(t.row_bytes for t in layers) < MAX_STATE_BYTES
    many = tuple(Tensor(f"more.{i}", layers[0].shape, "f32", "kv cache", "state") for i in range(20))
    with pytest.raises(CorruptFileError, match="shorter context"):
        resized(dataclasses.replace(wide, tensors=(*wide.tensors, *many)), MAX_CONTEXT).validate()


HUGE = [("kv.0", [2**20, 80]), ("x", [1, 2**30]), ("history", [1, 2**29]), ("extra", [1, 2**28]), ("extra", [65, 7])]


@pytest.mark.parametrize(("name", "shape"), HUGE)
def test_a_small_file_cannot_ask_for_a_large_memory(name, shape):
    plain = copy.deepcopy(bench("dense", "tied_mha_swiglu_f32").program.to_plain())
    entries = {entry["name"]: entry for entry in plain["tensors"]}
    if name not in entries:
        plain["tensors"].append({**entries["x"], "name": name, "shape": shape})
    else:
        entries[name]["shape"] = shape
    with pytest.raises(CorruptFileError):
        Program.from_plain(plain)


@pytest.fixture
def recurrent(monkeypatch):
    """An operator that owns a state of as many rows as it says."""
    monkeypatch.setattr("weightless.program.operator.REGISTRY", dict(REGISTRY))

    @operator("recur")
    class Recur(Operator):
        state: str
        rows: int

        def check(self, bounds):
            need(bounds.tensors[self.state].shape[0] == self.rows, self, "another number of rows")

        def state_rows(self, bounds):
            return {self.state: self.rows}

    return Recur


def with_memory(program, kind, rows, cols, said):
    state = Tensor("memory", (rows, cols), "f32", "state", "state")
    return dataclasses.replace(program, tensors=(*program.tensors, state), body=(*program.body, kind("memory", said)))


@pytest.mark.parametrize(("rows", "said", "fits"), [(65, 65, True), (128, 128, True), (128, 64, False)])
def test_an_operator_may_own_a_state_of_more_rows_than_positions(recurrent, rows, said, fits):
    """The context is 23: without the operator's word 64 rows are the most (HUGE has 65)."""
    program = bench("dense", "tied_mha_swiglu_f32").program
    grown = with_memory(program, recurrent, rows, 40, said)
    if fits:
        assert grown.validate() is grown
    else:
        with pytest.raises(CorruptFileError, match="'memory' has shape"):
            grown.validate()


def test_a_state_that_its_operator_makes_larger_than_all_weights_is_refused(recurrent):
    """Whatever an operator says, a small file cannot ask for a large memory: a million numbers at most, or as many as
    it holds itself."""
    program = bench("dense", "tied_mha_swiglu_f32").program
    n_stored = sum(rows * cols for rows, cols in (tensor.shape for tensor in program.stored()))
    most = max(n_stored, SMALL_STATE) // 64
    for rows, fits in ((most, True), (most + 1, False)):
        grown = with_memory(program, recurrent, rows, 64, rows)
        if fits:
            grown.validate()
        else:
            with pytest.raises(CorruptFileError, match="'memory' has shape"):
                grown.validate()


def test_memory_is_taken_when_it_is_used():
    """A context of a million positions costs address space until something is written there.

    216 MB of it: more than the C library would ever take from memory that was used before.
    """
    small, weights = bench("dense", "untied_mqa_relu2_bf16").program, bench("dense", "untied_mqa_relu2_bf16").weights
    Engine(small, weights).feed(1)  # loads the compiled code
    program = resized(small, MAX_CONTEXT).validate()
    assert program.layout.state_bytes > 200e6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Engine(program, weights).feed(1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
