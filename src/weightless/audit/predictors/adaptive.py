"""A model that goes on counting, to be audited: a function of the artifact and of all that stands before.

Its prefix is a text from its first token on; windows begin at every multiple of the model's context, as in evaluation.
A prefix that goes on where the last one ended is fed on; any other begins with the artifact again.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import WeightlessError
from weightless.export.adapting import open_adapter
from weightless.export.packed import Packed


class AdaptivePredictor:
    """log_probs(prefix): every token of the prefix was scored, then learned; the question itself changes nothing."""

    context: int | None = None
    offers = frozenset({"score"})

    def __init__(self, packed: Packed, n_tokens: int) -> None:
        self._packed, self._n_tokens = packed, n_tokens
        self.vocab_size, self._window = packed.program.vocab_size, packed.program.context
        self.fresh()

    def fresh(self) -> None:
        self._adapter = open_adapter(self._packed, self._n_tokens)
        self._fed: list[int] = []

    def log_probs(self, prefix: np.ndarray) -> np.ndarray:
        """float64 [V]: sums of logarithms of exact sides."""
        ids = np.asarray(prefix, dtype=np.int64).tolist()
        if self._fed != ids[: len(self._fed)]:
            self.fresh()
        for token in ids[len(self._fed) :]:
            self._feed(token)
        return -self._adapter.nats_of_all()

    def _feed(self, token: int) -> float:
        """Nats of the token, which is then learned; the first has none."""
        at = len(self._fed)
        nats = self._adapter.extend(np.array([token]))[0] if at else np.zeros(1)
        if at % self._window == 0:
            self._adapter.window(np.array([token]))
        self._fed.append(token)
        return float(nats[0])

    def score(self, tokens: np.ndarray) -> np.ndarray:
        """Nats of tokens[1:], from the artifact as it is."""
        self.fresh()
        nats = np.array([self._feed(int(token)) for token in tokens])[1:]
        self.fresh()
        return nats

    def byte_counts(self, tokens: np.ndarray) -> np.ndarray:
        raise WeightlessError("a packed model counts no bytes: its tokenizer does")

    def scored_ranges(self, n_tokens: int) -> np.ndarray:
        raise WeightlessError("a packed model has no windows: its evaluation does")
