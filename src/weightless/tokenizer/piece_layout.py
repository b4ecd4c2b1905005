"""Words of characters laid out for merging, and the merging of them: between piece_train.py and its kernels.

    coded(words, characters, split_digits) -> Layout      what can be in no piece together is parted here, once
    merge_layout(layout, n_merges, longest) -> pieces     strings in the order in which they were made

A gap stands between two characters that no piece may hold side by side: before U+2581, around characters without a
piece and around digits (if they are split), and between two scripts.  What is left to be asked pair by pair is length,
and marks that inherit their script.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weightless.tokenizer.bpe_train import PAIRS_AT_FIRST, indexed, longer
from weightless.tokenizer.memory import fresh
from weightless.tokenizer.scripts import ANY, scripts_of
from weightless.tokenizer.word_counter import Words

GAP = -1
DIGITS = "0123456789" + "".join(chr(0xFF10 + k) for k in range(10))


@dataclass(frozen=True)
class Layout:
    """text, symbol int32 [n] and weight int64 [n] of piece_merge_loop.py; character i is characters[i], of a script."""

    text: np.ndarray
    symbol: np.ndarray
    weight: np.ndarray
    characters: list[str]
    scripts: np.ndarray


def coded(words: Words, characters: list[str], split_digits: bool) -> Layout:
    """The layout of words; characters that are not listed end a word."""
    points, weights, starts = characters_of(words)
    by_point = np.array([ord(c) for c in characters], dtype=np.int64)
    order = np.argsort(by_point)
    at = np.searchsorted(by_point[order], points)
    ids = order[np.minimum(at, len(order) - 1)]
    is_alone = by_point[ids] != points
    if split_digits:
        is_alone |= np.isin(points, [ord(c) for c in DIGITS])
    found = scripts_of(characters)
    scripts = np.array([found[c] for c in characters], dtype=np.int16)
    script = scripts[ids]
    parted = np.ones(len(points), dtype=bool)
    parted[1:] = starts[1:] | is_alone[1:] | is_alone[:-1]
    parted[1:] |= (script[1:] != script[:-1]) & (script[1:] != ANY) & (script[:-1] != ANY)
    ends = np.append(parted[1:], True)
    kept = ~is_alone & ~(parted & ends)  # one character alone makes no pair
    place = np.flatnonzero(kept)
    target = np.arange(len(place)) + np.cumsum(parted[place])
    n = int(target[-1]) + 2 if len(place) else 1
    text, symbol, weight = np.zeros(n, np.int32), np.full(n, GAP, np.int32), np.zeros(n, np.int64)
    text[target], symbol[target], weight[target] = points[place], ids[place], weights[place]
    return Layout(text, symbol, weight, characters, scripts)


def characters_of(words: Words) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(code points int64, how often the word of each was seen, whether a word starts there) of all distinct words."""
    content = words.text
    points = np.frombuffer(content.tobytes().decode().encode("utf-32-le"), np.uint32).astype(np.int64)
    number = np.cumsum(content & 0xC0 != 0x80)  # of the character that a byte belongs to, from 1 on
    starts = np.zeros(len(points), dtype=bool)
    starts[number[words.offsets[:-1]] - 1] = True
    return points, words.counts[np.cumsum(starts) - 1], starts


def merge_layout(layout: Layout, n_merges: int, longest: int) -> list[str]:
    """The pieces that at most n_merges merges make; fewer when no pair is left that occurs."""
    from weightless.tokenizer import piece_merge_loop as loop
    from weightless.tokenizer.merge_loop import LISTED_PER_BYTE, MADE, PAIRS, most_neighbours

    n_characters = len(layout.characters)
    n_tokens = n_characters + n_merges
    words = (layout.text, layout.symbol, layout.weight)
    pairs, positions, n_pairs, n_listed = _first_pairs(layout, LISTED_PER_BYTE)
    length, head, last = np.ones(n_tokens, np.int32), np.zeros(n_tokens, np.int16), np.zeros(n_tokens, np.int16)
    head[:n_characters] = last[:n_characters] = layout.scripts
    tokens = (length, head, last)
    heap = fresh(len(pairs[0]), np.int32)
    state = np.array([0, n_pairs, 0, n_listed], dtype=np.int64)
    state[2] = loop.fill_heap(heap, n_pairs, pairs, positions, words, tokens, longest)
    neighbours = np.zeros((2, 2, n_tokens), dtype=np.int64)
    scratch = (neighbours[0], neighbours[1], np.empty(2 * n_tokens, dtype=np.int64))
    spelt = (np.zeros(n_tokens, np.int64), length)
    names = (spelt, np.zeros(1 << max(8, (4 * n_merges).bit_length()), np.int32))
    merges = np.empty((n_merges, 2), dtype=np.int32)
    slots = indexed(pairs, n_pairs, 2 * n_pairs)
    run = (words, tokens, scratch, names, merges, state)
    while not _merged(n_characters, longest, run, pairs, slots, positions, heap):
        room = most_neighbours.py_func(pairs[4][heap[0]], n_characters + state[MADE])
        wanted = int(state[PAIRS] + room)
        pairs = tuple(longer(array, wanted) for array in pairs)
        heap = longer(heap, len(pairs[0]))
        if 2 * wanted > len(slots):
            slots = indexed(pairs, int(state[PAIRS]), 2 * wanted)
    return _spelt(layout.text, spelt[0], length, range(n_characters, n_characters + int(state[MADE])))


def _merged(n_characters: int, longest: int, run: tuple, pairs: tuple, slots, positions, heap) -> bool:  # type: ignore[no-untyped-def]
    from weightless.tokenizer import piece_merge_loop as loop

    words, tokens, scratch, names, merges, state = run
    return loop.merge_pieces(
        n_characters, longest, words, pairs, slots, positions, heap, tokens, scratch, names, merges, state
    )


def _spelt(text: np.ndarray, place: np.ndarray, length: np.ndarray, tokens: range) -> list[str]:
    return ["".join(map(chr, text[place[t] : place[t] + length[t]].tolist())) for t in tokens]


def _first_pairs(layout: Layout, listed: int) -> tuple[tuple[np.ndarray, ...], np.ndarray, int, int]:
    """((left, right, bound, first, size, count) of all pairs of characters, their positions, how many of either)."""
    symbol = layout.symbol.astype(np.int64)
    place = np.flatnonzero((symbol[:-1] >= 0) & (symbol[1:] >= 0))
    keys = symbol[place] * (len(layout.characters) + 1) + symbol[place + 1]
    order = np.argsort(keys, kind="stable")
    used, first, size = np.unique(keys[order], return_index=True, return_counts=True)
    bound = np.add.reduceat(layout.weight[place[order]], first) if len(first) else np.zeros(0, np.int64)
    left, right = (half.astype(np.int32) for half in np.divmod(used, len(layout.characters) + 1))
    positions = fresh(listed * len(symbol) + 1, np.int32)
    positions[: len(place)] = place[order]
    pairs = (left, right, bound, first.astype(np.int64), size.astype(np.int32), bound.copy())
    room = max(1, min(len(positions), PAIRS_AT_FIRST))
    return tuple(longer(array, room) for array in pairs), positions, len(used), len(place)
