"""Lies about count mixing, told on purpose: each is noticed, as in test_cache_mutants.py."""

from __future__ import annotations

import numpy as np
import pytest
from audit.small_subjects import subject
from audit.test_mutants import change_formula, disagreeing
from contract.cases import bench
from contract.references import reference_nats

from weightless.audit.counters.verify import verify
from weightless.ops import count_mixing
from weightless.program.operators.countmix import promise, reading, window
from weightless.program.operators.countmix.promise import CountmixScore
from weightless.program.operators.countmix.reading import Memory, Reader
from weightless.program.operators.countmix.window import CountmixWindow

ALL = ("countmix", "all")


def without(tensor: str):
    """A formula that leaves what it touches of a tensor out."""
    return lambda found, op, *_: [access for access in found if access.tensor != getattr(op, tensor)]


def readable_differs(monkeypatch, said: str = "readable engine scores") -> None:
    """The readable engine lies, and the compiled one does not."""
    assert "compiled engine" in disagreeing(ALL, said)


def nats_of(engine, b) -> np.ndarray:
    engine.reset()
    return engine.score_stream(b.tokens, b.targets)


@pytest.mark.parametrize("case", ["all", "one_of_each", "window_alone", "no_window"])
def test_without_a_fault_all_counters_agree(case):
    found = verify(subject("countmix", case), trials=80)
    assert found.ok, found.counters


@pytest.mark.parametrize("tensor", ["history", "pairs", "records"])
def test_a_window_that_is_not_charged(tensor, monkeypatch):
    change_formula(monkeypatch, CountmixWindow, without(tensor))
    assert {"engine log"} <= disagreeing(ALL, "countmix_window")


@pytest.mark.parametrize("tensor", ["nodes", "pairs", "list_map", "mix_last", "tree", "history", "outcome"])
def test_a_walk_that_is_not_charged(tensor, monkeypatch):
    change_formula(monkeypatch, CountmixScore, without(tensor))
    assert {"engine log"} <= disagreeing(ALL, "countmix_score")


def test_clearing_that_is_not_charged(monkeypatch):
    """Formula and readable engine agree that clearing is free; the compiled engine's registers and log deny it."""
    honest = CountmixWindow.run

    def run(self, arena):
        data, n = honest(self, arena), arena.tensor(self.pairs).nbytes
        if arena.registers.t > 1:
            return data
        arena.log = [entry for entry in arena.log if not (entry[1].tensor == self.pairs and entry[1].n_bytes == n)]
        return data[0], data[1] - n, data[2]

    monkeypatch.setattr(CountmixWindow, "run", run)
    assert {"compiled engine", "compiled log"} & disagreeing(ALL)


@pytest.mark.slow
def test_a_slot_that_is_read_before_its_check(monkeypatch):
    """Believe the first slot of a line without asking whose it is."""
    honest = Reader._slot

    def slot(self, c, node, group):
        found = honest(self, c, node, group)
        lines = reading.regions(self.op.node_line_numbers)[c * reading.N_GROUPS + group]
        return found if found >= 0 or lines[1] == 0 else 64 * int(lines[0])

    monkeypatch.setattr(Reader, "_slot", slot)
    readable_differs(monkeypatch)


def test_weights_of_another_node(monkeypatch):
    honest = Reader._weight

    def weight(self, name, depth, at, k, sure):
        return honest(self, name, depth, at - 64 if name == "node" and at >= 128 else at, k, sure)

    monkeypatch.setattr(Reader, "_weight", weight)
    readable_differs(monkeypatch)


@pytest.mark.slow
def test_a_path_in_the_other_order(monkeypatch):
    """Places of a slot numbered from the right."""
    honest = Reader._dense

    def dense(self, c, node, depth, place):
        level = place.bit_length() - 1
        return honest(self, c, node, depth, (1 << level) + (2 << level) - 1 - place)

    monkeypatch.setattr(Reader, "_dense", dense)
    readable_differs(monkeypatch)


def test_a_window_that_sees_the_target(monkeypatch):
    honest = Reader._pair

    def pair(self, at):
        if self.memory.arena.registers.target in range(0, 301, 2):
            return 512, 5
        return honest(self, at)

    monkeypatch.setattr(Reader, "_pair", pair)
    readable_differs(monkeypatch)


def test_a_window_that_is_not_reset(monkeypatch):
    """Pairs that the window before has left."""
    b = bench(*ALL)
    for engine in (b.engine(poison=False), b.audit_engine(poison=False)):
        nats_of(engine, b)
        assert np.abs(nats_of(engine, b) - reference_nats(b)).max() < 1e-6
    monkeypatch.setattr(window.CountmixWindow, "_clear", lambda self, memory: None)
    engine = b.audit_engine(poison=False)
    nats_of(engine, b)
    assert np.abs(nats_of(engine, b) - reference_nats(b)).max() > 1e-2


