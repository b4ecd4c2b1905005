"""The stream as it began, kept for the whole of a position, and mixed with what has become of it.

norm_keep   x = x / sqrt(mean(x^2) + eps);  kept = x
mix_kept    x = m_0 * x + m_1 * kept                      m (2, d), learned per channel

The norm has no weights.  What was kept is read whole by every block that mixes it in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weightless.ops.norm import rms_norm
from weightless.program.arena import Arena
from weightless.program.batch import Batch
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
    whole,
)
from weightless.program.operators.residual import check_norm


@operator("norm_keep")
class NormKeep(Operator):
    """x = x / sqrt(mean(x^2) + eps), and the same into `out`; both (1, d)."""

    x: str
    out: str
    eps: float

    def check(self, bounds: Bounds) -> None:
        width = bounds.tensors[self.x].shape[1]
        need_vector(self, bounds.tensors, self.x, width)
        need_vector(self, bounds.tensors, self.out, width)
        need(self.x != self.out, self, "x and out should be two vectors")
        check_norm(self, bounds.tensors, "", True, self.eps, width)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        x, out = tensors[self.x], tensors[self.out]
        return [*whole(x), *whole(x, write=True), *whole(out, write=True)]

    def run(self, arena: Arena) -> None:
        x = rms_norm(arena.row(self.x), None, self.eps)
        arena.put_row(self.x, x)
        arena.put_row(self.out, x)

    def batch(self, rows: Batch) -> None:
        rows.values[self.x] = rows.values[self.out] = rms_norm(rows.values[self.x], None, self.eps)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        x, out = places[self.x], places[self.out]
        return Lowered([x.offset, out.offset, x.tensor.shape[1]], [self.eps])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0


@operator("mix_kept")
class MixKept(Operator):
    """x = m_0 * x + m_1 * kept, with m_0 and m_1 the rows of `mix` (2, d) f32; x and `kept` (1, d)."""

    mix: str
    kept_as: str
    x: str

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        mix, width = tensors[self.mix], tensors[self.x].shape[1]
        need_vector(self, tensors, self.x, width)
        need_vector(self, tensors, self.kept_as, width)
        need(self.x != self.kept_as, self, "x and what was kept should be two vectors")
        need(mix.shape == (2, width), self, f"{self.mix} should have shape (2, {width}), not {mix.shape}")
        need(mix.format == "f32" and mix.kind != "state", self, f"{self.mix} should be a weight of f32")
        need(mix.row_stride == mix.row_bytes, self, f"{self.mix} should be packed tightly")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = [access for name in (self.x, self.kept_as, self.mix) for access in whole(tensors[name])]
        return [*read, *whole(tensors[self.x], write=True)]

    def run(self, arena: Arena) -> None:
        m_2D = arena.rows(self.mix)
        arena.put_row(self.x, m_2D[0] * arena.row(self.x) + m_2D[1] * arena.row(self.kept_as))

    def batch(self, rows: Batch) -> None:
        m_2D = rows.weight(self.mix)
        rows.values[self.x] = m_2D[0] * rows.values[self.x] + m_2D[1] * rows.values[self.kept_as]

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        ends = [places[name].offset for name in (self.mix, self.kept_as, self.x)]
        return Lowered([*ends, places[self.x].tensor.shape[1]])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 3 * tensors[self.x].shape[1]
