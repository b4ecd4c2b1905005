"""Use a counted model: score a stream in batch, give one distribution, draw one word.

`arrays` is what `kneser_ney.build` returns (layout: `ngram/layout.py`); arrays from a file go through
`layout.check_layout` first.  Position t sees at most order - 1 words, fewer at the start of the stream, and a context
is used as deep as the trie knows it.  Probabilities are float64 from exact integer quanta; logarithms are nats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ngram.kneser_ney import checked_stream
from weightless.ngram.layout import QUANTA, Arrays, list_bounds, order_of, vocab_of


def log_probs(arrays: Arrays, tokens: np.ndarray, order: int, context_limit: int | None = None) -> np.ndarray:
    """ln p(w_t | w_{t-order+1} .. w_{t-1}) of every position, float64 [n].

    `context_limit` uses at most that many words of context: the interpolated lower-order distributions of the same
    model.  All positions descend one level at a time, so their cache misses overlap.
    """
    from weightless.kernels.numba.ngram import NO_NODE, descend, interpolate

    stream = checked_stream(tokens, vocab_of(arrays))
    deepest = _deepest(arrays, order, context_limit)
    prob = np.diff(arrays["cont.0.cum"], prepend=np.uint32(0))[stream] / QUANTA
    node = np.full(stream.size, NO_NODE, np.uint32)
    for k in range(1, deepest + 1):
        if k == 1:
            node[1:] = stream[:-1]
        else:
            descend(stream, k, node, arrays[f"ctx.{k - 1}.node"], arrays[f"ctx.{k}.word"])
        interpolate(stream, node, list_bounds(arrays, k), arrays[f"cont.{k}.word"], arrays[f"cont.{k}.cum"], prob)
    return np.log(prob)


def distribution(arrays: Arrays, history: Sequence[int] | np.ndarray) -> np.ndarray:
    """p(. | history) over the whole vocabulary, float64 [V], sum 1 within a few ulps."""
    prob = np.diff(arrays["cont.0.cum"], prepend=np.uint32(0)) / QUANTA
    for words, cum in context_lists(arrays, history):
        if words.size:
            prob *= (QUANTA - int(cum[-1])) / QUANTA
            prob[words] += np.diff(cum, prepend=np.uint32(0)) / QUANTA
    return prob


def sample(arrays: Arrays, history: Sequence[int] | np.ndarray, u: float | Fraction) -> int:
    """The word at point u in [0, 1) of the model's unit interval, from the longest context down.

    The interval of a context is cut into its words' quanta, in order, then gamma; a point in gamma is stretched to
    [0, 1) for the next shorter context, and the unigrams end it.  The intervals of a word add up to exactly its
    probability (a Fraction u stays exact; a float keeps 53 bits less log2(1 / product of gammas)).
    """
    if not 0 <= u < 1:
        raise ConfigError(f"u = {u} is outside [0, 1)")
    lists = list(context_lists(arrays, history))
    for words, cum in reversed(lists):
        taken = int(cum[-1]) if cum.size else 0
        point = u * QUANTA
        if point < taken:
            return int(words[np.searchsorted(cum, int(point), side="right")])
        u = (point - taken) / (QUANTA - taken)
    # A float stretched from just below 1 can reach 1.0; the last quantum then owns it.
    last = min(int(u * QUANTA), QUANTA - 1)
    return int(np.searchsorted(arrays["cont.0.cum"], last, side="right"))


def context_lists(arrays: Arrays, history: Sequence[int] | np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(words, cum) of the history's contexts of 1, 2, … words, while the trie has them."""
    order, vocab = order_of(arrays), vocab_of(arrays)
    recent = [int(word) for word in history[max(0, len(history) - (order - 1)) :]][::-1]
    if recent and not 0 <= min(recent) <= max(recent) < vocab:
        raise ConfigError(f"history {recent[::-1]} holds an id outside the vocabulary of {vocab:,}")
    node = 0
    for k, word in enumerate(recent, start=1):
        if k == 1:
            node = word
        else:
            begin, end = (int(row) for row in arrays[f"ctx.{k - 1}.node"][node : node + 2, 0])
            siblings = arrays[f"ctx.{k}.word"][begin:end]
            found = int(np.searchsorted(siblings, siblings.dtype.type(word)))
            if found == siblings.size or siblings[found] != word:
                return
            node = begin + found
        begin, end = (int(row) for row in list_bounds(arrays, k)[node : node + 2])
        yield arrays[f"cont.{k}.word"][begin:end], arrays[f"cont.{k}.cum"][begin:end]


def _deepest(arrays: Arrays, order: int, context_limit: int | None) -> int:
    """Longest context to use, in words."""
    if order != order_of(arrays):
        raise ConfigError(f"order = {order}, but these arrays are a model of order {order_of(arrays)}")
    if context_limit is None:
        return order - 1
    if context_limit < 0:
        raise ConfigError(f"context_limit = {context_limit} should be 0 or more words")
    return min(context_limit, order - 1)
