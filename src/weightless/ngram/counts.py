"""Count n-grams by sorting: the highest order as packed keys, the lower ones from the order above.

Every n-gram of order m = k + 1 is a context of k words and the word that followed it.  Contexts are ordered by their
most recent word first (w_{t-1}, w_{t-2}, …, w_{t-k}), so that the children of a shorter context are neighbours.

1. Windows become uint64 keys: words side by side while they fit into 64 bits; otherwise pairs of neighbours are first
   replaced by their rank among the distinct pairs (`Symbols`), pairs of pairs too, until the window fits.
2. One np.sort groups the windows: raw counts of the highest order.
3. Order m - 1: each distinct n-gram of order m, without its oldest word, is one distinct left extension.  So the counts
   are the multiplicities of (parent context, word); one sort of fewer keys per order.

Start of the stream: it is preceded by order - 1 copies of the mark V (not a word), which is one more left neighbour of
the n-grams that open the stream.  Contexts that hold the mark leave the lists at the end (at most k per level).
Memory: about 50 bytes per token at the peak for order 5, the model included (benchmarks/ngram.py measures it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

KEY_BITS = 64


@dataclass(frozen=True)
class Level:
    """All contexts of k words, ordered, with the counted list of words that followed each.

    word [N_k] oldest word of each context (w_{t-k}); first_child [N_k + 1] into level k + 1, None at the deepest;
    start [N_k + 1] into follower [M_k] and count [M_k].
    """

    k: int
    word: np.ndarray
    first_child: np.ndarray | None
    start: np.ndarray
    follower: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class Symbols:
    """One number per stream position for the `length` words that end there; equal words, equal number, ordered alike.

    of_position [n + order - 1] (the first length - 1 entries are void); words: `length` columns, most recent word
    first, each indexed by the number.
    """

    of_position: np.ndarray
    words: tuple[np.ndarray, ...]

    @property
    def length(self) -> int:
        return len(self.words)

    @property
    def bits(self) -> int:
        return bits_for(len(self.words[0]))


def bits_for(n_values: int) -> int:
    """Bits that hold the numbers 0 .. n_values - 1 (at least one)."""
    return max(1, int(n_values - 1).bit_length())


def count_levels(tokens: np.ndarray, vocab_size: int, order: int) -> Iterator[Level]:
    """Levels order - 1 .. 1 of one stream, then level 0: one list of all V words, where a count may be zero.

    Counts are raw at the highest order and distinct left extensions below.
    """
    followers = tokens
    if order > 1:
        marks_below = np.empty(0, np.int64)
        for level in _levels_downwards(tokens, vocab_size, order):
            marks = np.flatnonzero(level.word == vocab_size)
            if level.k == 1:
                followers = level.follower.copy()
            _drop_marks(level, marks, marks_below)
            yield level
            marks_below = marks
    counts = np.bincount(followers, minlength=vocab_size).astype(np.uint32)
    words = np.arange(vocab_size, dtype=tokens.dtype)
    yield Level(0, words[:1], None, np.array([0, vocab_size], np.uint32), words, counts)


def dense_ranks(keys: np.ndarray, n_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint32 rank of each key among the distinct ones, those ascending); spends `keys` (uint64 < 2^n_bits)."""
    from weightless.kernels.numba.ngram import radix_argsort, ranks_of_packed, ranks_of_sorted

    position_bits, ranks = bits_for(keys.size), np.empty(keys.size, np.uint32)
    if n_bits + position_bits > KEY_BITS:
        keys, positions = radix_argsort(keys, n_bits)
        n_distinct = ranks_of_sorted(keys, positions, ranks)
    else:
        keys <<= np.uint64(position_bits)
        keys |= np.arange(keys.size, dtype=np.uint32)
        keys.sort()
        n_distinct = ranks_of_packed(keys, position_bits, ranks)
    return ranks, keys[:n_distinct].copy()


def _merge(recent: Symbols, older: Symbols) -> Symbols:
    """Symbols of the words of `recent` preceded by those of `older`."""
    length = recent.length + older.length
    keys = recent.of_position[length - 1 :].astype(np.uint64)
    keys <<= np.uint64(older.bits)
    keys |= older.of_position[older.length - 1 : keys.size + older.length - 1]
    ranks, distinct = dense_ranks(keys, recent.bits + older.bits)
    head, tail = distinct >> np.uint64(older.bits), distinct & np.uint64((1 << older.bits) - 1)
    of_position = np.concatenate([np.zeros(length - 1, np.uint32), ranks])
    return Symbols(of_position, tuple(c[head] for c in recent.words) + tuple(c[tail] for c in older.words))


def _context_parts(stream: np.ndarray, mark: int, n_context: int) -> list[Symbols]:
    """Symbols whose lengths add up to n_context and whose numbers fit into one key together with a word."""
    identity = np.arange(mark + 1, dtype=stream.dtype)
    parts = [Symbols(stream, (identity,))] * n_context
    while sum(part.bits for part in parts) + bits_for(mark) > KEY_BITS:
        shortest = min(range(len(parts) - 1), key=lambda i: parts[i].length + parts[i + 1].length)
        recent, older = parts[shortest], parts[shortest + 1]
        merged = _merge(recent, older)
        i = 0
        while i + 1 < len(parts):
            if parts[i] is recent and parts[i + 1] is older:
                parts[i : i + 2] = [merged]
            i += 1
    return parts


