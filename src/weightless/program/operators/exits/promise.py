"""Leaving early (Schuster et al. 2022): a test of the stream, behind which a token goes one of two ways.

exit_test   c = sigmoid(w · norm(x) + b);  where c >= threshold the next `full` operators are passed over, and the
            `lite` ones behind them run instead; elsewhere it is the other way round (`program.flow`)

What a step costs follows from shapes and from the exits that it takes; c stays in memory, where anybody can look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.ops.exits import confidence
from weightless.program.arena import Arena
from weightless.program.batch import Batch
from weightless.program.operator import (
    UNCHOSEN,
    Access,
    Bounds,
    Lowered,
    Operator,
    Place,
    Tensors,
    is_float32,
    need,
    need_vector,
    operator,
    whole,
)
from weightless.program.operators.residual import optional


@operator("exit_test")
class ExitTest(Operator):
    """sure (1, 1) = c.  weight (1, d), bias (1, 1), threshold (1, 1) of the artifact; x (1, d); norm is bare RMSNorm.

    `full` operators behind it run unless it exits, `lite` ones behind those only if it does.  NaN does not exit.
    """

    weight: str
    bias: str
    threshold: str
    x: str
    sure: str
    eps: float
    full: int
    lite: int

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        width = tensors[self.x].shape[1]
        need_vector(self, tensors, self.x, width)
        need_vector(self, tensors, self.weight, width, state=False)
        need_vector(self, tensors, self.bias, 1, state=False)
        need_vector(self, tensors, self.threshold, 1, state=False)
        need_vector(self, tensors, self.sure, 1)
        need(self.sure != self.x, self, "x and sure should be two vectors")
        need(is_float32(self.eps), self, f"eps {self.eps:g} should be a positive number of float32")
        need(self.full > 0 and self.lite >= 0, self, "a test passes over at least one operator")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = optional(tensors, self.x, self.weight, self.bias, self.threshold)
        return [*read, *whole(tensors[self.sure], write=True)]

    def run(self, arena: Arena) -> None:
        sure = confidence(arena.row(self.x), arena.row(self.weight), arena.row(self.bias)[0], self.eps)
        arena.put_row(self.sure, np.array([sure]))
        arena.registers.exit = bool(sure >= arena.row(self.threshold)[0])

    def batch(self, rows: Batch) -> None:
        x_ND, bias = rows.values[self.x], float(rows.weight(self.bias)[0, 0])
        sure_N = confidence(x_ND, rows.weight(self.weight), bias, self.eps)
        rows.values[self.sure] = sure_N[:, None]
        rows.exits_N = sure_N >= rows.weight(self.threshold)[0, 0]

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        named = (self.x, self.weight, self.bias, self.threshold, self.sure)
        return Lowered([*(places[name].offset for name in named), places[self.x].tensor.shape[1]], [self.eps])

    def stretches(self) -> tuple[int, int]:
        return self.full, self.lite

    def indifferent(self) -> list[tuple[str, str, int]]:
        """Which side of the threshold c is on is all that the threshold decides."""
        return [(UNCHOSEN, self.threshold, 0)]

    def flops(self, tensors: Tensors, t: int) -> int:
        return 2 * tensors[self.x].shape[1]
