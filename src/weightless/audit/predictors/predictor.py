"""What can be audited: anything that gives the distribution of the next token after a prefix.

    log_probs(prefix) -> float64 [V]     natural logarithms of p(x_t = v | x_<t), normalised over all of V

A legal predictor is a pure function of the artifact and the prefix: whatever it was asked before, in whatever order.
It may offer more, and what it offers is held to `log_probs` and to the text:

    score(tokens [n]) -> float64 [n - 1]        the nats it claims for tokens[1:], as its evaluation scores them
    byte_counts(tokens [n]) -> int64 [n - 1]    the bytes of text that it claims for tokens[1:]
    scored_ranges(n) -> int64 [k, 2]            targets first..end-1 of a stream of n tokens, one row a window

Three ways to give one: `EnginePredictor` (an artifact, through the shipped engine), `ObjectPredictor` (an object of the
caller's own process, for tests and notebooks), `EntryPoint` (entry_point.py: somebody else's code, in a process apart).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from weightless.audit.counters.subjects import Runnable
from weightless.base.errors import WeightlessError

SURFACES = ("score", "byte_counts", "scored_ranges")
"""What a predictor may offer beside log_probs."""


class Predictor(Protocol):
    """`context` is the longest prefix it takes (None: any); `fresh` makes it forget everything it was ever asked."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def context(self) -> int | None: ...

    @property
    def offers(self) -> frozenset[str]: ...

    def fresh(self) -> None: ...

    def log_probs(self, prefix: np.ndarray) -> np.ndarray: ...

    def score(self, tokens: np.ndarray) -> np.ndarray: ...

    def byte_counts(self, tokens: np.ndarray) -> np.ndarray: ...

    def scored_ranges(self, n_tokens: int) -> np.ndarray: ...


class EnginePredictor:
    """A packed model: mode F of the compiled engine for log_probs, mode S for score.

    A prefix that goes on where the last one ended is fed on; any other is fed anew from its first token.
    """

    def __init__(self, runnable: Runnable) -> None:
        self._runnable = runnable
        self.vocab_size, self.context = runnable.program.vocab_size, runnable.program.context
        self.offers = frozenset({"score"})
        self.fresh()

    def fresh(self) -> None:
        self._engine = self._runnable.engine(poison=True)
        self._fed: list[int] = []

    def log_probs(self, prefix: np.ndarray) -> np.ndarray:
        """log p in float64 of the engine's float32 probabilities; -inf where one is 0."""
        ids = np.asarray(prefix, dtype=np.int64).tolist()
        if self._fed != ids[: len(self._fed)]:
            self._engine.reset()
            self._fed = []
        for token in ids[len(self._fed) :]:
            self._engine.feed(token)
        self._fed = ids
        with np.errstate(divide="ignore"):
            return np.log(self._engine.distribution().astype(np.float64))

    def score(self, tokens: np.ndarray) -> np.ndarray:
        """Nats of tokens[1:], fed from a fresh state."""
        self._engine.reset()
        self._fed = []
        nats = self._engine.score_stream(tokens[:-1], tokens[1:])
        self._engine.reset()
        return nats

    def byte_counts(self, tokens: np.ndarray) -> np.ndarray:
        raise WeightlessError("a packed model counts no bytes: its tokenizer does")

    def scored_ranges(self, n_tokens: int) -> np.ndarray:
        raise WeightlessError("a packed model has no windows: its evaluation does")


class ObjectPredictor:
    """An object with `log_probs` made by `factory()` in this process: trusted code only.

    `fresh` makes another one; `vocab_size` is the object's, or the length of its first answer.
    """

    def __init__(self, factory: Callable[[], Any], vocab_size: int | None = None) -> None:
        self._factory = factory
        self.fresh()
        self.vocab_size = int(vocab_size or self._made.vocab_size)
        self.context = getattr(self._made, "context", None)
        self.offers = frozenset(name for name in SURFACES if callable(getattr(self._made, name, None)))

    def fresh(self) -> None:
        self._made = self._factory()

    def log_probs(self, prefix: np.ndarray) -> np.ndarray:
        return checked_vector(self._made.log_probs(prefix.copy()), self.vocab_size, "log_probs")

    def score(self, tokens: np.ndarray) -> np.ndarray:
        return checked_vector(self._made.score(tokens.copy()), len(tokens) - 1, "score")

    def byte_counts(self, tokens: np.ndarray) -> np.ndarray:
        return checked_vector(self._made.byte_counts(tokens.copy()), len(tokens) - 1, "byte_counts").astype(np.int64)

    def scored_ranges(self, n_tokens: int) -> np.ndarray:
        return np.asarray(self._made.scored_ranges(n_tokens), dtype=np.int64).reshape(-1, 2)


def checked_vector(value: Any, length: int, what: str) -> np.ndarray:
    """A copy as float64 [length]; WeightlessError when the answer has another shape."""
    found = np.array(value, dtype=np.float64)
    if found.shape != (length,):
        raise WeightlessError(f"{what} should give {length} numbers, and gave an array of shape {found.shape}")
    return found


def prefix_of(tokens: Sequence[int] | np.ndarray) -> np.ndarray:
    """Token ids as predictors are given them: int64, contiguous."""
    return np.ascontiguousarray(tokens, dtype=np.int64)
