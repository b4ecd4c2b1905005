"""Mistakes that porting somebody else's model invites, made on purpose: each is noticed by the counters named.

As in test_variant_mutants.py every test plants one fault, in one of three implementations or in the formula.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from audit.test_mutants import change_formula, disagreeing
from audit.test_variant_mutants import READABLE
from contract.cases import bench, packed_bytes

from weightless.audit.counters.poison import poison
from weightless.layers.functions import step as torch_step
from weightless.ops import norm as slow_norm
from weightless.program.operator import SILENT
from weightless.program.operators import residual
from weightless.program.operators.attention import promise as attention
from weightless.program.operators.feedforward import promise as feedforward

LLAMA = ("llama", "untied_gqa_wide_heads_f32")
QWEN3 = ("qwen3", "tied_gqa_wide_heads_f32")
STRETCHED = ("llama", "stretched_f32")
GPT2 = ("gpt2", "tied_f32")
D_MODEL, D_HEAD = 52, 18
PUBLISHED = pytest.mark.parametrize("case", [LLAMA, QWEN3], ids="-".join)


@PUBLISHED
def test_scores_divided_by_the_width_of_the_model(case, monkeypatch):
    """1 / sqrt(d_model) is 1 / sqrt(d_head) for one head alone; the readable engine takes it."""
    honest, ratio = attention.decode_attention, np.float32((D_HEAD / D_MODEL) ** 0.5)
    monkeypatch.setattr(attention, "decode_attention", lambda q, k, v: honest(q * ratio, k, v))
    assert disagreeing(case, "nats") == READABLE


@PUBLISHED
def test_scores_divided_by_the_width_of_the_model_in_training(case, monkeypatch):
    honest, ratio = torch_step.attend_rows, (D_HEAD / D_MODEL) ** 0.5
    monkeypatch.setattr(torch_step, "attend_rows", lambda q, *given: honest(q * ratio, *given))
    assert disagreeing(case, "nats") == {"torch trace"}


def test_heads_that_are_normed_behind_their_rotation(monkeypatch):
    """Weights of a norm do not commute with a rotation."""

    def turned(self, arena, vector, norm, position):
        heads = attention.rope(vector.reshape(1, -1, self.d_head), np.array([position]), self.theta, self.rotary)[0]
        return slow_norm.rms_norm(heads, arena.row(norm), self.qk_eps)

    monkeypatch.setattr(attention.RopeAppend, "turned", turned)
    assert disagreeing(QWEN3, "nats") == READABLE


def test_heads_that_are_normed_with_another_eps(monkeypatch):
    honest = attention.RopeAppend.lower

    def lower(self, places):
        row = honest(self, places)
        return row._replace(floats=[row.floats[0], 1e-6, *row.floats[2:]])

    monkeypatch.setattr(attention.RopeAppend, "lower", lower)
    assert disagreeing(QWEN3, "nats") == {"compiled engine"}


def test_angles_that_are_not_stretched(monkeypatch):
    """In each of the three programs by itself: nats, not bytes, tell."""

    def changed(where, name, make):
        with monkeypatch.context() as planted:
            planted.setattr(where, name, make(getattr(where, name)))
            return disagreeing(STRETCHED, "nats")

    plain = functools.partial(dataclasses.replace, stretch=1.0, low=1.0, high=4.0, learned=8192)
    readable = changed(attention.RopeAppend, "turned", lambda f: lambda self, *given: f(plain(self), *given))
    compiled = changed(attention.RopeAppend, "lower", lambda f: lambda self, *given: f(plain(self), *given))
    trained = changed(torch_step, "rotary_tables", lambda f: lambda *given, stretch, **more: f(*given, **more))
    assert readable == READABLE and trained == {"torch trace"}
    assert compiled == {"compiled engine", "torch trace"}, "the trace is held to the compiled engine's nats"


def test_a_layer_norm_that_does_not_centre(monkeypatch):
    def layer_norm(x, weight, bias, eps):
        return slow_norm.rms_norm(x, weight, eps) + bias.reshape(-1)

    monkeypatch.setattr(residual, "layer_norm", layer_norm)
    assert disagreeing(GPT2, "nats") == READABLE


@pytest.mark.parametrize("kind", [attention.NormMatvec, attention.MatvecAdd, feedforward.NormFfnAdd])
def test_biases_that_are_not_charged(kind, monkeypatch):
    change_formula(monkeypatch, kind, lambda found, *_: [a for a in found if not a.tensor.endswith("_bias")])
    assert disagreeing(GPT2, kind.name) == {"engine log", "torch trace"}


@pytest.mark.parametrize("kind", [attention.MatvecAdd, feedforward.NormFfnAdd])
def test_biases_that_are_read_and_not_added(kind, monkeypatch):
    """In the compiled engine: they lie where the norms' zeros would."""
    honest = kind.lower

    def lower(self, places):
        row = honest(self, places)
        return row._replace(ints=[*row.ints[:-1], -1])

    monkeypatch.setattr(kind, "lower", lower)
    assert {"compiled engine", "compiled log"} <= disagreeing(GPT2)


def test_units_of_gelu_far_below_zero_may_hide_their_rows():
    """A model whose hidden units are all silent: damage to their rows shows nowhere, which is no fault of the log."""
    b = bench(*GPT2)
    arrays = {name: np.full_like(a, -40) if name.endswith("up_bias") else a for name, a in b.arrays.items()}
    silent = b._replace(arrays=arrays, weights=packed_bytes(b.program, arrays))
    found = poison(silent, b.tokens, b.targets, positions=(2, 5), trials=200)
    assert found.complete and found.excluded[SILENT] > 0
    assert not [place for place in found.unchanged if ".up" in place and "bias" not in place]
