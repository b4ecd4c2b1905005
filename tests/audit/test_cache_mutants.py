"""Lies about a window cache, told on purpose: each is noticed by the counters named (as in test_variant_mutants.py)."""

from __future__ import annotations

import numpy as np
import pytest
from audit.small_subjects import subject
from audit.test_mutants import change_formula, disagreeing
from contract.cases import Bench, bench, packed_bytes, uncached

from weightless.audit.counters.subjects import Subject
from weightless.audit.counters.verify import verify
from weightless.models import ngram
from weightless.ops import window_cache
from weightless.ops.window_cache import MOST, WORDS, cached_nats
from weightless.program.cached import CACHE_WEIGHTS
from weightless.program.engine import AuditEngine, Engine
from weightless.program.operators.window_cache import CacheScore, CacheUpdate, layout, promise, update

CACHED = ("ngram", "cached")
FULL_LISTS = ("ngram", "cached_full_lists")
DENSE = ("dense", "cached")


def without(tensor: str):
    """A formula that leaves what it touches of a tensor out."""
    return lambda found, op, *_: [access for access in found if access.tensor != getattr(op, tensor)]


@pytest.mark.parametrize("case", [CACHED, FULL_LISTS, DENSE, ("dense", "cached_exits"), ("mixture", "cached")])
def test_without_a_fault_all_counters_agree_and_the_trace_says_what_it_does_not_see(case):
    found = verify(subject(*case), trials=120)
    assert found.ok, found.counters
    if case[0] == "dense":
        (trace,) = [counter for counter in found.counters if counter.name == "torch trace"]
        assert "without its window cache, which is not PyTorch's" in trace.detail
        assert "window cache" not in trace.components


@pytest.mark.parametrize("tensor", ["history", "words", "known", "lines"])
def test_an_update_that_is_not_charged(tensor, monkeypatch):
    change_formula(monkeypatch, CacheUpdate, without(tensor))
    assert {"engine log"} <= disagreeing(CACHED, "cache_update")


@pytest.mark.parametrize("tensor", ["history", "words", "known", "lines", "weights", "own", "outcome"])
def test_a_score_that_is_not_charged(tensor, monkeypatch):
    change_formula(monkeypatch, CacheScore, without(tensor))
    assert {"engine log"} <= disagreeing(CACHED, "cache_score")


def test_only_the_word_that_is_scored_is_charged(monkeypatch):
    """Formula and readable engine both say that one word of a line is read; the compiled engine's registers deny it."""
    honest = CacheScore.run
    change_formula(
        monkeypatch,
        CacheScore,
        lambda found, op, *_: [a._replace(n_bytes=8) if a.tensor == op.lines and a.n_bytes > 8 else a for a in found],
    )

    def run(self, arena):
        data = honest(self, arena)
        arena.log = [(i, a._replace(n_bytes=min(a.n_bytes, 4)) if a.tensor == self.lines else a) for i, a in arena.log]
        return data

    monkeypatch.setattr(CacheScore, "run", run)
    assert {"compiled engine", "compiled log"} <= disagreeing(FULL_LISTS)


def readable_differs(monkeypatch, case=CACHED, said="readable engine scores") -> None:
    """The readable engine lies, and the compiled one does not."""
    assert "compiled engine" in disagreeing(case, said)


def test_a_cache_that_sees_the_target(monkeypatch):
    """One count more for the target, where its context has occurred."""
    honest = promise.CacheScore._order

    def order(self, arena, k, total, distinct, words, counts):
        found = honest(self, arena, k, total, distinct, words, counts)
        return found._replace(words=[*words, arena.registers.target], counts=[*counts, 1]) if words else found

    monkeypatch.setattr(CacheScore, "_order", order)
    readable_differs(monkeypatch, FULL_LISTS)


def test_a_cache_that_sees_the_target_is_no_distribution(monkeypatch):
    """Where both engines shared that fault, the sum over all targets would tell: here in the dictionaries."""
    b = bench(*FULL_LISTS)
    counts, weights = window_cache.WindowCounts(3, b.tokens[:60].tolist()), b.arrays[CACHE_WEIGHTS][0]
    rest, added = counts.mixture(weights)
    assert rest + sum(added.values()) == pytest.approx(1, abs=1e-12)
    total = rest
    for target in range(19):
        seen = window_cache.WindowCounts(3, [*b.tokens[:60].tolist()])
        for context in seen.found():
            context.counts[target] = context.counts.get(target, 0) + 1
        total += seen.mixture(weights)[1][target]
    assert total > 1.01


def wanted(b: Bench) -> np.ndarray:
    own = uncached(b).engine().score_stream(b.tokens, b.targets)
    return cached_nats(own, b.tokens.tolist(), b.targets.tolist(), b.arrays[CACHE_WEIGHTS][0])


