"""Lies about a memory, told on purpose: each is noticed by the counters named (as in test_variant_mutants.py)."""

from __future__ import annotations

import numpy as np
import pytest
from audit.small_subjects import subject
from audit.test_mutants import change_formula, disagreeing
from audit.test_variant_mutants import COMPILED, ELSEWHERE, READABLE
from contract.cases import first_ones, of

from weightless.audit.counters.verify import SKIPPED, verify
from weightless.layers.functions import memory as torch_memory
from weightless.layers.memory import Memory
from weightless.ops import memory as slow_memory
from weightless.program.arena import Arena
from weightless.program.operators.memory import promise as memory

VALUES = ("memory", "values_of_two_heads")
SIGMOID = ("memory", "one_value_by_sigmoid_untied_bf16")
NEURONS = ("memory", "silu_neurons_int4")


@pytest.mark.parametrize("case", first_ones(of("memory"), quick=1))
def test_all_counters_agree_on_every_memory(case):
    found = verify(subject(*case), trials=60)
    assert found.ok, found.raise_if_wrong()
    assert {counter.name for counter in found.counters if counter.verdict == SKIPPED} <= {"pages"}
    assert found.poison is not None and found.poison.complete


@pytest.mark.parametrize("case", [VALUES, NEURONS], ids="-".join)
def test_a_slot_that_is_read_but_not_charged(monkeypatch, case):
    def one_less(found, op, *_):
        rows = [a for a in found if a.tensor == op.down]
        return [a for a in found if a != rows[-1]]

    change_formula(monkeypatch, memory.AddSlots, one_less)
    assert disagreeing(case, "add_slots") == {"engine log", "torch trace"}


def test_the_row_into_a_neuron_that_is_not_charged(monkeypatch):
    change_formula(monkeypatch, memory.AddSlots, lambda found, op, *_: [a for a in found if a.tensor != op.up])
    assert disagreeing(NEURONS, "add_slots") == {"engine log", "torch trace"}


def test_all_slots_charged_although_few_are_read(monkeypatch):
    def all_of_them(found, op, tensors, t):
        return [*found, memory.Access(op.down, 0, tensors[op.down].nbytes, False)]

    change_formula(monkeypatch, memory.AddSlots, all_of_them)
    assert disagreeing(VALUES, "add_slots") == {"engine log", "torch trace"}


def test_keys_of_one_half_that_are_not_charged(monkeypatch):
    def one_half(found, op, *_):
        return [a._replace(n_bytes=a.n_bytes // 2) if a.tensor == op.keys else a for a in found]

    change_formula(monkeypatch, memory.ChooseSlots, one_half)
    assert disagreeing(VALUES, "choose_slots") == {"engine log", "torch trace"}


def test_a_query_that_is_not_charged(monkeypatch):
    change_formula(monkeypatch, memory.ChooseSlots, lambda found, op, *_: [a for a in found if a.tensor != op.query])
    assert disagreeing(VALUES, "choose_slots") == {"engine log", "torch trace"}


def test_the_row_of_another_slot(monkeypatch):
    """The readable engine takes the row behind the one chosen: as many bytes, elsewhere."""
    honest = Arena.row

    def row(self, name, i=0):
        return honest(self, name, (i + 1) % self.tensor(name).shape[0] if name == "block.1.slots" else i)

    monkeypatch.setattr(Arena, "row", row)
    assert disagreeing(VALUES) == READABLE | ELSEWHERE


def test_the_compiled_row_of_another_slot(monkeypatch):
    honest = memory.AddSlots.lower

    def lower(self, places):
        down = places[self.down]
        return honest(self, {**places, self.down: down._replace(offset=down.offset - down.tensor.row_stride)})

    monkeypatch.setattr(memory.AddSlots, "lower", lower)
    assert disagreeing(NEURONS) == COMPILED | ELSEWHERE


def test_heads_that_share_their_slots_in_training(monkeypatch):
    """The second head takes rows of the first: other nats, and fewer rows where both choose the same."""
    honest = Memory._chosen

    def chosen(self, p, h_ND):
        rows_NK, gates_NK = honest(self, p, h_ND)
        return rows_NK % self.n_side**2, gates_NK

    monkeypatch.setattr(Memory, "_chosen", chosen)
    assert disagreeing(VALUES) == {"torch trace"}


def test_gates_over_all_slots(monkeypatch):
    """Softmax over the 49 slots of a head instead of the 3 chosen ones."""
    honest = slow_memory.best_slots

    def best_slots(s_2N, k):
        slots, sums = honest(s_2N, k)
        every = (s_2N[..., 0, :, None] + s_2N[..., 1, None, :]).reshape(*s_2N.shape[:-2], -1)
        outside = np.sort(every, axis=-1)[..., :-k]
        return slots, np.concatenate([sums, outside], axis=-1)

    gates = slow_memory.slot_gates
    monkeypatch.setattr(memory, "best_slots", best_slots)
    monkeypatch.setattr(memory, "slot_gates", lambda sums, gating: gates(sums, gating)[..., :3])
    assert disagreeing(VALUES, "nats") == READABLE


def test_a_gate_that_is_a_softmax_in_training(monkeypatch):
    honest = torch_memory.choose_slots
    monkeypatch.setattr(torch_memory, "choose_slots", lambda scores, k, gating: honest(scores, k, "softmax"))
    assert disagreeing(SIGMOID, "nats") == {"torch trace"}


def test_a_query_norm_with_another_epsilon_in_training(monkeypatch):
    monkeypatch.setattr("weightless.layers.memory.QK_EPS", 1.0)
    assert disagreeing(VALUES, "nats") == {"torch trace"}


def test_the_best_half_keys_only(monkeypatch):
    """The first half's k best, each with the second half's best: cheap, and not the k best slots."""

    def choose_slots(scores_NHSR, k, gating):
        R = scores_NHSR.shape[-1]
        s = scores_NHSR.sort(dim=-1, descending=True)
        slots = s.indices[:, :, 0, :k] * R + s.indices[:, :, 1, :1]
        return slots, (s.values[:, :, 0, :k] + s.values[:, :, 1, :1]).softmax(-1)

    monkeypatch.setattr(torch_memory, "choose_slots", choose_slots)
    assert disagreeing(VALUES, "nats") == {"torch trace"}
