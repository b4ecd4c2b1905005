"""What a token is predicted from: contexts of tokens and of words, and their hashes.

A context is named by its parts, joined by "+":

    o3     the last three tokens                        t2, t13     the token two back; the last and the one three back
    w0     the letters of the word that is being written (in small letters), or what stands since the last word
    w1     the word before; w01 both

Words are read off the tokens' bytes: a-z, the apostrophe and all bytes from 128 on are letters.  The hash of a word is
a polynomial, h(uv) = h(u) B^|v| + h(v) mod 2^32, so that it does not matter how tokens cut it, and every token has a
record of what it does to the word (`token_records`).  Before the first token of a window there is nothing.

    context:  h = start(c);  mix(h, token + 1 or NOTHING) for its tokens, newest first;  mix(h, word + i) for its words
    mix(h, x) = y ^ (y >> 32)  with  y = (h ^ x) * MULTIPLIER mod 2^64

Errors: ConfigError for a context that is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from weightless.base.errors import ConfigError

MULTIPLIER, WORD_BASE, GAP_BASE = 0x9E3779B97F4A7C15, 0x9E3779B1, 0x01000193
MASK_64, MASK_32 = (1 << 64) - 1, (1 << 32) - 1
NOTHING = 99_991
MOST_BACK = 8
HEAD, INTERIOR, GAP, TAIL, SHAPE = range(5)
"""Columns of a token's record: hash of the letters that it begins with, of the last whole word inside, of the last
stretch of no letters, of the letters that it ends with; and HAS_GAP + 2 * (letters that it begins with)."""
HAS_GAP = 1
_PART = re.compile(r"o[1-8]|t[1-8]+|w[01]+")


class ContextParts(NamedTuple):
    """Bit i of `tokens`: the token i + 1 back; of `words`: word i."""

    tokens: int
    words: int


class WordState(NamedTuple):
    """Hashes uint32 of the word that is being written (0: none), of what stands since the last word, of that word."""

    current: int = 0
    gap: int = 1
    before: int = 2


def context_parts(name: str) -> ContextParts:
    """The parts of a context by name; ConfigError when it is none."""
    tokens = words = 0
    for part in name.split("+"):
        if not _PART.fullmatch(part):
            raise ConfigError(
                f"{name!r:.40} is no context: o1 .. o8 (so many last tokens), t and their distances (t2, t13), w0, w1, "
                "w01 (words), joined by +"
            )
        if part[0] == "o":
            tokens |= (1 << int(part[1])) - 1
        for digit in part[1:] if part[0] != "o" else "":
            if part[0] == "t":
                tokens |= 1 << (int(digit) - 1)
            else:
                words |= 1 << int(digit)
    return ContextParts(tokens, words)


def mix(h: int, x: int) -> int:
    """One step of a context's hash, in exact integers."""
    y = (h ^ x) * MULTIPLIER & MASK_64
    return y ^ y >> 32


def context_start(parts: ContextParts) -> int:
    """Where a context's hash begins: another place for every context."""
    return mix(parts.tokens << 8 | parts.words, MULTIPLIER >> 7)


def context_hash(parts: ContextParts, last_tokens: Sequence[int], state: WordState) -> int:
    """64 bits of a context behind `last_tokens` (oldest first; shorter at the beginning of a window)."""
    h = context_start(parts)
    for back in range(MOST_BACK):
        if parts.tokens >> back & 1:
            h = mix(h, last_tokens[-1 - back] + 1 if back < len(last_tokens) else NOTHING)
    words = (2 * state.current if state.current else 2 * state.gap + 1), state.before
    for i, word in enumerate(words):
        if parts.words >> i & 1:
            h = mix(h, word + i)
    return mix(h, 7)


def letter(byte: int) -> int:
    """The small letter that a byte is, or 0."""
    byte += 32 if 65 <= byte <= 90 else 0
    return byte if 97 <= byte <= 122 or byte >= 128 or byte == 39 else 0


def polynomial(values: Sequence[int], base: int) -> int:
    """Hash of a stretch of letters, or of no letters."""
    h = 0
    for value in values:
        h = (h * base + value + 7) & MASK_32
    return h


def token_records(token_bytes: Sequence[bytes]) -> np.ndarray:
    """uint32 [V, 5]: what every token does to the words.  Special tokens have no bytes."""
    records = np.zeros((len(token_bytes), 5), np.uint32)
    for record, text in zip(records, token_bytes, strict=True):
        runs: list[list[int]] = []
        for byte in text:
            if not runs or (letter(runs[-1][0]) != 0) != (letter(byte) != 0):
                runs.append([])
            runs[-1].append(byte)
        is_word = [letter(run[0]) != 0 for run in runs]
        hashes = [
            polynomial([letter(b) for b in run] if word else run, WORD_BASE if word else GAP_BASE)
            for run, word in zip(runs, is_word, strict=True)
        ]
        n_head = len(runs[0]) if runs and is_word[0] else 0
        record[HEAD] = hashes[0] if n_head else 0
        record[SHAPE] = 2 * n_head + (HAS_GAP if not all(is_word) else 0)
        if not all(is_word):
            inside = [h for h, word in zip(hashes[1:-1], is_word[1:-1], strict=True) if word]
            record[INTERIOR] = inside[-1] if inside else 0
            record[GAP] = [h for h, word in zip(hashes, is_word, strict=True) if not word][-1]
            record[TAIL] = hashes[-1] if is_word[-1] else 0
    return records


def word_behind(state: WordState, record: Sequence[int]) -> WordState:
    """The words behind one more token."""
    current, gap, before = state
    head, interior, gap_hash, tail, shape = (int(value) for value in record)
    current = (current * pow(WORD_BASE, shape >> 1, 1 << 32) + head) & MASK_32
    if not shape & HAS_GAP:
        return WordState(current, gap, before)
    if current:
        before, gap = current, 1
    if interior:
        before, gap = interior, 1
    return WordState(tail, (gap * GAP_BASE + gap_hash) & MASK_32, before)
