"""Every lie about bytes that we could think of, told on purpose: `verify` must notice, and say which counter disagrees.

Each test plants one fault by monkeypatching.  Faults in one place are caught by comparing formula and log; faults that
formula and log share are caught by the counters that know neither: PyTorch's trace, the poison, the kernel's pages.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from audit.small_subjects import subject

from weightless.audit.counters.agreement import DisagreementError
from weightless.audit.counters.verify import SKIPPED, Verification, verify
from weightless.program import arena, logged_engine, operator
from weightless.program.arena import Arena
from weightless.program.engine import Engine
from weightless.program.operators import residual
from weightless.program.operators.attention import promise as attention
from weightless.program.operators.class_head import promise as class_head
from weightless.program.operators.feedforward import promise as feedforward
from weightless.program.operators.lookup import promise as lookup
from weightless.quant.layout import code_bytes

DENSE = ("dense", "tied_mqa_swiglu_int8")
FEATHER = ("feather", "as_it_comes")
NGRAM = ("ngram", "order_3")
TRIALS = 120


def verified(case: tuple[str, str]) -> Verification:
    found = verify(subject(*case), trials=TRIALS)
    assert found.ok == (not found.disagreeing)
    return found


def disagreeing(case: tuple[str, str], said: str = "") -> set[str]:
    """Names of the counters that disagree; `said` must stand in what one of them says."""
    found = verified(case)
    with pytest.raises(DisagreementError):
        found.raise_if_wrong()
    assert any(said in counter.detail for counter in found.counters if counter.verdict == "differs"), found.counters
    return set(found.disagreeing) - {"pages"}


def change_formula(monkeypatch, kind, change) -> None:
    """Let the operators of a class declare `change(accesses, self, tensors, t)`."""
    honest = kind.accesses

    def accesses(self, tensors, t, data=()):
        return change(honest(self, tensors, t, data), self, tensors, t)

    monkeypatch.setattr(kind, "accesses", accesses)


@pytest.mark.parametrize("case", [DENSE, FEATHER, NGRAM], ids="-".join)
def test_without_a_fault_all_counters_agree(case):
    found = verified(case)
    skipped = {counter.name for counter in found.counters if counter.verdict == SKIPPED}
    assert found.ok and skipped <= ({"torch trace", "pages"} if case == NGRAM else {"pages"})
    by_name = {counter.name: counter.components for counter in found.counters}
    assert by_name["formula"] == by_name["engine log"] == by_name["compiled log"]
    assert case == NGRAM or by_name["formula"] == by_name["torch trace"]


def test_an_operator_that_under_declares_a_read(monkeypatch):
    """The feed-forward block forgets the weights of its norm."""
    change_formula(monkeypatch, feedforward.NormFfnAdd, lambda found, op, *_: [a for a in found if a.tensor != op.norm])
    assert disagreeing(DENSE, "norm_ffn_add") == {"engine log", "torch trace"}


def test_a_cache_counted_at_the_last_position(monkeypatch):
    """t = context at every position instead of t: what a count at 512 does to a mean of 256.5."""

    def at_the_end(found, op, tensors, t):
        row, last = tensors[op.cache].row_bytes, tensors[op.cache].shape[0]
        return [dataclass_like(a, n_bytes=row * last) if a.tensor == op.cache else a for a in found]

    change_formula(monkeypatch, attention.Attend, at_the_end)
    assert disagreeing(DENSE, "attend") == {"engine log", "torch trace"}


def test_a_tied_head_counted_as_zero(monkeypatch):
    change_formula(monkeypatch, attention.NormMatvec, lambda found, op, *_: [a for a in found if a.tensor != "embed"])
    assert disagreeing(DENSE, "norm_matvec") == {"engine log", "torch trace"}


def test_scales_forgotten_in_the_formula(monkeypatch):
    """Matrices are charged for their codes alone."""
    for room in (attention, feedforward, class_head, residual):
        monkeypatch.setattr(room, "whole", codes_only(operator.whole))
    assert disagreeing(DENSE, "formula") == {"engine log", "torch trace"}


def test_scales_forgotten_in_formula_and_log(monkeypatch):
    """Both leave them out, so they agree with each other; PyTorch's trace and the poison know better."""
    for room in (attention, feedforward, class_head, residual):
        monkeypatch.setattr(room, "whole", codes_only(operator.whole))
    note = Arena._note

    def logged(self, tensor, first, n, write):
        note(self, tensor, first, n, write)
        if self.log and tensor.kind == "weight" and n == tensor.shape[0] and tensor.format == "int8":
            index, access = self.log[-1]
            self.log[-1] = (index, codes_only(lambda *_: [access])(tensor)[0])

    monkeypatch.setattr(Arena, "_note", logged)
    assert disagreeing(DENSE) == {"compiled log", "torch trace", "poison"}


def test_a_row_too_many_in_the_formula(monkeypatch):
    change_formula(monkeypatch, class_head.WordScore, one_row_more)
    assert disagreeing(FEATHER, "word_score") == {"engine log", "torch trace"}


def test_a_row_too_many_in_formula_and_log(monkeypatch):
    """The class head reads one word more than its class has, and says so: agreed by two, denied by PyTorch's trace."""
    change_formula(monkeypatch, class_head.WordScore, one_row_more)
    honest = Arena.rows

    def rows(self, name, first=0, n=None):
        if name == "words" and n is not None:
            start = first if first + n < self.tensor(name).shape[0] else first - 1
            return honest(self, name, start, n + 1)[first - start :][:n]
        return honest(self, name, first, n)

    monkeypatch.setattr(Arena, "rows", rows)
    assert {"torch trace", "compiled log"} <= disagreeing(FEATHER, "word_score")
    assert "engine log" not in disagreeing(FEATHER)


