"""Lies about a neural head beside the counts, told on purpose: each is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from audit.small_subjects import subject
from audit.test_countmix_mutants import without
from audit.test_mutants import change_formula
from contract.cases import bench

from weightless.audit.counters.agreement import TOLERANCE_TURNED, DisagreementError, audit
from weightless.audit.counters.verify import verify
from weightless.program.operators.countmix.beside import Head
from weightless.program.operators.countmix.promise import CountmixScore

INSIDE, THREE = ("mixture", "feather_in_countmix"), ("mixture", "three_levels_in_countmix")


@pytest.mark.parametrize("case", [INSIDE, THREE], ids="-".join)
def test_without_a_fault_all_counters_agree(case):
    found = verify(subject(*case), trials=30)
    assert found.ok, found.counters


@pytest.mark.parametrize("tensor", ["word_rows", "history"])
def test_a_head_that_is_not_charged(tensor, monkeypatch):
    change_formula(monkeypatch, CountmixScore, without(tensor))
    with pytest.raises(DisagreementError, match="countmix_score: the formula says"):
        audited(INSIDE)


def audited(case):
    b = bench(*case)
    return audit(subject(*case), b.tokens, b.targets, range(1, len(b.tokens) + 1))


def noticed(case=INSIDE) -> None:
    """The audit stops, by more than a rounding that turned."""
    with pytest.raises(DisagreementError, match="the readable engine scores"):
        audited(case)
    b = bench(*case)
    fast, slow = (engine.score_stream(b.tokens, b.targets) for engine in (b.engine(), b.audit_engine()))
    assert np.abs(fast - slow).max() > TOLERANCE_TURNED


def lies(monkeypatch, odds) -> None:
    """The readable engine's head says something else at a node."""
    honest = Head.odds
    monkeypatch.setattr(Head, "odds", lambda self, node, low, high: odds(honest, self, node, low, high))
    noticed()


def test_odds_of_another_node(monkeypatch):
    lies(monkeypatch, lambda honest, self, node, low, high: honest(self, max(low + 1, node - 8), low, high))


def test_odds_turned_around(monkeypatch):
    lies(monkeypatch, lambda honest, *at: -honest(*at))


def test_sums_that_leave_one_out(monkeypatch):
    """A class or a word at the right end."""

    def odds(honest, self, node, low, high):
        return honest(self, node, low, max(node + 1, high - (1 if high - low <= self.levels[-1].block else 18)))

    lies(monkeypatch, odds)


@pytest.mark.parametrize("case", [INSIDE, THREE], ids="-".join)
def test_words_of_the_class_beside(case, monkeypatch):
    honest = Head._within

    def within(self, k, block):
        first = self.memory.arena.rows
        rows, unit, size = self.levels[k]
        per_block = self.levels[k].per_block

        def other(name, at=0, n=None):
            moved = at - per_block if at else at + per_block
            return first(name, moved, n) if name == rows else first(name, at, n)

        self.memory.arena.rows = other
        try:
            return honest(self, k, block)
        finally:
            del self.memory.arena.rows

    monkeypatch.setattr(Head, "_within", within)
    b = bench(*case)
    fast, slow = (engine.score_stream(b.tokens, b.targets) for engine in (b.engine(), b.audit_engine()))
    assert np.abs(fast - slow).max() > TOLERANCE_TURNED
    with pytest.raises(DisagreementError):
        audited(case)


def test_classes_in_another_order(monkeypatch):
    honest = Head.__init__

    def begin(self, op, memory):
        honest(self, op, memory)
        self.above = np.roll(self.above, 1)

    monkeypatch.setattr(Head, "__init__", begin)
    noticed()


def test_rows_that_are_read_again_at_every_node(monkeypatch):
    """The registers count what a node reads; read once too often, they are more than the log's distinct bytes."""
    honest = Head._within

    def within(self, k, block):
        self.came_to[k] = (-1, self.above)
        return honest(self, k, block)

    monkeypatch.setattr(Head, "_within", within)
    with pytest.raises(DisagreementError):
        audited(INSIDE)
