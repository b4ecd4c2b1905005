"""One level of a class head below the first: the rows of one part (a class, a group) against h, a softmax over them.

Part c of `size` rows has rows c size .. c size + size - 1; rows from `n_valid` on are padding of the last part and have
probability zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from weightless.ops.cross_entropy import log_softmax, nll
from weightless.program.arena import Arena
from weightless.program.batch import Batch
from weightless.program.operator import (
    SCRATCH_BYTES,
    Access,
    Bounds,
    Operand,
    Operator,
    Place,
    Tensors,
    need,
    need_matrix,
    need_vector,
    packed,
    whole,
)


class Parts(NamedTuple):
    """The tensor of rows, the tensor that takes the result, rows per part, and how many rows are valid."""

    rows: str
    out: str
    size: int
    n_valid: int


class Level(Operator, Protocol):
    """What scoring, sampling and the whole distribution of such a level have in common."""

    h: str
    choice: str

    def parts(self) -> Parts:
        """Its fields, under the names that all levels share."""
        ...

    def check(self, bounds: Bounds) -> None:
        tensors, (name, out, size, n_valid) = bounds.tensors, self.parts()
        n_rows, width = tensors[name].shape
        need_matrix(self, tensors, name, n_rows, width)
        need(not tensors[name].by_row, self, f"{name} should be packed tightly: parts are read as blocks")
        need_vector(self, tensors, self.h, width)
        need(size > 0 and n_rows % size == 0, self, f"parts of {size} should divide the {n_rows} rows")
        need(n_rows - size < n_valid <= n_rows, self, f"{n_valid} valid rows should end in the last part")
        need(4 * size <= SCRATCH_BYTES, self, f"{size} rows exceed the scratch memory")
        need(self.choice != out, self, "choice and result should be two vectors")
        self.check_ends(tensors, n_rows)

    def check_ends(self, tensors: Tensors, n_rows: int) -> None:
        """The vectors that it reads its part from, and leaves its result in."""
        ...

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """Parts all cost the same, so the formula names the first."""
        name, out, size, _ = self.parts()
        block = Access(name, 0, size * tensors[name].row_bytes, False)
        ends = [*whole(tensors[self.choice]), *whole(tensors[self.h])]
        return [*ends, block, *whole(tensors[out], write=True)]

    def flops(self, tensors: Tensors, t: int) -> int:
        name, _, size, _ = self.parts()
        return 2 * size * tensors[name].shape[1]

    def log_p(self, arena: Arena, chosen: int, h: np.ndarray) -> np.ndarray:
        """log p of the rows of one part, given that part."""
        name, _, size, n_valid = self.parts()
        scores = arena.rows(name, chosen * size, size) @ h
        scores[max(0, n_valid - chosen * size) :] = -np.inf
        return log_softmax(scores)

    def nats_of_rows(self, rows: Batch, at_N: np.ndarray) -> np.ndarray:
        """-log p of row `at` given its part, for every row of a batch: rows of one part are multiplied together."""
        name, _, size, n_valid = self.parts()
        W, h_ND, part_N = rows.weight(name), rows.values[self.h], at_N // size
        scores_NW = np.empty((len(h_ND), size), h_ND.dtype)
        order = np.argsort(part_N, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(part_N[order])) + 1):
            first = int(part_N[members[0]]) * size
            scores_NW[members] = h_ND[members] @ W[first : first + size].T
        scores_NW[part_N[:, None] * size + np.arange(size) >= n_valid] = -np.inf
        return nll(scores_NW, at_N % size)

    def operands(self, places: Mapping[str, Place]) -> list[Operand]:
        """[the rows (six operands), h, choice, result, rows per part, valid rows]."""
        name, out, size, n_valid = self.parts()
        ends = [places[end].offset for end in (self.h, self.choice, out)]
        return [*packed(places[name], "matvec"), *ends, size, n_valid]
