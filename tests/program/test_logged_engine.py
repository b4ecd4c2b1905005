"""The log of compiled code: what is written down, how it is reduced, and that without a log nothing is compiled for it.

Oracles: `cost.step_bytes` (sets of intervals) for the reduction, `quant.layout` for the bytes of a row.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from some_formats import ARITHMETIC

from weightless.base.errors import ConfigError
from weightless.kernels.codes import F32, format_code
from weightless.kernels.numba.memory import N_FIELDS, OF_STATE, READ, WRITE, begin, row_bytes, touch, touch_rows
from weightless.kernels.numba.rows import KERNEL, views
from weightless.program import logged_engine
from weightless.program.cost import Bytes, step_bytes
from weightless.program.log_reduction import Places, accesses_of, reduce_log
from weightless.program.logged_engine import LoggedEngine
from weightless.program.operator import Access
from weightless.program.program import Program
from weightless.program.tensor import Tensor
from weightless.program.warm import smallest_program
from weightless.quant import layout

MEMORY = (
    Tensor("a", (1, 300), "u8", "left"),
    Tensor("s", (1, 190), "u8", "right", "state"),
    Tensor("b", (5, 64), "u8", "left"),
    Tensor("c", (1, 130), "u8", "right"),
    Tensor("t", (1, 64), "u8", "state", "state"),
)
PROGRAM = Program(2, 1, MEMORY, (), {})
SIZES = {tensor.name: tensor.nbytes for tensor in MEMORY}


def an_access(name: str) -> st.SearchStrategy[Access]:
    """Some bytes of a tensor; only state is written."""
    size, may_write = SIZES[name], name in ("s", "t")
    return st.integers(0, size - 1).flatmap(
        lambda first: st.builds(
            Access,
            st.just(name),
            st.just(first),
            st.integers(1, size - first),
            st.booleans() if may_write else st.just(False),
        )
    )


OPERATOR = st.lists(st.sampled_from(sorted(SIZES)).flatmap(an_access), max_size=12)


@njit(**KERNEL)
def write_down(memory, number, first, n_bytes, kind):
    begin(memory, number)
    touch(memory, first, n_bytes, kind)


@njit(**KERNEL)
def write_down_rows(memory, at, stride, n_rows, cols, form):
    touch_rows(memory, at, stride, n_rows, cols, form, READ)


def memories(log: np.ndarray) -> tuple[tuple, tuple]:
    """(weights, state) with a log behind them."""
    weights, state = np.zeros(1024, np.uint8), np.zeros(512, np.uint8)
    return (*views(weights), log), (*views(state), state.view(np.uint32), log)


def logged(steps: list[list[list[Access]]]) -> np.ndarray:
    """What compiled operators would have written; as many operators in each step."""
    log = np.zeros((512, N_FIELDS), np.int64)
    weights, state = memories(log)
    for number, accesses in enumerate(accesses for step in steps for accesses in step):
        for name, first, n_bytes, write in accesses:
            place = PROGRAM.layout.places[name]
            memory = state if place.tensor.kind == "state" else weights
            write_down(memory, number, place.offset + first, n_bytes, WRITE if write else READ)
    return log


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.lists(OPERATOR, min_size=3, max_size=3), min_size=1, max_size=3))
def test_the_reduction_is_the_definition(steps):
    places = Places.of(PROGRAM)
    counts = np.zeros((len(steps), len(places.components), 3), np.int64)
    scratch = np.zeros((600, 4), np.int64), np.zeros(600, np.int64), np.zeros(600, np.int64)
    log = logged(steps)
    assert reduce_log(log, 3, places.state_at, places.starts, places.component_of, *scratch, counts) == -1
    for step, counted in zip(steps, counts.tolist(), strict=True):
        have = {name: Bytes(*c) for name, c in zip(places.components, counted, strict=True) if any(c)}
        assert have == step_bytes(PROGRAM, step)
    again = accesses_of(log, places, 3 * len(steps))
    assert [step_bytes(PROGRAM, [a]) for a in again] == [step_bytes(PROGRAM, [a]) for step in steps for a in step]


def test_too_little_scratch_is_told_and_not_overrun():
    places, log = Places.of(PROGRAM), logged([[[Access("a", i, 1, False) for i in range(0, 60, 2)]]])
    counts = np.zeros((1, len(places.components), 3), np.int64)
    scratch = np.zeros((20, 4), np.int64), np.zeros(20, np.int64), np.zeros(20, np.int64)
    assert reduce_log(log, 1, places.state_at, places.starts, places.component_of, *scratch, counts) == 0


def test_neighbours_become_one_record_and_no_others():
    log = np.zeros((8, N_FIELDS), np.int64)
    weights, state = memories(log)
    for memory, number, first, n, kind in [
        (weights, 0, 0, 4, READ),
        (weights, 0, 4, 4, READ),
        (weights, 0, 12, 4, READ),
        (state, 0, 16, 4, READ),
        (state, 0, 20, 4, WRITE),
        (state, 1, 24, 4, WRITE),
        (state, 1, 28, 4, WRITE),
    ]:
        write_down(memory, number, first, n, kind)
    assert log[1 : 1 + log[0, 0]].tolist() == [
        [0, READ, 0, 8],
        [0, READ, 12, 16],
        [0, READ + OF_STATE, 16, 20],
        [0, WRITE + OF_STATE, 20, 24],
        [1, WRITE + OF_STATE, 24, 32],
    ]


def test_a_full_log_counts_what_it_lost_and_writes_no_further():
    room = np.full((5, N_FIELDS), -7, np.int64)
    log = room[:3]
    log[0] = 0
    weights, _ = memories(log)
    for i in range(5):
        write_down(weights, i, 100 * i, 4, READ)
    assert log[0].tolist()[:3] == [2, 4, 3] and (room[3:] == -7).all()


def test_without_a_log_nothing_is_compiled():
    """The plain memory's code holds no store and no call but numba's own wrapper; with a log it holds both."""
    plain = views(np.zeros(64, np.uint8))
    write_down_twin = njit(**{**KERNEL, "cache": False})(write_down.py_func)
    write_down_twin(plain, 0, 0, 4, READ)
    write_down_twin(memories(np.zeros((8, N_FIELDS), np.int64))[0], 0, 0, 4, READ)
    stores = [
        sum(" store i64" in line and "!tbaa" not in line for line in text.splitlines())
        for text in write_down_twin.inspect_llvm().values()
    ]
    assert stores[0] == 0 < stores[1], stores


@pytest.mark.parametrize("fmt", ARITHMETIC)
@pytest.mark.parametrize("cols", [2, 6, 30, 62, 64, 66, 130, 254, 1022])
def test_bytes_of_a_row(fmt, cols):
    for width in (cols, cols + 1) if fmt != "int4" else (cols,):
        assert row_bytes(width, format_code(fmt)) == layout.row_bytes(fmt, width)


def test_rows_with_padding_between_them_are_named_one_by_one():
    log = np.zeros((8, N_FIELDS), np.int64)
    write_down_rows(memories(log)[0], 64, 64, 3, 10, F32)
    assert log[1 : 1 + log[0, 0], 2:].tolist() == [[64, 104], [128, 168], [192, 232]]


def test_a_step_beyond_every_log_is_refused(monkeypatch):
    monkeypatch.setattr(logged_engine, "FIRST_RECORDS", 2)
    monkeypatch.setattr(logged_engine, "MAX_RECORDS", 2)
    program = smallest_program()
    engine = LoggedEngine(program, np.zeros(program.layout.weight_bytes, np.uint8))
    with pytest.raises(ConfigError, match="more than 2 stretches of memory"):
        engine.feed(1)
