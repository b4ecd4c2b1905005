"""A sparse feed-forward block (Shazeer et al. 2017): of E experts the k that a router chooses for this very token.

route         s = R norm(x);  p = softmax(s) or sigmoid(s);  the k largest of p + bias;  gates: `ops.experts`
experts_add   x += sum over the chosen of gate_i down_i act(up_i norm(x)), and a shared expert's, which all tokens take

All experts are equally large, so the bytes of a step follow from shapes although the data decides whose they are; the
router is read whole.  Which experts were chosen stands in a register, where anybody can look.  Of equal p the lower
number is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.kernels.codes import ACTIVATION_CODES
from weightless.ops.experts import gates_of, scored
from weightless.ops.feedforward import activate
from weightless.program.arena import Arena
from weightless.program.batch import Batch, activated, normed_rows, times
from weightless.program.operator import (
    SCRATCH_BYTES,
    SILENT,
    UNCHOSEN,
    Access,
    Bounds,
    Lowered,
    Operand,
    Operator,
    Place,
    Tensors,
    need,
    need_matrix,
    need_vector,
    operator,
    packed,
    whole,
)
from weightless.program.operators.residual import Joined, normed, offset_or_none, optional

SCORINGS = {"softmax": 0, "sigmoid": 1}
MOST_EXPERTS = 2**16  # their numbers stand in float32 beside the gates


@operator("route")
class Route(Operator):
    """route (1, 2 k) = [numbers of the chosen experts | their gates].  router (E, d), bias (1, E) or none."""

    norm: str
    router: str
    bias: str
    x: str
    route: str
    scoring: str
    eps: float

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        E, width = tensors[self.router].shape
        k2 = tensors[self.route].shape[1]
        need(self.scoring in SCORINGS, self, f"unknown scoring {self.scoring!r:.20}")
        need_matrix(self, tensors, self.router, E, width)
        need_vector(self, tensors, self.x, width)
        need_vector(self, tensors, self.route, k2)
        need(k2 % 2 == 0 and 0 < k2 // 2 <= E <= MOST_EXPERTS, self, f"{k2 / 2:g} of {E} experts cannot be chosen")
        if self.norm:
            need_vector(self, tensors, self.norm, width, state=False)
        if self.bias:
            need_vector(self, tensors, self.bias, E, state=False)
        need(4 * (width + 2 * E) <= SCRATCH_BYTES, self, f"{E} experts exceed the scratch memory")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = optional(tensors, self.x, self.norm, self.router, self.bias)
        return [*read, *whole(tensors[self.route], write=True)]

    def run(self, arena: Arena) -> None:
        s = arena.rows(self.router) @ normed(arena, arena.row(self.x), self.norm, self.eps)
        bias = arena.row(self.bias) if self.bias else None
        k = arena.tensor(self.route).shape[1] // 2
        chosen, gates = self._chosen(scored(s[None], self.scoring), bias, k)
        arena.put_row(self.route, np.concatenate([chosen[0], gates[0]]).astype(np.float32))

    def batch(self, rows: Batch) -> None:
        s_NE = times(rows.weight(self.router), normed_rows(rows, rows.values[self.x], self.norm, self.eps))
        bias = rows.weight(self.bias)[0] if self.bias else None
        chosen, gates = self._chosen(scored(s_NE, self.scoring), bias, rows.n_columns(self.route) // 2)
        rows.values[self.route] = np.concatenate([chosen, gates], axis=1)

    def chooses(self) -> bool:
        return True

    def _chosen(self, p_NE: np.ndarray, bias: np.ndarray | None, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Experts and gates; CorruptFileError when fewer than k are larger than nothing (NaN is not)."""
        chosen, gates = gates_of(p_NE, bias, k)
        shift = 0.0 if bias is None else bias[chosen]
        if np.isnan(gates + shift).any():
            raise CorruptFileError(f"{self.router} gives no number for enough experts; the weights are damaged")
        return chosen, gates

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        vectors = [offset_or_none(places, self.norm), offset_or_none(places, self.bias)]
        ends = [places[self.x].offset, places[self.route].offset, places[self.route].tensor.shape[1] // 2]
        return Lowered([*packed(places[self.router], "matvec"), *vectors, *ends, SCORINGS[self.scoring]], [self.eps])

    def indifferent(self) -> list[tuple[str, str, int]]:
        return [(UNCHOSEN, name, 0) for name in (self.router, self.bias) if name]

    def flops(self, tensors: Tensors, t: int) -> int:
        rows, cols = tensors[self.router].shape
        return 2 * rows * cols


@operator("experts_add")
class ExpertsAdd(Joined):
    """x += sum of gate_i down_i act(up_i norm(x)) over the experts in `route`.

    up (E n_up, d) and down (E d, d_e) hold the experts one above the other; n_up is 2 d_e with a gate ("swiglu"), d_e
    without.  `shared_up` (.., d) and `shared_down` (d, d_s): one more expert for every token, of gate 1.
    """

    norm: str
    up: str
    down: str
    shared_up: str
    shared_down: str
    route: str
    x: str
    n_experts: int
    activation: str
    eps: float
    after: str = ""
    on: str = "sum"
    gains: str = ""
    scale: float = 1.0

    def check(self, bounds: Bounds) -> None:
        tensors, E = bounds.tensors, self.n_experts
        need(self.activation in ACTIVATION_CODES, self, f"unknown activation {self.activation!r:.20}")
        rows, d_e = tensors[self.down].shape
        width, n_up = tensors[self.x].shape[1], self._n_up(d_e)
        need(0 < E <= MOST_EXPERTS and rows == E * width, self, f"{rows} rows of down are not {E} experts of {width}")
        need_matrix(self, tensors, self.down, rows, d_e)
        need_matrix(self, tensors, self.up, E * n_up, width)
        need(not (tensors[self.up].by_row or tensors[self.down].by_row), self, "experts are read as blocks")
        widest = d_e
        if self.shared_down:
            d_s = tensors[self.shared_down].shape[1]
            need_matrix(self, tensors, self.shared_down, width, d_s)
            need_matrix(self, tensors, self.shared_up, self._n_up(d_s), width)
            widest = max(d_e, d_s)
        if self.norm:
            need_vector(self, tensors, self.norm, width, state=False)
        k2 = tensors[self.route].shape[1]
        need(k2 % 2 == 0 and 0 < k2 // 2 <= E, self, f"{k2 / 2:g} of {E} experts cannot be chosen")
        need_vector(self, tensors, self.route, k2)
        self.check_join(tensors, width)
        scratch = 4 * (3 * width + self._n_up(widest) + widest)
        need(scratch <= SCRATCH_BYTES, self, f"an expert of width {widest} (d_expert, d_shared) exceeds the scratch")

    def _n_up(self, d_e: int) -> int:
        return 2 * d_e if self.activation == "swiglu" else d_e

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """Any k experts cost the same, so the formula names the first k."""
        k = tensors[self.route].shape[1] // 2
        read = optional(tensors, self.x, self.norm, self.route)
        blocks = [Access(name, 0, k * (tensors[name].nbytes // self.n_experts), False) for name in (self.up, self.down)]
        shared = optional(tensors, self.shared_up, self.shared_down)
        return [*read, *blocks, *shared, *self.join_reads(tensors), *whole(tensors[self.x], write=True)]

    def run(self, arena: Arena) -> None:
        x = arena.row(self.x)
        h, route = normed(arena, x, self.norm, self.eps), arena.row(self.route)
        branch = np.zeros_like(x)
        for expert, gate in zip(*np.split(route, 2)):
            n_up, d = arena.tensor(self.up).shape[0] // self.n_experts, len(x)
            hidden = arena.rows(self.up, int(expert) * n_up, n_up) @ h
            branch += gate * (arena.rows(self.down, int(expert) * d, d) @ activate(hidden, self.activation))
        if self.shared_down:
            hidden = arena.rows(self.shared_up) @ h
            branch += arena.rows(self.shared_down) @ activate(hidden, self.activation)
        self.join(arena, x, branch)

    def batch(self, rows: Batch) -> None:
        x_ND, (chosen_NK, gate_NK) = rows.values[self.x], np.split(rows.values[self.route], 2, axis=1)
        h_ND = normed_rows(rows, x_ND, self.norm, self.eps)
        branch_ND = np.zeros_like(x_ND)
        for expert, at, place in self._used(chosen_NK.astype(np.int64)):
            up, down = (
                rows.weight(name).reshape(self.n_experts, -1, n)[expert]
                for name, n in ((self.up, x_ND.shape[1]), (self.down, rows.n_columns(self.down)))
            )
            hidden = activated(times(up, h_ND[at]), self.activation)
            branch_ND[at] += gate_NK[at, place][:, None] * times(down, hidden)
        if self.shared_down:
            hidden = activated(times(rows.weight(self.shared_up), h_ND), self.activation)
            branch_ND = branch_ND + times(rows.weight(self.shared_down), hidden)
        self.join_rows(rows, x_ND, branch_ND)

    def _used(self, chosen_NK: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(expert, rows that chose it, at which place)."""
        for expert in np.unique(chosen_NK):
            at, place = np.nonzero(chosen_NK == expert)
            yield int(expert), at, place

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        shared: list[Operand] = [-1]
        if self.shared_down:
            shared = [*packed(places[self.shared_up], "matvec"), *packed(places[self.shared_down], "matvec")]
        matrices = [*packed(places[self.up], "matvec"), *packed(places[self.down], "matvec")]
        ends = [offset_or_none(places, self.norm), ACTIVATION_CODES[self.activation], *self.join_operands(places)]
        route = [places[self.route].offset, places[self.route].tensor.shape[1] // 2, self.n_experts]
        return Lowered([*matrices, *ends, *route, *shared], [self.eps, self.scale])

    def indifferent(self) -> list[tuple[str, str, int]]:
        names = (self.up, self.down, self.shared_up, self.shared_down)
        return [(SILENT, name, 0) for name in names if name] if self.activation == "relu2" else []

    def flops(self, tensors: Tensors, t: int) -> int:
        k = tensors[self.route].shape[1] // 2
        sizes = [k * tensors[name].shape[0] * tensors[name].shape[1] // self.n_experts for name in (self.up, self.down)]
        shared = [name for name in (self.shared_up, self.shared_down) if name]
        return 2 * (sum(sizes) + sum(tensors[name].shape[0] * tensors[name].shape[1] for name in shared))
