"""Build an infinity-gram: sort the text's suffixes, and learn how far to trust each length of context.

The weights of the interpolation (`ops/infinigram.py`: by length, by whether one word or several have followed, by log2
of the count) are fitted by expectation maximisation on the end of the text, with counts from what comes before it
(held-out estimation, Jelinek & Mercer 1980).  Then the suffixes of the whole text are sorted.  A weight that few
positions speak for stays near n / (n + 5).  Below all lengths stand the Kneser-Ney unigrams: how many different words
precede.

    build(tokens, V, K) -> {"text", "suffixes", "first_row", "unigram.cum", "unigram.alias", "weights"}
"""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.progress import progress
from weightless.ngram import kneser_ney, suffix_array
from weightless.ngram.layout import QUANTA
from weightless.ngram.suffix_array import SuffixArray
from weightless.ops.infinigram import N_BUCKETS

HELD_OUT = 50_000  # tokens that the weights are fitted on, at most
SHARE = 0.1  # of the text, at most
PASSES = 20
PRIOR_COUNT, PRIOR_STRENGTH = 5.0, 2.0
LEAST, MOST = 1e-4, 0.98
"""Sixteen lengths that are all but certain of another word still leave a unigram more than the least float32."""


def build(tokens: np.ndarray, vocab_size: int, max_length: int, show_progress: bool = False) -> dict[str, np.ndarray]:
    """The model of one token stream as flat arrays; errors as `kneser_ney.build`."""
    if max_length < 1:
        raise ConfigError(f"max_length = {max_length} should be at least 1")
    stream = kneser_ney.checked_stream(tokens, vocab_size)
    n_held = min(HELD_OUT, int(SHARE * stream.size))
    bar = progress("sorting suffixes", 3, "steps") if show_progress else nullcontext(lambda amount, note="": None)
    with bar as tick:
        weights = prior(max_length)
        if n_held:
            earlier = stream[: stream.size - n_held]
            index = suffix_array.build(earlier, vocab_size)
            tick(1, f"{index.text.size:,} suffixes")
            weights = fit(index, _unigrams(earlier, vocab_size), stream[stream.size - n_held :], max_length)
            tick(1, f"weights from {n_held:,} tokens")
            del index
        index = suffix_array.build(stream, vocab_size)
        unigrams = kneser_ney.build(stream, vocab_size, min(2, stream.size))["cont.0.cum"]
        tick(1, f"{index.text.size:,} suffixes")
    return {
        "text": index.text,
        "suffixes": index.suffixes,
        "first_row": index.first_row,
        "weights": weights,
        "unigram.cum": unigrams,
        "unigram.alias": kneser_ney.unigram_alias(unigrams),
    }


def prior(max_length: int) -> np.ndarray:
    """Weights where nothing was seen: n / (n + 5) with n = 2^bucket; float32 [K * 2 * N_BUCKETS]."""
    n = 2.0 ** np.arange(N_BUCKETS)
    return np.tile(n / (n + PRIOR_COUNT), 2 * max_length).clip(LEAST, MOST).astype(np.float32)


def counts(index: SuffixArray, stream: np.ndarray, max_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, hits, rows of the weights), each [tokens, K]; where n = 0 the context does not occur."""
    from weightless.kernels.numba.suffix_chain import counts_of_stream

    shape = (stream.size, max_length)
    n, hits, several = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    counts_of_stream(index.text, index.suffixes, index.first_row, stream, n, hits, several)
    bucket = np.minimum(np.log2(np.maximum(n, 1)).astype(np.int64), N_BUCKETS - 1)
    return n, hits, (2 * np.arange(max_length) + several) * N_BUCKETS + bucket


def fit(index: SuffixArray, unigrams: np.ndarray, held_out: np.ndarray, max_length: int) -> np.ndarray:
    """Weights that make `held_out` likely, by expectation maximisation from the prior."""
    n, hits, rows = counts(index, held_out, max_length)
    seen, share = n > 0, hits / np.maximum(n, 1)
    weights = prior(max_length).astype(np.float64)
    expected = weights.copy()
    for _ in range(PASSES):
        w = np.where(seen, weights[rows], 0.0)
        p = mixed(w, share, unigrams[held_out])
        above = np.cumprod((1 - w)[:, ::-1], axis=1)[:, ::-1]
        stay = np.concatenate([above[:, 1:], np.ones((len(w), 1))], axis=1)
        drawn = stay * w * share / p[:, None]
        reached = 1 - (drawn[:, ::-1].cumsum(axis=1)[:, ::-1] - drawn)
        taken = np.bincount(rows[seen], drawn[seen], len(weights))
        total = np.bincount(rows[seen], reached[seen], len(weights))
        weights = ((taken + PRIOR_STRENGTH * expected) / (total + PRIOR_STRENGTH)).clip(LEAST, MOST)
    return weights.astype(np.float32)


def mixed(w: np.ndarray, share: np.ndarray, p: np.ndarray) -> np.ndarray:
    """p_K of every position from weights and shares [tokens, K] and unigram probabilities [tokens]."""
    p = p.astype(np.float64)
    for k in range(w.shape[1]):
        p = w[:, k] * share[:, k] + (1 - w[:, k]) * p
    return p


def log_probs(arrays: dict[str, np.ndarray], tokens: np.ndarray) -> np.ndarray:
    """ln p of every position of one stream, float64 [n]; position t sees all the words before it (at most K)."""
    flat = {name: array.reshape(-1) for name, array in arrays.items()}
    index = SuffixArray(flat["text"], flat["suffixes"], flat["first_row"])
    stream = kneser_ney.checked_stream(tokens, index.vocab_size)
    n, hits, rows = counts(index, stream, len(flat["weights"]) // (2 * N_BUCKETS))
    w = np.where(n > 0, flat["weights"].astype(np.float64)[rows], 0.0)
    unigrams = np.diff(flat["unigram.cum"], prepend=np.uint32(0)) / QUANTA
    return np.log(mixed(w, hits / np.maximum(n, 1), unigrams[stream]))


def _unigrams(stream: np.ndarray, vocab_size: int) -> np.ndarray:
    """p_0, float64 [V]."""
    return np.diff(kneser_ney.build(stream, vocab_size, 2)["cont.0.cum"], prepend=np.uint32(0)) / QUANTA
