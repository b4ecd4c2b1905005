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
from weightless.program.program import MAX_CONTEXT, MAX_STATE_BYTES, Program
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
        program, tensors=tuple(dataclasses.replace(t, format="f32") if t.component == "kv cache" else t
                               for t in program.tensors))  # fmt: skip
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


def test_memory_is_taken_when_it_is_used():
    """A context of a million positions costs address space until something is written there."""
    small, weights = bench("ngram", "order_3").program, bench("ngram", "order_3").weights
    Engine(small, weights).feed(1)  # loads the compiled code
    program = resized(small, MAX_CONTEXT).validate()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Engine(program, weights).feed(1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3_000  # kB; all of it would be 4,096
