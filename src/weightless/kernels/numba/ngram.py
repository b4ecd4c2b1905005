"""Numba kernels of the n-gram room: ranks and runs of sorted keys, integer quantisation, batch scoring.

Sorting itself is NumPy's (vectorised); here is what must be done around it in one pass over the data.  The oracles
are `ops/kneser_ney.py` for the numbers and NumPy's unique and argsort for the passes.  Node numbers are uint32,
NO_NODE marks a position whose context is not in the trie.  Probabilities are integers in quanta of 1 / QUANTA.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.ops.kneser_ney import QUANTA

NO_NODE = np.uint32(2**32 - 1)
DIGIT_BITS = 11


@njit(cache=True, nogil=True)
def radix_argsort(keys, n_bits):
    """Stable ascending sort of uint64 `keys` below 2^n_bits: returns (sorted keys, uint32 positions)."""
    n = keys.size
    source, target = keys.copy(), np.empty_like(keys)
    positions, moved = np.arange(n).astype(np.uint32), np.empty(n, dtype=np.uint32)
    digit_mask = np.uint64((1 << DIGIT_BITS) - 1)
    for shift in range(0, n_bits, DIGIT_BITS):
        place = np.zeros((1 << DIGIT_BITS) + 1, dtype=np.int64)
        for i in range(n):
            place[np.int64((source[i] >> np.uint64(shift)) & digit_mask) + 1] += 1
        for digit in range(1 << DIGIT_BITS):
            place[digit + 1] += place[digit]
        for i in range(n):
            digit = np.int64((source[i] >> np.uint64(shift)) & digit_mask)
            to = place[digit]
            place[digit] = to + 1
            target[to] = source[i]
            moved[to] = positions[i]
        source, target = target, source
        positions, moved = moved, positions
    return source, positions


@njit(cache=True, nogil=True)
def ranks_of_sorted(keys, positions, ranks):
    """ranks[position] = rank of its key among the distinct ones, which move to the front; returns how many."""
    found, last = 0, np.uint64(0)
    for i in range(keys.size):
        key = keys[i]
        if i == 0 or key != last:
            keys[found] = last = key
            found += 1
        ranks[positions[i]] = np.uint32(found - 1)
    return found


@njit(cache=True, nogil=True)
def ranks_of_packed(packed, position_bits, ranks):
    """The same for sorted (key << position_bits | position) in one array."""
    shift, mask = np.uint64(position_bits), (np.uint64(1) << np.uint64(position_bits)) - np.uint64(1)
    found, last = 0, np.uint64(0)
    for i in range(packed.size):
        key, position = packed[i] >> shift, np.int64(packed[i] & mask)
        if i == 0 or key != last:
            packed[found] = last = key
            found += 1
        ranks[position] = np.uint32(found - 1)
    return found


@njit(cache=True, nogil=True)
def runs_by_context(keys, word_bits, word, count, start, context):
    """Group sorted keys (context << word_bits | word) into lists; returns (number of contexts, number of n-grams).

    Fills word[m] and count[m] per distinct key, start[c] (first n-gram of its list) and context[c] per distinct
    context; start has one row more than there can be contexts, to close the last list.
    """
    shift, mask = np.uint64(word_bits), (np.uint64(1) << np.uint64(word_bits)) - np.uint64(1)
    n_contexts, n_ngrams, last = 0, 0, ~keys[0]
    for i in range(keys.size):
        key = keys[i]
        if key == last:
            count[n_ngrams - 1] += np.uint32(1)
            continue
        if i == 0 or key >> shift != last >> shift:
            start[n_contexts] = n_ngrams
            context[n_contexts] = key >> shift
            n_contexts += 1
        word[n_ngrams] = key & mask
        count[n_ngrams] = np.uint32(1)
        n_ngrams += 1
        last = key
    start[n_contexts] = n_ngrams
    return n_contexts, n_ngrams


@njit(cache=True, nogil=True)
def column_of_keys(keys, shift, n_bits, column, found):
    """found[i] = column[n_bits of key i from bit `shift` on]."""
    low, mask = np.uint64(shift), (np.uint64(1) << np.uint64(n_bits)) - np.uint64(1)
    for i in range(keys.size):
        found[i] = column[np.int64((keys[i] >> low) & mask)]


@njit(cache=True, nogil=True)
def counts_of_counts(count):
    """How many entries are exactly 0, 1, 2, 3, 4 and more than 4: int64 [6]."""
    found = np.zeros(6, dtype=np.int64)
    for c in count:
        found[min(np.int64(c), 5)] += 1
    return found


@njit(cache=True, nogil=True)
def keys_of_parents(first_child, start, word, word_bits):
    """Keys (parent << word_bits | word) of every n-gram in the lists of the parents' children."""
    keys = np.empty(word.size, dtype=np.uint64)
    for parent in range(first_child.size - 1):
        high = np.uint64(parent) << np.uint64(word_bits)
        begin, end = start[first_child[parent]], start[first_child[parent + 1]]
        for i in range(begin, end):
            keys[i] = high | np.uint64(word[i])
    return keys


