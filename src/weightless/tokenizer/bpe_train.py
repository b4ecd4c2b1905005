"""Train a byte-level BPE vocabulary: count words in parallel, then merge the most frequent pair again and again.

Ids: 0..255 are the bytes, then the merges in order, then the special tokens (in the order given).
Ties: "greatest" takes the greatest (bytes, bytes) pair, compared as raw bytes; "hf" gives the merges, in order, that
Hugging Face's trainer gives (least pair of ids, bytes ordered by their printable stand-ins).
Special tokens are split off first, longest first; they are hard boundaries and are never counted.
The merges do not depend on the number of workers, nor on how a text is cut into blocks, nor on the path that is taken:
short texts go through light_train.py, which needs no compiled code (a process that has loaded the kernels already goes
on with them).
Twin: reference.train.  Errors: ConfigError for settings that cannot be, WeightlessError for unreadable files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weightless.base.errors import ConfigError, nearest
from weightless.base.progress import progress, told_if_slow
from weightless.tokenizer.compiling import MERGING, helper
from weightless.tokenizer.inputs import held_if_small, total_size
from weightless.tokenizer.light_train import count_words, light_merges
from weightless.tokenizer.memory import fresh, release_compiler
from weightless.tokenizer.patterns import (
    END_OF_TEXT,
    byte_characters,
    check_special_tokens,
    pattern_code,
)

if TYPE_CHECKING:
    from weightless.tokenizer.word_counter import Words

TIES = ("greatest", "hf")
LIGHT_BYTES, LIGHT_WORD_BYTES = 1 << 20, 1 << 18
"""Bytes of text, and of its distinct words, up to which light_train.py takes less time than the kernels to compile."""
LARGEST_LAYOUT = 2**31 - 1
LARGEST_VOCABULARY = 2**21
SLOT_BITS, GAP = 14, -1
AT_ONCE = 1 << 18  # words, or places, that NumPy looks at together
PAIRS_AT_FIRST = 2**22  # what is not used takes no memory

Layout = tuple[np.ndarray, np.ndarray, np.ndarray]  # (text, symbol, weight) of merge_loop
Vocabulary = tuple[dict[int, bytes], list[tuple[bytes, bytes]]]


def train_bpe(
    inputs: str | Path | bytes | Sequence[str | Path] | Iterable[bytes],
    vocab_size: int,
    special_tokens: Sequence[str] = (END_OF_TEXT,),
    *,
    pattern: str = "gpt2",
    ties: str = "greatest",
    n_workers: int | None = None,
    show_progress: bool = False,
) -> Vocabulary:
    """(vocab, merges): {id: bytes} of every token, and the merged pairs of bytes in order of rank.

    inputs           a path, several paths, or byte strings; each file and each byte string is one document, read as
                     bytes
    vocab_size       tokens in all: 256 bytes, the special tokens, and merges
    special_tokens   strings that become one id each, are hard boundaries and are not counted
    pattern          how text is cut before merging: "gpt2", "gpt4", or "none"
    ties             which of two equally frequent pairs merges first: "greatest" (on their bytes), or "hf"
    n_workers        threads that count words; None is one, which takes the least processor time and memory; the
                     result does not depend on it
    show_progress    whether to show how far it is

    Fewer merges come back when the text has no pair left.  Raises ConfigError for sizes, patterns and special tokens
    that cannot be, WeightlessError for a file that cannot be read.
    """
    specials = check_special_tokens(special_tokens)
    pattern_code(pattern)  # that it is one
    if ties not in TIES:
        raise ConfigError(f"unknown rule for ties {ties!r}: {nearest(str(ties), TIES)}")
    n_merges = _n_merges(vocab_size, len(specials))
    workers = _n_workers(n_workers)
    if not load_kernels.cache_info().currsize:
        texts, inputs = held_if_small(inputs, LIGHT_BYTES)
        counts = None if texts is None else count_words(texts, specials, pattern)
        if counts is not None and sum(map(len, counts)) <= LIGHT_WORD_BYTES:
            return _named(light_merges(counts, n_merges, ties), specials)
    merges = _compiled(inputs, specials, pattern, workers, n_merges, ties, show_progress)
    return _named(merges.tolist(), specials)


def _compiled(
    inputs: Any, specials: list[str], pattern: str, workers: int, n_merges: int, ties: str, show_progress: bool
) -> np.ndarray:
    """The merges int32 [m, 2], by the kernels."""
    from weightless.tokenizer.word_counter import count_inputs

    said = "compiling the tokenizer (once per machine and version)"
    with told_if_slow(said) if show_progress else nullcontext():
        helper().start(pattern)
        load_counting(pattern)
    with progress("counting words", total_size(inputs), "B") if show_progress else nullcontext() as tick:
        layout = lay_out(count_inputs(inputs, specials, pattern_code(pattern), workers, tick))
    with told_if_slow(said) if show_progress else nullcontext():
        helper().wait_for(MERGING)
        load_kernels()
    return merge_words(layout, n_merges, ties)


@lru_cache(maxsize=1)
def load_counting(pattern: str) -> None:
    """Compile or link the kernels that count words, on a text of no size, and hand back the memory that took."""
    from weightless.tokenizer.word_counter import count_inputs

    count_inputs([b"a a bb bb"], [], pattern_code(pattern), 1)
    release_compiler()


@lru_cache(maxsize=1)
def load_kernels() -> None:
    """The same for those that merge, once per process."""
    from weightless.tokenizer.word_counter import Words

    words = Words(np.frombuffer(b"abab", np.uint8), np.array([0, 2, 4]), np.array([1, 1]))
    merge_words(lay_out(words), 1, "greatest")
    release_compiler()


def _n_merges(vocab_size: int, n_specials: int) -> int:
    if isinstance(vocab_size, bool) or not isinstance(vocab_size, (int, np.integer)):
        raise ConfigError(f"vocab_size should be a whole number, not {vocab_size!r}")
    if not 256 + n_specials <= vocab_size <= LARGEST_VOCABULARY:
        raise ConfigError(
            f"vocab_size = {vocab_size} should be between {256 + n_specials} (256 bytes and {n_specials} special "
            f"tokens) and {LARGEST_VOCABULARY}"
        )
    return int(vocab_size) - 256 - n_specials


def _n_workers(n_workers: int | None) -> int:
    if n_workers is None:
        # One thread takes the least processor time and memory everywhere: each thread fills a table of its own, and the
        # tables must be united.  On 100 MB two took 0.74 s (1.18 s of processor time) and one 1.00 s (1.09 s) on a
        # quiet machine, 1.35 times faster; on a busy one two were slower.  benchmarks/tokenizer.py shows both.
        return 1
    if n_workers < 1:
        raise ConfigError(f"n_workers = {n_workers} should be at least 1")
    return n_workers


def lay_out(words: Words) -> Layout:
    """The distinct words as the arrays that are merged in."""
    n = len(words.text) + len(words.counts)
    if n > LARGEST_LAYOUT:
        raise ConfigError(
            f"the distinct words have {len(words.text):,} bytes, more than 2^31; train on a part of the text"
        )
    narrow = len(words.counts) == 0 or words.counts.max() < 1 << 31
    text, symbol, weight = fresh(n, np.uint8), fresh(n, np.int32), fresh(n, np.int32 if narrow else np.int64)
    for first in range(0, len(words.counts), AT_ONCE):
        ends = words.offsets[first : first + AT_ONCE + 1]
        own = np.arange(first, first + len(ends))
        part = slice(int(ends[0] + own[0]), int(ends[-1] + own[-1]))
        gaps = (ends + own)[1:] - 1 - part.start
        is_byte = np.ones(part.stop - part.start, dtype=bool)
        is_byte[gaps] = False
        text[part][is_byte] = words.text[ends[0] : ends[-1]]
        symbol[part] = text[part]
        symbol[part][gaps] = GAP
        weight[part] = np.repeat(words.counts[own[:-1]], np.diff(ends) + 1)
    return text, symbol, weight


def merge_words(words: Layout, n_merges: int, ties: str) -> np.ndarray:
    """Merges int32 [m, 2] as pairs of ids, from the words of `lay_out`."""
    from weightless.tokenizer import merge_loop

    pairs, positions, n_pairs, n_listed = _byte_pairs(words[1], words[2])
    n_tokens = 256 + n_merges
    prefix = np.zeros(n_tokens, dtype=np.uint64)
    prefix[:256] = np.arange(256, dtype=np.uint64) << np.uint64(56)
    tokens = (prefix, np.ones(n_tokens, dtype=np.int32), np.zeros(n_tokens, dtype=np.int64))
    order = np.empty(0, dtype=np.int64)
    if ties == "hf":
        order = np.concatenate((list(map(ord, byte_characters())), 1000 + np.arange(n_merges)))
    heap = fresh(len(pairs[0]), np.int32)
    heap[:n_pairs] = _best_first(pairs, n_pairs, order)
    neighbours = np.zeros((2, 2, n_tokens), dtype=np.int64)
    scratch = (neighbours[0], neighbours[1], np.empty(2 * n_tokens, dtype=np.int64))
    merges = np.empty((n_merges, 2), dtype=np.int32)
    state = np.array([0, n_pairs, n_pairs, n_listed], dtype=np.int64)
    slots = indexed(pairs, n_pairs, 2 * n_pairs)
    while not merge_loop.merge_pairs(words, pairs, slots, positions, heap, tokens, order, scratch, merges, state):
        room = merge_loop.most_neighbours.py_func(pairs[4][heap[0]], 256 + state[merge_loop.MADE])
        wanted = int(state[merge_loop.PAIRS] + room)
        arrays = list(pairs)
        del pairs  # so that only one of them is in memory twice
        for i in range(len(arrays)):
            arrays[i] = longer(arrays[i], wanted)
        pairs = tuple(arrays)
        heap = longer(heap, len(pairs[0]))
        if 2 * wanted > len(slots):
            del slots
            slots = indexed(pairs, int(state[merge_loop.PAIRS]), 2 * wanted)
    return merges[: state[merge_loop.MADE]]


def _best_first(pairs: tuple[np.ndarray, ...], n_pairs: int, order: np.ndarray) -> np.ndarray:
    """The pairs of bytes sorted as merge_loop.is_better would, which is a heap."""
    left, right, bound = (array[:n_pairs].astype(np.int64) for array in pairs[:3])
    ranks = (order[right], order[left]) if len(order) else (-right, -left)
    return np.lexsort((*ranks, -bound))


def _byte_pairs(symbol: np.ndarray, weight: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray, int, int]:
    """((left, right, bound, first, size, count) of all pairs of bytes, their positions, how many of either).

    Both have room to grow: the positions for all pairs to come, the pairs for as many as most texts have.
    """
    from weightless.tokenizer import merge_loop

    n_of, bound_of = np.zeros((2, 1 << 16), dtype=np.int64)
    for place, pair in _pairs_in_parts(symbol):
        n_of += np.bincount(pair, minlength=1 << 16)
        bound_of += np.bincount(pair, weight[place], minlength=1 << 16).astype(np.int64)  # exact up to 2^53
    first_of = np.cumsum(n_of) - n_of
    positions, fill = fresh(merge_loop.LISTED_PER_BYTE * len(symbol), np.int32), first_of.copy()
    for place, pair in _pairs_in_parts(symbol):
        of_pair, n_here = np.argsort(pair, kind="stable"), np.bincount(pair, minlength=1 << 16)
        within = np.arange(len(pair)) - np.repeat(np.cumsum(n_here) - n_here, n_here)
        positions[np.repeat(fill, n_here) + within] = place[of_pair]
        fill += n_here
    used = np.nonzero(n_of)[0]
    left, right = (used >> 8).astype(np.int32), (used & 255).astype(np.int32)
    pairs = (left, right, bound_of[used], first_of[used], n_of[used].astype(np.int32), bound_of[used])
    room = min(len(positions), PAIRS_AT_FIRST)
    return tuple(longer(array, room) for array in pairs), positions, len(used), int(n_of.sum())


def _pairs_in_parts(symbol: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(places of neighbouring bytes, uint16: the two as left * 256 + right), for one part of the text after another."""
    for at in range(0, len(symbol) - 1, AT_ONCE):
        left, right = symbol[at : at + AT_ONCE], symbol[at + 1 : at + 1 + AT_ONCE]
        place = np.flatnonzero((left[: len(right)] >= 0) & (right >= 0))
        yield at + place, (left[place] << 8 | right[place]).astype(np.uint16)


def indexed(pairs: tuple[np.ndarray, ...], n_pairs: int, size: int) -> np.ndarray:
    """The hash table of the pairs, with at least `size` slots."""
    from weightless.tokenizer import merge_loop

    slots = fresh(1 << max(SLOT_BITS, (size - 1).bit_length()), np.int32)
    merge_loop.index_pairs(n_pairs, pairs, slots)
    return slots


def longer(array: np.ndarray, size: int) -> np.ndarray:
    """A copy with room for at least `size` entries, or the array itself when it has it."""
    if size <= len(array):
        return array
    out = fresh(max(size, len(array) + len(array) // 2), array.dtype)
    out[: len(array)] = array
    return out


def _named(merges: Iterable[Sequence[int]], specials: list[str]) -> Vocabulary:
    tokens = [bytes([byte]) for byte in range(256)]
    pairs = []
    for left, right in merges:
        pairs.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    tokens += [special.encode() for special in specials]
    return dict(enumerate(tokens)), pairs
