"""N-gram: an interpolated modified Kneser-Ney model (Chen & Goodman 1998), counted, not trained.

The count table every small model must beat: it touches a few hundred bytes per token and stores a great many.
Its sizes follow from the text, so `count` returns the configuration completed with them; without them the
program is drawn for an upper bound (every table as long as `max_tokens` or the number of possible contexts).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError
from weightless.models.catalog import Counted
from weightless.ngram.kneser_ney import build, unigram_alias
from weightless.program.cached import WindowCache
from weightless.program.operators.lookup import AcceptToken
from weightless.program.operators.ngram import (
    NgramContext,
    NgramFinish,
    NgramFull,
    NgramSample,
    NgramScore,
    UnigramSample,
)
from weightless.program.program import OUTCOME, PROBABILITIES, Program
from weightless.program.tensor import Tensor


@dataclass(frozen=True)
class Config(WindowCache):
    """`nodes[k-1]`, `entries[k-1]`: contexts of length k and words listed under them (k = 1 .. order-1)."""

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus."""
    order: int = 5
    """Words of the longest n-gram, 1 to 8."""
    context: int = 512
    """Longest context, in tokens (at least the order)."""
    min_counts: tuple[int, ...] = ()
    """Least count of an n-gram that is kept, by order 1, 2, …; empty: all."""
    max_tokens: int = 100_000_000
    """Largest training text in tokens that a bound on the size assumes, while nothing is counted."""
    nodes: tuple[int, ...] = ()
    """Contexts of length 1, 2, … (filled in by counting)."""
    entries: tuple[int, ...] = ()
    """Words listed under the contexts of length 1, 2, … (filled in by counting)."""

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 8:
            raise ConfigError(f"order {self.order} is not in 1..8")
        if self.context < self.order:
            raise ConfigError(f"a context of {self.context} is shorter than the order {self.order}")
        if self.min_counts and (len(self.min_counts) != self.order or min(self.min_counts) < 1):
            told = f"{self.order} counts of at least 1, one per order"
            raise ConfigError(f"min_counts = {list(self.min_counts)} should be {told}")
        self.check_cache(self.context)
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens = {self.max_tokens} should be at least 1")
        if len(self.nodes) != len(self.entries) or len(self.nodes) not in (0, self.order - 1):
            raise ConfigError("nodes and entries should have one number per context length")

    def size_of(self, level: int) -> tuple[int, int]:
        """(contexts of length `level`, words listed under them); upper bounds where nothing was counted."""
        if self.nodes:
            return self.nodes[level - 1], self.entries[level - 1]
        return (min(self.vocab_size**k, self.max_tokens) for k in (level, level + 1))  # type: ignore[return-value]

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: the order."""
        return Config(vocab_size=vocab_size, order=min(8, 1 + max(1, round(size))))


def count(config: Config, tokens: np.ndarray, show_progress: bool = False) -> tuple[Config, dict[str, np.ndarray]]:
    """Count the training tokens: (the configuration with its sizes, the packed arrays by tensor name)."""
    if len(tokens) < config.order:
        raise ConfigError(f"{len(tokens)} training tokens hold no n-gram of order {config.order}: give more text")
    min_counts = config.min_counts or None
    arrays = build(tokens, config.vocab_size, config.order, min_counts, show_progress=show_progress)
    levels = range(1, config.order)
    nodes = tuple(len(arrays[f"ctx.{k}.node"]) - 1 for k in levels)
    entries = tuple(len(arrays[f"cont.{k}.cum"]) for k in levels)
    if 0 in entries:
        order = entries.index(0) + 2
        least = config.min_counts[order - 1]
        raise ConfigError(
            f"no n-gram of order {order} is counted {least} times (min_counts) in {len(tokens):,} training tokens: "
            f"take order = {order - 1}, lower min_counts, or give more text"
        )
    columns = {name: array.reshape(len(array), -1) for name, array in arrays.items()}
    columns["unigram.alias"] = unigram_alias(arrays["cont.0.cum"])
    return dataclasses.replace(config, nodes=nodes, entries=entries), columns


def decode_program(config: Config) -> Program:
    """Walk the contexts, then interpolate: every probe is a counted read."""
    c, levels = config, range(1, config.order)
    body: list[Any] = [AcceptToken("history")]
    for k in levels:
        parent = (f"found.{k - 1}", f"ctx.{k}.word") if k > 1 else ("", "")
        body.append(NgramContext("history", *parent, f"ctx.{k}.node", f"found.{k}", k))
    lists = {k: (f"found.{k}", f"cont.{k}.word", f"cont.{k}.cum") for k in levels} | {0: ("", "", "cont.0.cum")}
    upwards, deepest = range(config.order), c.order - 1
    draws = (NgramSample(*lists[k], OUTCOME, k, first=k == deepest) for k in reversed(levels))
    heads = {
        "score": (*(NgramScore(*lists[k], "p", k) for k in upwards), NgramFinish("p", OUTCOME)),
        "sample": (*draws, UnigramSample("unigram.alias", OUTCOME, c.vocab_size, first=c.order == 1)),
        "full": tuple(NgramFull(*lists[k], PROBABILITIES, k) for k in upwards),
    }
    return Program(c.vocab_size, c.context, tuple(_memory(c)), tuple(body), heads).validate()


def _memory(c: Config) -> list[Tensor]:
    """Index columns and probability columns apart in the ledger; a few registers between operators."""
    ids = "u16" if c.vocab_size <= 2**16 else "u32"
    tensors = [Tensor("cont.0.cum", (c.vocab_size, 1), "u32", "probabilities", "constant")]
    tensors.append(Tensor("unigram.alias", (c.vocab_size, 2), "u32", "probabilities", "constant"))
    for k in range(1, c.order):
        n_nodes, n_entries = c.size_of(k)
        if k > 1:
            tensors.append(Tensor(f"ctx.{k}.word", (n_nodes, 1), ids, "context index", "constant"))
        n_columns = 2 if k < c.order - 1 else 1
        tensors += [
            Tensor(f"ctx.{k}.node", (n_nodes + 1, n_columns), "u32", "context index", "constant"),
            Tensor(f"cont.{k}.word", (n_entries, 1), ids, "word index", "constant"),
            Tensor(f"cont.{k}.cum", (n_entries, 1), "u32", "probabilities", "constant"),
            Tensor(f"found.{k}", (1, 4), "u32", "activations", "state"),
        ]
    tensors += [Tensor(name, (1, 1), "f32", "activations", "state") for name in ("p", OUTCOME)]
    tensors.append(Tensor(PROBABILITIES, (1, c.vocab_size), "f32", "logits", "state"))
    return [*tensors, Tensor("history", (1, c.context), "u32", "activations", "state")]


FAMILY = Counted(Config, count, decode_program, from_text=("nodes", "entries"))
