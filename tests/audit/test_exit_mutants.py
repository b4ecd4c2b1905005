"""Lies about leaving early, told on purpose: each is noticed by the counters named (as in test_variant_mutants.py)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from audit.small_subjects import subject
from audit.test_mutants import change_formula, disagreeing
from contract.cases import bench

from weightless.audit.counters.verify import verify
from weightless.layers.attention import Attention
from weightless.layers.exits import THRESHOLD, ExitAfter
from weightless.program.operators.attention import promise as attention
from weightless.program.operators.exits import promise as exits
from weightless.program.program import Program

EXITS = ("dense", "exits_after_two_blocks")
NORMS = ("dense", "exit_with_windows_values_and_norms")


def without_queries(honest, *, then):
    """Another face of `rope_append` where a token has exited."""
    return lambda self, *given: honest(self, *given) if self.queries else then(self, *given)


@pytest.mark.slow
def test_a_skipped_layer_whose_key_is_not_written(monkeypatch):
    """The readable engine leaves the row of the cache as it was."""
    monkeypatch.setattr(
        attention.RopeAppend, "run", without_queries(attention.RopeAppend.run, then=lambda self, arena: None)
    )
    assert {"engine log", "compiled log"} <= disagreeing(EXITS, "rope_append")


@pytest.mark.slow
def test_a_skipped_layer_whose_key_is_written_elsewhere(monkeypatch):
    """The compiled engine appends to the cache of another layer."""
    honest = attention.RopeAppend.lower

    def lower(self, places):
        wrong = {**places, self.cache: places["kv.0"]} if not self.queries else places
        return honest(self, wrong)

    monkeypatch.setattr(attention.RopeAppend, "lower", lower)
    assert {"compiled log"} <= disagreeing(EXITS, "rope_append")


def test_a_skipped_layer_that_leaves_no_key_in_training(monkeypatch):
    monkeypatch.setattr(Attention, "leave", lambda *given: None)
    assert disagreeing(EXITS, "the step runs") == {"torch trace"}


def test_a_program_whose_skipped_layers_leave_nothing(monkeypatch):
    """A shorter program that its configuration asks for: PyTorch's step denies it, and so does the window."""
    honest = subject(*EXITS)
    monkeypatch.setattr(Attention, "leaving", lambda self: [])
    mutant = dataclasses.replace(honest, program=bench(*EXITS).family.decode_program(honest.config))
    assert verify(mutant, trials=1).disagreeing == ["torch trace"]
    nats = [one.engine().score_stream(one.tokens, one.targets) for one in (honest, mutant)]
    assert np.abs(nats[1] - nats[0]).max() > 1e-3


def test_keys_of_another_stream(monkeypatch):
    """PyTorch's step leaves what the layers make of the token that has exited, not of its stream at the exit."""
    honest, b, steps = Attention.leave, bench(*NORMS), []
    model, p = b.family.Model(b.config), b.rounded()
    for leave in (honest, lambda self, p, s, x, t, fused: honest(self, p, s, 2 * x + 1, t, fused)):
        monkeypatch.setattr(Attention, "leave", leave)
        cache = model.new_cache()
        nats = [
            float(model.step_nats(p, model.step(p, cache, int(token), t), int(target)))
            for t, (token, target) in enumerate(zip(b.tokens, b.targets, strict=True), 1)
        ]
        steps.append(np.array(nats))
    engine = b.engine().score_stream(b.tokens, b.targets)
    assert np.abs(steps[0] - engine).max() < 1e-3 < np.abs(steps[1] - engine).max()


def test_all_rows_charged_where_only_keys_and_values_are_read(monkeypatch):
    honest = attention.NormMatvec.accesses

    def accesses(self, *given):
        return honest(dataclasses.replace(self, first=0, count=0), *given)

    monkeypatch.setattr(attention.NormMatvec, "accesses", accesses)
    assert disagreeing(EXITS, "norm_matvec") == {"engine log", "torch trace"}


def test_a_test_that_is_not_charged(monkeypatch):
    change_formula(monkeypatch, exits.ExitTest, lambda found, op, *_: [a for a in found if a.tensor != op.weight])
    assert disagreeing(EXITS, "exit_test") == {"engine log", "torch trace"}


def test_a_confidence_that_is_not_charged(monkeypatch):
    change_formula(monkeypatch, exits.ExitTest, lambda found, op, *_: [a for a in found if a.tensor != op.sure])
    assert disagreeing(EXITS, "exit_test") == {"engine log", "torch trace"}


def test_layers_that_are_charged_although_they_are_passed_over(monkeypatch):
    """The formula's path is that on which nothing exits, whatever the engine did."""

    def along(self, path, head):
        return *(self.body[i] for i in self.flow.taken(0)), *self.heads[head]

    monkeypatch.setattr(Program, "along", along)
    assert "torch trace" in disagreeing(EXITS)


@pytest.mark.slow
def test_a_readable_engine_that_exits_the_other_way_round(monkeypatch):
    honest = exits.ExitTest.run

    def run(self, arena):
        honest(self, arena)
        arena.registers.exit = not arena.registers.exit

    monkeypatch.setattr(exits.ExitTest, "run", run)
    assert "compiled engine" in disagreeing(EXITS, "leave at different places")


def test_a_compiled_engine_with_another_threshold(monkeypatch):
    honest = exits.ExitTest.lower
    monkeypatch.setattr(
        exits.ExitTest, "lower", lambda self, places: honest(self, {**places, self.threshold: places[self.bias]})
    )
    assert "compiled engine" in disagreeing(EXITS, "leave at different places")


def test_a_training_model_with_another_threshold(monkeypatch):
    honest = ExitAfter.step

    def step(self, p, *given):
        return honest(self, {**p, THRESHOLD: p[THRESHOLD] - 0.3}, *given)

    monkeypatch.setattr(ExitAfter, "step", step)
    assert disagreeing(EXITS) == {"torch trace"}


def test_a_confidence_of_a_stream_that_is_not_normed(monkeypatch):
    monkeypatch.setattr(
        exits, "confidence", lambda x, w, b, eps: np.float32(1 / (1 + np.exp(-(x @ w.reshape(-1) + b))))
    )
    assert "compiled engine" in disagreeing(EXITS, "leave at different places")
