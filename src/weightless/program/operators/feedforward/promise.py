"""The feed-forward block as one fused kernel: norm, up-projection, activation, down-projection, residual.

The hidden vector is scratch (at most 256 KiB), so only weights and the residual stream are touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weightless.kernels.codes import ACTIVATION_CODES
from weightless.ops.feedforward import activate
from weightless.ops.norm import rms_norm
from weightless.program.arena import Arena
from weightless.program.operator import (
    SCRATCH_BYTES,
    Access,
    Lowered,
    Place,
    Tensors,
    need,
    need_matrix,
    need_vector,
    operator,
    packed,
    whole,
)


@operator("norm_ffn_add")
class NormFfnAdd:
    """x += down · act(up · (rms_norm(x) * g)).

    up is (2 d_ff, d) = [gate; up] for "swiglu" (Shazeer 2020), (d_ff, d) for "silu" and "relu2"; down is (d, d_ff).
    """

    norm: str
    up: str
    down: str
    x: str
    activation: str
    eps: float

    def check(self, tensors: Tensors) -> None:
        need(self.activation in ACTIVATION_CODES, self, f"unknown activation {self.activation!r}")
        width, d_ff = tensors[self.down].shape
        n_up = 2 * d_ff if self.activation == "swiglu" else d_ff
        need_matrix(self, tensors, self.down, width, d_ff)
        need_matrix(self, tensors, self.up, n_up, width)
        need_vector(self, tensors, self.norm, width, state=False)
        need_vector(self, tensors, self.x, width)
        need(4 * (width + n_up + d_ff) <= SCRATCH_BYTES, self, f"d_ff {d_ff} exceeds the scratch memory")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = [access for name in (self.x, self.norm, self.up, self.down) for access in whole(tensors[name])]
        return [*read, *whole(tensors[self.x], write=True)]

    def run(self, arena: Arena) -> None:
        x = arena.row(self.x)
        hidden = arena.rows(self.up) @ rms_norm(x, arena.row(self.norm), self.eps)
        arena.put_row(self.x, x + arena.rows(self.down) @ activate(hidden, self.activation))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        matrices = [*packed(places[self.up], "matvec"), *packed(places[self.down], "matvec")]
        ends = [places[self.norm].offset, places[self.x].offset]
        return Lowered([*matrices, *ends, ACTIVATION_CODES[self.activation]], [self.eps])

    def flops(self, tensors: Tensors, t: int) -> int:
        up, down = tensors[self.up].shape, tensors[self.down].shape
        return 2 * (up[0] * up[1] + down[0] * down[1])
