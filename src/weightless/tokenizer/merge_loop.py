"""Numba kernel of BPE training: merge the most frequent pair until the vocabulary is full.  Twin: reference.train.

The distinct words stand in one array, a gap behind each.  text uint8 [n]: their bytes.  weight [n]: how often the word
of a position was seen (int32 where that suffices, else int64).  symbol int32 [n]: where a token begins, its id;
at its last byte, when it has several, minus its length (so that the token on the left of a position is found without
a further array); GAP behind a word; other bytes within a token hold any number below GAP.

A pair is (left, right, count, bound, list of positions), found by its tokens through a hash table.  Every occurrence of
a pair is made in one go (at the start, or by the merge that made one of its tokens), and later merges only destroy
occurrences: `count` is lowered at once, by what the neighbours of a merge lose; `bound` is the count when the pair last
took its place in the heap.  The heap by bound needs no update: a pair on top whose count is still its bound is the
best, else it goes back with its count.  Lists are ascending, which makes merging go from left to right; what has been
destroyed stays in them.
A merge destroys one token per occurrence and lists at most two pairs for it, so that the lists of n bytes have at most
3 n entries in all.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.tokenizer.scan import INNER, KERNEL, prefetch
from weightless.tokenizer.word_table import MIX_A, MIX_B

GAP, INSIDE = np.int32(-1), np.int32(-2)
LISTED_PER_BYTE = 3
AHEAD = 12
MADE, PAIRS, HEAP, USED = 0, 1, 2, 3


@njit(**INNER)
def compare_tokens(a, b, tokens, text):
    """Negative, 0 or positive as the bytes of token a are less than, equal to or greater than those of b."""
    prefix, length, example = tokens
    if prefix[a] != prefix[b]:
        return 1 if prefix[a] > prefix[b] else -1
    for k in range(8, min(length[a], length[b])):
        if text[example[a] + k] != text[example[b] + k]:
            return np.int64(text[example[a] + k]) - np.int64(text[example[b] + k])
    return np.int64(length[a]) - np.int64(length[b])


@njit(**INNER)
def is_better(p, q, pairs, tokens, text, order):
    """Whether pair p goes before pair q: by bound, then by the rule for ties (is `order` given: the least pair)."""
    left, right, bound, _, _, _ = pairs
    if bound[p] != bound[q]:
        return bound[p] > bound[q]
    if order.size > 0:
        a, b = order[left[p]], order[left[q]]
        return a < b or (a == b and order[right[p]] < order[right[q]])
    side = compare_tokens(left[p], left[q], tokens, text) if left[p] != left[q] else 0
    if side == 0 and right[p] != right[q]:
        side = compare_tokens(right[p], right[q], tokens, text)
    return side > 0


@njit(**INNER)
def push(heap, n, pair, pairs, tokens, text, order):
    """Add a pair to the heap of n."""
    at = n
    while at > 0 and is_better(pair, np.int64(heap[(at - 1) >> 1]), pairs, tokens, text, order):
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = pair


@njit(**INNER)
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


@njit(**INNER)
def find_pair(left, right, pairs, slots):
    """Slot of a pair in the hash table `slots` int32 [2^k] of pair numbers + 1, or the empty slot (0) for it."""
    mask = slots.size - 1
    mixed = (np.uint64(left) * MIX_A ^ np.uint64(right)) * MIX_B
    at = np.int64(mixed >> np.uint64(32)) & mask
    while slots[at] != 0:
        pair = slots[at] - 1
        if pairs[0][pair] == left and pairs[1][pair] == right:
            break
        at = (at + 1) & mask
    return at


@njit(**KERNEL)
def index_pairs(n, pairs, slots):
    """Enter pairs 0..n-1 into the empty hash table."""
    for pair in range(n):
        at = find_pair(np.int64(pairs[0][pair]), np.int64(pairs[1][pair]), pairs, slots)
        slots[at] = np.int32(pair + 1)


@njit(**INNER)
def best_pair(heap, n, pairs, words, tokens, order):
    """Bring the most frequent pair to the top; returns the size of the heap, 0 when no pair is left."""
    text, bound, count = words[0], pairs[2], pairs[5]
    while n > 0:
        pair = np.int64(heap[0])
        if count[pair] == bound[pair]:
            return n
        bound[pair] = count[pair]
        if count[pair] == 0:
            n -= 1
            pair = np.int64(heap[n])
        sink(heap, n, pair, pairs, tokens, text, order)
    return 0


@njit(**INNER)
def apply_merge(pair, new, pairs, positions, words, tokens):
    """Replace the pair by the token `new` at each of its positions, which stay in its list; returns how many."""
    left, right, _, first, size, _ = pairs
    text, symbol, weight = words
    prefix, length, example = tokens
    n_left, n_new = np.int64(length[left[pair]]), np.int64(length[left[pair]]) + np.int64(length[right[pair]])
    at, last = first[pair], first[pair] + size[pair] - 1
    for k in range(first[pair], first[pair] + size[pair]):
        ahead = np.int64(positions[min(k + AHEAD, last)])
        prefetch(symbol, ahead)  # pyright: ignore[reportCallIssue]
        prefetch(weight, ahead)  # pyright: ignore[reportCallIssue]
        p = np.int64(positions[k])
        if symbol[p] == left[pair] and symbol[p + n_left] == right[pair]:  # in aaa the second pair is gone
            symbol[p], symbol[p + n_left] = new, INSIDE
            symbol[p + n_new - 1] = -n_new
            positions[at] = p
            at += 1
    length[new], example[new] = n_new, positions[first[pair]]
    prefix[new] = np.uint64(0)
    for k in range(min(n_new, 8)):
        prefix[new] |= np.uint64(text[example[new] + k]) << np.uint64(56 - 8 * k)
    return at - first[pair]


@njit(**INNER)
def count_neighbours(merged, new, words, length, n_of, weight_of, touched):
    """Count the tokens beside the merged positions: rows 0 (on the left) and 1 (on the right) of n_of, weight_of.

    A left neighbour that is the new token was counted as the right neighbour of that one.  Returns entries of touched.
    """
    _, symbol, weight = words
    n = 0
    for k in range(merged.size):
        p = np.int64(merged[k])
        for side in range(2):
            token = symbol[p + length[new]] if side else symbol[left_of(p, symbol)]
            if token < 0 or (side == 0 and token == new):
                continue
            if n_of[side, token] == 0:
                touched[n] = 2 * np.int64(token) + side
                n += 1
            n_of[side, token] += 1
            weight_of[side, token] += weight[p]
    return n


@njit(**INNER)
def left_of(p, symbol):
    """Where the token begins that ends before position p; a position that holds GAP when there is none.

    The array ends with a gap, so that position -1 is one, too.
    """
    last = np.int64(symbol[p - 1])
    return p - 1 if last >= GAP else p + last


@njit(**INNER)
def list_neighbours(merged, new, words, length, fill, positions):
    """Write the positions of the new pairs into their lists; fill[side, token] is where the next one goes."""
    _, symbol, _ = words
    for k in range(merged.size):
        p = np.int64(merged[k])
        beside = left_of(p, symbol)
        token = symbol[beside]
        if token >= 0 and token != new:
            positions[fill[0, token]] = beside
            fill[0, token] += 1
        token = symbol[p + length[new]]
        if token >= 0:
            positions[fill[1, token]] = p
            fill[1, token] += 1


@njit(**INNER)
def lower_counts(merged, new, touched, weight_of, pairs, slots):
    """Take from the pairs that a merge destroyed what its neighbours say: (x, a) left of it, (b, y) right of it."""
    left, right, _, _, _, count = pairs
    a, b = np.int64(left[merged]), np.int64(right[merged])
    for i in range(touched.size):
        token, side = touched[i] >> 1, touched[i] & 1
        if side:
            at = find_pair(b, a if token == new else token, pairs, slots)
        else:
            at = find_pair(token, a, pairs, slots)
        count[slots[at] - 1] -= weight_of[side, token]


@njit(**INNER)
def add_pairs(new, touched, n_of, weight_of, pairs, slots, heap, state, tokens, text, order):
    """Make the pairs of a new token with the neighbours it was counted with; n_of becomes where their lists begin."""
    left, right, bound, first, size, count = pairs
    for i in range(touched.size):
        token, side, pair = touched[i] >> 1, touched[i] & 1, state[PAIRS]
        a, b = (new, token) if side else (token, new)
        left[pair], right[pair] = a, b
        bound[pair], first[pair], size[pair] = weight_of[side, token], state[USED], n_of[side, token]
        count[pair] = bound[pair]
        slots[find_pair(a, b, pairs, slots)] = np.int32(pair + 1)
        push(heap, state[HEAP], pair, pairs, tokens, text, order)
        n_of[side, token], weight_of[side, token] = state[USED], 0
        state[USED] += size[pair]
        state[HEAP] += 1
        state[PAIRS] += 1


@njit(**INNER)
def most_neighbours(n_places, new):
    """Upper bound of the pairs that a merge at so many places makes: either side has at most new + 1 tokens."""
    return 2 * min(np.int64(n_places), np.int64(new) + 1)


@njit(**KERNEL)
def merge_pairs(words, pairs, slots, positions, heap, tokens, order, scratch, merges, state):
    """Run merges until all are made or no pair is left (returns True) or there is no room for pairs (returns False).

    words = (text, symbol, weight); pairs = (left, right, bound, first, size, count), with room for more;
    slots: their hash table, at least twice as long; tokens = (prefix uint64, length int32, example int64), [256 + m]
    each: first eight bytes, and a place in text;
    scratch = (n_of, weight_of int64 [2, 256 + m], touched int64 [2 * (256 + m)]), zeros at first;
    merges int32 [m, 2] receives (left, right) of token 256 + k;
    state int64 = (merges made, pairs, pairs in the heap, entries used of positions); the caller lengthens and resumes.
    """
    text, length = words[0], tokens[1]
    n_of, weight_of, touched = scratch
    for k in range(state[MADE], merges.shape[0]):
        state[HEAP] = best_pair(heap, state[HEAP], pairs, words, tokens, order)
        if state[HEAP] == 0:
            return True
        pair, new = np.int64(heap[0]), np.int64(256 + k)
        if state[PAIRS] + most_neighbours(pairs[4][pair], new) > min(pairs[0].size, slots.size >> 1):
            return False
        merges[k, 0], merges[k, 1] = pairs[0][pair], pairs[1][pair]
        state[HEAP] -= 1
        sink(heap, state[HEAP], np.int64(heap[state[HEAP]]), pairs, tokens, text, order)
        first = pairs[3][pair]
        merged = positions[first : first + apply_merge(pair, new, pairs, positions, words, tokens)]
        n_touched = count_neighbours(merged, new, words, length, n_of, weight_of, touched)
        lower_counts(pair, new, touched[:n_touched], weight_of, pairs, slots)
        add_pairs(new, touched[:n_touched], n_of, weight_of, pairs, slots, heap, state, tokens, text, order)
        list_neighbours(merged, new, words, length, n_of, positions)
        for i in range(n_touched):
            n_of[touched[i] & 1, touched[i] >> 1] = 0
        state[MADE] = k + 1
    return True
