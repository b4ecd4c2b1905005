"""Lies about a neural head beside the counts, told on purpose: each is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from audit.small_subjects import subject
from audit.test_countmix_mutants import without
from audit.test_mutants import change_formula, disagreeing

from weightless.audit.counters.verify import verify
from weightless.program.operators.countmix.beside import Head
from weightless.program.operators.countmix.promise import CountmixScore

INSIDE, THREE = ("mixture", "feather_in_countmix"), ("mixture", "three_levels_in_countmix")


@pytest.mark.parametrize("case", [INSIDE, THREE])
def test_without_a_fault_all_counters_agree(case):
    found = verify(subject(*case), trials=60)
    assert found.ok, found.counters


@pytest.mark.parametrize("tensor", ["word_rows", "history"])
def test_a_head_that_is_not_charged(tensor, monkeypatch):
    change_formula(monkeypatch, CountmixScore, without(tensor))
    assert {"engine log"} <= disagreeing(INSIDE, "countmix_score")


def lies(monkeypatch, odds) -> None:
    """The readable engine's head says something else at a node."""
    honest = Head.odds
    monkeypatch.setattr(Head, "odds", lambda self, node, low, high: odds(honest, self, node, low, high))
    assert "compiled engine" in disagreeing(INSIDE, "readable engine scores")


def test_odds_of_another_node(monkeypatch):
    lies(monkeypatch, lambda honest, self, node, low, high: honest(self, max(low, node - 1), low, high))


def test_odds_turned_around(monkeypatch):
    lies(monkeypatch, lambda honest, *at: -honest(*at))


def test_sums_that_leave_one_out(monkeypatch):
    lies(monkeypatch, lambda honest, self, node, low, high: honest(self, node, low, max(node + 1, high - 1)))


def test_words_of_the_class_beside(monkeypatch):
    honest = Head._within

    def within(self, k, block):
        return honest(self, k, block - 1 if block else 1)

    monkeypatch.setattr(Head, "_within", within)
    assert {"compiled engine"} & disagreeing(INSIDE, "readable engine scores")


def test_classes_in_another_order(monkeypatch):
    honest = Head.__init__

    def begin(self, op, memory):
        honest(self, op, memory)
        self.above = np.roll(self.above, 1)

    monkeypatch.setattr(Head, "__init__", begin)
    assert "compiled engine" in disagreeing(INSIDE, "readable engine scores")
