"""The caches against a dict of lists with attention by definition, in float64 (1e-10: other order of the same sums)."""

import numpy as np
import pytest
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
from weightless.decode.paged_cache import CacheFull, PagedKVCache

L, G, H, K = 2, 2, 4, 3
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def vectors(rng: np.random.Generator, n_heads: int, t: int) -> np.ndarray:
    return rng.standard_normal((n_heads, t, K))


def by_definition(q_HTK, k_GSK, v_GSK, window=None, tree=None):
    """Full recompute: every query over every key it sees, one softmax each."""
    n_heads, T, _ = q_HTK.shape
    S = k_GSK.shape[1]
    out = np.empty_like(q_HTK)
    for h in range(n_heads):
        g = h // (n_heads // len(k_GSK))
        for i in range(T):
            at = S - T + i
            seen = [j for j in range(S) if j <= at and (window is None or at - j < window)]
            if tree is not None:
                seen = [*range(S - T), *(S - T + j for j in range(T) if tree[i, j])]
            scores = np.array([q_HTK[h, i] @ k_GSK[g, j] for j in seen]) / np.sqrt(K)
            p = np.exp(scores - scores.max())
            out[h, i] = p / p.sum() @ v_GSK[g, seen]
    return out


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
            np.testing.assert_allclose(cache.attend(sequence, layer, q), wanted, **CLOSE)

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
    quiet = settings(max_examples=200, stateful_step_count=50, deadline=None,
                     suppress_health_check=list(HealthCheck))  # fmt: skip
    run_state_machine_as_test(Caches, settings=quiet)


def caches(format="f64", window=None):
    return [KVCache(L, G, K, format, window), PagedKVCache(L, G, K, 4, None, format, window, poison=True)]


@pytest.mark.parametrize("window", [None, 3])
def test_prefill_in_chunks_is_prefill_at_once(window):
    rng = np.random.default_rng(0)
    k, v, q = vectors(rng, G, 11), vectors(rng, G, 11), vectors(rng, H, 11)
    for cache in caches(window=window):
        cache.append(0, 0, k, v)
        whole = cache.attend(0, 0, q)
        for start, stop in ((0, 5), (5, 6), (6, 11)):
            cache.append(1, 0, k[:, start:stop], v[:, start:stop])
            np.testing.assert_allclose(cache.attend(1, 0, q[:, start:stop]), whole[:, start:stop], **CLOSE)


def test_a_tree_sees_its_ancestors_only():
    rng = np.random.default_rng(1)
    tree = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]], bool)
    k, v, q = vectors(rng, G, 9), vectors(rng, G, 9), vectors(rng, H, 4)
    for cache in caches():
        cache.append(0, 1, k, v)
        np.testing.assert_allclose(cache.attend(0, 1, q, tree), by_definition(q, k, v, tree=tree), **CLOSE)


def test_int8_is_within_its_rounding_and_a_quarter_of_the_bytes():
    """Each vector is off by at most half a step, max |x| / 254, and the fp16 scale by 2^-11 of itself."""
    rng = np.random.default_rng(2)
    d_head = 64
    k, v, q = (rng.standard_normal((n, 33, d_head)) for n in (G, G, H))
    for make in (lambda f: KVCache(L, G, d_head, f), lambda f: PagedKVCache(L, G, d_head, 16, None, f)):
        exact, packed = make("f64"), make("int8")
        for cache in (exact, packed):
            cache.append(0, 0, k, v)
        assert np.abs(exact.attend(0, 0, q) - packed.attend(0, 0, q)).max() < 0.02
        assert packed.nbytes_used / make_f32_used(make, k, v) == (d_head + 2) / (4 * d_head)
        held = packed.keys if isinstance(packed, PagedKVCache) else packed._sequences[0].keys
        read = np.concatenate([held.read(0, b, 0, held.block_size) for b in range(held.n_blocks)], 1)[:, :33]
        step = np.abs(k).max(2, keepdims=True) / 127
        assert (np.abs(read - k) <= 0.5 * step + 127 * step * 2.0**-11).all()


def make_f32_used(make, k, v) -> int:
    cache = make("f32")
    cache.append(0, 0, k, v)
    return cache.nbytes_used


def test_memory_grows_as_the_formula_says():
    """2 L G D b bytes per position: 48 layers, 25 heads of 64 in two bytes is 307,200."""
    cache = KVCache(48, 25, 64, "f16")
    x = np.zeros((25, 10, 64), np.float16)
    for layer in range(48):
        cache.append(0, layer, x, x)
    assert cache.nbytes_used == 10 * 307_200
    assert cache.nbytes == 16 * 307_200


def test_a_shared_prefix_is_computed_once_and_evicted_least_recently_used_first():
    rng = np.random.default_rng(3)
    cache = PagedKVCache(1, G, K, 4, 6, "f64", poison=True)
    tokens = list(range(10))
    k, v = vectors(rng, G, 10), vectors(rng, G, 10)
    cache.append(0, 0, k, v)
    assert cache.remember(0, tokens) == 2
    cache.free(0)
    assert cache.n_free_blocks == 6 and sum(cache.references) == 0
    again, n = cache.resume([*tokens[:9], 77])
    assert n == 8 and cache.length(again) == 8
    cache.append(again, 0, k[:, 8:], v[:, 8:])
    q = vectors(rng, H, 2)
    np.testing.assert_allclose(cache.attend(again, 0, q), by_definition(q, k, v), **CLOSE)
    assert cache.resume(tokens[:8])[1] == 4, "one token must be left to compute"
    other, n = cache.resume([5, *tokens[1:]])
    assert n == 0
    cache.free(again)
    cache.append(other, 0, *(vectors(rng, G, 17) for _ in range(2)))  # 5 blocks: one remembered block must go
    assert cache.resume(tokens)[1] == 4, "the block used least recently went first"


def test_a_full_cache_says_so_and_stays_as_it_was():
    rng = np.random.default_rng(4)
    cache = PagedKVCache(1, G, K, 4, 3, "f64")
    k, v = vectors(rng, G, 9), vectors(rng, G, 9)
    cache.append(0, 0, k, v)
    with pytest.raises(CacheFull, match="1 blocks of 4 positions are wanted, 0 are free"):
        cache.append(1, 0, k[:, :1], v[:, :1])
    assert cache.sequences == [0]
    cache.fork(0)
    with pytest.raises(CacheFull):
        cache.append(0, 0, k[:, :1], v[:, :1])  # would have to copy the shared block
    q = vectors(rng, H, 9)
    np.testing.assert_allclose(cache.attend(1, 0, q), by_definition(q, k, v), **CLOSE)
    assert cache.references == [2, 2, 2]


def test_a_window_gives_old_blocks_back():
    rng = np.random.default_rng(5)
    plain, paged = caches(window=5)
    for _ in range(300):
        k, v = vectors(rng, G, 1), vectors(rng, G, 1)
        for layer in range(L):
            plain.append(0, layer, k, v)
            paged.append(0, layer, k, v)
    assert plain._sequences[0].keys.block_size <= 32
    assert paged.keys.n_blocks <= 4


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
]


@pytest.mark.parametrize("wrong, message", BAD)
@pytest.mark.parametrize("cache", caches(), ids=["contiguous", "paged"])
def test_bad_input_names_the_argument(cache, wrong, message):
    if 7 not in cache.sequences:
        for layer in range(L):
            cache.append(7, layer, np.ones((G, 1, K)), np.ones((G, 1, K)))
    with pytest.raises(ArgumentError, match=message) as found:
        wrong(cache)
    assert isinstance(found.value, ValueError)
    assert cache.sequences == [7] and cache.length(7) == 1
