"""The feed-forward block as one fused kernel: norm, up-projection, activation, down-projection, residual.

The hidden vector is scratch (at most 256 KiB), so only weights and the residual stream are touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weightless.kernels.codes import ACTIVATION_CODES
from weightless.ops.feedforward import activate
from weightless.ops.integer_activations import taken
from weightless.program.arena import Arena
from weightless.program.batch import Batch, activated, normed_rows, times
from weightless.program.operator import (
    SCRATCH_BYTES,
    SILENT,
    Access,
    Bounds,
    Lowered,
    Place,
    Tensors,
    need,
    need_integer,
    need_matrix,
    need_vector,
    operator,
    packed,
    product_kernel,
    whole,
)
from weightless.program.operators.residual import Joined, check_norm, norm_operand, normed, offset_or_none, optional


@operator("norm_ffn_add", version=5)
class NormFfnAdd(Joined):
    """x += down · act(up · (rms_norm(x) * g)).

    up is (2 d_ff, d) = [gate; up] for "swiglu" (Shazeer 2020), (d_ff, d) for the other activations; down is (d, d_ff).
    `bare`: the norm has no weights g; with neither `norm` nor that up reads x itself.  See `residual` for norms and
    factors behind the branch.
    A `norm_bias` (1, d) makes the norm a LayerNorm; `up_bias` and `down_bias` are added to the products.
    `activations` "int8": what both matrices multiply is rounded first (`ops.integer_activations`).
    """

    norm: str
    up: str
    down: str
    x: str
    activation: str
    eps: float
    after: str = ""
    on: str = "sum"
    gains: str = ""
    scale: float = 1.0
    bare: bool = False
    norm_bias: str = ""
    up_bias: str = ""
    down_bias: str = ""
    activations: str = "f32"

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        need(self.activation in ACTIVATION_CODES, self, f"unknown activation {self.activation!r}")
        width, d_ff = tensors[self.down].shape
        n_up = 2 * d_ff if self.activation == "swiglu" else d_ff
        need_integer(self, bounds, self.activations, self.up, self.down)
        need_matrix(self, tensors, self.down, width, d_ff)
        need_matrix(self, tensors, self.up, n_up, width)
        check_norm(self, tensors, self.norm, self.bare, self.eps, width, self.norm_bias)
        for name, n in ((self.up_bias, n_up), (self.down_bias, width)):
            if name:
                need_vector(self, tensors, name, n, state=False)
        self.check_join(tensors, width)
        need(4 * (width + n_up + d_ff) <= SCRATCH_BYTES, self, f"d_ff {d_ff} exceeds the scratch memory")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        vectors = optional(tensors, self.norm_bias, self.up_bias, self.down_bias)
        read = [*optional(tensors, self.x, self.norm, self.up, self.down), *vectors]
        return [*read, *self.join_reads(tensors), *whole(tensors[self.x], write=True)]

    def run(self, arena: Arena) -> None:
        x = arena.row(self.x)
        h = normed(arena, x, self.norm, self.eps, self.bare, self.norm_bias)
        hidden = arena.rows(self.up) @ taken(h, self.activations)
        hidden = hidden + arena.row(self.up_bias) if self.up_bias else hidden
        branch = arena.rows(self.down) @ taken(activate(hidden, self.activation), self.activations)
        self.join(arena, x, branch + arena.row(self.down_bias) if self.down_bias else branch)

    def batch(self, rows: Batch) -> None:
        x = rows.values[self.x]
        h = normed_rows(rows, x, self.norm, self.eps, self.bare, self.norm_bias)
        hidden = times(rows.weight(self.up), taken(h, self.activations))
        hidden = hidden + rows.weight(self.up_bias) if self.up_bias else hidden
        branch = times(rows.weight(self.down), taken(activated(hidden, self.activation), self.activations))
        self.join_rows(rows, x, branch + rows.weight(self.down_bias) if self.down_bias else branch)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        kernel = product_kernel(self.activations)
        matrices = [*packed(places[self.up], kernel), *packed(places[self.down], kernel)]
        ends = [
            norm_operand(places, self.norm, self.bare),
            ACTIVATION_CODES[self.activation],
            *self.join_operands(places),
        ]
        vectors = [offset_or_none(places, name) for name in (self.norm_bias, self.up_bias, self.down_bias)]
        return Lowered([*matrices, *ends, *vectors], [self.eps, self.scale])

    def rounds(self) -> bool:
        return self.activations != "f32"

    def indifferent(self) -> list[tuple[str, str, int]]:
        """With GELU a unit far below zero (-6 or so) adds less than a float32 sum can show, however far it is."""
        hidden = {"relu2": (self.up, self.down), "gelu": (self.up,)}.get(self.activation, ())
        return [(SILENT, name, 0) for name in hidden]

    def flops(self, tensors: Tensors, t: int) -> int:
        up, down = tensors[self.up].shape, tensors[self.down].shape
        return 2 * (up[0] * up[1] + down[0] * down[1])
