"""The trace of PyTorch: rules by hand on small tensors, and equality with the formula at every position.

Oracles: bytes worked out on paper beside each case; the decode program's formula; the window-wide model for the nats.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from audit.small_subjects import subject
from contract.cases import TRAINED, bench, first_ones

from weightless.audit.counters.aten_rules import RULES, UnknownOperationError
from weightless.audit.counters.stored_width import touched_bytes
from weightless.audit.counters.torch_trace import Trace
from weightless.audit.counters.trace_agreement import trace_positions
from weightless.base.errors import WeightlessError
from weightless.program.tensor import Tensor
from weightless.quant.layout import row_bytes

OUTSIDER = torch.ones(4)


def declared(**formats: tuple[str, tuple[int, int]]) -> dict[str, Tensor]:
    return {name: Tensor(name, shape, form, name) for name, (form, shape) in formats.items()}


def traced(step, named, formats):
    trace = Trace(named, declared(**formats))
    with torch.no_grad(), trace:
        result = step(trace.operator, **named)
    return trace.finish(result)


@pytest.mark.parametrize("case", first_ones(TRAINED, quick=2))
def test_every_position_and_component_equals_the_formula(case):
    b, model = bench(*case), subject(*case)
    steps = trace_positions(model, range(1, b.config.context + 1))
    assert [step.difference for step in steps] == [""] * b.config.context
    assert set().union(*(step.U for step in steps)) == {t.component for t in b.program.tensors} - {"logits"}
    nats = b.family.Model(b.config).losses(b.rounded(), *b.batch)[0].detach()
    have = torch.stack([step.result for step in steps])
    atol = 3e-2 if b.rounds_recurrence else 1e-3  # the cache is the engine's, rounded as it rounds
    torch.testing.assert_close(have, nats, atol=atol, rtol=1e-3)


@pytest.mark.parametrize("case", TRAINED, ids="-".join)
def test_mode_f_equals_its_formula(case):
    model = subject(*case)
    steps = trace_positions(model, (1, 2, len(model.tokens)), head="full")
    assert [step.difference for step in steps] == ["", "", ""]
    assert all(float(step.result.sum()) == pytest.approx(1, abs=1e-5) for step in steps)


def test_a_product_reads_its_matrix_and_scratch_is_free():
    """w (3, 4) int8: rows of 4 codes + one scale of 2 bytes = 18.  h, made and used inside, costs nothing."""

    def step(operator, w, x):
        with operator("one"):
            h = x * 2
            return F.linear(h, w)

    formats = {"w": ("int8", (3, 4)), "x": ("f32", (1, 4))}
    out = traced(step, {"w": torch.ones(3, 4), "x": torch.ones(4)}, formats)
    assert out.operators[0].named == {"w": (18, 0), "x": (16, 0)}
    assert out.operators[0].passed_in == {} and out.operators[0].passed_on == 12 and out.unique == {"w": 18, "x": 16}


def test_what_crosses_operators_is_written_once_and_read_by_each():
    """y (4 floats) leaves operator 0; operators 1 and 2 read it, 2 only half of it."""

    def step(operator, x):
        with operator("a"):
            y = x + 1
            _unused = x - 1
        with operator("b"):
            z = y * y
        with operator("c"):
            return y[:2] + z[:2]

    out = traced(step, {"x": torch.ones(4)}, {"x": ("f32", (1, 4))})
    assert [op.passed_on for op in out.operators] == [16, 8, 8]
    assert [op.passed_in for op in out.operators] == [{}, {0: 16}, {0: 8, 1: 8}]


def test_rows_columns_and_single_elements():
    """embed row: 2 bytes x 4.  A column slice of a cache: half its rows' bytes.  One id of a u16 table: 2 bytes."""

    def step(operator, table, cache, ids):
        with operator("rows"):
            a = F.embedding(torch.tensor([2, 2, 0]), table).sum(0)
        with operator("columns"):
            b = cache[:3, :2].sum()
        with operator("both halves"):
            c = cache[:3, :2].sum() + cache[:3, 2:].sum()
        with operator("element"):
            d = ids[5] + 1
        with operator("end"):
            return a.sum() + b + c + d

    named = {"table": torch.ones(9, 4), "cache": torch.ones(7, 4), "ids": torch.arange(8)}
    out = traced(step, named, {"table": ("bf16", (9, 4)), "cache": ("f32", (7, 4)), "ids": ("u16", (8, 1))})
    assert [op.named for op in out.operators[:4]] == [
        {"table": (16, 0)},
        {"cache": (24, 0)},
        {"cache": (48, 0)},
        {"ids": (2, 0)},
    ]
    assert out.unique == {"table": 16, "cache": 48, "ids": 2}


