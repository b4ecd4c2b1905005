"""Build an interpolated modified Kneser-Ney model of any order 1 .. 8 as flat integer arrays.

Equations and rules: `ops/kneser_ney.py` (the slow truth); arrays: `ngram/layout.py`; counting: `ngram/counts.py`.
Documents are separated by an ordinary token and n-grams run across it.

Rounding: a list's running sums are rounded to quanta of 1 / (2^32 - 1), so each word's own probability is off by at
most 1.2e-10 per end of its interval, then every word and every gamma is given at least one quantum.  On text the mean
difference to exact arithmetic is about 2e-9 nats per token (tests hold it under 1e-6).

min_counts: n-grams of order m with a count (raw at the highest order, distinct left extensions below) under
min_counts[m - 1] are left out and their mass goes to gamma; a pruned unigram keeps its share of the uniform part.
Contexts without list and without children disappear; the others keep an empty list, whose gamma is 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.memory import memory
from weightless.base.progress import Ticker, progress
from weightless.base.units import human_bytes
from weightless.ngram.counts import Level, count_levels
from weightless.ngram.layout import MAX_ORDER, word_dtype
from weightless.ops.kneser_ney import Discounts, modified_discounts

MAX_TOKENS = 2**32 - 2 * MAX_ORDER
MAX_VOCAB = 2**24
LEAST_BYTES = 8
"""Of memory per token: the keys that are sorted."""


@dataclass(frozen=True)
class OrderReport:
    """What one order of a model was made of; `n_kept` is what pruning left."""

    order: int
    n_ngrams: int
    n_kept: int
    discounts: Discounts


@dataclass(frozen=True)
class CountedModel:
    """The arrays of `ngram/layout.py` and one report per order."""

    arrays: dict[str, np.ndarray]
    reports: tuple[OrderReport, ...]

    @property
    def n_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())


def build(
    tokens: np.ndarray,
    vocab_size: int,
    order: int = 5,
    min_counts: Sequence[int] | None = None,
    show_progress: bool = False,
) -> dict[str, np.ndarray]:
    """The model of one token stream as flat arrays; `build_with_report` also tells the discounts."""
    return build_with_report(tokens, vocab_size, order, min_counts, show_progress).arrays


def build_with_report(
    tokens: np.ndarray,
    vocab_size: int,
    order: int = 5,
    min_counts: Sequence[int] | None = None,
    show_progress: bool = False,
) -> CountedModel:
    """Count, discount and quantise.  ConfigError or WeightlessError when order, vocabulary or stream cannot be."""
    minimum = _checked_minimum(min_counts, order)
    tokens = checked_stream(tokens, vocab_size)
    check_room(tokens.size, LEAST_BYTES, "counting the n-grams")
    bar = progress("counting n-grams", order, "orders") if show_progress else nullcontext(_silent)
    with bar as tick:
        return _smooth(count_levels(tokens, vocab_size, order), vocab_size, minimum, tick)


def unigram_alias(cum: np.ndarray) -> np.ndarray:
    """The alias table (ops/alias.py) of the unigrams whose running sum is `cum`, uint32 [V, 2]."""
    from weightless.kernels.numba.ngram import alias_table

    table = np.empty((len(cum), 2), np.uint32)
    alias_table(np.diff(cum.astype(np.int64), prepend=0), table)
    return table


def checked_stream(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """`tokens` as one flat array of the stored word type; every id must be in the vocabulary."""
    if not 1 <= vocab_size <= MAX_VOCAB:
        raise ConfigError(f"vocab_size = {vocab_size} is outside 1 .. {MAX_VOCAB:,}")
    stream = np.asarray(tokens[:])
    if stream.ndim != 1 or stream.size == 0 or stream.dtype.kind not in "ui":
        raise WeightlessError(f"n-grams need one flat, non-empty array of ids, not {stream.dtype} {stream.shape}")
    if stream.size > MAX_TOKENS:
        raise WeightlessError(f"{stream.size:,} tokens are more than the {MAX_TOKENS:,} that 32-bit nodes can number")
    low, high = int(stream.min()), int(stream.max())
    if low < 0 or high >= vocab_size:
        raise WeightlessError(f"token id {low if low < 0 else high} is outside the vocabulary of {vocab_size:,}")
    return stream.astype(word_dtype(vocab_size), copy=False)


def check_room(n_tokens: int, bytes_each: int, what: str) -> None:
    """WeightlessError where not even the least that `what` takes, so many bytes per token, fits into memory."""
    there = memory()
    if there is not None and n_tokens * bytes_each > there:
        raise WeightlessError(
            f"{what} of {n_tokens:,} tokens takes at least {human_bytes(n_tokens * bytes_each)} of memory, and there "
            f"are {human_bytes(there)}: take a part of the text, or a machine with more"
        )


def _silent(amount: float = 1, note: str = "") -> None:
    """The ticker of a build that nobody watches."""


def _checked_minimum(min_counts: Sequence[int] | None, order: int) -> list[int]:
    if not 1 <= order <= MAX_ORDER:
        raise ConfigError(f"order = {order} is outside 1 .. {MAX_ORDER}")
    minimum = [1] * order if min_counts is None else [int(count) for count in min_counts]
    if len(minimum) != order or min(minimum) < 1:
        raise ConfigError(f"min_counts = {minimum} should be {order} counts of at least 1, one per order")
    return minimum


def _smooth(levels: Iterator[Level], vocab_size: int, minimum: list[int], tick: Ticker) -> CountedModel:
    """Discounts, quantised lists and pruning, deepest level first (a node lives as long as it has a child)."""
    from weightless.kernels.numba.ngram import counts_of_counts, quantise_lists, quantise_unigrams

    arrays: dict[str, np.ndarray] = {}
    reports: list[OrderReport] = []
    renumbered: np.ndarray | None = None
    for level in levels:
        least, histogram = minimum[level.k], counts_of_counts(level.count)
        found = modified_discounts(histogram[1:5])
        n_ngrams = level.count.size - int(histogram[0])
        n_kept = int(np.count_nonzero(level.count >= least)) if least > 1 else n_ngrams
        reports.append(OrderReport(level.k + 1, n_ngrams, n_kept, found))
        tick(1, f"order {level.k + 1}: {n_kept:,} n-grams")
        if level.k == 0:
            arrays["cont.0.cum"] = quantise_unigrams(level.count, found.d1, found.d2, found.d3, least)
            continue
        cum = quantise_lists(level.start, level.count, found.d1, found.d2, found.d3, least)
        if renumbered is not None and level.first_child is not None:
            level = replace(level, first_child=renumbered[level.first_child])
        if max(minimum) > 1:
            level, cum, renumbered = _prune(level, cum, least)
        _store(arrays, level, cum, vocab_size)
    return CountedModel(arrays, tuple(reversed(reports)))


def _prune(level: Level, cum: np.ndarray, least: int) -> tuple[Level, np.ndarray, np.ndarray]:
    """Drop rare entries, then nodes of no use; also returns the new number of each old node bound [N_k + 1]."""
    keep = level.count >= least
    start = np.append(0, np.cumsum(keep))[level.start]
    alive = start[1:] > start[:-1]
    if level.first_child is not None:
        alive |= level.first_child[1:] > level.first_child[:-1]
    bounds = np.append(alive, True)
    first_child = None if level.first_child is None else level.first_child[bounds]
    kept = Level(
        level.k,
        level.word[alive],
        first_child,
        start[bounds].astype(np.uint32),
        level.follower[keep],
        level.count[keep],
    )
    return kept, cum[keep], np.append(0, np.cumsum(alive)).astype(np.uint32)


def _store(arrays: dict[str, np.ndarray], level: Level, cum: np.ndarray, vocab_size: int) -> None:
    """Put one level in the stored layout; level 1 gets a row for every word."""
    columns = [level.start] if level.first_child is None else [level.first_child, level.start]
    if level.k == 1:
        row = np.searchsorted(level.word, np.arange(vocab_size + 1))
        columns = [column[row] for column in columns]
    else:
        arrays[f"ctx.{level.k}.word"] = level.word.astype(word_dtype(vocab_size), copy=False)
    arrays[f"ctx.{level.k}.node"] = np.stack(columns, axis=1)
    arrays[f"cont.{level.k}.word"], arrays[f"cont.{level.k}.cum"] = level.follower, cum
