"""Numba kernels of BPE encoding: scan a word, look it up in a cache, else merge by rank.  Twin: reference.encode.

Inner ids number the bytes 0..255 and the result of merge r as 256 + r (the first r that makes those bytes); `outer`
uint32 maps them to the vocabulary's ids.
pairs uint64 [2^k]: open addressing; an entry is left << 42 | right << 21 | (r + 1), 0 when empty.
result int32 [merges]: the inner id that merge r makes.
cache uint64 [4 * slots]: (low, high, first, second) per word of at most 15 bytes (keys as in word_table.py; direct
mapped, so new words push out old ones).  Up to three ids stand in first and second; `more` uint32 [slots, 16] holds
longer lists.  A cache belongs to one call at a time.
tokens: (slots, shift, spans, arena) of word_table.py, where words that are tokens as they stand have their id + 1 as
count; an empty tuple for a vocabulary whose words all go through the merges.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.tokenizer.scan import INNER, KERNEL, word_end
from weightless.tokenizer.word_table import MIX_B, SHORT, find_word, slot_hash, word_key

NONE = np.int64(2**31)
ID_BITS = np.uint64(21)
ID_MASK = np.uint64(2**21 - 1)
HALF, LOW_HALF = np.uint64(32), np.uint64(0xFFFFFFFF)
HEAPED = 48
SCRATCH = 6


@njit(**INNER)
def pair_rank(left, right, pairs, shift):
    """Rank of the merge of two inner ids, or NONE."""
    key = np.uint64(left) << ID_BITS | np.uint64(right)
    mask = pairs.size - 1
    mixed = key * MIX_B
    at = np.int64((mixed ^ (mixed >> HALF)) * MIX_B >> shift)
    while pairs[at] != 0:
        if pairs[at] >> ID_BITS == key:
            return np.int64(pairs[at] & ID_MASK) - 1
        at = (at + 1) & mask
    return NONE


@njit(**KERNEL)
def fill_pairs(left, right, pairs, shift):
    """Enter merge r = (left[r], right[r]) for every r; a pair that is listed twice keeps its first rank."""
    mask = pairs.size - 1
    for r in range(left.size):
        if pair_rank(left[r], right[r], pairs, shift) != NONE:
            continue
        key = np.uint64(left[r]) << ID_BITS | np.uint64(right[r])
        mixed = key * MIX_B
        at = np.int64((mixed ^ (mixed >> HALF)) * MIX_B >> shift)
        while pairs[at] != 0:
            at = (at + 1) & mask
        pairs[at] = key << ID_BITS | np.uint64(r + 1)


@njit(**INNER)
def merge_short(text, i, length, pairs, shift, result, ids, ranks):
    """Encode a word by scanning all ranks for each merge; fills ids (inner) and returns how many."""
    n = length
    for k in range(n):
        ids[k] = text[i + k]
    for k in range(n - 1):
        ranks[k] = pair_rank(ids[k], ids[k + 1], pairs, shift)
    while n > 1:
        best = 0
        for k in range(1, n - 1):
            if ranks[k] < ranks[best]:
                best = k
        if ranks[best] == NONE:
            break
        ids[best] = result[ranks[best]]
        n -= 1
        for k in range(best + 1, n):
            ids[k] = ids[k + 1]
            ranks[k - 1] = ranks[k]
        if best > 0:
            ranks[best - 1] = pair_rank(ids[best - 1], ids[best], pairs, shift)
        if best < n - 1:
            ranks[best] = pair_rank(ids[best], ids[best + 1], pairs, shift)
    return n


@njit(**INNER)
def heap_push(heap, n, key):
    at = n
    while at > 0 and heap[(at - 1) >> 1] > key:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = key


@njit(**INNER)
def heap_pop(heap, n):
    """Remove the least key of the heap of n."""
    key, at = heap[n - 1], 0
    while 2 * at + 1 < n - 1:
        child = 2 * at + 1
        if child + 1 < n - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key


@njit(**INNER)
def merge_long(text, i, length, pairs, shift, result, scratch, out):
    """Encode a long word with a heap of (rank, position), O(n log n); fills out (inner ids) and returns how many."""
    ids, after, before = scratch[:length], scratch[length : 2 * length], scratch[2 * length : 3 * length]
    heap = scratch[3 * length : 6 * length]
    n_heap = np.int64(0)
    for k in range(length):
        ids[k], after[k], before[k] = text[i + k], k + 1, k - 1
    for k in range(length - 1):
        rank = pair_rank(ids[k], ids[k + 1], pairs, shift)
        if rank != NONE:
            heap_push(heap, n_heap, rank << 32 | k)
            n_heap += 1
    while n_heap > 0:
        rank, k = heap[0] >> 32, heap[0] & 0xFFFFFFFF
        heap_pop(heap, n_heap)
        n_heap -= 1
        right = after[k]
        if ids[k] < 0 or right >= length or pair_rank(ids[k], ids[right], pairs, shift) != rank:
            continue
        ids[k], ids[right] = result[rank], -1
        after[k] = after[right]
        if after[k] < length:
            before[after[k]] = k
        for left in (before[k], k):
            if left >= 0 and after[left] < length:
                rank = pair_rank(ids[left], ids[after[left]], pairs, shift)
                if rank != NONE:
                    heap_push(heap, n_heap, rank << 32 | left)
                    n_heap += 1
    n = 0
    for k in range(length):
        if ids[k] >= 0:
            out[n] = ids[k]
            n += 1
    return n


@njit(**INNER)
def keep(cache, more, slot, low, high, out, at, n):
    """Remember the ids out[at:at + n] of a word."""
    cache[4 * slot], cache[4 * slot + 1] = low, high
    if n <= 3:
        first = np.uint64(out[at]) | (np.uint64(out[at + 1]) << HALF if n > 1 else np.uint64(0))
        cache[4 * slot + 2] = first
        cache[4 * slot + 3] = np.uint64(n) << HALF | (np.uint64(out[at + 2]) if n > 2 else np.uint64(0))
        return
    cache[4 * slot + 3] = np.uint64(n) << HALF
    for k in range(n):
        more[slot, k] = out[at + k]


@njit(**INNER)
def recall(cache, more, slot, out, at):
    """Write the remembered ids to out[at:] (at least three places) and return how many there are."""
    first, second = cache[4 * slot + 2], cache[4 * slot + 3]
    n = np.int64(second >> HALF)
    if n <= 3:
        out[at] = np.uint32(first & LOW_HALF)
        if n > 1:
            out[at + 1] = np.uint32(first >> HALF)
            out[at + 2] = np.uint32(second & LOW_HALF)
        return n
    for k in range(n):
        out[at + k] = more[slot, k]
    return n


@njit(**INNER)
def find_token(text, i, length, tokens):
    """The id of the word text[i:i + length], if it is a token as it stands, plus one; else 0."""
    if len(tokens) == 0:  # a length belongs to a type: what follows is then not compiled
        return np.int64(0)
    low, high = word_key(text, i, length)
    return find_word(text, i, length, low, high, *tokens)


@njit(**KERNEL)
def encode_segment(text, i, end, classes, pattern, model, cache, more, scratch, out):
    """Encode text[i:end] into out (outer ids); returns (ids written, position reached).

    Stops early when the next word might not fit (a word has at most as many ids as bytes, and recall writes three).
    model = (pairs, shift, result, outer, tokens); scratch int64 [SCRATCH * len(out)].
    """
    pairs, shift, result, outer, tokens = model
    cache_shift = np.uint64(64)
    slots = cache.size // 4
    while slots > 1:
        slots >>= 1
        cache_shift -= np.uint64(1)
    ids, ranks = scratch[:HEAPED], scratch[HEAPED : 2 * HEAPED]
    n = np.int64(0)
    while i < end:
        to = word_end(text, i, end, classes, pattern)
        length = to - i
        if n + length + 3 > out.size:
            return n, i
        if length <= SHORT:
            low, high = word_key(text, i, length)
            slot = np.int64(slot_hash(low, high) >> cache_shift)
            if cache[4 * slot] == low and cache[4 * slot + 1] == high:
                n += recall(cache, more, slot, out, n)
                i = to
                continue
        whole = find_token(text, i, length, tokens)
        if whole > 0:
            out[n], made = np.uint32(whole - 1), np.int64(1)
        elif length <= HEAPED:
            made = merge_short(text, i, length, pairs, shift, result, ids, ranks)
            for k in range(made):
                out[n + k] = outer[ids[k]]
        else:
            made = merge_long(text, i, length, pairs, shift, result, scratch, out[n:])
            for k in range(made):
                out[n + k] = outer[out[n + k]]
        if length <= SHORT:
            keep(cache, more, slot, low, high, out, n, made)
        n += made
        i = to
    return n, i
