"""Numba kernels that train SentencePiece's BPE: merge the most frequent pair that is a piece.  Twin: piece_reference.

As merge_loop.py, with characters in the place of bytes, and these rules of SentencePiece:

    best        the greatest count; of these the shortest in characters; of these the least by code points; of pairs
                that spell the same, the one that was made first
    valid       a pair longer than `longest` characters, or of two scripts, is no piece: it is kept, for its
                neighbours' counts, but never enters the heap
    no doubles  a pair that spells a piece which there is already is passed over, and stays unmerged

text int32 [n]: code points, distinct words with gaps between; symbol int32 [n] as in merge_loop.py, ids of characters
0..c-1, of pieces from c on; weight int64 [n].  tokens = (length int32, head int16, last int16), [c + m] each: how many
characters, and the scripts of the first and of the last of them that has one (scripts.ANY: none has).
pairs as in merge_loop.py; where a pair stands in the text is said by its list.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.tokenizer.merge_loop import (
    AHEAD,
    HEAP,
    INSIDE,
    MADE,
    PAIRS,
    USED,
    count_neighbours,
    find_pair,
    list_neighbours,
    lower_counts,
    most_neighbours,
)
from weightless.tokenizer.scan import INNER, KERNEL, prefetch
from weightless.tokenizer.word_table import MIX_A, MIX_B


@njit(**INNER)
def goes_before(p, q, pairs, positions, words, length):
    """Whether pair p is taken before pair q."""
    left, right, bound, first, _, _ = pairs
    if bound[p] != bound[q]:
        return bound[p] > bound[q]
    n_p = length[left[p]] + length[right[p]]
    n_q = length[left[q]] + length[right[q]]
    if n_p != n_q:
        return n_p < n_q
    text, a, b = words[0], np.int64(positions[first[p]]), np.int64(positions[first[q]])
    for k in range(n_p):
        if text[a + k] != text[b + k]:
            return text[a + k] < text[b + k]
    return p < q


@njit(**INNER)
def rise(heap, n, pair, pairs, positions, words, length):
    """Add a pair to the heap of n."""
    at = n
    while at > 0 and goes_before(pair, np.int64(heap[(at - 1) >> 1]), pairs, positions, words, length):
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = pair


@njit(**INNER)
def fall(heap, n, pair, pairs, positions, words, length):
    """Put `pair` in the place of the top of the heap of n."""
    at = 0
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and goes_before(
            np.int64(heap[child + 1]), np.int64(heap[child]), pairs, positions, words, length
        ):
            child += 1
        if not goes_before(np.int64(heap[child]), pair, pairs, positions, words, length):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = pair


@njit(**INNER)
def top(heap, n, pairs, positions, words, length):
    """Bring the best pair to the top; returns the size of the heap, 0 when no pair that occurs is left."""
    bound, count = pairs[2], pairs[5]
    while n > 0:
        pair = np.int64(heap[0])
        if count[pair] == bound[pair]:
            return n
        bound[pair] = count[pair]
        if count[pair] == 0:
            n -= 1
            pair = np.int64(heap[n])
        fall(heap, n, pair, pairs, positions, words, length)
    return 0


@njit(**INNER)
def is_piece(a, b, tokens, longest):
    """Whether tokens a and b, side by side, may be one piece."""
    length, head, last = tokens
    same = last[a] == 0 or head[b] == 0 or last[a] == head[b]
    return length[a] + length[b] <= longest and same


@njit(**KERNEL)
def fill_heap(heap, n_pairs, pairs, positions, words, tokens, longest):
    """Put the valid ones of pairs 0..n-1 into the heap; returns how many."""
    n = 0
    for pair in range(n_pairs):
        if is_piece(pairs[0][pair], pairs[1][pair], tokens, longest):
            rise(heap, n, pair, pairs, positions, words, tokens[0])
            n += 1
    return n


@njit(**INNER)
def is_known(place, n, new, words, spelt, known):
    """Whether a piece is spelt like the n characters at `place`; if none is, that is entered as token `new`.

    spelt = (place int64, length int32) by token; known int32 [2^k]: a hash table of tokens + 1.
    """
    text, mixed = words[0], np.uint64(n) * MIX_A
    for k in range(n):
        mixed = (mixed ^ np.uint64(text[place + k])) * MIX_B
        mixed ^= mixed >> np.uint64(29)
    mask = known.size - 1
    at = np.int64(mixed >> np.uint64(24)) & mask
    while known[at] != 0:
        token = known[at] - 1
        if spelt[1][token] == n:
            k, other = 0, spelt[0][token]
            while k < n and text[place + k] == text[other + k]:
                k += 1
            if k == n:
                return True
        at = (at + 1) & mask
    known[at] = new + 1
    spelt[0][new] = place
    return False


@njit(**INNER)
def make(pair, new, pairs, positions, words, tokens):
    """Replace the pair by the token `new` at each of its positions, which stay in its list; returns how many."""
    left, right, _, first, size, _ = pairs
    _, symbol, _ = words
    length, head, last = tokens
    a, b = left[pair], right[pair]
    n_left, n_new = np.int64(length[a]), np.int64(length[a]) + np.int64(length[b])
    at, end = first[pair], first[pair] + size[pair] - 1
    for k in range(first[pair], first[pair] + size[pair]):
        prefetch(symbol, np.int64(positions[min(k + AHEAD, end)]))  # pyright: ignore[reportCallIssue]
        p = np.int64(positions[k])
        if symbol[p] == a and symbol[p + n_left] == b:  # in aaa the second pair is gone
            symbol[p], symbol[p + n_left] = new, INSIDE
            symbol[p + n_new - 1] = -n_new
            positions[at] = p
            at += 1
    length[new] = n_new
    head[new] = head[a] if head[a] != 0 else head[b]
    last[new] = last[b] if last[b] != 0 else last[a]
    return at - first[pair]


@njit(**INNER)
def enter(new, touched, n_of, weight_of, pairs, slots, state):
    """Make the pairs of a new token with the neighbours it was counted with; n_of becomes where their lists begin."""
    left, right, bound, first, size, count = pairs
    for i in range(touched.size):
        token, side, pair = touched[i] >> 1, touched[i] & 1, state[PAIRS]
        a, b = (new, token) if side else (token, new)
        left[pair], right[pair] = a, b
        bound[pair], first[pair], size[pair] = weight_of[side, token], state[USED], n_of[side, token]
        count[pair] = bound[pair]
        slots[find_pair(a, b, pairs, slots)] = np.int32(pair + 1)
        n_of[side, token], weight_of[side, token] = state[USED], 0
        state[USED] += size[pair]
        state[PAIRS] += 1


@njit(**KERNEL)
def merge_pieces(n_characters, longest, words, pairs, slots, positions, heap, tokens, scratch, names, merges, state):
    """Run merges until all are made or no pair is left (returns True) or there is no room for pairs (returns False).

    Arguments as those of merge_loop.merge_pairs; names = (spelt, known) of is_known; state begins (0, pairs, in the
    heap, entries used of positions).
    """
    length = tokens[0]
    n_of, weight_of, touched = scratch
    spelt, known = names
    while state[MADE] < merges.shape[0]:
        state[HEAP] = top(heap, state[HEAP], pairs, positions, words, length)
        if state[HEAP] == 0:
            return True
        pair, new = np.int64(heap[0]), np.int64(n_characters + state[MADE])
        if state[PAIRS] + most_neighbours(pairs[4][pair], new) > min(pairs[0].size, slots.size >> 1):
            return False
        state[HEAP] -= 1
        fall(heap, state[HEAP], np.int64(heap[state[HEAP]]), pairs, positions, words, length)
        a, b = pairs[0][pair], pairs[1][pair]
        if is_known(np.int64(positions[pairs[3][pair]]), length[a] + length[b], new, words, spelt, known):
            continue
        merges[state[MADE], 0], merges[state[MADE], 1] = a, b
        first, made = pairs[3][pair], state[PAIRS]
        merged = positions[first : first + make(pair, new, pairs, positions, words, tokens)]
        n_touched = count_neighbours(merged, new, words, length, n_of, weight_of, touched)
        lower_counts(pair, new, touched[:n_touched], weight_of, pairs, slots)
        enter(new, touched[:n_touched], n_of, weight_of, pairs, slots, state)
        list_neighbours(merged, new, words, length, n_of, positions)
        for i in range(n_touched):
            n_of[touched[i] & 1, touched[i] >> 1] = 0
        for fresh in range(made, state[PAIRS]):
            if is_piece(pairs[0][fresh], pairs[1][fresh], tokens, longest):
                rise(heap, state[HEAP], fresh, pairs, positions, words, length)
                state[HEAP] += 1
        state[MADE] += 1
    return True
