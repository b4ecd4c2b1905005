"""Named memory of a decode program, and the named parameters a model trains.

A `Tensor` is a table of rows.  A row holds its elements *and the scales that belong to them*
(`quant.formats`), so that fetching a row never fetches anything else.  Rows that are fetched one at a
time (embeddings, lookup tables) start on 64-byte boundaries; a matrix that is always read whole is
packed tightly and starts on one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from weightless.quant.layout import row_bytes

LINE = 64  # bytes of a cache line: the unit of T64 and of row alignment

Kind = Literal["weight", "constant", "state"]
Group = Literal["matrix", "embedding", "head", "table", "vector"]


@dataclass(frozen=True)
class Tensor:
    """`shape` = (rows, columns) stored in `format`; `component` names its line in the ledger.

    `kind`: "weight" (trained) and "constant" (computed from data) live in the artifact, "state" in the
    arena while decoding.  `by_row` puts every row on a 64-byte boundary.
    """

    name: str
    shape: tuple[int, int]
    format: str
    component: str
    kind: Kind = "weight"
    by_row: bool = False

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row, codes and scales, without alignment padding: what a fetch touches."""
        return row_bytes(self.format, self.shape[1])

    @cached_property
    def row_stride(self) -> int:
        """Bytes from one row to the next."""
        return align(self.row_bytes) if self.by_row else self.row_bytes

    @cached_property
    def nbytes(self) -> int:
        """Stored bytes of the whole tensor, padding between rows included."""
        return self.shape[0] * self.row_stride


class Constant(NamedTuple):
    """An initial value that all elements share."""

    value: float


class Rows(NamedTuple):
    """Initial values of a tensor of two rows: one for each."""

    first: float
    second: float


class Uniform(NamedTuple):
    """Initial values drawn evenly from -bound to bound."""

    bound: float


class Spread(NamedTuple):
    """Initial values from `first` to `last` in even steps along every row."""

    first: float
    last: float


@dataclass(frozen=True)
class Parameter:
    """One trained tensor: `init` is the standard deviation of a truncated normal, Uniform, Spread, a Constant, Rows,
    "ones" or "zeros".

    `group` decides how it is optimised (`train.optimizers`); `format` is what it is packed to, and what
    quantisation-aware training simulates.  `component` is its line in the ledger, and `by_row` says that its rows are
    fetched one at a time, as in `Tensor`.  `stacked` matrices of equal size may lie above each other in one tensor
    (experts), or `parts` of so many rows each (queries, keys and values); Muon treats each by itself.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    init: float | str | Constant | Rows | Uniform | Spread
    group: Group
    component: str = ""
    by_row: bool = False
    stacked: int = 1
    parts: tuple[int, ...] = ()


def align(nbytes: int, unit: int = LINE) -> int:
    """`nbytes` rounded up to a multiple of `unit`."""
    return -(-nbytes // unit) * unit
