"""Train a byte-level BPE vocabulary: count words in parallel, then merge the most frequent pair again and again.

Ids: 0..255 are the bytes, then the merges in order, then the special tokens (in the order given).
Ties: "greatest" takes the greatest (bytes, bytes) pair, compared as raw bytes; "hf" gives the merges, in order, that
Hugging Face's trainer gives (least pair of ids, bytes ordered by their printable stand-ins).
Special tokens are split off first, longest first; they are hard boundaries and are never counted.
The merges do not depend on the number of workers, nor on how a text is cut into blocks.
Twin: reference.train.  Errors: ConfigError for settings that cannot be, WeightlessError for unreadable files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from weightless.base.errors import ConfigError, nearest
from weightless.base.progress import progress
from weightless.tokenizer.patterns import END_OF_TEXT, byte_characters, check_special_tokens, pattern_code

TIES = ("greatest", "hf")
LARGEST_LAYOUT = 2**31 - 1
LARGEST_VOCABULARY = 2**21

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
    """Return (vocab, merges), where vocab_size includes the 256 bytes and the special tokens.

    `inputs` is a path, paths, or byte strings; each file and each byte string is one document, read as bytes.  Fewer
    merges are returned when the text has no pair left.
    """
    from weightless.tokenizer.word_counter import count_inputs, total_size

    specials = check_special_tokens(special_tokens)
    code = pattern_code(pattern)
    if ties not in TIES:
        raise ConfigError(f"unknown rule for ties {ties!r}: {nearest(str(ties), TIES)}")
    n_merges = _n_merges(vocab_size, len(specials))
    workers = _n_workers(n_workers)
    with progress("counting words", total_size(inputs), "B") if show_progress else nullcontext() as tick:
        words = count_inputs(inputs, specials, code, workers, tick)
    merges = merge_words(words.text, words.offsets, words.counts, n_merges, ties)
    return _named(merges, specials)


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
        return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if n_workers < 1:
        raise ConfigError(f"n_workers = {n_workers} should be at least 1")
    return n_workers


def merge_words(text: np.ndarray, offsets: np.ndarray, counts: np.ndarray, n_merges: int, ties: str) -> np.ndarray:
    """Merges int32 [m, 2] as pairs of ids, from words text[offsets[k]:offsets[k + 1]] seen counts[k] times."""
    from weightless.tokenizer import merge_loop

    n = len(text) + len(counts)
    if n > LARGEST_LAYOUT:
        raise ConfigError(f"the distinct words have {len(text):,} bytes, more than 2^31; train on a part of the text")
    symbol, start, owner = (np.empty(n, dtype=np.int32) for _ in range(3))
    merge_loop.lay_out(text, offsets, symbol, start, owner)
    words = (text, symbol, start, owner, counts)
    pairs, positions = _byte_pairs(symbol, owner, counts)
    n_tokens = 256 + n_merges
    prefix = np.zeros(n_tokens, dtype=np.uint64)
    prefix[:256] = np.arange(256, dtype=np.uint64) << np.uint64(56)
    tokens = (prefix, np.ones(n_tokens, dtype=np.int32), np.zeros(n_tokens, dtype=np.int64))
    order = np.empty(0, dtype=np.int64)
    if ties == "hf":
        order = np.concatenate((list(map(ord, byte_characters())), 1000 + np.arange(n_merges)))
    heap, n_pairs = np.empty(len(pairs[0]), dtype=np.int32), len(pairs[0])
    merge_loop.heapify(heap, n_pairs, pairs, tokens, text, order)
    neighbours = np.zeros((2, 2, n_tokens), dtype=np.int64)
    scratch = (neighbours[0], neighbours[1], np.empty(2 * n_tokens, dtype=np.int64))
    merges = np.empty((n_merges, 2), dtype=np.int32)
    state = np.array([0, n_pairs, n_pairs, len(positions)], dtype=np.int64)
    while not merge_loop.merge_pairs(words, pairs, positions, heap, tokens, order, scratch, merges, state):
        room = 2 * int(pairs[4][heap[0]])
        positions = _longer(positions, int(state[merge_loop.USED]) + room)
        arrays = list(pairs)
        del pairs  # so that only one of them is in memory twice
        for i in range(len(arrays)):
            arrays[i] = _longer(arrays[i], int(state[merge_loop.PAIRS]) + room)
        pairs = tuple(arrays)
        heap = _longer(heap, len(pairs[0]))
    return merges[: state[merge_loop.MADE]]


def _byte_pairs(symbol: np.ndarray, owner: np.ndarray, counts: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """((left, right, bound, first, size) of all pairs of bytes, their positions)."""
    from weightless.tokenizer import merge_loop

    n_of, bound_of = np.zeros((2, 1 << 16), dtype=np.int64)
    merge_loop.count_byte_pairs(symbol, owner, counts, n_of, bound_of)
    first_of = np.cumsum(n_of) - n_of
    positions = np.empty(int(n_of.sum()), dtype=np.int32)
    merge_loop.list_byte_pairs(symbol, first_of.copy(), positions)
    used = np.nonzero(n_of)[0]
    left, right = (used >> 8).astype(np.int32), (used & 255).astype(np.int32)
    return (left, right, bound_of[used], first_of[used], n_of[used].astype(np.int32)), positions


def _longer(array: np.ndarray, size: int) -> np.ndarray:
    """A copy with room for at least `size` entries, or the array itself when it has it."""
    if size <= len(array):
        return array
    out = np.empty(max(size, len(array) + len(array) // 2), dtype=array.dtype)
    out[: len(array)] = array
    return out


def _named(merges: np.ndarray, specials: list[str]) -> Vocabulary:
    tokens = [bytes([byte]) for byte in range(256)]
    pairs: list[tuple[bytes, bytes]] = []
    for left, right in merges.tolist():
        pairs.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    tokens += [special.encode() for special in specials]
    return dict(enumerate(tokens)), pairs