def test_writes_to_named_memory_and_reads_of_own_writes():
    """Row 1 of a cache is written (8 bytes); reading rows 0..1 in the same operator costs only row 0."""

    def step(operator, cache):
        with operator("append and read"):
            cache[1] = torch.ones(2)
            y = cache[:2].sum()
        with operator("read"):
            return y + cache[1].sum()

    out = traced(step, {"cache": torch.zeros(4, 2)}, {"cache": ("f32", (4, 2))})
    assert [op.named for op in out.operators] == [{"cache": (8, 8)}, {"cache": (8, 0)}]
    assert out.unique == {"cache": 16}


def test_in_place_operations_across_operators():
    """x is made in a, updated in b, read in c: written twice, read twice."""

    def step(operator, w):
        with operator("a"):
            x = w + 1
        with operator("b"):
            x.add_(1)
        with operator("c"):
            return x * 1

    out = traced(step, {"w": torch.ones(4)}, {"w": ("f32", (1, 4))})
    assert [(op.passed_on, op.passed_in) for op in out.operators] == [(16, {}), (16, {0: 16}), (16, {0: 16})]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda x: torch.fft.fft(x).real, "_fft_r2c"),
        (lambda x: x.cumsum(0), "cumsum"),
        (lambda x: x.flip(0), "flip"),
        (lambda x: x[torch.tensor([True, False, True, False])], "number"),
        (lambda x: x + OUTSIDER, "from outside"),
        (lambda x: x + torch.from_numpy(np.ones((100, 4), np.float32)), "400 numbers enter 'one' from the host"),
    ],
)
def test_what_no_rule_covers_raises_with_its_name(step, message):
    def one(operator, x):
        with operator("one"):
            return step(x)

    with pytest.raises((UnknownOperationError, WeightlessError), match=message):
        traced(one, {"x": torch.ones(4)}, {"x": ("f32", (1, 4))})


def test_work_outside_operators_and_nested_operators_raise():
    with pytest.raises(WeightlessError, match="outside every operator"):
        traced(lambda operator, x: x + 1, {"x": torch.ones(4)}, {"x": ("f32", (1, 4))})

    def nested(operator, x):
        with operator("a"), operator("b"):
            return x + 1

    with pytest.raises(WeightlessError, match="'b' begins inside 'a'"):
        traced(nested, {"x": torch.ones(4)}, {"x": ("f32", (1, 4))})


def test_the_shape_must_be_the_declared_one():
    with pytest.raises(WeightlessError, match="not laid out as declared"):
        Trace({"w": torch.ones(3, 4)}, declared(w=("f32", (3, 5))))
    with pytest.raises(WeightlessError, match="not laid out as declared"):
        Trace({"w": torch.ones(4, 3).T}, declared(w=("f32", (3, 4))))


@pytest.mark.parametrize("form", ["f32", "bf16", "int8", "int4"])
def test_stored_width_of_parts_of_rows(form):
    """Whole rows by `row_bytes`; a part by hand: columns 2..69 of 130 meet groups 0 and 1."""
    mask = np.zeros((3, 130), bool)
    mask[1] = True
    assert touched_bytes(mask, form) == row_bytes(form, 130)
    mask[1] = False
    mask[2, 2:70] = True
    # int4 pairs column i with i + 32: columns 2..63 meet bytes 0..31, columns 64..69 six bytes
    by_hand = {"f32": 68 * 4, "bf16": 68 * 2, "int8": 68 + 2 * 2, "int4": 32 + 6 + 2 * 2}
    assert touched_bytes(mask, form) == by_hand[form]


def test_every_rule_names_an_operation_that_exists():
    for name in RULES:
        _, packet, *overload = name.replace("aten.", "aten/", 1).replace("/", ".", 1).split(".")
        assert hasattr(getattr(torch.ops.aten, packet), overload[0] if overload else "default"), name
