"""What sharing blocks is held to: counts of references, reuse, remembered prefixes, eviction; for PagedKVCache.

Oracle: the tables themselves for the counts, recomputed attention (checks_kv_cache.py) for what blocks hold.
"""

from __future__ import annotations

import contextlib

import numpy as np
from decode.checks_kv_cache import BLOCK, G, H, K, by_definition, near, vectors

from weightless.base.errors import ArgumentError
from weightless.decode import paged_cache


def check_books(plain, paged) -> None:
    """400 random steps: every block counts the tables that name it, is free when none does, and NaN when it is free."""
    rng = np.random.default_rng(0)
    cache = paged(1, G, K, BLOCK, None, "f64", poison=True)
    for _ in range(400):
        there = cache.sequences
        action = rng.integers(5) if there else 0
        if action < 2:
            s = int(rng.choice(there)) if there and action else max([*there, -1]) + 1
            x = vectors(rng, G, int(rng.integers(1, 9)))
            cache.append(s, 0, x, x)
        elif action == 2:
            cache.fork(int(rng.choice(there)))
        elif action == 3:
            s = int(rng.choice(there))
            cache.keep(s, int(rng.integers(1, cache.length(s) + 1)))
        else:
            cache.free(int(rng.choice(there)))
        check_counts(cache)
    for s in cache.sequences:
        cache.free(s)
    check_counts(cache)
    assert sum(cache.references) == 0 and cache.n_free_blocks == cache.keys.n_blocks


def check_counts(cache) -> None:
    """The books of one cache at one moment."""
    named = [block for s in cache.sequences for block in cache.block_table(s) if block >= 0]
    counts = np.bincount(np.array(named, int), minlength=cache.keys.n_blocks)
    assert cache.references == counts.tolist()
    assert cache.n_free_blocks == int((counts == 0).sum())
    free = [block for block in np.flatnonzero(counts == 0) if block not in cache._hash_of]
    for store in (cache.keys, cache.values):
        assert np.isnan(store.values[:, free]).all(), "a free block still holds what it held"


def check_reuse(plain, paged) -> None:
    """Requests that come and go through three blocks, 50 times, find them free and never what was there before."""
    rng = np.random.default_rng(1)
    cache = paged(1, G, K, BLOCK, 3, "f64", poison=True)
    for n in range(50):
        k, v, q = vectors(rng, G, 12 - n % 4), vectors(rng, G, 12 - n % 4), vectors(rng, H, 2)
        try:
            cache.append(n, 0, k, v)
        except paged_cache.CacheFull as error:
            raise AssertionError(f"request {n}: {error}") from error
        near(cache.attend(n, 0, q), by_definition(q, k, v))
        cache.free(n)


def check_full(plain, paged) -> None:
    """A request that does not fit says so and changes nothing: no sequence comes or goes, no block changes hands."""
    rng = np.random.default_rng(2)
    cache = paged(1, G, K, BLOCK, 3, "f64")
    k, v, q = vectors(rng, G, 9), vectors(rng, G, 9), vectors(rng, H, 9)
    cache.append(0, 0, k, v)
    began, n_known = cache.resume([1, 2])
    twin = cache.fork(0)
    assert n_known == 0
    for s in (99, began, 0):  # new, begun but empty, and one that would have to copy its last block
        assert refused(cache, s, k[:, :1], v[:, :1]) == "1 blocks of 4 positions are wanted, 0 are free"
        assert cache.sequences == [0, began, twin] and cache.references == [2, 2, 2]
    near(cache.attend(twin, 0, q), by_definition(q, k, v))


def refused(cache, s: int, k, v) -> str:
    """What CacheFull says, up to the remedy; empty when there is room."""
    try:
        cache.append(s, 0, k, v)
    except paged_cache.CacheFull as error:
        return str(error).split(";")[0]
    return ""


def filled(paged, n_blocks: int, *prompts):
    """A cache that remembers the full blocks of prompts which are done: (cache, k, v) with the rows of the last."""
    rng = np.random.default_rng(3)
    cache = paged(1, G, K, BLOCK, n_blocks, "f64", poison=True)
    k = v = np.zeros((G, 0, K))
    for prompt in prompts:
        k, v = vectors(rng, G, len(prompt)), vectors(rng, G, len(prompt))
        cache.append(1000, 0, k, v)
        assert cache.remember(1000, prompt) == len(prompt) // BLOCK
        cache.free(1000)
    return cache, k, v