def test_a_row_too_many_in_the_log(monkeypatch):
    """A lookup reads the next row as well, and declares one."""
    honest = Arena.rows

    def rows(self, name, first=0, n=None):
        if name == "embed" and n == 1 and first + 2 <= self.tensor(name).shape[0]:
            return honest(self, name, first, 2)[:1]
        return honest(self, name, first, n)

    monkeypatch.setattr(Arena, "rows", rows)
    assert disagreeing(FEATHER, "gather_row") == {"engine log", "compiled log"}


def test_a_dropped_write_in_the_formula(monkeypatch):
    change_formula(
        monkeypatch,
        attention.RopeAppend,
        lambda found, op, *_: [a for a in found if not (a.write and a.tensor == op.cache)],
    )
    assert disagreeing(FEATHER, "rope_append") == {"engine log", "torch trace"}


def test_a_dropped_write_in_formula_and_log(monkeypatch):
    """The cache's rows are written in secret; the poison sees memory change that nobody names."""
    change_formula(
        monkeypatch,
        attention.RopeAppend,
        lambda found, op, *_: [a for a in found if not (a.write and a.tensor == op.cache)],
    )
    note = Arena._note

    def logged(self, tensor, first, n, write):
        if not (write and tensor.name.startswith("kv.")):
            note(self, tensor, first, n, write)

    monkeypatch.setattr(Arena, "_note", logged)
    assert disagreeing(FEATHER) == {"compiled log", "torch trace", "poison"}


def test_a_recurrent_read_charged_as_zero(monkeypatch):
    """The history that a hashed row is computed from."""
    change_formula(monkeypatch, lookup.GatherHashed, lambda found, op, *_: [a for a in found if a.tensor != op.history])
    assert disagreeing(FEATHER, "gather_hashed") == {"engine log", "torch trace"}


def test_probes_that_the_compiled_engine_does_not_count(monkeypatch):
    honest = Engine.score_stream_with_traffic

    def modest(self, tokens, targets):
        nats, traffic = honest(self, tokens, targets)
        return nats, np.maximum(traffic - 2, 0)

    monkeypatch.setattr(Engine, "score_stream_with_traffic", modest)
    assert disagreeing(NGRAM, "the compiled engine counted") == {"compiled engine"}


def test_a_compiled_log_that_forgets_a_record(monkeypatch):
    """Its last record of every operator is dropped; the readable log, which has it, is agreed to by all others."""
    honest = logged_engine.accesses_of
    monkeypatch.setattr(logged_engine, "accesses_of", lambda *given: [found[:-1] for found in honest(*given)])
    assert disagreeing(FEATHER, "accept_token: the compiled engine's log has written bytes []") == {"compiled log"}


def test_a_compiled_log_that_is_added_up_wrongly(monkeypatch):
    """The addresses are right; the reduction gives half of them."""
    honest = logged_engine.reduce_log

    def halved(*given):
        found = honest(*given)
        given[-1][:] //= 2
        return found

    monkeypatch.setattr(logged_engine, "reduce_log", halved)
    assert disagreeing(NGRAM, "amounts to") == {"compiled log"}


def test_a_compiled_engine_that_reads_something_else(monkeypatch):
    """The compiled block normalises with another layer's weights: other nats, and PyTorch sides with the log."""
    honest = feedforward.NormFfnAdd.lower

    def lower(self, places):
        other = self.norm.replace("ffn_norm", "attn_norm")
        return honest(dataclasses.replace(self, norm=other), places)

    monkeypatch.setattr(feedforward.NormFfnAdd, "lower", lower)
    assert disagreeing(DENSE, "the compiled") == {"compiled engine", "compiled log", "torch trace"}


def test_a_program_that_its_configuration_does_not_ask_for():
    """A file whose window was narrowed to look cheap."""
    honest = subject(*DENSE)
    body = tuple(dataclasses.replace(op, window=4) if op.name == "attend" else op for op in honest.program.body)
    narrowed = dataclasses.replace(honest, program=dataclasses.replace(honest.program, body=body).validate())
    found = verify(narrowed, trials=1)
    assert {"configuration", "torch trace"} <= set(found.disagreeing)


def dataclass_like(access: operator.Access, **changes) -> operator.Access:
    return access._replace(**changes)


def one_row_more(found, op, tensors, t):
    row = tensors[op.words].row_bytes
    return [a._replace(n_bytes=a.n_bytes + row) if a.tensor == op.words else a for a in found]


def codes_only(whole):
    """`whole` without the scales of quantised rows."""

    def changed(tensor, write=False):
        if tensor.format not in ("int8", "int4"):
            return whole(tensor, write)
        n = code_bytes(tensor.format, tensor.shape[1])
        return (
            [operator.Access(tensor.name, r * tensor.row_stride, n, write) for r in range(tensor.shape[0])][:1]
            if (tensor.shape[0] == 1)
            else [operator.Access(tensor.name, 0, n * tensor.shape[0], write)]
        )

    return changed


def test_the_patched_names_are_the_real_ones():
    """What the mutants replace must be what the operators use."""
    assert attention.whole is operator.whole and feedforward.whole is operator.whole
    assert class_head.whole is operator.whole and arena.Arena is Arena
