"""The caches against a dict of lists with attention by definition, in float64 (1e-10: other order of the same sums)."""

import numpy as np
import pytest
from decode import checks_kv_cache as checks
from decode.checks_kv_cache import G, H, K, L, by_definition, near, vectors
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from weightless.base.errors import ArgumentError
from weightless.decode.kv_cache import KVCache
from weightless.decode.paged_cache import PagedKVCache


class Caches(RuleBasedStateMachine):
    """Contiguous and paged side by side with the oracle: per sequence and layer a list of keys and one of values."""

    sequences = Bundle("sequences")

    @initialize(seed=st.integers(0, 2**16), block=st.sampled_from([1, 2, 5]), window=st.sampled_from([None, None, 4]))
    def begin(self, seed, block, window):
        self.rng, self.window = np.random.default_rng(seed), window
        self.plain = KVCache(L, G, K, "f64", window)
        self.paged = PagedKVCache(L, G, K, block, None, "f64", window, poison=True)
        self.truth = {}
        self.last = {}

    @rule(target=sequences, t=st.integers(1, 4))
    def start(self, t):
        name = max([*self.truth, -1]) + 1
        self.truth[name] = [(np.zeros((G, 0, K)), np.zeros((G, 0, K))) for _ in range(L)]
        self.extend(name, t)
        return name

    @rule(sequence=sequences, t=st.integers(1, 7))
    def extend(self, sequence, t):
        if sequence not in self.truth:
            return
        for layer in range(L):
            k, v = vectors(self.rng, G, t), vectors(self.rng, G, t)
            for cache in (self.plain, self.paged):
                cache.append(sequence, layer, k, v)
            old_k, old_v = self.truth[sequence][layer]
            self.truth[sequence][layer] = (np.concatenate((old_k, k), 1), np.concatenate((old_v, v), 1))
        self.last[sequence] = t

    @rule(sequence=sequences, layer=st.integers(0, L - 1))
    def look(self, sequence, layer):
        if sequence not in self.truth:
            return
        q = vectors(self.rng, H, self.last[sequence])
        wanted = by_definition(q, *self.truth[sequence][layer], self.window)
        for cache in (self.plain, self.paged):
            near(cache.attend(sequence, layer, q), wanted)

    @rule(target=sequences, sequence=sequences)
    def fork(self, sequence):
        if sequence not in self.truth:
            return multiple()
        twins = {self.plain.fork(sequence), self.paged.fork(sequence)}
        assert len(twins) == 1
        twin = twins.pop()
        assert twin not in self.truth
        self.truth[twin], self.last[twin] = list(self.truth[sequence]), self.last[sequence]
        return twin

    @rule(sequence=sequences, other=sequences)
    def reorder(self, sequence, other):
        """As beams change places: one gives up its number to a fork of another."""
        if sequence == other or not {sequence, other} <= set(self.truth):
            return
        for cache in (self.plain, self.paged):
            cache.free(sequence)
            assert cache.fork(other, sequence) == sequence
        self.truth[sequence], self.last[sequence] = list(self.truth[other]), self.last[other]

    @rule(sequence=sequences)
    def free(self, sequence):
        if self.truth.pop(sequence, None) is not None:
            self.plain.free(sequence)
            self.paged.free(sequence)

    @rule(sequence=sequences, data=st.data())
    def keep(self, sequence, data):
        """What a refused draft leaves behind (not with a window, which may have dropped what is asked for)."""
        if sequence not in self.truth or self.window is not None:
            return
        length = self.truth[sequence][0][0].shape[1]
        n = data.draw(st.integers(1, length))
        also = sorted(data.draw(st.sets(st.integers(n, length - 1), max_size=3))) if n < length else []
        for cache in (self.plain, self.paged):
            cache.keep(sequence, n, also)
        at = [*range(n), *also]
        self.truth[sequence] = [(k[:, at], v[:, at]) for k, v in self.truth[sequence]]
        self.last[sequence] = 1

    @invariant()
    def books_balance(self):
        if not hasattr(self, "truth"):
            return
        assert self.plain.sequences == self.paged.sequences == sorted(self.truth)
        named = [b for s in self.truth for b in self.paged.block_table(s) if b >= 0]
        counts = np.bincount(named, minlength=self.paged.keys.n_blocks)
        assert counts.tolist() == self.paged.references
        assert self.paged.n_free_blocks == int((counts == 0).sum())
        for sequence, layers in self.truth.items():
            assert self.plain.length(sequence) == self.paged.length(sequence) == layers[0][0].shape[1]


def test_any_history_of_a_cache_gives_what_recomputing_gives():
    quiet = settings(max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Caches, settings=quiet)


@pytest.mark.parametrize("check", checks.CHECKS)
def test_caches(check):
    check(KVCache, PagedKVCache)


BAD = [
    (lambda c: c.append(0, 5, np.zeros((G, 1, K)), np.zeros((G, 1, K))), "layer should be one of 0..1, not 5"),
    (lambda c: c.append(0, 0, np.zeros((G + 1, 1, K)), np.zeros((G + 1, 1, K))), r"k_HTK of shape \(3, 1, 3\)"),
    (lambda c: c.append(0, 0, np.zeros((G, 1, K)), np.zeros((G, 2, K))), r"v_HTK of shape \(2, 2, 3\)"),
    (lambda c: c.append(0, 0, np.zeros((G, 0, K)), np.zeros((G, 0, K))), "k_HTK is empty"),
    (lambda c: c.append(0, 0, np.full((G, 1, K), np.nan), np.zeros((G, 1, K))), "k_HTK .* holds nan"),
    (lambda c: c.append(-1, 0, np.zeros((G, 1, K)), np.zeros((G, 1, K))), "sequence should be a whole number"),
    (lambda c: c.attend(9, 0, np.zeros((H, 1, K))), "sequence 9 is not in the cache"),
    (lambda c: c.attend(7, 0, np.zeros((3, 1, K))), r"q_HTK of shape \(3, 1, 3\) should have a multiple of 2 heads"),
    (lambda c: c.attend(7, 0, np.zeros((H, 2, K))), "asks for 2 positions, but the cache holds 1"),
    (lambda c: c.attend(7, 0, np.zeros((H, 1, K)), np.ones((2, 2), bool)), "tree should be bool of shape"),
    (lambda c: c.keep(7, 3), "positions should ascend"),
    (lambda c: c.free(9), "sequence 9 is not in the cache"),
    (lambda c: c.fork(9), "sequence 9 is not in the cache"),
    (lambda c: c.fork(7, 7), "sequence 7 is in the cache already"),
    (lambda c: c.fork(7, -2), "sequence should be a whole number of at least 0, not -2"),
    (lambda c: c.length(9), "sequence 9 is not in the cache"),
]


@pytest.mark.parametrize("wrong, message", BAD)
@pytest.mark.parametrize("cache", checks.each(KVCache, PagedKVCache), ids=["contiguous", "paged"])
def test_bad_input_names_the_argument(cache, wrong, message):
    if 7 not in cache.sequences:
        for layer in range(L):
            cache.append(7, layer, np.ones((G, 1, K)), np.ones((G, 1, K)))
    with pytest.raises(ArgumentError, match=message) as found:
        wrong(cache)
    assert isinstance(found.value, ValueError)
    assert cache.sequences == [7] and cache.length(7) == 1
