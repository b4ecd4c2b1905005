"""Counting by sorted keys, against dictionaries (ops.kneser_ney.ngram_counts); integers, so equality is exact."""

from __future__ import annotations

import numpy as np
import pytest
from ngram.streams import flat, zipfian

from weightless.ngram.counts import Level, count_levels, dense_ranks
from weightless.ops.kneser_ney import START, ngram_counts


def as_dictionaries(levels: list[Level]) -> list[dict[tuple[int, ...], int]]:
    """n-gram -> count per order, read off the levels the way their docstring says."""
    contexts: dict[int, list[tuple[int, ...]]] = {0: [()]}
    found: list[dict[tuple[int, ...], int]] = []
    for above, level in zip([None, *levels], levels, strict=False):
        if level.k == 1:
            contexts[1] = [(int(word),) for word in level.word]
        elif above is not None and above.first_child is not None:
            bounds = above.first_child
            parents = [p for i, p in enumerate(contexts[level.k - 1]) for _ in range(bounds[i], bounds[i + 1])]
            contexts[level.k] = [(int(word), *parent) for word, parent in zip(level.word, parents, strict=True)]
        entries = {}
        for i, context in enumerate(contexts[level.k]):
            for j in range(level.start[i], level.start[i + 1]):
                if level.count[j]:
                    entries[(*context, int(level.follower[j]))] = int(level.count[j])
        found.append(entries)
    return found


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize(
    "n_tokens, vocab_size", [(1, 3), (3, 2), (63, 5), (257, 300), (1023, 65535), (411, 65536), (333, 70000)]
)
def test_counts_equal_dictionaries(order, n_tokens, vocab_size):
    tokens = zipfian(n_tokens, vocab_size, seed=order)
    tokens[-1] = vocab_size - 1  # the largest id must not be taken for the mark
    dtype = np.uint16 if vocab_size <= 65536 else np.uint32
    levels = list(count_levels(tokens.astype(dtype), vocab_size, order))[::-1]
    expected = [{g: c for g, c in level.items() if START not in g} for level in ngram_counts(tokens.tolist(), order)]
    assert as_dictionaries(levels) == expected


def test_contexts_and_lists_are_sorted():
    levels = list(count_levels(flat(1023, 7).astype(np.uint16), 7, 4))
    for level in levels:
        inside = np.ones(level.follower.size, bool)
        inside[level.start[:-1]] = False
        assert np.all(np.diff(level.follower.astype(int), prepend=-1)[inside] > 0)


@pytest.mark.parametrize("n_bits", [12, 44, 61, 64])
def test_dense_ranks_equal_numpy_unique(n_bits):
    # 12 bits take the packed sort, 61 and 64 the radix sort (the position does not fit beside the key).
    keys = np.random.default_rng(n_bits).integers(0, 2**n_bits, 1023, dtype=np.uint64)
    keys[::3] = keys[0]
    distinct, inverse = np.unique(keys, return_inverse=True)
    ranks, found = dense_ranks(keys.copy(), n_bits)
    np.testing.assert_array_equal(ranks, inverse)
    np.testing.assert_array_equal(found, distinct)
