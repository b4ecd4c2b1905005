"""Suffix array of a token stream, and batched lookups in it: where, and how often, does a pattern stand?

Plan of the build (one thread; every sort is NumPy's sort of uint64, which is vectorised):

1. Each suffix's first words and its position are packed into one number (3 words for a vocabulary of 4,096 and 10
   million tokens).  Sorted, they give groups of suffixes that agree so far, and each suffix the rank of its group.
2. Groups are sorted by the ranks of what follows `depth` words later, which doubles the depth (Larsson & Sadakane
   2007): number of the group, rank and number of the member in one uint64, a chunk of groups at a time.  Suffixes that
   stand alone are done; most of natural text is, at 12 words.  Text of one word, periodic text and copies of whole
   documents take log2 n passes, never n.

Memory: the array and the text, 4 + 2 (or 4) bytes per token; 20 bytes per token more while building (keys 8, ranks 4,
lists of groups up to 8), and 4 more where one group is most of the text.
Errors: as `ngram.kneser_ney.checked_stream`.  The slow truth is `ops/suffix_array.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ngram.counts import bits_for
from weightless.ngram.kneser_ney import check_room, checked_stream

KEY_BITS = 64
LEAST_BYTES = 16
"""Of memory per token: keys, ranks and the array itself."""
CHUNK = 1 << 20
"""Suffixes that are sorted at a time; their keys stay within the cache."""


@dataclass(frozen=True)
class SuffixArray:
    """`suffixes` u32 [N] positions in order; rows first_row[w] .. first_row[w + 1] (u32 [V + 1]) begin with word w."""

    text: np.ndarray
    suffixes: np.ndarray
    first_row: np.ndarray

    @property
    def n_bytes(self) -> int:
        return self.text.nbytes + self.suffixes.nbytes + self.first_row.nbytes

    @property
    def vocab_size(self) -> int:
        return len(self.first_row) - 1

    def ranges(self, patterns: Sequence[Sequence[int]] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(first row, end row) of each pattern, int64 [n]; `patterns` is a list, or one array [n, length]."""
        flat, begins, lengths = self._flat(patterns)
        return self._ranges(flat, begins, lengths)

    def count(self, patterns: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
        """How often each pattern stands in the text, int64 [n]."""
        low, high = self.ranges(patterns)
        return high - low

    def longest_suffix(
        self, contexts: Sequence[Sequence[int]] | np.ndarray, most: int = 2**31
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(length, first row, end row) of each context's longest suffix, of at most `most` words, that occurs.

        Occurring is monotone in the length, so the length is bisected: log2(longest context) rounds of lookups.
        """
        flat, begins, lengths = self._flat(contexts)
        ends = begins + lengths
        known, limit = np.zeros_like(lengths), np.minimum(lengths, most)
        low, high = np.zeros_like(lengths), np.full_like(lengths, len(self.text))
        while len(open_ := np.flatnonzero(known < limit)):
            tried = np.minimum(np.maximum(2 * known[open_], 1), (known[open_] + limit[open_] + 1) // 2)
            first, end = self._ranges(flat, ends[open_] - tried, tried)
            yes = end > first
            there = open_[yes]
            known[there], low[there], high[there] = tried[yes], first[yes], end[yes]
            limit[open_[~yes]] = tried[~yes] - 1
        return known, low, high

    def _ranges(self, flat: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from weightless.kernels.numba.suffix_lookup import ranges

        low, high = np.empty(len(begins), np.int64), np.empty(len(begins), np.int64)
        ranges(self.text, self.suffixes, self.first_row, flat, begins, lengths, low, high)
        return low, high

    def _flat(self, patterns: Sequence[Sequence[int]] | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(all words, where each pattern begins, its length)."""
        if isinstance(patterns, np.ndarray) and patterns.ndim == 2:
            n, length = patterns.shape
            flat, lengths = patterns.ravel(), np.full(n, length, np.int64)
        else:
            lengths = np.array([len(pattern) for pattern in patterns], dtype=np.int64)
            flat = np.concatenate(patterns).astype(np.int64) if lengths.sum() else np.zeros(0, np.int64)
        if flat.size and not 0 <= int(flat.min()) <= int(flat.max()) < self.vocab_size:
            raise ConfigError(f"a pattern holds an id outside the vocabulary of {self.vocab_size:,}")
        return flat.astype(self.text.dtype, copy=False), np.cumsum(lengths) - lengths, lengths


def build(tokens: np.ndarray, vocab_size: int) -> SuffixArray:
    """Sort the suffixes of one token stream."""
    text = checked_stream(tokens, vocab_size)
    check_room(text.size, LEAST_BYTES, "sorting the suffixes")
    first_row = np.zeros(vocab_size + 1, np.uint32)
    np.cumsum(np.bincount(text, minlength=vocab_size), out=first_row[1:])
    return SuffixArray(text, _sorted_suffixes(text, int(text.max()) + 1), first_row)


def _sorted_suffixes(text: np.ndarray, n_words: int) -> np.ndarray:
    from weightless.kernels.numba.suffix_array import first_groups, pack_keys

    word_bits, position_bits, n = bits_for(n_words + 1), bits_for(text.size), text.size
    depth = (KEY_BITS - position_bits) // word_bits
    keys, suffixes, ranks = np.empty(n, np.uint64), np.empty(n, np.uint32), np.empty(n, np.uint32)
    pack_keys(text, depth, word_bits, position_bits, keys)
    keys.sort()
    groups, spare = _lists(n), _lists(n)
    n_groups = first_groups(keys, position_bits, suffixes, ranks, *groups)
    while n_groups:
        n_groups = _refined(suffixes, ranks, depth, keys, groups, n_groups, spare)
        depth, groups, spare = 2 * depth, spare, groups
    return suffixes


def _refined(
    suffixes: np.ndarray,
    ranks: np.ndarray,
    depth: int,
    keys: np.ndarray,
    groups: tuple[np.ndarray, np.ndarray],
    n_groups: int,
    into: tuple[np.ndarray, np.ndarray],
) -> int:
    """Sort the members of every group by what follows `depth` words later; returns the number of groups left."""
    from weightless.kernels.numba.suffix_array import next_chunk, pack_chunk, unpack_chunk

    rank_bits, found, first = bits_for(suffixes.size + 1), 0, 0
    old = np.empty(CHUNK, np.uint32)
    while first < n_groups:
        last, members = next_chunk(*groups, n_groups, first, rank_bits, CHUNK)
        if members > old.size:
            old = np.empty(members, np.uint32)
        pack_chunk(suffixes, ranks, depth, *groups, first, last, members, rank_bits, keys, old)
        keys[:members].sort()
        found = unpack_chunk(suffixes, ranks, *groups, first, last, members, keys, old, *into, found)
        first = last
    return found


def _lists(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for the groups of n suffixes (each has two members or more)."""
    return np.empty(n // 2 + 1, np.uint32), np.empty(n // 2 + 1, np.uint32)
