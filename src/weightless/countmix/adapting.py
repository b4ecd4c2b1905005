"""A packed model that goes on counting while it is scored: every token first scored, then learned.

    adapter = Adapter(packed_learner(...), n_tokens)
    adapter.window(tokens)          nats and bytes of tokens[1:] in one window; it has learned them
    adapter.extend(tokens)          the same of tokens that go on in that window
    adapter.nats_of_all()           nats of every token behind the last one; nothing changes

What is packed is never changed.  Windows are those of frozen scoring: the window's own counts begin empty, and no
context reaches over a window's beginning; what was learned stays.  `ops/count_adapting.py` has the rules.
"""

from __future__ import annotations

import math

import numpy as np

from weightless.countmix.learning import Learner, work_space
from weightless.kernels.numba import count_adapting as fast
from weightless.kernels.numba.count_tables import LISTED, NODES, WAYS
from weightless.ops.adapted_counters import SCORING, WRITTEN
from weightless.ops.context_hashes import MOST_BACK, context_parts
from weightless.ops.count_mixing import RATE_BITS, stretch_table

RATE, LAST_RATE = 0.006, 0.001
"""Of the weights, of the last sums; chosen on training books that were not counted (docs/count_mixing.md)."""
LEAST_BITS, MOST_BITS = 8, 21
"""Buckets, by their bits: of two slots each, as many as tokens (three slots of nodes for every two when it is full)."""


class Adapter:
    """A reopened model, and what it has counted since."""

    def __init__(self, learner: Learner, n_tokens: int) -> None:
        self._model, self._work = learner, work_space(learner.shape)
        learned = learner.learned
        self.learned = learned._replace(weights=learned.weights.copy(), last=learned.last.copy())
        bits = min(max(LEAST_BITS, math.ceil(math.log2(max(n_tokens, 2)))), MOST_BITS)
        self.own = _own(learner, bits)
        self._rates = np.array([int(rate * 2**RATE_BITS) for rate in (RATE, LAST_RATE)])
        self._tokens = np.zeros(0, np.int64)

    @property
    def state_bytes(self) -> int:
        """Bytes that adapting keeps beside the model: tables, counters, weights."""
        kept = (self.own.nodes, self.own.lists, self.own.order0, self.learned.weights, self.learned.last)
        return sum(part.nbytes for part in kept)

    def window(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(nats float64 [n], bytes int64 [n, 3]: read to score, read to learn, written) of tokens[1:]."""
        self._tokens = np.zeros(0, np.int64)
        return self.extend(tokens)

    def extend(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same of tokens that go on in the window that has begun."""
        whole = np.concatenate([self._tokens, np.asarray(tokens, np.int64)])
        first, n = max(len(self._tokens) - 1, 0), len(whole) - 1
        nats, spent = np.zeros(n), np.zeros((n, 3), np.int64)
        fast.adapt_window(whole, self._model.hashes(whole), first, *self._parts(), nats, spent)
        read, written = hashing_bytes(self._model.shape.contexts)
        spent[first:, SCORING] += read
        spent[first:, WRITTEN] += written
        self._tokens = whole
        return nats[first:], spent[first:]

    def nats_of_all(self) -> np.ndarray:
        """Nats of every token behind the window so far, float64 [V]; nothing is learned."""
        nats = np.zeros(self._model.tables.pairs.shape[0])
        hashes, i = self._model.hashes(self._tokens), len(self._tokens) - 1
        fast.all_nats(i, int(self._tokens[-1]), hashes, *self._parts(), nats, np.zeros(3, np.int64))
        return nats

    def _parts(self) -> tuple:
        model = self._model
        return (len(model.shape.lists), model._tree, model.tables, self.learned, self._work, self.own, self._rates)


def _own(learner: Learner, bits: int) -> fast.Own:
    """Empty tables; memory is taken as they fill."""
    n_lists, n_dense = len(learner.shape.lists), len(learner.shape.dense)
    node_bits, list_bits = bits if n_dense else 1, bits - 1 if n_lists else 1
    return fast.Own(
        nodes=np.zeros((WAYS << node_bits, NODES + 1), np.uint32),
        lists=np.zeros((n_lists, WAYS << list_bits, LISTED + 1), np.uint32),
        order0=np.zeros(learner.tables.pairs.shape[0], np.uint32),
        bits=np.array([node_bits, list_bits]),
        slot=np.zeros(n_dense, np.int64),
        list_slot=np.zeros(n_lists, np.int64),
        stretch=stretch_table(),
    )


def hashing_bytes(contexts: tuple[str, ...]) -> tuple[int, int]:
    """Bytes (read, written) of taking in a token: the last tokens, the words and its record; all contexts' hashes."""
    tokens, has_words = 0, False
    for name in contexts:
        parts = context_parts(name)
        tokens, has_words = tokens | parts.tokens, has_words or parts.words != 0
    n = sum(tokens >> back & 1 for back in range(MOST_BACK))
    return 4 * max(n, 1) + (32 if has_words else 0), 4 + (12 if has_words else 0) + 8 * len(contexts)
