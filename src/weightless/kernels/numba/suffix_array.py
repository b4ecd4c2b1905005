"""Numba kernels that sort suffixes, around NumPy's sort of packed numbers.

A group is a stretch of the suffix array whose suffixes agree in their first `depth` words; suffixes that stand alone
are done and leave the list.  The rank of a suffix is the first row of its group, and its own row at the end.  Words
and ranks are counted from 1 in keys, 0 stands behind the end: a suffix that ends is smaller than one that goes on.
`ngram/suffix_array.py` tells the plan; `ops/suffix_array.py` is the oracle.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit


@njit(cache=True, nogil=True)
def pack_keys(tokens, n_words, word_bits, position_bits, packed):
    """packed[i] = the first n_words words of suffix i, first word highest, then i in the low bits."""
    word, place = np.uint64(word_bits), np.uint64(position_bits)
    top, key = np.uint64(word_bits * (n_words - 1)), np.uint64(0)
    for i in range(tokens.size - 1, -1, -1):
        key = (key >> word) | ((np.uint64(tokens[i]) + np.uint64(1)) << top)
        packed[i] = (key << place) | np.uint64(i)


@njit(cache=True, nogil=True)
def first_groups(packed, position_bits, suffixes, ranks, starts, ends):
    """Take sorted keys apart: fills suffixes and ranks, lists the groups of several; returns their number."""
    place = np.uint64(position_bits)
    mask, found, begin = (np.uint64(1) << place) - np.uint64(1), 0, 0
    for i in range(packed.size):
        if i > 0 and packed[i] >> place != packed[i - 1] >> place:
            if i - begin > 1:
                starts[found], ends[found] = begin, i
                found += 1
            begin = i
        suffixes[i] = np.uint32(packed[i] & mask)
        ranks[suffixes[i]] = np.uint32(begin)
    if packed.size - begin > 1:
        starts[found], ends[found] = begin, packed.size
        found += 1
    return found


@njit(cache=True, nogil=True)
def _bits(n):
    """Bits that hold 0 .. n - 1."""
    bits = 0
    while (1 << bits) < n:
        bits += 1
    return bits


@njit(cache=True, nogil=True)
def next_chunk(starts, ends, n_groups, first, rank_bits, most):
    """(end of the chunk of groups that begins at `first`, its members): numbers of group, rank and member fit 64 bits.

    A chunk has at most `most` members, or is one group.
    """
    last, members = first, 0
    while last < n_groups:
        more = members + np.int64(ends[last]) - np.int64(starts[last])
        if last > first and (more > most or _bits(last + 1 - first) + rank_bits + _bits(more) > 64):
            break
        last, members = last + 1, more
    return last, members


@njit(cache=True, nogil=True)
def pack_chunk(suffixes, ranks, depth, starts, ends, first, last, members, rank_bits, packed, old):
    """packed[m] = (group, rank of what follows `depth` words later, m) of every member; old[m] = its suffix."""
    place, m, n = np.uint64(_bits(members)), 0, suffixes.size
    for g in range(first, last):
        group = np.uint64(g - first) << np.uint64(rank_bits)
        for row in range(np.int64(starts[g]), np.int64(ends[g])):
            at = np.int64(suffixes[row]) + depth
            rank = np.uint64(ranks[at]) + np.uint64(1) if at < n else np.uint64(0)
            packed[m] = ((group | rank) << place) | np.uint64(m)
            old[m] = suffixes[row]
            m += 1


@njit(cache=True, nogil=True)
def unpack_chunk(suffixes, ranks, starts, ends, first, last, members, packed, old, new_starts, new_ends, found):
    """Put the sorted members back, renew their ranks, and append the groups that are left; returns how many there are.

    A chunk that comes later may see renewed ranks: they say more, never less (N. J. Larsson and K. Sadakane, "Faster
    suffix sorting", Theor. Comput. Sci. 387, 2007).
    """
    place = np.uint64(_bits(members))
    mask, m = (np.uint64(1) << place) - np.uint64(1), 0
    for g in range(first, last):
        begin, end = np.int64(starts[g]), np.int64(ends[g])
        run = begin
        for row in range(begin, end):
            if row > begin and packed[m] >> place != packed[m - 1] >> place:
                if row - run > 1:
                    new_starts[found], new_ends[found] = run, row
                    found += 1
                run = row
            suffixes[row] = old[np.int64(packed[m] & mask)]
            if run > begin:  # the first part keeps the rank of its group
                ranks[suffixes[row]] = np.uint32(run)
            m += 1
        if end - run > 1:
            new_starts[found], new_ends[found] = run, end
            found += 1
    return found
