"""From accesses to bytes, by hand; and the published reference points, recomputed from the programs.

Oracles: sums worked out on paper in the comments, and the figures of docs/bytes.md.
"""

from __future__ import annotations

import dataclasses
import random

import pytest
from contract.cases import TRAINED, bench
from hypothesis import given
from hypothesis import strategies as st

from weightless.models import dense
from weightless.program.cost import (
    Bytes,
    Spread,
    Touched,
    flops,
    formula,
    is_exact,
    merged,
    step_bytes,
    touched_by_formula,
)
from weightless.program.operator import Access
from weightless.program.program import Program
from weightless.program.tensor import Tensor

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda x: (x[0], x[0] + x[1])), max_size=12)


@given(SPANS)
def test_merged_covers_the_same_addresses_once(spans):
    out = merged(spans)
    covered = [address for first, end in out for address in range(first, end)]
    assert covered == sorted({address for first, end in spans for address in range(first, end)})
    assert all(first < end for first, end in out)
    assert all(here[1] < following[0] for here, following in zip(out, out[1:], strict=False))


def test_merged_joins_neighbours_and_drops_nothing():
    assert merged([(8, 12), (0, 4), (4, 6), (10, 20), (30, 30)]) == [(0, 6), (8, 20)]


def two_tensors() -> Program:
    memory = (Tensor("w", (4, 100), "u8", "weights"), Tensor("s", (1, 50), "f32", "state", "state"))
    return Program(2, 1, memory, (), {})


def test_traffic_unique_and_lines_by_hand():
    """Operator 1 reads w[0:100] twice and w[90:130], writes s[0:8].  Operator 2 reads s[0:8], w[0:10], writes s[0:8].

    w: T = 130 + 10, U = 130, lines 0..2 and 0: 3 + 1.    s: T = 8 + (8 + 8), U = 8, lines 1 + 1 (both share it).
    """
    one = [Access("w", 0, 100, False), Access("w", 0, 100, False), Access("w", 90, 40, False), Access("s", 0, 8, True)]
    two = [Access("s", 0, 8, False), Access("w", 0, 10, False), Access("s", 0, 8, True)]
    assert step_bytes(two_tensors(), [one, two]) == {"weights": Bytes(140, 130, 64 * 4), "state": Bytes(24, 8, 64 * 2)}


def test_a_row_across_two_lines_costs_two_lines():
    assert step_bytes(two_tensors(), [[Access("w", 60, 8, False)]]) == {"weights": Bytes(8, 8, 128)}
    assert step_bytes(two_tensors(), [[Access("w", 64, 64, False)]]) == {"weights": Bytes(64, 64, 64)}


def test_spread_and_means_by_hand():
    steps = [{"a": Bytes(1, 1, 64), "b": Bytes(2, 2, 64)}, {"a": Bytes(5, 4, 128)}]
    touched = Touched.of(steps)
    assert (touched.T.mean, touched.T.max, touched.U.mean, touched.T64.max) == (4, 5, 3.5, 128)
    assert touched.components == {"a": (3, 2.5, 96), "b": (1, 1, 32)} and touched.n_steps == 2
    assert Spread.of(range(101)) == Spread(50, 50, 99, 100)


def test_the_example_of_the_definition():
    """d_model 128, 2 layers, V 50,257, bf16: 14.33 MB, of which 89.8 % are rows of the head."""
    config = dense.Config(vocab_size=50_257, d_model=128, n_layers=2)
    touched = touched_by_formula(dense.FAMILY.decode_program(config))
    assert touched.T.mean == pytest.approx(14.3e6, abs=0.05e6)
    head = 50_257 * 128 * 2 + 4 * 128  # the tied matrix and its norm
    assert touched.components["head"][1] == head
    share = touched.components["head"][0] / touched.T.mean
    assert share == pytest.approx(0.9, abs=0.005)
    assert touched.components["logits"][0] == 2 * 4 * 50_257