def _window_keys(parts: list[Symbols], tokens: np.ndarray, n_context: int, word_bits: int) -> np.ndarray:
    """One sorted uint64 key per stream position: the parts of its context, most recent first, then its word."""
    n, back = tokens.size, n_context - 1
    keys = parts[0].of_position[back : back + n].astype(np.uint64)
    for newer, part in zip(parts, parts[1:], strict=False):
        back -= newer.length
        keys <<= np.uint64(part.bits)
        keys |= part.of_position[back : back + n]
    keys <<= np.uint64(word_bits)
    keys |= tokens
    keys.sort()
    return keys


def _lists(keys: np.ndarray, word_bits: int, word_dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """(start, follower, count, context) of sorted keys; see kernels.numba.ngram.runs_by_context."""
    from weightless.kernels.numba.ngram import runs_by_context

    n = keys.size
    follower, count = np.empty(n, word_dtype), np.empty(n, np.uint32)
    start, context = np.empty(n + 1, np.uint32), np.empty(n, np.uint64)
    n_contexts, n_ngrams = runs_by_context(keys, word_bits, follower, count, start, context)
    for array, size in ((start, n_contexts + 1), (context, n_contexts), (follower, n_ngrams), (count, n_ngrams)):
        array.resize(size, refcheck=False)  # gives the tail back without a copy
    return start, follower, count, context


def _context_words(context: np.ndarray, parts: list[Symbols]) -> list[np.ndarray]:
    """Columns w_{t-1}, w_{t-2}, … of the contexts of the deepest level."""
    from weightless.kernels.numba.ngram import column_of_keys

    columns: list[np.ndarray] = []
    shift = sum(part.bits for part in parts)
    for part in parts:
        shift -= part.bits
        for column in part.words:
            columns.append(np.empty(context.size, column.dtype))
            column_of_keys(context, shift, part.bits, column, columns[-1])
    return columns


def _first_difference(columns: list[np.ndarray]) -> np.ndarray:
    """How many of the most recent words each context shares with the one before it (uint8 [N]; 0 for the first)."""
    shared = np.zeros(columns[0].size, np.uint8)
    same = np.ones(columns[0].size - 1, bool)
    for column in columns:
        same &= column[1:] == column[:-1]
        shared[1:] += same
    return shared


def _levels_downwards(tokens: np.ndarray, vocab_size: int, order: int) -> Iterator[Level]:
    """Levels order - 1 .. 1, contexts that hold the mark included."""
    from weightless.kernels.numba.ngram import keys_of_parents

    n_context, word_bits = order - 1, bits_for(vocab_size)
    wide = np.uint16 if vocab_size < 1 << 16 else np.uint32
    stream = np.concatenate([np.full(n_context, vocab_size, wide), tokens.astype(wide, copy=False)])
    parts = _context_parts(stream, vocab_size, n_context)
    keys = _window_keys(parts, stream[n_context:], n_context, word_bits)
    start, follower, count, context = _lists(keys, word_bits, tokens.dtype)
    del keys
    columns = _context_words(context, parts)
    del parts, context
    shared, first_child = _first_difference(columns), None
    for k in range(n_context, 0, -1):
        level = Level(k, columns[k - 1], first_child, start, follower, count)
        if k > 1:
            heads = np.flatnonzero(shared < k - 1)
            shared, columns = shared[heads], [column[heads] for column in columns[: k - 1]]
            first_child = np.append(heads, start.size - 1).astype(np.uint32)
            keys = keys_of_parents(first_child, start, follower, word_bits)
        yield level
        if k > 1:
            del level
            keys.sort()
            start, follower, count, _ = _lists(keys, word_bits, tokens.dtype)


def _drop_marks(level: Level, marks: np.ndarray, marks_below: np.ndarray) -> None:
    """Take out, in place, the contexts (rows `marks`) that reach over the start; each has exactly one follower."""
    entries = level.start[marks].astype(np.int64)
    for values, rows in ((level.word, marks), (level.follower, entries), (level.count, entries)):
        _delete(values, rows)
    for bounds, dropped in ((level.start, entries), (level.first_child, marks_below)):
        if bounds is not None:
            _delete(bounds, marks)
            for row in dropped[::-1]:
                bounds[np.searchsorted(bounds, np.uint32(row), side="right") :] -= np.uint32(1)


def _delete(values: np.ndarray, rows: np.ndarray) -> None:
    """Delete few ascending rows of a large array without a second one."""
    ends = np.append(rows[1:], values.size)
    for gone, (row, end) in enumerate(zip(rows, ends, strict=True)):
        values[row - gone : end - gone - 1] = values[row + 1 : end]
    values.resize(values.size - rows.size, refcheck=False)
