"""Lies about the variants of dense and about experts, told on purpose: each is noticed by the counters named.

As in test_mutants.py every test plants one fault.  A fault in a formula is denied by the readable log and PyTorch's
trace; one in an engine, by the other engines.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from audit.small_subjects import subject
from audit.test_mutants import change_formula, disagreeing
from contract.cases import first_ones, of

from weightless.audit.counters.verify import SKIPPED, verify
from weightless.layers.attention import Attention
from weightless.layers.functions import experts as torch_experts
from weightless.layers.functions import step as torch_step
from weightless.layers.linear_attention import LinearAttention
from weightless.layers.scan import Scan
from weightless.ops import experts as slow_experts
from weightless.program.arena import Arena
from weightless.program.engine import AuditEngine
from weightless.program.operators.attention import promise as attention
from weightless.program.operators.experts import promise as experts
from weightless.program.operators.linear_attention import promise as linear_attention
from weightless.program.operators.scan import promise as scan

EXPERTS = ("experts", "two_of_five_swiglu")
BIASED = ("experts", "one_of_three_sigmoid_bias_untied")
WINDOWS = ("dense", "factorised_tied_softcap_windows")
POST_NORM = ("dense", "post_norm_gelu_matched")
GAINS = ("dense", "interleaved_weighted_qk_norm_gains")
DIAGONAL = ("scan", "diagonal_f32")
CONVOLVED = ("scan", "diagonal_hybrid_conv")
DELTA = ("scan", "delta_f32_conv")
NOPE = ("dense", "nope_with_gain_and_norm")
READABLE, COMPILED = {"compiled engine"}, {"compiled engine", "torch trace"}
"""Who denies other nats of the readable engine, and of the compiled one, with which PyTorch's step is compared."""
ELSEWHERE = {"compiled log", "poison"}
"""Who denies that what is read is what the readable engine logs."""
VARIANTS = first_ones(of("dense", "experts", "golf", "scan", "gpt2", "llama", "qwen3"), quick=1)
"""All counters at once, for the first case of every family; the other ones are slow, since each counter walks all the
cases by itself (tests/contract, test_torch_trace.py, test_pages.py)."""


@pytest.mark.parametrize("case", VARIANTS)
def test_all_counters_agree_on_every_variant(case):
    found = verify(subject(*case), trials=60)
    assert found.ok, found.raise_if_wrong()
    assert {counter.name for counter in found.counters if counter.verdict == SKIPPED} <= {"pages"}
    assert found.poison is not None and found.poison.complete


def test_a_router_that_is_not_charged(monkeypatch):
    change_formula(monkeypatch, experts.Route, lambda found, op, *_: [a for a in found if a.tensor != op.router])
    assert disagreeing(EXPERTS, "route") == {"engine log", "torch trace"}


def test_experts_charged_as_if_all_were_read(monkeypatch):
    def all_of_them(found, op, tensors, t):
        return [a._replace(n_bytes=tensors[a.tensor].nbytes) if a.tensor in (op.up, op.down) else a for a in found]

    change_formula(monkeypatch, experts.ExpertsAdd, all_of_them)
    assert disagreeing(EXPERTS, "experts_add") == {"engine log", "torch trace"}


def over_all(p, chosen):
    """Gates as if they summed to 1 over all experts, chosen or not."""
    return np.take_along_axis(p, chosen, axis=1)


def test_gates_over_all_experts(monkeypatch):
    honest = slow_experts.gates_of

    def gates_of(p_NE, bias_E, k):
        chosen, _ = honest(p_NE, bias_E, k)
        return chosen, over_all(p_NE, chosen)

    monkeypatch.setattr(experts, "gates_of", gates_of)
    assert disagreeing(EXPERTS, "nats") == READABLE


def test_gates_over_all_experts_in_training(monkeypatch):
    honest = torch_experts.choose_experts

    def choose_experts(scores_NE, *given):
        chosen, _, p = honest(scores_NE, *given)
        return chosen, p.gather(-1, chosen), p

    monkeypatch.setattr(torch_experts, "choose_experts", choose_experts)
    assert disagreeing(EXPERTS, "nats") == {"torch trace"}


def test_a_bias_that_is_added_to_the_gate(monkeypatch):
    honest = slow_experts.gates_of

    def gates_of(p_NE, bias_E, k):
        return honest(p_NE + bias_E, None, k)

    monkeypatch.setattr(experts, "gates_of", gates_of)
    assert disagreeing(BIASED, "nats") == READABLE


