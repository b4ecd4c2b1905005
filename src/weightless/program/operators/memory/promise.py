"""A memory of many slots of which a token reads a few (Lample et al. 2019, 1907.05242; one neuron each: He 2024).

choose_slots   q = Q norm(x), per head;  half-scores s_1, s_2 of q's halves;  the k best s_1[i] + s_2[j];  gates
add_slots      x += sum over the chosen of gate_i v_i                             values (product-key memory)
               x += sum over the chosen of gate_i act(u_i . norm(x)) v_i          neurons (PEER)

Query and half-keys are read whole, of the tables only the chosen rows.  Every head has slots of its own, and what a
head chooses is distinct, so a step reads H k rows, never a row twice: its bytes follow from shapes although the data
decides whose they are.  The numbers chosen stand in a register, where anybody can look (`ops.memory`: which, and ties).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.kernels.codes import ACTIVATION_CODES, QK_EPS
from weightless.ops.feedforward import activate
from weightless.ops.memory import best_slots, slot_gates
from weightless.ops.norm import rms_norm
from weightless.program.arena import Arena
from weightless.program.batch import Batch, normed_rows, times
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
    row_of,
    whole,
)
from weightless.program.operators.residual import Joined, normed, offset_or_none, optional

GATINGS = {"softmax": 0, "sigmoid": 1}
NEURONS = ("silu", "relu2", "gelu")
MOST_SLOTS = 2**24  # of all heads: their numbers stand in float32 beside the gates


@operator("choose_slots")
class ChooseSlots(Operator):
    """slots (1, 2 H k) = [numbers of the chosen rows | their gates], head by head.

    query (H d_key, d); keys (H 2 n, d_key / 2), of every head the n of the first halves above those of the second.
    Head h has the rows h n^2 … (h + 1) n^2 - 1.  With `query_norm` every query is divided by its root mean square.
    """

    norm: str
    query: str
    keys: str
    x: str
    slots: str
    n_heads: int
    query_norm: bool
    gating: str
    eps: float

    def check(self, bounds: Bounds) -> None:
        tensors, H = bounds.tensors, self.n_heads
        rows, width = tensors[self.query].shape
        n_keys, d_half = tensors[self.keys].shape
        n_chosen = tensors[self.slots].shape[1]
        need(self.gating in GATINGS, self, f"unknown gating {self.gating!r:.20}")
        need(0 < H and rows == H * 2 * d_half, self, f"{rows} rows of {self.query} are not {H} queries of two halves")
        need(n_keys % (2 * H) == 0, self, f"{n_keys} half-keys are not two sets for each of {H} heads")
        need(n_chosen % (2 * H) == 0, self, f"{n_chosen} numbers are no slots and gates of {H} heads")
        n, k = n_keys // (2 * H), n_chosen // (2 * H)
        need(0 < k <= n and H * n * n <= MOST_SLOTS, self, f"{k} of {n} x {n} slots cannot be chosen by {H} heads")
        need_matrix(self, tensors, self.query, rows, width)
        need_matrix(self, tensors, self.keys, n_keys, d_half)
        need(not (tensors[self.query].by_row or tensors[self.keys].by_row), self, "query and keys are read whole")
        need_vector(self, tensors, self.x, width)
        need_vector(self, tensors, self.slots, n_chosen)
        if self.norm:
            need_vector(self, tensors, self.norm, width, state=False)
        need(4 * (width + rows + n + 6 * k) <= SCRATCH_BYTES, self, f"{n} half-keys exceed the scratch memory")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = optional(tensors, self.x, self.norm, self.query, self.keys)
        return [*read, *whole(tensors[self.slots], write=True)]

    def run(self, arena: Arena) -> None:
        q = arena.rows(self.query) @ normed(arena, arena.row(self.x), self.norm, self.eps)
        k = arena.tensor(self.slots).shape[1] // (2 * self.n_heads)
        rows, gates = self._chosen(q[None], arena.rows(self.keys), k)
        arena.put_row(self.slots, np.concatenate([rows[0], gates[0]]).astype(np.float32))

    def batch(self, rows: Batch) -> None:
        q = times(rows.weight(self.query), normed_rows(rows, rows.values[self.x], self.norm, self.eps))
        chosen = self._chosen(q, rows.weight(self.keys), rows.n_columns(self.slots) // (2 * self.n_heads))
        rows.values[self.slots] = np.concatenate(chosen, axis=1)

    def chooses(self) -> bool:
        return True

    def _chosen(self, q: np.ndarray, keys: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and gates [N, H k]; CorruptFileError when a half has no k finite scores."""
        H, N = self.n_heads, len(q)
        q_NHSC = q.reshape(N, H, 2, -1)
        if self.query_norm:
            q_NHSC = rms_norm(q.reshape(N, H, -1), None, QK_EPS).reshape(q_NHSC.shape)
        n = len(keys) // (2 * H)
        s_NHSR = np.einsum("nhsc,hsrc->nhsr", q_NHSC, keys.reshape(H, 2, n, -1))
        least, n_numbers = s_NHSR.dtype.type(-np.inf), np.isfinite(s_NHSR).sum(axis=-1)
        slots_NHK, sums_NHK = best_slots(np.where(np.isnan(s_NHSR), least, s_NHSR), k)
        if (n_numbers < k).any() or not np.isfinite(sums_NHK).all():
            raise CorruptFileError(f"{self.keys} gives no number for enough half-keys; the weights are damaged")
        rows_NHK = slots_NHK + np.arange(H)[:, None] * n * n
        return rows_NHK.reshape(N, -1), slot_gates(sums_NHK, self.gating).reshape(N, -1)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        matrices = [*packed(places[self.query], "matvec"), *packed(places[self.keys], "matvec")]
        ends = [offset_or_none(places, self.norm), places[self.x].offset, places[self.slots].offset]
        k = places[self.slots].tensor.shape[1] // (2 * self.n_heads)
        choices = [self.n_heads, k, GATINGS[self.gating], int(self.query_norm)]
        return Lowered([*matrices, *ends, *choices], [self.eps, QK_EPS])

    def indifferent(self) -> list[tuple[str, str, int]]:
        return [(UNCHOSEN, self.keys, 0)]

    def flops(self, tensors: Tensors, t: int) -> int:
        return 2 * sum(tensors[name].shape[0] * tensors[name].shape[1] for name in (self.query, self.keys))


