"""Hashes of contexts in compiled code, for stretches of tokens; the definition and oracle is `ops.context_hashes`."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.rows import KERNEL
from weightless.ops import context_hashes as truth

_MULTIPLIER, _HALF, _NOTHING = np.uint64(truth.MULTIPLIER), np.uint64(32), np.uint64(truth.NOTHING)
_WORD_BASE, _GAP_BASE, _MASK = np.uint64(truth.WORD_BASE), np.uint64(truth.GAP_BASE), np.uint64(truth.MASK_32)
_START = np.uint64(truth.MULTIPLIER >> 7)
_HEAD, _INTERIOR, _GAP, _TAIL, _SHAPE = truth.HEAD, truth.INTERIOR, truth.GAP, truth.TAIL, truth.SHAPE
_MOST_BACK = truth.MOST_BACK
_ONE, _TWO, _LAST = np.uint64(1), np.uint64(2), np.uint64(7)


@njit(**KERNEL)
def mix(h, x):  # type: ignore[no-untyped-def]
    """One step of a hash; uint64."""
    y = (h ^ x) * _MULTIPLIER
    return y ^ (y >> _HALF)


@njit(**KERNEL)
def context_start(tokens, words):  # type: ignore[no-untyped-def]
    """Where the hash of a context begins."""
    return mix(np.uint64(tokens << 8 | words), _START)


@njit(**KERNEL)
def grown(word, head, length):  # type: ignore[no-untyped-def]
    """Hash of a word with `length` more letters, whose hash is `head`; uint64 below 2^32."""
    factor, base = _ONE, _WORD_BASE
    while length > 0:
        if length & 1:
            factor = factor * base & _MASK
        base = base * base & _MASK
        length >>= 1
    return (word * factor + head) & _MASK


@njit(**KERNEL)
def word_behind(current, gap, before, head, interior, gap_hash, tail, shape):  # type: ignore[no-untyped-def]
    """The words behind one more token, all uint64; shape int64."""
    current = grown(current, head, shape >> 1)
    if shape & 1 == 0:
        return current, gap, before
    if current != 0:
        before, gap = current, _ONE
    if interior != 0:
        before, gap = interior, _ONE
    return tail, (gap * _GAP_BASE + gap_hash) & _MASK, before


@njit(**KERNEL)
def word_seen(current, gap):  # type: ignore[no-untyped-def]
    """What a context takes of the word that is being written, or of what stands since the last."""
    return current * _TWO if current != 0 else gap * _TWO + _ONE


@njit(**KERNEL)
def hash_contexts(tokens, first, n, parts, starts, records, hashes):  # type: ignore[no-untyped-def]
    """hashes[i, c] (uint64) behind tokens[first .. first + i]; what stands before `first` is nothing.

    parts int64 [C, 2] (bits of tokens, bits of words), starts uint64 [C], records uint32 [V, 5].
    """
    current, gap, before = np.uint64(0), _ONE, _TWO
    for i in range(n):
        token = tokens[first + i]
        current, gap, before = word_behind(
            current,
            gap,
            before,
            np.uint64(records[token, _HEAD]),
            np.uint64(records[token, _INTERIOR]),
            np.uint64(records[token, _GAP]),
            np.uint64(records[token, _TAIL]),
            np.int64(records[token, _SHAPE]),
        )
        seen = word_seen(current, gap)
        for c in range(parts.shape[0]):
            h, bits = starts[c], parts[c, 0]
            for back in range(_MOST_BACK):
                if bits >> back & 1:
                    h = mix(h, np.uint64(tokens[first + i - back] + 1) if back <= i else _NOTHING)
            if parts[c, 1] & 1:
                h = mix(h, seen)
            if parts[c, 1] & 2:
                h = mix(h, before + _ONE)
            hashes[i, c] = mix(h, _LAST)
