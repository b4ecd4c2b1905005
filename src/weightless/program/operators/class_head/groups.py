"""The middle level of a head in three: the group within a class, log p(group | class).

A class has M groups (rows cM .. cM + M - 1), a group n_words slots; word rows (promise.py) then belong to a group
instead of a class.  Groups from `n_groups` on are padding of the last class and have probability zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.ops.class_head import below
from weightless.program.arena import Arena
from weightless.program.batch import Batch
from weightless.program.operator import (
    Access,
    Lowered,
    Place,
    Tensors,
    need,
    need_vector,
    operator,
    whole,
)
from weightless.program.operators.class_head.level import Level, Parts
from weightless.program.operators.full_head import draw

UNIFORM = 2  # of the registers: the first two draw class and word


class _Groups(Level):
    """The M rows of one class against h."""

    groups: str
    h: str
    choice: str
    out: str
    per_class: int
    n_groups: int

    def parts(self) -> Parts:
        return Parts(self.groups, self.out, self.per_class, self.n_groups)

    def check_ends(self, tensors: Tensors, n_rows: int) -> None:
        need_vector(self, tensors, self.choice, 2)
        need_vector(self, tensors, self.out, 2)


@operator("group_score")
class GroupScore(_Groups):
    """out = (slot of the target, -log p(class) - log p(group | class)); a group has `n_words` slots."""

    groups: str
    h: str
    choice: str
    out: str
    per_class: int
    n_groups: int
    n_words: int

    def check_ends(self, tensors: Tensors, n_rows: int) -> None:
        super().check_ends(tensors, n_rows)
        need(0 < self.n_words < 2**24, self, f"a group of {self.n_words} slots")

    def run(self, arena: Arena) -> None:
        slot, nats = arena.row(self.choice)
        chosen, group = divmod(int(slot) // self.n_words, self.per_class)
        log_p = self.log_p(arena, chosen, arena.row(self.h))
        arena.put_row(self.out, np.array([slot, nats - log_p[group]], dtype=np.float32))

    def batch(self, rows: Batch) -> None:
        slot_N, nats_N = rows.values[self.choice].T
        below_N = self.nats_of_rows(rows, slot_N.astype(np.int64) // self.n_words)
        rows.values[self.out] = np.stack([slot_N, nats_N + below_N], axis=1)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([*self.operands(places), self.n_words])


@operator("group_sample")
class GroupSample(_Groups):
    """out = (a group of the chosen class, drawn with the third uniform, 0)."""

    groups: str
    h: str
    choice: str
    out: str
    per_class: int
    n_groups: int

    def run(self, arena: Arena) -> None:
        chosen = int(arena.row(self.choice)[0])
        group = draw(self.log_p(arena, chosen, arena.row(self.h)), arena.registers.uniforms[UNIFORM])
        drawn = min(chosen * self.per_class + group, self.n_groups - 1)
        arena.put_row(self.out, np.array([drawn, 0], dtype=np.float32))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self.operands(places))


@operator("group_full")
class GroupFull(_Groups):
    """out (1, n_groups) = log p(class) + log p(group | class) of every group."""

    groups: str
    h: str
    choice: str
    out: str
    per_class: int
    n_groups: int

    def check_ends(self, tensors: Tensors, n_rows: int) -> None:
        need_vector(self, tensors, self.choice, n_rows // self.per_class)
        need_vector(self, tensors, self.out, self.n_groups)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = [access for name in (self.choice, self.h, self.groups) for access in whole(tensors[name])]
        return [*read, *whole(tensors[self.out], write=True)]

    def flops(self, tensors: Tensors, t: int) -> int:
        rows, width = tensors[self.groups].shape
        return 2 * rows * width

    def run(self, arena: Arena) -> None:
        above, h = arena.row(self.choice), arena.row(self.h)
        log_p = [log_p + self.log_p(arena, c, h) for c, log_p in enumerate(above)]
        arena.put_row(self.out, np.concatenate(log_p)[: self.n_groups])

    def batch(self, rows: Batch) -> None:
        above, groups = rows.values[self.choice], rows.weight(self.groups)
        rows.values[self.out] = below(rows.values[self.h], above, groups, self.n_groups)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self.operands(places))