@operator("add_slots")
class AddSlots(Joined):
    """x += sum of gate_i act(up_i . norm(x)) down_i over the rows in `slots`; without `up`, sum of gate_i down_i.

    up and down (rows, d), each row on lines of its own.
    """

    norm: str
    up: str
    down: str
    slots: str
    x: str
    activation: str
    eps: float
    after: str = ""
    on: str = "sum"
    gains: str = ""
    scale: float = 1.0

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        rows, width = tensors[self.down].shape
        n_chosen = tensors[self.slots].shape[1]
        need(n_chosen % 2 == 0 and 0 < n_chosen // 2 <= rows, self, f"{n_chosen} numbers are no slots of {rows}")
        need(rows <= MOST_SLOTS, self, f"{rows} slots are more than {MOST_SLOTS}")
        need_vector(self, tensors, self.slots, n_chosen)
        for name in (self.up, self.down) if self.up else (self.down,):
            need_matrix(self, tensors, name, rows, width)
            need(tensors[name].by_row, self, f"the rows of {name} are read one at a time")
        if self.up:
            need(
                self.activation in NEURONS, self, f"activation {self.activation!r:.20} is none of {', '.join(NEURONS)}"
            )
        else:
            need(not (self.activation or self.norm), self, "values have neither an activation nor a norm")
        if self.norm:
            need_vector(self, tensors, self.norm, width, state=False)
        self.check_join(tensors, width)
        need(4 * (3 * width + 2) <= SCRATCH_BYTES, self, f"rows of width {width} exceed the scratch memory")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """Any rows cost the same, so the formula names the first."""
        n_rows = tensors[self.slots].shape[1] // 2
        rows = [row_of(tensors[name], r) for name in (self.up, self.down) if name for r in range(n_rows)]
        read = optional(tensors, self.x, self.norm, self.slots)
        return [*read, *rows, *self.join_reads(tensors), *whole(tensors[self.x], write=True)]

    def run(self, arena: Arena) -> None:
        x = arena.row(self.x)
        h = normed(arena, x, self.norm, self.eps) if self.up else x
        branch = np.zeros_like(x)
        for slot, gate in zip(*np.split(arena.row(self.slots), 2)):
            if self.up:
                gate = gate * activate(arena.row(self.up, int(slot)) @ h, self.activation)
            branch += gate * arena.row(self.down, int(slot))
        self.join(arena, x, branch)

    def batch(self, rows: Batch) -> None:
        x_ND, (slots_NK, weights_NK) = rows.values[self.x], np.split(rows.values[self.slots], 2, axis=1)
        used, place = np.unique(slots_NK.astype(np.int64), return_inverse=True)
        place_NK = place.reshape(slots_NK.shape)
        if self.up:
            h_ND = normed_rows(rows, x_ND, self.norm, self.eps)
            hidden_NK = np.einsum("nkd,nd->nk", rows.rows_of(self.up, used)[place_NK], h_ND)
            weights_NK = weights_NK * activate(hidden_NK, self.activation)
        branch_ND = np.einsum("nk,nkd->nd", weights_NK, rows.rows_of(self.down, used)[place_NK])
        self.join_rows(rows, x_ND, branch_ND.astype(x_ND.dtype))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        up: list[Operand] = [*packed(places[self.up], "matvec")] if self.up else [-1] * 6
        down = packed(places[self.down], "decode_row")
        kind = ACTIVATION_CODES[self.activation] if self.up else -1
        ends = [offset_or_none(places, self.norm), kind, *self.join_operands(places)]
        slots = [places[self.slots].offset, places[self.slots].tensor.shape[1] // 2]
        return Lowered([*down, *up, *ends, *slots], [self.eps, self.scale])

    def indifferent(self) -> list[tuple[str, str, int]]:
        return [(SILENT, name, 0) for name in (self.up, self.down)] if self.activation == "relu2" else []

    def flops(self, tensors: Tensors, t: int) -> int:
        width, n_rows = tensors[self.down].shape[1], tensors[self.slots].shape[1] // 2
        return 2 * n_rows * width * (2 if self.up else 1)