def test_the_public_starter_by_its_own_convention():
    """95.2 M parameters; 203.1 MB: every weight once, 512 positions of keys and values read, one position written.

    Its convention has no activations and no logits; a position is 2 x 768 x 2 bytes in each of 8 layers, 512 of them
    are 12.58 MB.
    """
    config = dense.Config(50_257, 768, 8, n_heads=8, d_ff=2048, context=512)
    program = dense.FAMILY.decode_program(config)
    n_parameters = sum(t.shape[0] * t.shape[1] for t in program.stored())
    assert n_parameters == pytest.approx(95.2e6, abs=0.05e6)
    parts = formula(program, 512)
    assert parts["kv cache"].T == 2 * 768 * 2 * 8 * (512 + 1)
    rows = 2 * config.d_model  # the embedding row that the tied head reads once more
    weights = sum(parts[name].T for name in ("head", "attention", "feed-forward")) - rows
    norms_in_bf16 = 2 * config.d_model * (2 * config.n_layers + 1)
    assert weights - norms_in_bf16 + parts["kv cache"].T == pytest.approx(203.1e6, abs=0.05e6)
    stored = sum(t.nbytes for t in program.stored())
    assert stored == weights, "a dense model reads every weight exactly once per token"


def test_the_cache_is_read_position_by_position():
    """Sum over positions of KV reads = 2 d_kv b L T (T + 1) / 2, not T times the last; writes are 2 d_kv b L each."""
    for kv_format, b in (("f32", 4), ("bf16", 2)):
        config = dense.Config(301, 72, 3, n_heads=4, n_kv_heads=2, context=65, kv_format=kv_format)
        row, T = 2 * 36 * b * 3, 65
        steps = [formula(dense.FAMILY.decode_program(config), t)["kv cache"] for t in range(1, T + 1)]
        assert sum(step.T for step in steps) == row * T * (T + 1) // 2 + row * T
        assert [step.U for step in steps] == [row * t for t in range(1, T + 1)]


def test_int8_rows_bring_their_scales():
    """Row of 36 int8 = 36 codes + 1 scale of 2 bytes; of 130: 130 codes + 3 scales."""
    for d_kv, row in ((18, 36 + 2), (65 * 2, 260 + 2 * 5)):
        config = dense.Config(301, d_kv, 1, n_heads=1, context=9, kv_format="int8")
        assert formula(dense.FAMILY.decode_program(config), 9)["kv cache"].T == row * (9 + 1)


@pytest.mark.parametrize("model", TRAINED, ids="-".join)
def test_doubling_one_tensor_moves_one_component(model):
    """Counting a weight with twice its rows changes its own line of the ledger, and no other."""
    program = bench(*model).program
    before = formula(program, 5)
    for tensor in program.stored():
        twice = dataclasses.replace(tensor, shape=(2 * tensor.shape[0], tensor.shape[1]))
        memory = tuple(twice if t is tensor else t for t in program.tensors)
        after = formula(dataclasses.replace(program, tensors=memory), 5)
        moved = {name for name in before if after[name] != before[name]}
        read_whole = ("router", "exit tests")  # the bias of the one, the threshold of the others
        searched = tensor.kind == "constant" and tensor.component not in read_whole
        looked_up = tensor.by_row or searched or tensor.name in ("words", "groups")
        assert moved == (set() if looked_up else {tensor.component}), tensor.name


def test_flops_by_hand():
    """Order of the terms: qkv, out, attention scores and sums at the mean position, up and down, head."""
    config = dense.Config(301, 40, 2, n_heads=2, d_ff=45, context=23)
    block = 2 * 40 * 120 + 2 * 40 * 40 + 4 * 40 * 12 + 2 * 40 * 90 + 2 * 40 * 45
    assert flops(dense.FAMILY.decode_program(config)) == 2 * block + 2 * 301 * 40


def test_what_is_exact():
    assert is_exact(bench("feather", "as_it_comes").program) and not is_exact(bench("ngram", "order_1").program)


def test_traffic_is_at_least_what_is_unique():
    for name, case in random.Random(0).sample(TRAINED, 4):
        program = bench(name, case).program
        for t in (1, program.context):
            for head in ("score", "sample", "full"):
                for part in formula(program, t, head).values():
                    assert part.T >= part.U > 0 and part.T64 >= part.T / 2 and part.T64 % 64 == 0
