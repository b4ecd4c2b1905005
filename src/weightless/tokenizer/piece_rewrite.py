"""Numba kernels of piece_text.py: a text rewritten by a table of replacements, and where words begin in it."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.tokenizer.scan import INNER, KERNEL

LINE_END, BLANK = 10, 32


@njit(**KERNEL)
def rewrite(text, trie, replacements, flags, margin, out):
    """Fill `out` with the rewritten text; returns its length, or -1 when there is too little room.

    flags = (adds a first space, removes spaces, whether every line is a text); margin: what one step writes at most.
    """
    _, _, in_lines = flags
    begin, n = np.int64(0), np.int64(0)
    while begin < text.size:
        end = np.int64(text.size)
        if in_lines:
            end = begin
            while end < text.size and text[end] != LINE_END:
                end += 1
        n = rewrite_one(text, begin, end, trie, replacements, flags, margin, out, n)
        if n < 0 or n + 1 > out.size:
            return np.int64(-1)
        if in_lines and end < text.size:
            out[n] = LINE_END
            n += 1
        begin = end + 1
    return n


@njit(**INNER)
def rewrite_one(text, begin, end, trie, replacements, flags, margin, out, n):
    """Append text[begin:end], rewritten, to out[:n]; returns the new length, or -1 when there is too little room."""
    adds, removes, _ = flags
    start, after_blank, pending = n, removes, adds
    at = begin
    if adds and not removes and begin < end and n + margin <= out.size:
        n, pending = put(np.uint8(BLANK), False, out, n), False  # even before a text that is rewritten to nothing
    while at < end:
        if n + margin > out.size:
            return np.int64(-1)
        length, value = longest_key(text, at, end, trie)
        if length > 0:
            k, skips = np.int64(value), removes and after_blank
            while k < replacements.size and replacements[k] != 0:
                byte = replacements[k]
                if not (skips and byte == BLANK):
                    n = put(byte, pending, out, n)
                    pending, skips, after_blank = False, False, byte == BLANK
                k += 1
            at += length
            continue
        length = character_length(text, at, end)
        if length == 0:
            for byte in (0xEF, 0xBF, 0xBD):
                n = put(np.uint8(byte), pending, out, n)
                pending = False
            after_blank = False
            at += 1
            continue
        if not (removes and after_blank and text[at] == BLANK):
            for k in range(length):
                n = put(text[at + k], pending, out, n)
                pending = False
            after_blank = text[at] == BLANK
        at += length
    if removes:
        while n - 3 >= start and out[n - 3] == 0xE2 and out[n - 2] == 0x96 and out[n - 1] == 0x81:
            n -= 3
    return n


@njit(**INNER)
def put(byte, pending, out, n):
    """Append a byte, a space as U+2581, behind the first space that is still to come; returns the new length."""
    for _ in range((1 if pending else 0) + (1 if byte == BLANK else 0)):
        out[n], out[n + 1], out[n + 2] = 0xE2, 0x96, 0x81
        n += 3
    if byte != BLANK:
        out[n] = byte
        n += 1
    return n


@njit(**INNER)
def longest_key(text, at, end, trie):
    """(length of the longest key that begins at text[at], its value); length 0 when there is none."""
    if trie.size == 0:
        return np.int64(0), np.uint32(0)
    length, value = np.int64(0), np.uint32(0)
    node = np.uint32(0) ^ children(trie[0])
    for k in range(at, end):
        node ^= np.uint32(text[k])
        if node >= trie.size:
            break
        unit = trie[node]
        if unit & np.uint32(0x800000FF) != np.uint32(text[k]):
            break
        node ^= children(unit)
        if unit >> np.uint32(8) & np.uint32(1) and node < trie.size:
            length, value = k + 1 - at, trie[node] & np.uint32(0x7FFFFFFF)
    return length, value


@njit(**INNER)
def children(unit):
    """Offset to the children of a unit."""
    return unit >> np.uint32(10) << ((unit & np.uint32(1 << 9)) >> np.uint32(6))


@njit(**INNER)
def character_length(text, at, end):
    """Bytes of the UTF-8 character at text[at]; 0 when there is none (stray, overlong, surrogate, too high, cut)."""
    first = text[at]
    if first < 0x80:
        return np.int64(1)
    n = 2 if 0xC2 <= first < 0xE0 else 3 if 0xE0 <= first < 0xF0 else 4 if 0xF0 <= first < 0xF5 else 0
    if n == 0 or at + n > end:
        return np.int64(0)
    for k in range(1, n):
        if text[at + k] & 0xC0 != 0x80:
            return np.int64(0)
    second = text[at + 1]
    is_wrong = (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F)
    is_wrong |= (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F)
    return np.int64(0) if is_wrong else np.int64(n)


@njit(**KERNEL)
def word_starts(text, starts):
    """Fill `starts` with the places where a word begins: 0, U+2581 and line ends; returns how many."""
    n = 0
    for at in range(text.size):
        mark = text[at] == 0xE2 and at + 2 < text.size and text[at + 1] == 0x96 and text[at + 2] == 0x81
        if at == 0 or mark or text[at] == LINE_END:
            starts[n] = at
            n += 1
    return n