def test_counts_that_are_carried_over_a_windows_end(monkeypatch):
    """A slot that says it was made earlier is believed without asking what stood there."""
    b = bench(*ALL)
    honest = window.window_place

    def believed(memory, op, w, i, h):
        at, holds = honest(memory, op, w, i, h)
        return at, holds or memory.peek(op.slots, at, 1)[0] < i

    engine = b.audit_engine(poison=False)
    nats_of(engine, b)
    monkeypatch.setattr(window, "window_place", believed)
    monkeypatch.setattr(reading, "window_place", believed)
    assert np.abs(nats_of(engine, b) - reference_nats(b)).max() > 1e-2


def test_a_place_in_the_heap_of_another_side(monkeypatch):
    """The window's pairs of the sister node, in the readable engine."""
    honest = reading.pair_at
    monkeypatch.setattr(reading, "pair_at", lambda path, depth, node: honest(path ^ (depth > 0), depth, node))
    readable_differs(monkeypatch)


def test_a_member_of_a_line_that_is_its_sister(monkeypatch):
    monkeypatch.setattr(reading.Spot, "member", property(lambda at: 2 - (at.path & 1) if at.depth % 2 else 0))
    assert "compiled engine" in disagreeing(ALL)


def test_a_check_that_is_not_made(monkeypatch):
    """Every slot's place is looked up: the same nats, and bytes that the compiled engine does not read."""
    honest = window.window_place

    def unchecked(memory, op, w, i, h):
        at = (w * op.n_slots + (h * op.n_slots >> 32)) * reading.WINDOW_SLOT
        same = memory.peek(op.slots, at + reading.CHECK, 1)[0]
        return honest(memory, op, w, i, h & ~255 | same)

    monkeypatch.setattr(reading, "window_place", unchecked)
    assert disagreeing(ALL)


def test_a_count_that_wraps_around(monkeypatch):
    """The 256th visit of a side."""
    from weightless.audit.counters.subjects import Subject
    from weightless.models import countmix

    config = countmix.Config(9, 300, ("o1",), (), (), ("input",), stored_mb=0.2, held_out=0)
    config, arrays = countmix.FAMILY.count(config, np.arange(900) % 9)
    program = countmix.FAMILY.decode_program(config)
    from contract.cases import packed_bytes

    stream = np.full(301, 5)
    same = Subject("one word", "countmix", config, program, packed_bytes(program, arrays), stream, "made tokens")
    assert verify(same, trials=10).ok
    monkeypatch.setattr(window, "MOST_COUNTED", 256)
    with pytest.raises((AssertionError, OverflowError, ValueError)):
        found = verify(same, trials=10)
        assert found.ok


def test_another_rounding_of_the_sums(monkeypatch):
    """Towards zero in the place of to the nearest."""

    def mixed(inputs, weights, shift):
        total = sum(int(x) * int(w) for x, w in zip(inputs, weights, strict=True))
        return min(max(int(total / (1 << shift)), -count_mixing.LIMIT), count_mixing.LIMIT)

    monkeypatch.setattr(reading, "mixed", mixed)
    readable_differs(monkeypatch)


def test_the_sampler_that_turns_around(monkeypatch):
    """Left where it should go right: another token, found by asking both engines for many draws."""
    b = bench(*ALL)
    fast, slow = b.engine(), b.audit_engine()
    for engine in (fast, slow):
        for token in b.tokens[:9]:
            engine.feed(int(token))
    draws = np.random.default_rng(0).random((20, 8))
    assert [fast.sample(u) for u in draws] == [slow.sample(u) for u in draws]
    monkeypatch.setattr(promise, "probability", lambda logit: count_mixing.probability(-logit))
    assert [fast.sample(u) for u in draws] != [slow.sample(u) for u in draws]


def test_memory_counts_what_it_reads():
    """The registers of the readable engine are the log's bytes: reading without counting would differ."""
    b = bench(*ALL)
    engine = b.audit_engine()
    engine.feed(int(b.tokens[0]))
    engine.score(int(b.targets[0]))
    for op, log, data in engine.steps:
        if data:
            outcome = sum(access.n_bytes for access in log if access.tensor == "outcome")
            distinct = {(a.tensor, a.write, at) for a in log for at in range(a.first, a.first + a.n_bytes)}
            assert len(distinct) - outcome == sum(data), op.name
    assert Memory(engine.arena).spent == {}
