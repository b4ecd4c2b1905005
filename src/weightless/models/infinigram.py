"""Infini-gram: a suffix array over the training text itself (Liu et al. 2024), smoothed, counted and not trained.

The model is the text and the order of its suffixes: 6 bytes per training token (u16 ids), whatever the length of the
contexts.  At every position the longest suffix of the context that occurs (of at most `max_length` words) is known; the
distribution interpolates all suffix lengths up to it (`ops/infinigram.py`), so it is normalised and never zero.  Each
halving of a binary search reads a pointer and a word, and all of them are counted.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError
from weightless.models.catalog import Counted
from weightless.ngram.infinigram import build
from weightless.ops.infinigram import N_BUCKETS
from weightless.program.cached import WindowCache
from weightless.program.operators.lookup import AcceptToken
from weightless.program.operators.ngram import NgramFinish, NgramFull, NgramScore, UnigramSample
from weightless.program.operators.suffix import MAX_LENGTH, SuffixExtend, SuffixFull, SuffixSample, SuffixScore
from weightless.program.program import OUTCOME, PROBABILITIES, Program
from weightless.program.tensor import Tensor


@dataclass(frozen=True)
class Config(WindowCache):
    """`max_length`: longest context in words; `n_tokens`: size of the text, 0 while it is not known."""

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus."""
    max_length: int = 10
    """Longest suffix that is looked up, in words."""
    context: int = 512
    """Longest context, in tokens."""
    max_tokens: int = 100_000_000
    """Largest training text in tokens that a bound on the size assumes, while nothing is counted."""
    n_tokens: int = 0
    """Tokens of the training text (filled in by counting); 0: not known yet."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_length <= MAX_LENGTH:
            raise ConfigError(f"max_length {self.max_length} is not in 1..{MAX_LENGTH}")
        if self.context < 1 or min(self.max_tokens, self.n_tokens) < 0:
            raise ConfigError("context should be at least 1, and numbers of tokens not negative")
        self.check_cache(self.context)

    @property
    def size(self) -> int:
        """Tokens of the text, or the upper bound."""
        return self.n_tokens or max(1, self.max_tokens)

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: the longest context."""
        return Config(vocab_size=vocab_size, max_length=min(MAX_LENGTH, max(1, round(2 * size))))


def count(config: Config, tokens: np.ndarray, show_progress: bool = False) -> tuple[Config, dict[str, np.ndarray]]:
    """Sort the training tokens' suffixes: (the configuration with its size, the packed arrays by tensor name)."""
    arrays = build(tokens, config.vocab_size, config.max_length, show_progress=show_progress)
    columns = {name: array.reshape(len(array), -1) for name, array in arrays.items()}
    return dataclasses.replace(config, n_tokens=len(arrays["text"])), columns


def decode_program(config: Config) -> Program:
    """Extend the match by the new word at every length, then interpolate: every probe is a counted read."""
    c, levels = config, range(1, config.max_length + 1)
    index, known = ("text", "suffixes"), ("found", "matched")
    body: list[Any] = [AcceptToken("history")]
    body += [SuffixExtend("history", *index, "first_row", *known, k) for k in reversed(levels)]
    unigrams, end = ("", "", "unigram.cum"), c.max_length
    score = (NgramScore(*unigrams, "p", 0), *(SuffixScore(*index, "weights", *known, "p", k) for k in levels))
    draws = (SuffixSample(*index, "weights", *known, "left", OUTCOME, k, first=k == end) for k in reversed(levels))
    full = (SuffixFull(*index, "weights", *known, PROBABILITIES, k) for k in levels)
    heads = {
        "score": (*score, NgramFinish("p", OUTCOME)),
        "sample": (*draws, UnigramSample("unigram.alias", OUTCOME, c.vocab_size, first=False)),
        "full": (NgramFull(*unigrams, PROBABILITIES, 0), *full),
    }
    return Program(c.vocab_size, c.context, tuple(_memory(c)), tuple(body), heads).validate()


def _memory(c: Config) -> list[Tensor]:
    ids = "u16" if c.vocab_size <= 2**16 else "u32"
    stored = [
        Tensor("text", (c.size, 1), ids, "text", "constant"),
        Tensor("suffixes", (c.size, 1), "u32", "suffix array", "constant"),
        Tensor("first_row", (c.vocab_size + 1, 1), "u32", "suffix array", "constant"),
        Tensor("unigram.cum", (c.vocab_size, 1), "u32", "probabilities", "constant"),
        Tensor("unigram.alias", (c.vocab_size, 2), "u32", "probabilities", "constant"),
        Tensor("weights", (2 * N_BUCKETS * c.max_length, 1), "f32", "probabilities", "constant"),
    ]
    state = [Tensor("found", (c.max_length + 1, 2), "u32", "activations", "state")]
    state.append(Tensor("matched", (1, 1), "u32", "activations", "state"))
    state += [Tensor(name, (1, 1), "f32", "activations", "state") for name in ("p", "left", OUTCOME)]
    state.append(Tensor(PROBABILITIES, (1, c.vocab_size), "f32", "logits", "state"))
    return [*stored, *state, Tensor("history", (1, c.context), "u32", "activations", "state")]


FAMILY = Counted(Config, count, decode_program, from_text=("n_tokens",))
