"""A window cache for any program: its own distribution, mixed with the counts of its own window.

    body    as it was, then the newest token is entered into the counts
    heads   as they were, then mixed (score, full), or one of the draws is chosen (sample)

What the heads end in is renamed ("uncached.outcome"), so that the mixture leaves its own in the place that the engine
reads.  Tensors and operators that were there keep their names, their order and their addresses; the cache's own weights
lie behind all others.  `WindowCache` is the field by which every family takes it (`models/catalog.py`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ops.window_cache import CLASSES
from weightless.ops.window_weights import initial_weights
from weightless.program.operators.lookup import AcceptToken
from weightless.program.operators.window_cache import (
    MAX_ORDERS,
    CacheFull,
    CacheSample,
    CacheScore,
    CacheUpdate,
    width_of_lines,
)
from weightless.program.program import OUTCOME, PROBABILITIES, Program
from weightless.program.tensor import Tensor

LINE = "window cache"
"""Its line in the ledger."""
CACHE_WEIGHTS = "window.weights"
UNCACHED = {name: f"uncached.{name}" for name in (OUTCOME, PROBABILITIES)}
"""What the model's own results are called beside a cache."""


@dataclass(frozen=True, kw_only=True)
class WindowCache:
    """The field of a family whose model counts its own window."""

    window_cache: int = 0
    """Contexts of its own window that it counts: of 0, 1, … words, so many in all, 4; 0: no window cache."""

    def check_cache(self, context: int) -> None:
        """ConfigError for more orders than there are, or than a window of `context` tokens can have."""
        n = self.window_cache
        if not 0 <= n <= MAX_ORDERS:
            raise ConfigError(f"window_cache = {n} is not in 0..{MAX_ORDERS} (orders that are counted; 0: no cache)")
        if n > context:
            raise ConfigError(
                f"window_cache = {n} counts what follows {n - 1} words, and in a context of {context} none come twice: "
                f"give at most {context}"
            )


def with_window_cache(program: Program, orders: int) -> Program:
    """The program with a cache of `orders` orders; the program itself for 0."""
    if not orders:
        return program
    (history,) = {op.history for op in program.body if isinstance(op, AcceptToken)}
    memory = (history, "window.words", "window.known", "window.lines" if orders > 1 else "")
    ends = {"score": (CacheScore, OUTCOME), "sample": (CacheSample, OUTCOME), "full": (CacheFull, PROBABILITIES)}
    heads = {
        head: (*map(_renamed, program.heads[head]), mix(*memory, CACHE_WEIGHTS, UNCACHED[end], end))
        for head, (mix, end) in ends.items()
    }
    body = (*program.body, CacheUpdate(*memory))
    return Program(program.vocab_size, program.context, _tensors(program, orders), body, heads).validate()


def first_weights(orders: int) -> dict[str, np.ndarray]:
    """{CACHE_WEIGHTS: float32 [1, orders * CLASSES]} as they are while nothing is fitted; nothing for no orders."""
    return {CACHE_WEIGHTS: initial_weights(orders)} if orders else {}


def _renamed(op: Any) -> Any:
    """The operator over results that are the model's own."""
    values = {f.name: getattr(op, f.name) for f in dataclasses.fields(op)}
    return dataclasses.replace(
        op, **{f: UNCACHED[v] for f, v in values.items() if isinstance(v, str) and v in UNCACHED}
    )


def _tensors(program: Program, orders: int) -> tuple[Tensor, ...]:
    own = [dataclasses.replace(t, name=UNCACHED.get(t.name, t.name)) for t in program.tensors]
    memory = {"window.words": (1, 2 * program.vocab_size), "window.known": (1, orders)}
    if orders > 1:
        memory["window.lines"] = (program.context, width_of_lines(orders))
    return (
        *own,
        Tensor(CACHE_WEIGHTS, (1, orders * CLASSES), "f32", LINE, "constant"),
        *(Tensor(name, shape, "u32", LINE, "state") for name, shape in memory.items()),
        *(dataclasses.replace(t) for t in program.tensors if t.name in UNCACHED),
    )
