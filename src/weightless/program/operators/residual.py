"""How an operator adds its branch to the residual stream: plainly, or with a norm and a factor fused into it.

    x += s * g * f                   g (1, d) learned factors, s a constant
    x  = norm(x + s * g * f)         on = "sum": post-norm
    x += s * g * norm(f)             on = "branch": with a norm before f too, a sandwich

norm is RMSNorm with weights `after` (1, d) and the operator's eps.  `products.join` is the compiled twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from weightless.kernels.codes import BARE
from weightless.ops.norm import SMALLEST_EPS, layer_norm, rms_norm
from weightless.program.arena import Arena
from weightless.program.batch import Batch, normed_rows
from weightless.program.operator import Access, Operator, Place, Tensors, is_float32, need, need_vector, whole

PLACES = ("sum", "branch")


class Joined(Operator):
    """The fields that such an operator has, and what follows from them."""

    x: str
    eps: float
    after: str
    on: str
    gains: str
    scale: float

    def check_join(self, tensors: Tensors, width: int) -> None:
        need(self.on in PLACES, self, f"a norm on {self.on!r:.20} is neither on the sum nor on the branch")
        need(self.scale == 0 or is_float32(abs(self.scale)), self, "scale should be a number of float32")
        need_vector(self, tensors, self.x, width)
        for name in (self.after, self.gains):
            if name:
                need_vector(self, tensors, name, width, state=False)

    def join_reads(self, tensors: Tensors) -> list[Access]:
        """Reads beyond those of the stream itself."""
        return [access for name in (self.after, self.gains) if name for access in whole(tensors[name])]

    def join(self, arena: Arena, x: np.ndarray, branch: np.ndarray) -> None:
        """Write the stream."""
        if self.after and self.on == "branch":
            branch = rms_norm(branch, arena.row(self.after), self.eps)
        if self.scale != 1.0:
            branch = branch * np.float32(self.scale)
        if self.gains:
            branch = branch * arena.row(self.gains)
        x = x + branch
        if self.after and self.on == "sum":
            x = rms_norm(x, arena.row(self.after), self.eps)
        arena.put_row(self.x, x)

    def join_rows(self, rows: Batch, x_ND: np.ndarray, branch_ND: np.ndarray) -> None:
        """The same for all rows of a batch."""
        if self.after and self.on == "branch":
            branch_ND = normed_rows(rows, branch_ND, self.after, self.eps)
        if self.scale != 1.0:
            branch_ND = branch_ND * rows.dtype(self.scale)
        if self.gains:
            branch_ND = branch_ND * rows.weight(self.gains)
        x_ND = x_ND + branch_ND
        rows.values[self.x] = normed_rows(rows, x_ND, self.after, self.eps) if self.on == "sum" else x_ND

    def join_operands(self, places: Mapping[str, Place]) -> list[int]:
        """[x, after or -1, whether it norms the branch, gains or -1]; the floats are [eps, scale]."""
        return [
            places[self.x].offset,
            offset_or_none(places, self.after),
            int(self.on == "branch"),
            offset_or_none(places, self.gains),
        ]


def offset_or_none(places: Mapping[str, Place], name: str) -> int:
    """Byte offset of a tensor, or -1 where an operator does without it."""
    return places[name].offset if name else -1


def optional(tensors: Tensors, *names: str) -> list[Access]:
    """Whole reads of those tensors that are named."""
    return [access for name in names if name for access in whole(tensors[name])]


def normed(arena: Arena, x: Any, norm: str, eps: float, bare: bool = False, norm_bias: str = "") -> np.ndarray:
    """RMSNorm with the weights `norm`, without any (`bare`), LayerNorm with a bias, or x as it is."""
    if norm_bias:
        return layer_norm(x, arena.row(norm), arena.row(norm_bias), eps)
    return rms_norm(x, arena.row(norm) if norm else None, eps) if norm or bare else x


def check_norm(
    op: Operator, tensors: Tensors, norm: str, bare: bool, eps: float, width: int, norm_bias: str = ""
) -> None:
    """Weights (and a bias) of that width, or none where the norm is bare."""
    for name in (norm, norm_bias):
        if name:
            need_vector(op, tensors, name, width, state=False)
    need(not (norm and bare), op, "a bare norm has no weights")
    need(bool(norm) or not norm_bias, op, "a bias of a norm that is not there")
    need(not bare or SMALLEST_EPS <= eps <= 1, op, f"eps {eps:g} is not in {SMALLEST_EPS:g}..1")


def norm_operand(places: Mapping[str, Place], norm: str, bare: bool) -> int:
    """Where the weights lie, or one of the codes that stand for none (`products.normed`)."""
    return BARE if bare else offset_or_none(places, norm)
