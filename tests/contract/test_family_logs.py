"""Contract, for every family: the compiled engine's own log is that of the readable engine, its oracle, byte for byte.

Which addresses, not how many: per operator, tensor and direction the same disjoint intervals, in all three modes.  No
tolerance: addresses are integers.
"""

from __future__ import annotations

import numpy as np
import pytest
from contract.cases import ALL, bench, first_ones
from contract.test_family_bytes import run_head

from weightless.audit.counters.agreement import TOLERANCE_NATS, intervals
from weightless.program import logged_engine
from weightless.program.cost import Bytes, Reducer, step_bytes
from weightless.program.logged_engine import LoggedEngine

HEADS = ["score", "sample", "full"]


def beside(b) -> tuple[LoggedEngine, object]:
    return b.logged_engine(), b.audit_engine()


@pytest.mark.parametrize("case", first_ones(ALL, quick=2))
def test_5_both_logs_name_the_same_addresses(case):
    b = bench(*case)
    compiled, readable = beside(b)
    for i, (token, target) in enumerate(zip(b.tokens, b.targets, strict=True)):
        readable.arena.state[:] = compiled.S  # an index computed from sums of another order would go elsewhere
        compiled.feed(int(token))
        readable.feed(int(token))
        for head in HEADS:
            readable.arena.state[:] = compiled.S
            n = len(compiled.steps) if head != "score" else 0
            run_head(compiled, head, int(target), i)
            run_head(readable, head, int(target), i)
            pairs = zip(compiled.steps[n:], readable.steps[n:], strict=True)
            for (op, have, _), (_, want, _) in pairs:
                assert intervals(have) == intervals(want), (i + 1, op)


@pytest.mark.parametrize("case", ALL, ids="-".join)
def test_5_a_stream_amounts_to_what_the_readable_log_does(case):
    """T, U and lines of every step; `cost.Reducer` over the readable log is the oracle of the compiled reduction."""
    b = bench(*case)
    compiled, readable = beside(b)
    nats, counts = compiled.touched(b.tokens, b.targets)
    plain = b.engine().score_stream(b.tokens, b.targets)
    assert (np.abs(nats - plain) <= TOLERANCE_NATS * np.maximum(1, plain)).all()  # sums may be in another order
    reducer, engine = Reducer(b.program), b.engine()
    for t, (token, target) in enumerate(zip(b.tokens, b.targets, strict=True)):
        readable.arena.state[:] = engine.S
        engine.score_stream(np.array([token]), np.array([target]))
        readable.feed(int(token))
        readable.score(int(target))
        want = reducer.step([accesses for _, accesses, _ in readable.steps])
        assert {n: Bytes(*c) for n, c in zip(compiled.components, counts[t].tolist(), strict=True) if any(c)} == want


@pytest.mark.parametrize("case", [("feather", "as_it_comes"), ("infinigram", "length_16")], ids="-".join)
@pytest.mark.parametrize("head", HEADS)
def test_5_a_feed_and_one_head_of_several(case, head):
    """Heads run one after the other on the same feed; only the one that is asked for counts."""
    b = bench(*case)
    compiled = b.logged_engine()
    for i, (token, target) in enumerate(zip(b.tokens[:9], b.targets[:9], strict=True)):
        compiled.feed(int(token))
        n_body = len(compiled.steps)
        parts = {}
        for name in HEADS:
            before = len(compiled.steps)
            run_head(compiled, name, int(target), i)
            parts[name] = compiled.steps[before:]
        wanted = [accesses for _, accesses, _ in [*compiled.steps[:n_body], *parts[head]]]
        assert compiled.bytes_since_feed(head) == step_bytes(b.program, wanted)


@pytest.mark.parametrize(
    "case", [("feather", "as_it_comes"), ("infinigram", "length_16"), ("mixture", "dense_and_ngram")]
)
def test_a_log_that_is_too_small_loses_nothing(case, monkeypatch):
    """Room for seven records, five tokens at once: stretches are run again until they fit, and end in the same bits."""
    b = bench(*case)
    wide = b.logged_engine()
    wanted = wide.touched(b.tokens, b.targets)
    monkeypatch.setattr(logged_engine, "FIRST_RECORDS", 8)
    monkeypatch.setattr(logged_engine, "TOKENS_AT_ONCE", 5)
    narrow = b.logged_engine()
    found = narrow.touched(b.tokens, b.targets)
    assert np.array_equal(found[0], wanted[0]) and np.array_equal(found[1], wanted[1])
    assert np.array_equal(narrow.S, wide.S) and narrow.position == wide.position
