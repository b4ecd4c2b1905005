"""The ordinary softmax head, over logits that `norm_matvec` has written to memory.

logits_score    nats = -log softmax(logits)[target]
logits_sample   one token drawn from softmax(logits)
logits_full     probabilities = softmax(logits)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from weightless.ops.cross_entropy import log_softmax, nll
from weightless.program.arena import Arena
from weightless.program.batch import LOG_P, Batch
from weightless.program.operator import (
    Access,
    Bounds,
    Lowered,
    Operator,
    Place,
    Tensors,
    need,
    need_result,
    need_vector,
    operator,
    whole,
)


def draw(log_p: np.ndarray, u: float) -> int:
    """The index whose share of the cumulative distribution holds u in [0, 1)."""
    return min(int(np.searchsorted(np.cumsum(np.exp(log_p.astype(np.float64))), u, side="right")), len(log_p) - 1)


class _Head(Operator):
    """What the three have in common: one vector of logits in, one result out."""

    logits: str
    outcome: str
    full: ClassVar[bool] = False

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        width = tensors[self.logits].shape[1]
        need_vector(self, tensors, self.logits, width)
        need(tensors[self.outcome].format == "f32", self, f"{self.outcome} should be f32")
        need(width == bounds.vocab_size, self, "as many logits as tokens are needed")
        need_result(self, bounds, self.outcome, self.full)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        return [*whole(tensors[self.logits]), *whole(tensors[self.outcome], write=True)]

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0

    def result(self) -> str:
        return self.outcome

    def _ints(self, places: Mapping[str, Place]) -> list[int]:
        offset, logits = places[self.logits]
        return [offset, logits.shape[1], places[self.outcome].offset]


@operator("logits_score")
class LogitsScore(_Head):
    """outcome = -log softmax(logits)[target], in nats."""

    logits: str
    outcome: str

    def run(self, arena: Arena) -> None:
        arena.put_row(
            self.outcome, -log_softmax(arena.row(self.logits))[arena.registers.target : arena.registers.target + 1]
        )

    def batch(self, rows: Batch) -> None:
        rows.values[self.outcome] = nll(rows.values[self.logits], rows.target_N)[:, None]

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self._ints(places))


@operator("logits_sample")
class LogitsSample(_Head):
    """outcome = a token drawn from softmax(logits) with the first uniform."""

    logits: str
    outcome: str

    def run(self, arena: Arena) -> None:
        chosen = draw(log_softmax(arena.row(self.logits)), arena.registers.uniforms[0])
        arena.put_row(self.outcome, np.array([chosen], dtype=np.float32))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self._ints(places))


@operator("logits_full")
class LogitsFull(_Head):
    """outcome (1, V) = softmax(logits)."""

    logits: str
    outcome: str
    full: ClassVar[bool] = True

    def run(self, arena: Arena) -> None:
        arena.put_row(self.outcome, np.exp(log_softmax(arena.row(self.logits))))

    def batch(self, rows: Batch) -> None:
        rows.values[LOG_P] = log_softmax(rows.values[self.logits])

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self._ints(places))
