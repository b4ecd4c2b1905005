"""Lies about golf: the gain of a query, the scale of a score, the start that is mixed in, norms without weights, skips.

As in `test_variant_mutants.py`: each test plants one fault, and says which counters must deny it.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from audit.test_mutants import change_formula, disagreeing
from audit.test_variant_mutants import COMPILED, READABLE

from weightless.layers import functions as torch_layers
from weightless.layers.start import MixStart
from weightless.program.operators.attention import promise as attention
from weightless.program.operators.lookup import promise as lookup
from weightless.program.operators.start import promise as start

GOLF = ("golf", "five_blocks_two_skips_bf16")


def test_a_gain_that_keys_get_too(monkeypatch):
    """All norms are bare, so that it is every second call that norms keys."""
    honest, turn = attention.RopeAppend.turned, itertools.count()

    def turned(self, arena, vector, norm, position):
        heads = honest(self, arena, vector, norm, position)
        return heads * arena.row(self.q_gain)[0] if next(turn) % 2 == 1 else heads

    monkeypatch.setattr(attention.RopeAppend, "turned", turned)
    assert disagreeing(GOLF, "nats") == READABLE


def test_scores_divided_by_the_root_of_the_models_width(monkeypatch):
    """1 / sqrt(d_model) instead of 1 / sqrt(d_head)."""
    honest = attention.decode_attention

    def decode_attention(q_HK, k_THK, v_THK):
        return honest(q_HK / np.float32(len(q_HK)) ** 0.5, k_THK, v_THK)

    monkeypatch.setattr(attention, "decode_attention", decode_attention)
    assert disagreeing(GOLF, "nats") == READABLE


def test_scores_divided_by_the_root_of_the_models_width_in_training(monkeypatch):
    honest = torch_layers.attend_rows
    monkeypatch.setattr(torch_layers, "attend_rows", lambda q_HK, *given: honest(q_HK / len(q_HK) ** 0.5, *given))
    assert disagreeing(GOLF, "nats") == {"torch trace"}


def test_factors_of_the_start_that_are_charged_once_instead_of_per_block(monkeypatch):
    def once(found, op, *_):
        return [a for a in found if a.tensor != op.mix or op.mix == "block.0.mix"]

    change_formula(monkeypatch, start.MixKept, once)
    assert disagreeing(GOLF, "mix_kept") == {"engine log", "torch trace"}


def test_a_kept_start_that_is_not_charged(monkeypatch):
    change_formula(monkeypatch, start.MixKept, lambda found, op, *_: [a for a in found if a.tensor != op.kept_as])
    assert disagreeing(GOLF, "mix_kept") == {"engine log", "torch trace"}


def test_a_stream_that_is_mixed_with_itself(monkeypatch):
    honest = start.MixKept.lower
    monkeypatch.setattr(
        start.MixKept, "lower", lambda self, places: honest(self, {**places, self.kept_as: places["x"]})
    )
    assert disagreeing(GOLF) == COMPILED | {"compiled log"}


def test_a_stream_that_is_mixed_with_itself_in_training(monkeypatch):
    honest = MixStart.step
    monkeypatch.setattr(MixStart, "step", lambda self, p, s, x, *given: honest(self, p, {**s, "start": x}, x, *given))
    assert disagreeing(GOLF) == {"torch trace"}


def test_a_norm_without_weights_that_is_forgotten(monkeypatch):
    honest = attention.NormMatvec.lower
    monkeypatch.setattr(
        attention.NormMatvec, "lower", lambda self, places: honest(dataclasses.replace(self, bare=False), places)
    )
    assert disagreeing(GOLF, "nats") == COMPILED


def test_skips_that_are_popped_in_the_wrong_order(monkeypatch):
    """The readable engine adds the first skip where the last one belongs: the same bytes in sum: poison is silent."""
    honest, other = lookup.AddKept.run, {"kept.0": "kept.1", "kept.1": "kept.0"}
    monkeypatch.setattr(
        lookup.AddKept, "run", lambda self, arena: honest(dataclasses.replace(self, skip=other[self.skip]), arena)
    )
    assert disagreeing(GOLF) == READABLE | {"compiled log"}


def test_weights_of_skips_that_are_taken_in_the_wrong_order(monkeypatch):
    honest, other = lookup.AddKept.lower, {"skip.0": "skip.1", "skip.1": "skip.0"}
    monkeypatch.setattr(
        lookup.AddKept, "lower", lambda self, places: honest(dataclasses.replace(self, gains=other[self.gains]), places)
    )
    assert disagreeing(GOLF) == COMPILED | {"compiled log"}
