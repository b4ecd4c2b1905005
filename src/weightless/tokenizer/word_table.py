"""Numba kernels of the table that counts distinct words: open addressing, exact keys.  Twin: collections.Counter.

slots uint64 [3 * capacity]: (low, high, count) per word; count 0 marks an empty slot.  A word of at most 15 bytes is
its own key: low and high hold its bytes, the top byte of high its length.  A longer word has low = a hash,
high = LONG | number, and its bytes stand in arena[spans[number]:spans[number + 1]].
state int64 = (distinct words, long words, arena bytes used).  Kernels never allocate: they stop, and the caller grows.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.tokenizer.scan import INNER, KERNEL, load_u64, prefetch, word_end

SHORT = 15
LONG = np.uint64(0xFF << 56)
MIX_A, MIX_B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
ONE, BYTE, TOP, ALL = np.uint64(1), np.uint64(8), np.uint64(56), np.uint64(2**64 - 1)
WORDS, LONGS, ARENA = 0, 1, 2
DONE, TABLE_FULL, ARENA_FULL, SPANS_FULL = 0, 1, 2, 3


@njit(**INNER)
def word_key(text, i, length):
    """(low, high) of a word: its bytes and length up to 15 bytes, else (hash, LONG)."""
    if length > SHORT:
        return long_hash(text, i, length), LONG
    top = np.uint64(length) << TOP
    if i + 16 <= text.size:
        low = load_u64(text, i) & (ALL >> (BYTE * np.uint64(8 - min(length, 8))))  # pyright: ignore[reportCallIssue]
        high = load_u64(text, i + 8) & ((ONE << (BYTE * np.uint64(max(length - 8, 0)))) - ONE)  # pyright: ignore[reportCallIssue]
        return low, high | top
    low, high = np.uint64(0), np.uint64(0)
    for k in range(length):
        if k < 8:
            low |= np.uint64(text[i + k]) << np.uint64(8 * k)
        else:
            high |= np.uint64(text[i + k]) << np.uint64(8 * (k - 8))
    return low, high | top


@njit(**INNER)
def long_hash(text, i, length):
    """64-bit hash of a long word, eight bytes at a time (the last eight may overlap)."""
    mixed = np.uint64(length) * MIX_A
    for k in range(0, length - 7, 8):
        mixed = (mixed ^ load_u64(text, i + k)) * MIX_B  # pyright: ignore[reportCallIssue]
        mixed ^= mixed >> np.uint64(32)
    return (mixed ^ load_u64(text, i + length - 8)) * MIX_A  # pyright: ignore[reportCallIssue]


@njit(**INNER)
def slot_hash(low, high):
    """Well mixed 64 bits of a key; the upper ones choose the slot."""
    mixed = (low ^ (high * MIX_B)) * MIX_A
    return (mixed ^ (mixed >> np.uint64(29))) * MIX_B


@njit(**INNER)
def add_word(text, i, length, weight, low, high, at, slots, spans, arena, state):
    """Add `weight` to the count of text[i:i + length], whose key is (low, high) and whose first slot is `at`.

    Returns DONE or what is full (then nothing was added).
    """
    while slots[3 * at + 2] != 0:
        if slots[3 * at] == low:
            if length <= SHORT:
                if slots[3 * at + 1] == high:
                    break
            elif slots[3 * at + 1] >= LONG and _is_long_word(text, i, length, slots[3 * at + 1], spans, arena):
                break
        at = at + 1 if 3 * at + 3 < slots.size else 0
    if slots[3 * at + 2] == 0:
        if 30 * (state[WORDS] + 1) > 7 * slots.size:
            return TABLE_FULL
        if length > SHORT:
            if state[LONGS] + 2 > spans.size:
                return SPANS_FULL
            if state[ARENA] + length > arena.size:
                return ARENA_FULL
            high = LONG | np.uint64(state[LONGS])
            for k in range(length):
                arena[state[ARENA] + k] = text[i + k]
            state[ARENA] += length
            state[LONGS] += 1
            spans[state[LONGS]] = state[ARENA]
        slots[3 * at], slots[3 * at + 1] = low, high
        state[WORDS] += 1
    slots[3 * at + 2] += np.uint64(weight)
    return DONE


@njit(**INNER)
def find_word(text, i, length, low, high, slots, shift, spans, arena):
    """The count of text[i:i + length], whose key is (low, high); 0 when it is not in the table."""
    at = np.int64(slot_hash(low, high & ~LONG if length > SHORT else high) >> shift)
    while slots[3 * at + 2] != 0:
        if slots[3 * at] == low:
            if length <= SHORT:
                if slots[3 * at + 1] == high:
                    return np.int64(slots[3 * at + 2])
            elif slots[3 * at + 1] >= LONG and _is_long_word(text, i, length, slots[3 * at + 1], spans, arena):
                return np.int64(slots[3 * at + 2])
        at = at + 1 if 3 * at + 3 < slots.size else 0
    return np.int64(0)


@njit(**INNER)
def _is_long_word(text, i, length, high, spans, arena):
    number = np.int64(high & ~LONG)
    begin = spans[number]
    if spans[number + 1] - begin != length:
        return False
    for k in range(length):
        if arena[begin + k] != text[i + k]:
            return False
    return True


@njit(**KERNEL)
def count_words(text, segments, cursor, classes, pattern, ends, keys, slots, shift, spans, arena, state):
    """Count the words of text[start:end] for each segment [k, 2]; `cursor` = (segment, position) is where to resume.

    Words go in batches (ends int64 [b], keys uint64 [b, 3]): while one batch is scanned, its slots come from memory.
    """
    for k in range(cursor[0], segments.shape[0]):
        i = max(segments[k, 0], cursor[1])
        end = segments[k, 1]
        while i < end:
            n, to = 0, i
            while n < ends.size and to < end:
                begin, to = to, word_end(text, to, end, classes, pattern)
                low, high = word_key(text, begin, to - begin)
                at = slot_hash(low, high & ~LONG if to - begin > SHORT else high) >> shift
                prefetch(slots, np.int64(at) * 3)  # pyright: ignore[reportCallIssue]
                ends[n], keys[n, 0], keys[n, 1], keys[n, 2] = to, low, high, at
                n += 1
            for j in range(n):
                low, high, at = keys[j, 0], keys[j, 1], np.int64(keys[j, 2])
                full = add_word(text, i, ends[j] - i, 1, low, high, at, slots, spans, arena, state)
                if full != DONE:
                    cursor[0], cursor[1] = k, i
                    return full
                i = ends[j]
    return DONE


@njit(**KERNEL)
def add_counted(text, offsets, counts, cursor, slots, shift, spans, arena, state):
    """Add words text[offsets[k]:offsets[k + 1]] with counts[k]; `cursor`[0] is where to resume."""
    for k in range(cursor[0], counts.size):
        i, length = offsets[k], offsets[k + 1] - offsets[k]
        low, high = word_key(text, i, length)
        at = np.int64(slot_hash(low, high & ~LONG if length > SHORT else high) >> shift)
        full = add_word(text, i, length, counts[k], low, high, at, slots, spans, arena, state)
        if full != DONE:
            cursor[0] = k
            return full
    return DONE


@njit(**KERNEL)
def rehash(slots, larger, shift):
    """Move every word into the empty, larger table."""
    mask = np.int64(larger.size // 3 - 1)
    for k in range(slots.size // 3):
        if slots[3 * k + 2] == 0:
            continue
        low, high = slots[3 * k], slots[3 * k + 1]
        at = np.int64(slot_hash(low, np.uint64(0) if high >= LONG else high) >> shift)
        while larger[3 * at + 2] != 0:
            at = (at + 1) & mask
        larger[3 * at], larger[3 * at + 1], larger[3 * at + 2] = low, high, slots[3 * k + 2]
