"""Numba kernel of BPE training: merge the most frequent pair until the vocabulary is full.  Twin: reference.train.

The distinct words stand in one array, a gap behind each.  symbol int32 [n]: the token that starts at a position, GAP
behind a word, INSIDE within a token.  start int32 [n]: at the last position of a token, where it starts.
owner int32 [n]: the word of a position; counts int64: how often that word was seen.

A pair is (left, right, bound, list of positions).  Every occurrence of a pair is made in one go (at the start, or by
the merge that made one of its tokens), and later merges only destroy occurrences; so `bound` is an upper bound, a heap
by bound needs no update, and the pair on top is recounted when popped: still the bound, then it is the best, else it
goes back with its count.  Lists are ascending, which makes merging go from left to right.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from weightless.tokenizer.scan import KERNEL

GAP, INSIDE = np.int32(-1), np.int32(-2)
MADE, PAIRS, HEAP, USED = 0, 1, 2, 3


@njit(**KERNEL)
def lay_out(text, offsets, symbol, start, owner):
    """Fill the arrays from words text[offsets[k]:offsets[k + 1]], one token per byte."""
    at = 0
    for k in range(offsets.size - 1):
        for i in range(offsets[k], offsets[k + 1]):
            symbol[at], start[at], owner[at] = np.int32(text[i]), np.int32(at), np.int32(k)
            at += 1
        symbol[at], start[at], owner[at] = GAP, np.int32(at), np.int32(k)
        at += 1


@njit(**KERNEL)
def count_byte_pairs(symbol, owner, counts, n_of, bound_of):
    """Add to n_of and bound_of int64 [65536] the places and the occurrences of every pair of bytes."""
    for p in range(symbol.size - 1):
        if symbol[p] >= 0 and symbol[p + 1] >= 0:
            pair = np.int64(symbol[p]) << 8 | np.int64(symbol[p + 1])
            n_of[pair] += 1
            bound_of[pair] += counts[owner[p]]


@njit(**KERNEL)
def list_byte_pairs(symbol, fill, positions):
    """Write the place of every pair of bytes into its list, which goes on at fill[pair]."""
    for p in range(symbol.size - 1):
        if symbol[p] >= 0 and symbol[p + 1] >= 0:
            pair = np.int64(symbol[p]) << 8 | np.int64(symbol[p + 1])
            positions[fill[pair]] = np.int32(p)
            fill[pair] += 1


@njit(**KERNEL)
def compare_tokens(a, b, tokens, text):
    """Negative, 0 or positive as the bytes of token a are less than, equal to or greater than those of b."""
    prefix, length, example = tokens
    if prefix[a] != prefix[b]:
        return 1 if prefix[a] > prefix[b] else -1
    for k in range(8, min(length[a], length[b])):
        if text[example[a] + k] != text[example[b] + k]:
            return np.int64(text[example[a] + k]) - np.int64(text[example[b] + k])
    return np.int64(length[a]) - np.int64(length[b])


@njit(**KERNEL)
def is_better(p, q, pairs, tokens, text, order):
    """Whether pair p goes before pair q: by bound, then by the rule for ties (is `order` given: the least pair)."""
    left, right, bound, _, _ = pairs
    if bound[p] != bound[q]:
        return bound[p] > bound[q]
    if order.size > 0:
        a, b = order[left[p]], order[left[q]]
        return a < b or (a == b and order[right[p]] < order[right[q]])
    side = compare_tokens(left[p], left[q], tokens, text) if left[p] != left[q] else 0
    if side == 0 and right[p] != right[q]:
        side = compare_tokens(right[p], right[q], tokens, text)
    return side > 0


@njit(**KERNEL)
def push(heap, n, pair, pairs, tokens, text, order):
    """Add a pair to the heap of n."""
    at = n
    while at > 0 and is_better(pair, np.int64(heap[(at - 1) >> 1]), pairs, tokens, text, order):
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = pair


@njit(**KERNEL)
def sink(heap, n, pair, pairs, tokens, text, order):
    """Put `pair` in the place of the top of the heap of n."""
    at = 0
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and is_better(np.int64(heap[child + 1]), np.int64(heap[child]), pairs, tokens, text, order):
            child += 1
        if not is_better(np.int64(heap[child]), pair, pairs, tokens, text, order):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = pair


@njit(**KERNEL)
def recount(pair, pairs, positions, symbol, owner, counts, length):
    """The true count of a pair; its list is compacted to the positions that still hold it."""
    left, right, _, first, size = pairs
    kept, total = first[pair], np.int64(0)
    for k in range(first[pair], first[pair] + size[pair]):
        p = np.int64(positions[k])
        if symbol[p] == left[pair] and symbol[p + length[left[pair]]] == right[pair]:
            positions[kept] = p
            kept += 1
            total += counts[owner[p]]
    size[pair] = kept - first[pair]
    return total


@njit(**KERNEL)
def best_pair(heap, n, pairs, positions, words, tokens, order):
    """Bring the most frequent pair to the top; returns the size of the heap, 0 when no pair is left."""
    text, symbol, _, owner, counts = words
    while n > 0:
        pair = np.int64(heap[0])
        total = recount(pair, pairs, positions, symbol, owner, counts, tokens[1])
        if total == pairs[2][pair]:
            return n
        pairs[2][pair] = total
        if total == 0:
            n -= 1
            pair = np.int64(heap[n])
        sink(heap, n, pair, pairs, tokens, text, order)
    return 0


@njit(**KERNEL)
def apply_merge(pair, new, pairs, positions, words, tokens):
    """Replace the pair by the token `new` at each of its positions, which stay in its list; returns how many."""
    left, right, _, first, size = pairs
    text, symbol, start, owner, _ = words
    prefix, length, example = tokens
    n_left, n_new = np.int64(length[left[pair]]), np.int64(length[left[pair]]) + np.int64(length[right[pair]])
    at = first[pair]
    for k in range(first[pair], first[pair] + size[pair]):
        p = np.int64(positions[k])
        if symbol[p] == left[pair] and symbol[p + n_left] == right[pair]:  # in aaa the second pair is gone
            symbol[p], symbol[p + n_left] = new, INSIDE
            start[p + n_new - 1] = p
            positions[at] = p
            at += 1
    p = np.int64(positions[first[pair]])
    length[new], example[new] = n_new, p - owner[p]
    prefix[new] = np.uint64(0)
    for k in range(min(n_new, 8)):
        prefix[new] |= np.uint64(text[example[new] + k]) << np.uint64(56 - 8 * k)
    return at - first[pair]


@njit(**KERNEL)
def count_neighbours(merged, new, words, length, n_of, weight_of, touched):
    """Count the tokens beside the merged positions: rows 0 (on the left) and 1 (on the right) of n_of, weight_of.

    A left neighbour that is the new token was counted as the right neighbour of that one.  Returns entries of touched.
    """
    _, symbol, start, owner, counts = words
    n = 0
    for k in range(merged.size):
        p = np.int64(merged[k])
        weight = counts[owner[p]]
        for side in range(2):
            token = symbol[p + length[new]] if side else beside_left(p, symbol, start)
            if token < 0 or (side == 0 and token == new):
                continue
            if n_of[side, token] == 0:
                touched[n] = 2 * np.int64(token) + side
                n += 1
            n_of[side, token] += 1
            weight_of[side, token] += weight
    return n


@njit(**KERNEL)
def beside_left(p, symbol, start):
    """The token that ends before position p, or GAP."""
    if p == 0 or symbol[p - 1] == GAP:
        return GAP
    return symbol[start[p - 1]]


@njit(**KERNEL)
def list_neighbours(merged, new, words, length, fill, positions):
    """Write the positions of the new pairs into their lists; fill[side, token] is where the next one goes."""
    _, symbol, start, _, _ = words
    for k in range(merged.size):
        p = np.int64(merged[k])
        token = beside_left(p, symbol, start)
        if token >= 0 and token != new:
            positions[fill[0, token]] = start[p - 1]
            fill[0, token] += 1
        token = symbol[p + length[new]]
        if token >= 0:
            positions[fill[1, token]] = p
            fill[1, token] += 1


@njit(**KERNEL)
def add_pairs(new, touched, n_of, weight_of, pairs, heap, state, tokens, text, order):
    """Make the pairs of a new token with the neighbours it was counted with; n_of becomes where their lists begin."""
    left, right, bound, first, size = pairs
    for i in range(touched.size):
        token, side, pair = touched[i] >> 1, touched[i] & 1, state[PAIRS]
        left[pair], right[pair] = (new, token) if side else (token, new)
        bound[pair], first[pair], size[pair] = weight_of[side, token], state[USED], n_of[side, token]
        push(heap, state[HEAP], pair, pairs, tokens, text, order)
        n_of[side, token], weight_of[side, token] = state[USED], 0
        state[USED] += size[pair]
        state[HEAP] += 1
        state[PAIRS] += 1


@njit(**KERNEL)
def merge_pairs(words, pairs, positions, heap, tokens, order, scratch, merges, state):
    """Run merges until all are made or no pair is left (returns True) or an array is too short (returns False).

    words = (text, symbol, start, owner, counts); pairs = (left, right, bound, first, size), with room for more;
    tokens = (prefix uint64, length int32, example int64), [256 + m] each: first eight bytes, and a place in text;
    scratch = (n_of, weight_of int64 [2, 256 + m], touched int64 [2 * (256 + m)]), zeros at first;
    merges int32 [m, 2] receives (left, right) of token 256 + k;
    state int64 = (merges made, pairs, pairs in the heap, entries used of positions); the caller lengthens and resumes.
    """
    text, length = words[0], tokens[1]
    n_of, weight_of, touched = scratch
    for k in range(state[MADE], merges.shape[0]):
        state[HEAP] = best_pair(heap, state[HEAP], pairs, positions, words, tokens, order)
        if state[HEAP] == 0:
            return True
        pair, new = np.int64(heap[0]), np.int64(256 + k)
        room = 2 * np.int64(pairs[4][pair])
        if state[USED] + room > positions.size or state[PAIRS] + room > pairs[0].size:
            return False
        merges[k, 0], merges[k, 1] = pairs[0][pair], pairs[1][pair]
        state[HEAP] -= 1
        sink(heap, state[HEAP], np.int64(heap[state[HEAP]]), pairs, tokens, text, order)
        first = pairs[3][pair]
        merged = positions[first : first + apply_merge(pair, new, pairs, positions, words, tokens)]
        n_touched = count_neighbours(merged, new, words, length, n_of, weight_of, touched)
        add_pairs(new, touched[:n_touched], n_of, weight_of, pairs, heap, state, tokens, text, order)
        list_neighbours(merged, new, words, length, n_of, positions)
        for i in range(n_touched):
            n_of[touched[i] & 1, touched[i] >> 1] = 0
        state[MADE] = k + 1
    return True


@njit(**KERNEL)
def heapify(heap, n, pairs, tokens, text, order):
    """Put pairs 0..n-1 into the heap."""
    for pair in range(n):
        push(heap, pair, pair, pairs, tokens, text, order)
