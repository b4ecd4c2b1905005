"""Draw a word without context from an alias table (`ops/alias.py`): one row, as many bytes as scoring a word reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.ops.alias import draw
from weightless.ops.kneser_ney import QUANTA
from weightless.program.arena import Arena
from weightless.program.operator import (
    Access,
    Bounds,
    Lowered,
    Operator,
    Place,
    Tensors,
    need,
    need_vector,
    operator,
    row_of,
    whole,
)
from weightless.program.operators.ngram.columns import NOT_DRAWN
from weightless.program.registers import PROBABILITY, STATE


class _OneRow:
    """The table as far as it is asked for."""

    def __init__(self, arena: Arena, name: str) -> None:
        self.arena, self.name = arena, name

    def __len__(self) -> int:
        return self.arena.tensor(self.name).shape[0]

    def __getitem__(self, at: int) -> np.ndarray:
        return self.arena.row(self.name, at)


@operator("unigram_sample")
class UnigramSample(Operator):
    """outcome = a word drawn with uniform 0, unless a longer context has drawn one (`first`: there is none)."""

    alias: str
    outcome: str
    vocab_size: int
    first: bool

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        table = tensors[self.alias]
        need(table.shape[1] == 2 and table.format == "u32", self, f"{self.alias} should be pairs of u32")
        need(table.shape[0] == self.vocab_size > 0, self, "one row per token is needed")
        need(table.kind != "state" and not table.by_row, self, f"{self.alias} should be a tight constant")
        need_vector(self, tensors, self.outcome, 1)
        need(self.vocab_size == bounds.vocab_size, self, "another vocabulary size")

    def result(self) -> str:
        return self.outcome

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (1 when a word had been drawn before,); without it the structural maximum."""
        before = [] if self.first else whole(tensors[self.outcome])
        if data and data[0]:
            return before
        return [*before, row_of(tensors[self.alias]), *whole(tensors[self.outcome], write=True)]

    def run(self, arena: Arena) -> tuple[int]:
        if not self.first and arena.row(self.outcome)[0] != NOT_DRAWN:
            return (1,)
        word = draw(_OneRow(arena, self.alias), arena.registers.uniforms[0], QUANTA)  # type: ignore[arg-type]
        arena.put_row(self.outcome, np.array([word], dtype=np.float32))
        return (0,)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        at, table = places[self.alias]
        return Lowered([at, table.shape[0], places[self.outcome].offset, int(self.first)])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0

    def decided(self) -> Mapping[int, str]:
        return {STATE: self.outcome, PROBABILITY: self.alias}
