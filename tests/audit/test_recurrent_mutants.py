"""Lies about passes, told on purpose: each is noticed by the counters named (as in test_variant_mutants.py)."""

from __future__ import annotations

import dataclasses

import pytest
from audit.small_subjects import subject
from audit.test_mutants import change_formula, disagreeing
from audit.test_variant_mutants import COMPILED, READABLE
from contract.cases import first_ones, of

from weightless.audit.counters.verify import SKIPPED, verify
from weightless.layers.repeat import Repeat
from weightless.program.operators.lookup import promise as lookup

PASSES = ("recurrent", "one_block_three_passes")


@pytest.mark.parametrize("case", first_ones(of("recurrent"), quick=1))
def test_all_counters_agree_on_every_recurrent_model(case):
    found = verify(subject(*case), trials=60)
    assert found.ok, found.raise_if_wrong()
    assert {counter.name for counter in found.counters if counter.verdict == SKIPPED} <= {"pages"}
    assert found.poison is not None and found.poison.complete


def next_row(op):
    return dataclasses.replace(op, row=(op.row + 1) % 3)


@pytest.mark.parametrize(("face", "noticed"), [("run", READABLE), ("lower", COMPILED)])
def test_the_row_of_another_pass(monkeypatch, face, noticed):
    """As many bytes, of another row: told by where they lie, and by the nats.

    Not by poison: a step reads every row, whichever pass it gives it to.
    """
    honest = getattr(lookup.AddRow, face)
    monkeypatch.setattr(lookup.AddRow, face, lambda self, given: honest(next_row(self), given))
    assert disagreeing(PASSES) == noticed | {"compiled log"}


def test_the_row_of_another_pass_in_training(monkeypatch):
    """A step that takes the row of another pass than the window does: the same bytes, other nats."""
    honest = Repeat.step

    def step(self, p, *given):
        return honest(self, {**p, self.iteration: Turned(p[self.iteration])}, *given)

    monkeypatch.setattr(Repeat, "step", step)
    assert disagreeing(PASSES, "nats") == {"torch trace"}


class Turned:
    """Rows of a tensor, each under the number before its own."""

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, i):
        return self.rows[(i + 1) % len(self.rows)]


def test_a_row_that_is_not_charged(monkeypatch):
    change_formula(monkeypatch, lookup.AddRow, lambda found, op, *_: [a for a in found if a.tensor != op.table])
    assert disagreeing(PASSES, "add_row") == {"engine log", "torch trace"}


def test_passes_that_share_a_cache_in_training(monkeypatch):
    """Every pass of the step appends to the cache of the first: whose rows are read is told, and the nats."""
    honest = Repeat._of_pass

    def step(self, p, s, *given):
        first = honest(self, 0)
        same = {renamed: s[first[name]] for i in range(self.passes) for name, renamed in honest(self, i).items()}
        return stepped(self, p, {**s, **same}, *given)

    stepped = Repeat.step
    monkeypatch.setattr(Repeat, "step", step)
    assert disagreeing(PASSES) == {"torch trace"}


def test_a_pass_that_the_program_leaves_out():
    """Weights are charged once per pass: a program with one pass less than its configuration is told."""
    honest = subject(*PASSES)
    ops = honest.program.body
    first = next(i for i, op in enumerate(ops) if op.name == "add_row" and op.row == 1)
    last = next(i for i, op in enumerate(ops) if op.name == "add_row" and op.row == 2)
    kept = dataclasses.replace(honest.program, body=(*ops[:first], *ops[last:]))
    short = dataclasses.replace(honest, program=kept.validate())
    assert {"configuration", "torch trace"} <= set(verify(short, trials=1).disagreeing)