def check_prefix(plain, paged) -> None:
    """Blocks are found by their tokens and all tokens before them; one token at least is left to compute."""
    tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    cache, k, v = filled(paged, 8, tokens)
    q = vectors(np.random.default_rng(4), H, 1)
    s, n_known = cache.resume([*tokens[:8], 77])
    assert n_known == cache.length(s) == 8
    cache.append(s, 0, k[:, 8:], v[:, 8:])
    near(cache.attend(s, 0, q), by_definition(q, k, v))
    for prompt, known in (
        (tokens[:8], 4),  # all of it is remembered
        ([5, 6, 7, 8, 0], 0),  # the second block, at the beginning
        ([1, 2, 3, 4, 1, 2, 3, 4, 0], 4),  # the first block, twice
        ([1, 2, 3, 0, 5, 6, 7, 8, 0], 0),  # the second block behind another first
        ([1, 2, 3, 4, 5, 6, 7, 0, 0], 4),
        ([token + 65_536 for token in tokens], 0),
        ([4, 3, 2, 1, 0], 0),
    ):
        assert cache.resume(prompt)[1] == known, prompt


def check_eviction(plain, paged) -> None:
    """Room comes from what was used least recently, its end first, and never from a block that somebody names."""
    a, b = list(range(13)), list(range(100, 109))
    cache, _, _ = filled(paged, 6, a, b)  # three blocks of a, two of b, one free
    cache.free(cache.resume(a)[0])
    cache.append(0, 0, *(vectors(np.random.default_rng(5), G, 5) for _ in range(2)))  # two blocks: one is evicted
    assert (cache.resume(a)[1], cache.resume(b)[1]) == (12, 4), "the end of what was used least recently goes first"


def check_in_use(plain, paged) -> None:
    """Remembered blocks that a sequence names stay as they are when the cache fills up, old as they may be."""
    tokens = list(range(9))
    cache, k, v = filled(paged, 5, tokens)
    s, _ = cache.resume(tokens)
    younger = np.ones((G, BLOCK, K))
    cache.append(6, 0, younger, younger)
    cache.remember(6, [5, 5, 5, 5])
    cache.free(6)
    noise = vectors(np.random.default_rng(6), G, 1)
    while not refused(cache, 7, noise, noise):
        assert cache.length(7) <= 3 * BLOCK, "more blocks than there are"
    assert cache.block_table(s) == [block for block in cache.block_table(s) if block not in cache.block_table(7)]
    cache.free(7)
    cache.append(s, 0, k[:, 8:], v[:, 8:])
    q = vectors(np.random.default_rng(7), H, 1)
    near(cache.attend(s, 0, q), by_definition(q, k, v))


def check_written_blocks_are_forgotten(plain, paged) -> None:
    """Cut back into a remembered block and go on otherwise: the block no longer is what its tokens say."""
    tokens = list(range(9))
    cache, k, v = filled(paged, 6, tokens)
    s, _ = cache.resume(tokens)
    cache.keep(s, 6)
    cache.append(s, 0, -k[:, 6:], -v[:, 6:])
    cache.free(s)
    s, n_known = cache.resume(tokens)
    assert n_known == 4
    cache.append(s, 0, k[:, 4:], v[:, 4:])
    q = vectors(np.random.default_rng(8), H, 1)
    near(cache.attend(s, 0, q), by_definition(q, k, v))


def check_int8_forks(plain, paged) -> None:
    """A block that is copied on write takes its scales along: the fork reads what the origin reads, bit for bit."""
    rng = np.random.default_rng(9)
    cache = paged(1, G, K, BLOCK, None, "int8")
    cache.append(0, 0, *(vectors(rng, G, 6) for _ in range(2)))
    twin, more = cache.fork(0), vectors(rng, G, 1)
    q = vectors(rng, H, 1)
    for s in (twin, 0):  # the first of them copies
        cache.append(s, 0, more, more)
    assert (cache.attend(twin, 0, q) == cache.attend(0, 0, q)).all()
    assert cache.block_table(twin)[1] != cache.block_table(0)[1]


def check_no_way_back(plain, paged) -> None:
    """A sequence cannot be cut back to where its window has left: what would be written there is another's block."""
    cache = paged(1, G, K, BLOCK, None, "f64", 5, poison=True)
    x = np.ones((G, 1, K))
    for _ in range(30):
        cache.append(0, 0, x, x)
    assert cache.block_table(0).count(-1) == 6
    with contextlib.suppress(ArgumentError):
        cache.keep(0, 7)
    assert cache.length(0) == 30, "cut back to position 7, which is gone"
    cache.keep(0, 29)
    cache.append(0, 0, x, x)
    near(cache.attend(0, 0, np.ones((H, 1, K))), np.ones((H, 1, K)))


CHECKS = [
    check_books,
    check_reuse,
    check_full,
    check_prefix,
    check_eviction,
    check_in_use,
    check_written_blocks_are_forgotten,
    check_int8_forks,
    check_no_way_back,
]