@njit(cache=True, nogil=True)
def quantise_lists(start, count, d1, d2, d3, min_count):
    """Cumulative discounted probabilities of every list, uint32 quanta; entries below min_count keep the last value.

    Rounds the running sum, so that no error accumulates: an entry is off by at most one quantum (rounding) unless one
    quantum had to be lent to it or to gamma, each of which is at least 1.
    """
    cum = np.empty(count.size, dtype=np.uint32)
    alone = np.empty(256, dtype=np.uint32)  # most contexts have one follower: its value depends on the count alone
    for c in range(1, 256):
        mass = (c - (d1 if c == 1 else d2 if c == 2 else d3)) / c
        alone[c] = min(max(np.int64(np.rint(mass * QUANTA)), 1), QUANTA - 1) if c >= min_count else 0
    for node in range(start.size - 1):
        begin, end = np.int64(start[node]), np.int64(start[node + 1])
        if end - begin == 1 and count[begin] < 256:
            cum[begin] = alone[count[begin]]
            continue
        total, left = 0, 0
        for i in range(begin, end):
            total += np.int64(count[i])
            left += count[i] >= min_count
        kept, ones, twos, more, last = 0, 0, 0, 0, 0
        for i in range(begin, end):
            c = np.int64(count[i])
            if c >= min_count:
                kept += c
                ones += c == 1
                twos += c == 2
                more += c > 2
                left -= 1
                mass = (kept - (d1 * ones + d2 * twos + d3 * more)) / total
                last = min(max(np.int64(np.rint(mass * QUANTA)), last + 1), QUANTA - 1 - left)
            cum[i] = np.uint32(last)
    return cum


@njit(cache=True, nogil=True)
def quantise_unigrams(count, d1, d2, d3, min_count):
    """Cumulative unigrams interpolated with uniform 1 / V; every word >= 1 quantum, the last row = QUANTA."""
    vocab = count.size
    total, discounted = 0, 0.0
    for c in count:
        total += c
        discounted += 0.0 if c == 0 else c if c < min_count else d1 if c == 1 else d2 if c == 2 else d3
    cum = np.empty(vocab, dtype=np.uint32)
    share = discounted / total / vocab
    kept, ones, twos, more, last = 0, 0, 0, 0, 0
    for w in range(vocab):
        c = np.int64(count[w])
        if c >= min_count and c > 0:
            kept += c
            ones += c == 1
            twos += c == 2
            more += c > 2
        mass = (kept - (d1 * ones + d2 * twos + d3 * more)) / total + share * (w + 1)
        last = min(max(np.int64(np.rint(mass * QUANTA)), last + 1), QUANTA - (vocab - 1 - w))
        cum[w] = np.uint32(last)
    cum[vocab - 1] = np.uint32(QUANTA)
    return cum


@njit(cache=True, nogil=True)
def alias_table(quanta, table):
    """Fill table [V, 2] with (threshold, alias); the fast twin of ops.alias.alias_table, equal to the number."""
    n, total = quanta.size, np.int64(0)
    for q in quanta:
        total += np.int64(q)
    units, small, large = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    n_small, n_large = 0, 0
    for w in range(n):
        units[w] = n * np.int64(quanta[w])
        if units[w] < total:
            small[n_small] = w
            n_small += 1
        else:
            large[n_large] = w
            n_large += 1
    while n_small:
        n_small -= 1
        column, word = small[n_small], large[n_large - 1]
        table[column, 0], table[column, 1] = units[column], word
        units[word] -= total - units[column]
        if units[word] < total:
            n_large -= 1
            small[n_small] = word
            n_small += 1
    for i in range(n_large):
        table[large[i], 0], table[large[i], 1] = total, large[i]


@njit(cache=True, nogil=True)
def first_at_least(words, begin, end, word):
    """First index in [begin, end) whose word is >= `word`, or end (the range is ascending)."""
    while begin < end:
        middle = (begin + end) >> 1
        if words[middle] < word:
            begin = middle + 1
        else:
            end = middle
    return begin


@njit(cache=True, nogil=True)
def descend(tokens, depth, node, parents, words):
    """Replace each position's node of level depth - 1 by its child for the word `depth` places back, or NO_NODE."""
    for t in range(tokens.size):
        parent = node[t]
        if parent == NO_NODE:
            continue
        if t < depth:
            node[t] = NO_NODE
            continue
        end = np.int64(parents[parent + 1, 0])
        found = first_at_least(words, np.int64(parents[parent, 0]), end, tokens[t - depth])
        node[t] = np.uint32(found) if found < end and words[found] == tokens[t - depth] else NO_NODE


@njit(cache=True, nogil=True)
def interpolate(tokens, node, starts, words, cum, prob):
    """prob[t] <- own + gamma * prob[t] at every position that has a node at this level; `starts` is one column."""
    for t in range(tokens.size):
        if node[t] == NO_NODE:
            continue
        begin, end = np.int64(starts[node[t]]), np.int64(starts[node[t] + 1])
        if begin == end:
            continue
        gamma = np.int64(QUANTA) - np.int64(cum[end - 1])
        own = np.int64(0)
        found = first_at_least(words, begin, end, tokens[t])
        if found < end and words[found] == tokens[t]:
            own = np.int64(cum[found]) - (np.int64(cum[found - 1]) if found > begin else np.int64(0))
        prob[t] = (own + gamma * prob[t]) / QUANTA