@pytest.mark.slow  # its compiled twin is not
def test_a_block_of_another_expert(monkeypatch):
    """The readable engine takes the next expert's rows: as many bytes, elsewhere."""
    honest = Arena.rows

    def rows(self, name, first=0, n=None):
        if name == "block.0.up" and n is not None:
            first = (first + n) % self.tensor(name).shape[0]
        return honest(self, name, first, n)

    monkeypatch.setattr(Arena, "rows", rows)
    assert disagreeing(EXPERTS) == READABLE | ELSEWHERE


def test_a_compiled_block_of_another_expert(monkeypatch):
    honest = experts.ExpertsAdd.lower

    def lower(self, places):
        up = places[self.up]
        block = up.tensor.nbytes // self.n_experts
        return honest(self, {**places, self.up: up._replace(offset=up.offset + block)})

    monkeypatch.setattr(experts.ExpertsAdd, "lower", lower)
    assert disagreeing(EXPERTS) == COMPILED | ELSEWHERE


def test_a_window_that_is_charged_one_too_short(monkeypatch):
    honest = attention.Attend.accesses

    def accesses(self, tensors, t, data=()):
        return honest(dataclasses.replace(self, window=max(0, self.window - 1)), tensors, t, data)

    monkeypatch.setattr(attention.Attend, "accesses", accesses)
    assert disagreeing(WINDOWS, "attend") == {"engine log", "torch trace"}


def test_a_compiled_window_that_is_one_too_long(monkeypatch):
    honest = attention.Attend.lower

    def lower(self, places):
        return honest(dataclasses.replace(self, window=self.window + 1 if self.window else 0), places)

    monkeypatch.setattr(attention.Attend, "lower", lower)
    assert disagreeing(WINDOWS, "attend") == COMPILED | ELSEWHERE


def test_a_window_in_training_that_is_one_too_long(monkeypatch):
    honest = Attention.step

    def stepped(self, *given):
        return honest(dataclasses.replace(self, window=self.window + 1 if self.window else None), *given)

    monkeypatch.setattr(Attention, "step", stepped)
    assert disagreeing(WINDOWS, "attend") == {"torch trace"}


def turning(kind, name, monkeypatch):
    honest = getattr(kind, name)
    monkeypatch.setattr(kind, name, lambda self, *given: honest(dataclasses.replace(self, rotary="half_split"), *given))


@pytest.mark.parametrize(("face", "noticed"), [("run", READABLE), ("lower", COMPILED), ("step", {"torch trace"})])
def test_positions_although_there_are_none(monkeypatch, face, noticed):
    turning(Attention if face == "step" else attention.RopeAppend, face, monkeypatch)
    assert disagreeing(NOPE, "nats") == noticed


def test_a_program_with_positions_although_its_configuration_has_none():
    honest = subject(*NOPE)
    body = tuple(
        dataclasses.replace(op, rotary="half_split") if op.name == "rope_append" else op for op in honest.program.body
    )
    turned = dataclasses.replace(honest, program=dataclasses.replace(honest.program, body=body).validate())
    assert {"configuration", "torch trace"} <= set(verify(turned, trials=1).disagreeing)


def test_a_tied_factor_that_is_charged_once(monkeypatch):
    """The head reads the embedding's second factor again."""

    def once(found, op, *_):
        return [a for a in found if not (op.transposed and a.tensor == op.weight)]

    change_formula(monkeypatch, attention.NormMatvec, once)
    assert disagreeing(WINDOWS, "norm_matvec") == {"engine log", "torch trace"}


def test_a_norm_behind_the_branch_that_is_not_charged(monkeypatch):
    change_formula(monkeypatch, attention.MatvecAdd, lambda found, op, *_: [a for a in found if a.tensor != op.after])
    assert disagreeing(POST_NORM, "matvec_add") == {"engine log", "torch trace"}


def test_a_gain_that_keys_get_too(monkeypatch):
    honest = attention.RopeAppend.turned

    def turned(self, arena, vector, norm, position):
        heads = honest(self, arena, vector, norm, position)
        return heads * arena.row(self.q_gain)[0] if norm == self.k_norm else heads

    monkeypatch.setattr(attention.RopeAppend, "turned", turned)
    assert disagreeing(GAINS, "nats") == READABLE


