"""Reducing step after step, only where something changed, against reducing every step from nothing.

Oracle: the definition written out with sets of addresses (docs/bytes.md), which forgets everything between steps.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weightless.models import dense, feather
from weightless.program.cost import Bytes, Reducer, formula
from weightless.program.operator import Access
from weightless.program.program import Program
from weightless.program.tensor import Tensor

NAMES = ("a", "b", "c")
MEMORY = (
    Tensor("a", (1, 300), "u8", "left"),
    Tensor("b", (1, 300), "u8", "left"),
    Tensor("c", (1, 300), "u8", "right"),
)
ACCESS = st.builds(Access, st.sampled_from(NAMES), st.integers(0, 200), st.integers(1, 99), st.booleans())
OPERATOR = st.lists(ACCESS, max_size=4)


def from_nothing(step: list[list[Access]]) -> dict[str, Bytes]:
    """{component: Bytes} by counting addresses one by one."""
    component_of = {tensor.name: tensor.component for tensor in MEMORY}
    out = {}
    for component in dict.fromkeys(component_of[access.tensor] for accesses in step for access in accesses):
        names = [name for name in NAMES if component_of[name] == component]
        touched = [
            {(n, w, at) for n, first, size, w in accesses if n in names for at in range(first, first + size)}
            for accesses in step
        ]
        T = sum(map(len, touched))
        U = len({(n, at) for addresses in touched for n, _, at in addresses})
        lines = sum(len({(n, at // 64) for n, _, at in addresses}) for addresses in touched)
        out[component] = Bytes(T, U, 64 * lines)
    return out


@given(st.lists(OPERATOR, min_size=4, max_size=4), st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=5))
def test_every_step_equals_one_reduced_from_nothing(pool, orders):
    """Steps of up to three operators drawn from a pool of four, so that most are as they were the step before."""
    reducer = Reducer(Program(2, 1, MEMORY, (), {}))
    for order in orders:
        step = [pool[i] for i in order]
        assert reducer.step(step) == from_nothing(step)


def test_programs_over_all_positions():
    for program in (
        dense.FAMILY.decode_program(dense.Config(97, 24, 2, n_heads=2, n_kv_heads=1, context=17, kv_format="int8")),
        feather.FAMILY.decode_program(feather.Config(97, 24, 2, 2, 1, 8, 16, context=17, rows_2=31, rows_3=33)),
    ):
        reducer = Reducer(program)
        for t in range(1, 18):
            step = [op.accesses(program.by_name, t) for op in program.operators("score")]
            assert reducer.step(step) == formula(program, t)
