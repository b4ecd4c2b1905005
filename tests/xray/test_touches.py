"""Stretches told as runs: nothing is lost, and what an operator touched is what `cost.step_bytes` counts.

Oracles: the intervals themselves (`unrolled` is checked against a walk over every byte), and `cost.step_bytes`.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.program.cost import merged, step_bytes
from weightless.program.operator import Access
from weightless.program.program import Program
from weightless.program.tensor import Tensor
from weightless.xray.touches import Touches, runs, unrolled

MEMORY = (Tensor("a", (5, 63), "u8", "left", by_row=True), Tensor("b", (1, 1023), "u8", "right", "state"))
PROGRAM = Program(2, 1, MEMORY, (), {})
SPANS = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 40)), max_size=30)


def bytes_of(spans) -> set[int]:
    return {i for first, end in spans for i in range(first, end)}


@given(SPANS)
@settings(max_examples=200, deadline=None)
def test_runs_name_the_same_bytes(pairs):
    spans = merged([(first, first + n) for first, n in pairs])
    assert bytes_of(unrolled(runs(spans))) == bytes_of(spans) and len(runs(spans)) <= len(spans)


def test_equal_rows_at_equal_distances_are_one_run():
    spans = [(64 * i, 64 * i + 63) for i in range(4096)]
    assert runs(spans) == [[0, 63, 4096, 64]] and unrolled(runs(spans)) == spans
    assert runs([(3, 5)]) == [[3, 2]] and runs([]) == []


@given(SPANS, st.lists(st.booleans(), min_size=30, max_size=30))
@settings(max_examples=100, deadline=None)
def test_an_operator_has_the_bytes_and_lines_of_the_ledger(pairs, writes):
    accesses = [Access("b", first, n, write) for (first, n), write in zip(pairs, writes)]
    accesses += [Access("a", 64 * (first % 5), 63, False) for first, _ in pairs]
    found = Touches([tensor.name for tensor in MEMORY])
    assert found.number_of(0, accesses) == found.number_of(0, list(accesses)) == 0
    assert found.number_of(1, accesses) == 1
    counted = step_bytes(PROGRAM, [accesses])
    for part in found.found[0]["tensors"]:
        want = counted[MEMORY[part["tensor"]].component]
        assert (part["read"] + part["written"], 64 * part["lines"]) == (want.T, want.T64)
        assert part["read"] == len(bytes_of(unrolled(part["reads"])))
        assert part["written"] == len(bytes_of(unrolled(part["writes"])))