def test_a_gain_that_keys_get_too_in_training(monkeypatch):
    honest = torch_step.rms_norm

    def rms_norm(x, weight, eps):
        return honest(x, weight, eps) * (1.5 if len(x) == 1 else 1.0)

    monkeypatch.setattr(torch_step, "rms_norm", rms_norm)
    assert disagreeing(GAINS, "nats") == {"torch trace"}


RECURRENCES = pytest.mark.parametrize(
    ("case", "kind", "layer"),
    [(DIAGONAL, scan.Scan, Scan), (DELTA, linear_attention.LinearAttend, LinearAttention)],
    ids=["diagonal", "delta"],
)


@RECURRENCES
@pytest.mark.parametrize("written", [True, False], ids=["only read", "only written"])
def test_a_recurrent_state_that_is_charged_once(monkeypatch, written, case, kind, layer):
    def once(found, op, *_):
        return [a for a in found if a.tensor != op.state or a.write != written]

    change_formula(monkeypatch, kind, once)
    assert disagreeing(case, kind.name) == {"engine log", "torch trace"}


@RECURRENCES
def test_a_state_that_is_charged_as_read_before_there_is_one(monkeypatch, case, kind, layer):
    honest = kind.accesses
    monkeypatch.setattr(kind, "accesses", lambda self, tensors, t, data=(): honest(self, tensors, max(2, t), data))
    assert disagreeing(case, kind.name) == {"engine log", "torch trace"}


@RECURRENCES
def test_a_state_that_is_read_at_position_1_although_nobody_has_cleared_it(monkeypatch, case, kind, layer):
    """The readable engine takes what memory holds: nats differ where that is not zero, and the log always does."""
    honest = kind.run

    def run(self, arena):
        t = arena.registers.t
        arena.registers.t = max(2, t)
        honest(self, arena)
        arena.registers.t = t

    monkeypatch.setattr(kind, "run", run)
    assert disagreeing(case, kind.name) == {"engine log", "compiled log"}
    engine = AuditEngine(subject(*case).program, subject(*case).weights, poison=True)
    engine.feed(5)
    assert not np.isfinite(engine.score(7)), "fresh memory is NaN, and this engine has read it"


@RECURRENCES
def test_a_state_that_training_reads_at_position_1(monkeypatch, case, kind, layer):
    honest = layer.step
    monkeypatch.setattr(layer, "step", lambda self, p, s, x_D, t, fused: honest(self, p, s, x_D, max(2, t), fused))
    assert disagreeing(case) == {"torch trace"}


@pytest.mark.parametrize(
    "case", ["exits_past_vectors_and_attention", "exit_past_matrices_with_a_convolution"], ids=["diagonal", "delta"]
)
def test_a_layer_that_is_passed_over_and_leaves_its_state_as_it_was(monkeypatch, case):
    """In PyTorch only: what it would have left is read by nobody in this step, and its bytes are missing."""
    for layer in (Scan, LinearAttention):
        monkeypatch.setattr(layer, "leave", lambda *given: None)
    assert disagreeing(("scan", case)) == {"torch trace"}


def test_a_state_that_forgets_twice(monkeypatch):
    honest = linear_attention.decays
    monkeypatch.setattr(linear_attention, "decays", lambda z: tuple(a * a for a in honest(z)))
    assert disagreeing(DELTA, "nats") == READABLE


def test_keys_that_are_not_of_length_1(monkeypatch):
    monkeypatch.setattr(linear_attention, "unit", lambda x: x)
    assert disagreeing(DELTA, "nats") == READABLE


def test_a_window_of_a_convolution_that_is_not_charged(monkeypatch):
    change_formula(monkeypatch, scan.Convolve, lambda found, op, *_: [a for a in found if a.tensor != op.window])
    assert disagreeing(CONVOLVED, "convolve") == {"engine log", "torch trace"}


def test_a_convolution_that_looks_back_one_too_far(monkeypatch):
    honest = Arena.row

    def row(self, name, at=0):
        return honest(self, name, (at + 1) % 3 if name.startswith("conv.") else at)

    monkeypatch.setattr(Arena, "row", row)
    assert disagreeing(CONVOLVED) == READABLE | ELSEWHERE | {"engine log"}  # other rows: U moves too
