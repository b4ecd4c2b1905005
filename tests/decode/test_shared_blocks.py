"""Any history of a paged cache of fixed size that shares what texts have in common, against attention recomputed.

Oracle: a dict of texts.  What a position holds is a function of the text up to it, so a block found under the wrong
text, evicted in use or written to while shared shows in what the next token sees.  Texts have two letters, so that
they share much.  float64, 1e-10: other order of the same sums.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from decode import checks_blocks as checks
from decode.checks_kv_cache import G, H, K, by_definition, near
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from weightless.decode.kv_cache import KVCache
from weightless.decode.paged_cache import CacheFull, PagedKVCache

TEXT = st.lists(st.integers(0, 1), min_size=1, max_size=9)


@pytest.mark.parametrize("check", checks.CHECKS)
def test_shared_blocks(check):
    check(KVCache, PagedKVCache)


@cache
def row(text: tuple[int, ...]) -> np.ndarray:
    """What the last position of a text holds: key, value and query, (2 G + H, 1, K)."""
    return np.random.default_rng([len(text), *text]).standard_normal((2 * G + H, 1, K))


def rows(text: list[int], first: int = 0) -> np.ndarray:
    return np.concatenate([row(tuple(text[: i + 1])) for i in range(first, len(text))], axis=1)


class SharedBlocks(RuleBasedStateMachine):
    """Requests that begin with what is remembered, go on, fork, are cut back, remembered and forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[int, list[int]] = {}

    @initialize(block=st.sampled_from([1, 2, 3]), n_blocks=st.integers(3, 12))
    def begin(self, block, n_blocks):
        self.paged = PagedKVCache(1, G, K, block, n_blocks, "f64", poison=True)

    def grow(self, s: int, text: list[int]) -> None:
        """Append what `text` adds to a sequence; when that does not fit, nothing may have happened."""
        before = self.paged.references.copy(), self.paged.sequences
        x = rows(text, self.paged.length(s))
        try:
            self.paged.append(s, 0, x[:G], x[G : 2 * G])
        except CacheFull:
            assert (self.paged.references, self.paged.sequences) == before
            return
        self.texts[s] = text
        past = rows(text)
        near(self.paged.attend(s, 0, past[2 * G :, -1:]), by_definition(past[2 * G :, -1:], past[:G], past[G : 2 * G]))

    @rule(text=TEXT)
    def ask(self, text):
        s, n_known = self.paged.resume(text)
        assert n_known < len(text)
        self.texts[s] = text[:n_known]
        self.grow(s, text)

    def chosen(self, data) -> int:
        return data.draw(st.sampled_from(sorted(self.texts)))

    @precondition(lambda self: self.texts)
    @rule(data=st.data(), more=TEXT)
    def go_on(self, data, more):
        s = self.chosen(data)
        self.grow(s, self.texts[s] + more)

    @precondition(lambda self: self.texts)
    @rule(data=st.data())
    def fork(self, data):
        s = self.chosen(data)
        self.texts[self.paged.fork(s)] = self.texts[s]

    @precondition(lambda self: self.texts)
    @rule(data=st.data())
    def take_the_place_of_another(self, data):
        """As beams do: a number is freed and given to a fork of another sequence."""
        s, other = self.chosen(data), self.chosen(data)
        if s != other:
            self.paged.free(s)
            assert self.paged.fork(other, s) == s
            self.texts[s] = self.texts[other]

    @precondition(lambda self: self.texts)
    @rule(data=st.data())
    def cut_back(self, data):
        s = self.chosen(data)
        n = data.draw(st.integers(0, len(self.texts[s])))
        self.paged.keep(s, n)
        self.texts[s] = self.texts[s][:n]

    @precondition(lambda self: self.texts)
    @rule(data=st.data())
    def remember(self, data):
        s = self.chosen(data)
        assert self.paged.remember(s, self.texts[s]) == len(self.texts[s]) // self.paged.block_size

    @precondition(lambda self: self.texts)
    @rule(data=st.data(), remembered=st.booleans())
    def leave(self, data, remembered):
        s = self.chosen(data)
        if remembered:
            self.paged.remember(s, self.texts[s])
        self.paged.free(s)
        del self.texts[s]

    @invariant()
    def books_balance(self):
        if hasattr(self, "paged"):
            assert self.paged.sequences == sorted(self.texts)
            assert [self.paged.length(s) for s in self.paged.sequences] == [
                len(t) for _, t in sorted(self.texts.items())
            ]
            checks.check_counts(self.paged)


def test_any_history_of_shared_blocks_gives_what_recomputing_gives():
    quiet = settings(max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(SharedBlocks, settings=quiet)