def after_another_window(engine: Engine | AuditEngine, b: Bench) -> np.ndarray:
    """Nats of the stretch where the same one backwards was fed before."""
    engine.score_stream(b.targets[::-1], b.tokens[::-1])
    engine.reset()
    return engine.score_stream(b.tokens, b.targets)


def test_counts_that_are_carried_over_a_windows_end(monkeypatch):
    """A row that an earlier window has left is believed without asking the history."""
    b = bench(*CACHED)
    for engine in (b.engine(poison=False), b.audit_engine(poison=False)):
        np.testing.assert_allclose(after_another_window(engine, b), wanted(b), atol=2e-6)
    honest = CacheUpdate.holds

    def holds(self, arena, place, word):
        honest(self, arena, place, word)
        return True

    for kind in (CacheUpdate, CacheScore):
        monkeypatch.setattr(kind, "holds", holds)
        assert np.abs(after_another_window(b.audit_engine(poison=False), b) - wanted(b)).max() > 1e-3
        monkeypatch.undo()


def test_a_window_that_is_not_ended(monkeypatch):
    """Without a reset in between, 16 tokens and 16 others are one window: another cache, other nats."""
    b, engine = bench(*CACHED), bench(*CACHED).engine()
    apart = [wanted(b._replace(stream=part)) for part in (b.stream[:17], b.stream[16:])]
    together = engine.score_stream(b.tokens, b.targets)
    np.testing.assert_allclose(together[:16], apart[0], atol=2e-6)
    assert np.abs(together[16:] - apart[1]).max() > 1e-3


def test_a_count_that_wraps_around(monkeypatch):
    """The 256th of a word would be counted in the bits of its id."""
    text = (np.random.default_rng(1).zipf(1.3, 900) - 1) % 29
    config, arrays = ngram.FAMILY.count(ngram.Config(29, 1, context=300, window_cache=2), text)
    program = ngram.FAMILY.decode_program(config)
    stream = np.full(301, 5)
    same = Subject("one word", "ngram", config, program, packed_bytes(program, arrays), stream, "made tokens")
    assert verify(same, trials=20).ok
    monkeypatch.setattr(update, "MOST", 2**24 - 1)
    assert {"compiled engine", "compiled log"} & set(verify(same, trials=20).disagreeing)


def test_a_word_that_is_added_to_the_count_of_the_one_it_replaces(monkeypatch):
    """A total that is not adjusted: what was counted for the other word stays in it."""
    honest = CacheUpdate._enter

    def enter(self, arena, k, row, word):
        lines = arena._numbers[self.lines]
        before = lines[row & ~layout.FRESH].copy()
        found = honest(self, arena, k, row, word)
        if found[1:] == (WORDS, 0):
            line = slice(layout.line_of(k) + 1, layout.line_of(k) + 1 + WORDS)
            after = lines[row][line]
            after[:] = np.where(after != before[line], after + (before[line] & np.uint32(MOST)), after)
        return found

    b = bench(*FULL_LISTS)
    monkeypatch.setattr(CacheUpdate, "_enter", enter)
    assert np.abs(b.audit_engine().score_stream(b.tokens, b.targets) - wanted(b)).max() > 1e-3


def test_lists_that_are_full_too_early(monkeypatch):
    monkeypatch.setattr(update, "WORDS", WORDS - 1)
    assert "compiled log" in disagreeing(FULL_LISTS)


def test_the_weight_of_another_class(monkeypatch):
    honest = promise.class_of
    monkeypatch.setattr(promise, "class_of", lambda k, total, distinct: honest(k, total, total))
    readable_differs(monkeypatch)


def test_a_total_that_is_not_the_sum_of_what_is_kept(monkeypatch):
    """It would count what was replaced, too: the class is another one, and the shares do not sum to one."""
    honest = promise.CacheScore._order
    monkeypatch.setattr(
        CacheScore,
        "_order",
        lambda self, arena, k, total, distinct, words, counts: honest(
            self, arena, k, 2 * total, distinct, words, counts
        ),
    )
    readable_differs(monkeypatch, FULL_LISTS)


def test_no_exit_skips_the_cache():
    """On either path the word is counted; a readable engine whose exits jump over the update differs."""
    b = bench("dense", "cached_exits")
    engine, paths = b.engine(), set()
    for token in b.tokens:
        engine.feed(int(token))
        paths.add(engine.path)
        assert "cache_update" in [op.name for op in b.program.along(engine.path, "score")]
    assert paths == {0, 1}
    np.testing.assert_allclose(b.engine().score_stream(b.tokens, b.targets), wanted(b), atol=2e-5)
