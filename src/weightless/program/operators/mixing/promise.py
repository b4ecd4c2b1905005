"""An exact mixture of two models, with a weight that the context chooses before the target is seen.

gate_by_list(k)    gate = class of a Kneser-Ney context: the longest k that has a list, and how many words are on it
gate_by_match      gate = class of a suffix match: its length, and how often it occurs
mix_score          nats = -log(w exp(-nats_1) + (1 - w) exp(-nats_2))        w = weights[gate]
mix_sample         the first model's draw with probability w, else the second's
mix_full           p = w p_1 + (1 - w) p_2

Both models are evaluated in all three modes, so drawing a token touches what scoring one does: the sampler could do
with one of the two heads, but a mean over cheaper samples would flatter a scorer that needs both.
Class 0 is a context that the counted model has never seen; then four size classes per level: 1, 2-3, 4-15, 16 and more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from weightless.program.arena import Arena
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
    row_of,
    span_of,
    whole,
)
from weightless.program.operators.ngram import MAX_LEVEL
from weightless.program.operators.suffix import MAX_LENGTH
from weightless.program.registers import STATE

N_SIZES = 4
CHOICE = 7  # the uniform that chooses a component
UNSEEN = 0


def size_class(n: int) -> int:
    """0, 1, 2, 3 for n = 1, 2-3, 4-15, 16 and more."""
    return 0 if n < 2 else 1 if n < 4 else 2 if n < 16 else 3


def gate_class(level: int, n: int) -> int:
    """The row of the weights for a context of `level` words with n words on its list (or n occurrences)."""
    return 1 + (level - 1) * N_SIZES + size_class(n)


def _need_number(op: object, tensors: Tensors, name: str) -> None:
    tensor = tensors[name]
    need(tensor.shape == (1, 1) and tensor.format == "u32" and tensor.kind == "state", op, f"{name} should be one u32")


@operator("gate_by_list")
class GateByList(Operator):
    """gate = gate_class(k, words listed) where the context of k words has a list; level 1 begins with UNSEEN."""

    found: str
    gate: str
    level: int

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        need(1 <= self.level <= MAX_LEVEL, self, f"level {self.level} is not in 1..{MAX_LEVEL}")
        found = tensors[self.found]
        need(found.shape == (1, 4) and found.format == "u32" and found.kind == "state", self, f"{self.found} malformed")
        _need_number(self, tensors, self.gate)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (1 when the gate was written,); without it the structural maximum."""
        written = whole(tensors[self.gate], write=True) if not data or data[0] else []
        return [span_of(tensors[self.found], 2, 2), *written]

    def run(self, arena: Arena) -> tuple[int]:
        first, end = (int(v) for v in arena.span(self.found, 2, 2))
        if first < end:
            arena.put_span(self.gate, 0, np.uint32(gate_class(self.level, end - first)))
        elif self.level == 1:
            arena.put_span(self.gate, 0, np.uint32(UNSEEN))
        return (int(first < end or self.level == 1),)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([places[self.found].offset, places[self.gate].offset, self.level])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0

    def decided(self) -> Mapping[int, str]:
        return {STATE: self.found}


@operator("gate_by_match")
class GateByMatch(Operator):
    """gate = gate_class(matched, occurrences), UNSEEN when nothing matched."""

    matched: str
    found: str
    gate: str

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        found = tensors[self.found]
        need(found.shape[1] == 2 and 1 < found.shape[0] <= MAX_LENGTH + 1, self, f"{self.found} is malformed")
        need(found.format == "u32" and found.kind == "state" and not found.by_row, self, f"{self.found} is malformed")
        _need_number(self, tensors, self.matched)
        _need_number(self, tensors, self.gate)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (1 when anything matched,); without it the structural maximum."""
        found = [row_of(tensors[self.found], 1)] if not data or data[0] else []
        return [*whole(tensors[self.matched]), *found, *whole(tensors[self.gate], write=True)]

    def run(self, arena: Arena) -> tuple[int]:
        matched, gate = int(arena.span(self.matched, 0, 1)[0]), UNSEEN
        if matched:
            first, end = (int(v) for v in arena.row(self.found, matched))
            gate = gate_class(matched, end - first)
        arena.put_span(self.gate, 0, np.uint32(gate))
        return (int(matched > 0),)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        offset, found = places[self.found]
        ends = [places[self.matched].offset, offset, places[self.gate].offset]
        return Lowered([*ends, found.shape[0]])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0

    def decided(self) -> Mapping[int, str]:
        return {STATE: self.found}


class _Mix(Operator):
    """Two results, a gate and the column of weights of the first model."""

    first: str
    second: str
    gate: str
    weights: str
    outcome: str
    full: ClassVar[bool] = False

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        weights, width = tensors[self.weights], tensors[self.outcome].shape[1]
        need(weights.shape[1] == 1 and weights.format == "f32", self, f"{self.weights} should be a column of f32")
        need(weights.kind != "state" and not weights.by_row, self, f"{self.weights} should be a tight constant")
        _need_number(self, tensors, self.gate)
        for name in (self.first, self.second, self.outcome):
            need_vector(self, tensors, name, width)
        need_result(self, bounds, self.outcome, self.full)

    def result(self) -> str:
        return self.outcome

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = [access for name in (self.first, self.second, self.gate) for access in whole(tensors[name])]
        return [*read, row_of(tensors[self.weights]), *whole(tensors[self.outcome], write=True)]

    def flops(self, tensors: Tensors, t: int) -> int:
        return 3 * tensors[self.outcome].shape[1]

    def _parts(self, arena: Arena) -> tuple[float, np.ndarray, np.ndarray]:
        w = float(arena.row(self.weights, int(arena.span(self.gate, 0, 1)[0]))[0])
        return w, arena.row(self.first).astype(np.float64), arena.row(self.second).astype(np.float64)

    def _ints(self, places: Mapping[str, Place]) -> list[int]:
        at, weights = places[self.weights]
        ends = [places[name].offset for name in (self.first, self.second, self.gate)]
        offset, outcome = places[self.outcome]
        return [*ends, at, weights.shape[0], offset, outcome.shape[1]]


@operator("mix_score")
class MixScore(_Mix):
    """outcome = nats of the mixture from the nats of its parts."""

    first: str
    second: str
    gate: str
    weights: str
    outcome: str

    def run(self, arena: Arena) -> None:
        w, (x,), (y,) = self._parts(arena)
        least = min(x, y)
        nats = least - np.log(w * np.exp(least - x) + (1 - w) * np.exp(least - y))
        arena.put_row(self.outcome, np.array([nats], dtype=np.float32))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self._ints(places))


@operator("mix_sample")
class MixSample(_Mix):
    """outcome = the token that one of the parts has drawn."""

    first: str
    second: str
    gate: str
    weights: str
    outcome: str

    def run(self, arena: Arena) -> None:
        w, x, y = self._parts(arena)
        arena.put_row(self.outcome, (x if arena.registers.uniforms[CHOICE] < w else y).astype(np.float32))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self._ints(places))


@operator("mix_full")
class MixFull(_Mix):
    """outcome (1, V) = the mixture of two distributions."""

    first: str
    second: str
    gate: str
    weights: str
    outcome: str
    full: ClassVar[bool] = True

    def run(self, arena: Arena) -> None:
        w, p, q = self._parts(arena)
        arena.put_row(self.outcome, (w * p + (1 - w) * q).astype(np.float32))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self._ints(places))
