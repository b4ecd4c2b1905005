"""Operators that fetch rows by token: the cheapest memory a model can have.

accept_token     history[t] = token                                (4 bytes written)
gather_row       x = table[token]            or x += table[token]
gather_position  x += table[position]                              (learned positions)
add_row          x += table[row]                                   (the same row at every position: which pass it is)
keep, add_kept   kept = x;  x += gains * kept                      (skips of a U-net)
gather_hashed    x += table[hash(last n tokens) mod rows]          (a table of hashed n-grams)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.base.format_names import is_arithmetic
from weightless.ops.hashing import row_index, start_of
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
    need_history,
    need_vector,
    operator,
    packed,
    row_of,
    span_of,
    whole,
)


@operator("accept_token")
class AcceptToken(Operator):
    """Append the token just fed to the history that later operators look back on."""

    history: str

    def check(self, bounds: Bounds) -> None:
        need_history(self, bounds, self.history)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        return [span_of(tensors[self.history], t - 1, 1, write=True)]

    def run(self, arena: Arena) -> None:
        arena.put_span(self.history, arena.registers.t - 1, np.uint32(arena.registers.token))

    def batch(self, rows: Batch) -> None:
        """The batch keeps the history itself."""

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([places[self.history].offset])

    def kept(self) -> tuple[str, ...]:
        return (self.history,)

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0


@operator("gather_row", version=2)
class GatherRow(Operator):
    """x = table[token], or x += table[token] with `add`; what is added to may be wider than a row, which then begins at
    `first`."""

    history: str
    table: str
    x: str
    add: bool
    first: int = 0

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        table = tensors[self.table]
        need_vector(self, tensors, self.x, tensors[self.x].shape[1])
        need(0 <= self.first <= tensors[self.x].shape[1] - table.shape[1], self, f"no room for a row in {self.x}")
        need(self.add or tensors[self.x].shape[1] == table.shape[1], self, f"a row leaves a part of {self.x} unset")
        need(table.kind != "state", self, f"{self.table} should be a weight")
        need(is_arithmetic(table.format), self, f"{self.table} cannot be {table.format}")
        need(table.shape[0] >= bounds.vocab_size, self, "fewer rows than tokens")
        need_history(self, bounds, self.history)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        width = tensors[self.table].shape[1]
        before = [span_of(tensors[self.x], self.first, width)] if self.add else []
        look = span_of(tensors[self.history], t - 1, 1)
        return [look, row_of(tensors[self.table]), *before, span_of(tensors[self.x], self.first, width, write=True)]

    def run(self, arena: Arena) -> None:
        token = int(arena.span(self.history, arena.registers.t - 1, 1)[0])
        row = arena.row(self.table, token)
        if self.add:
            row = arena.span(self.x, self.first, len(row)) + row
        arena.put_span(self.x, self.first, row)

    def batch(self, rows: Batch) -> None:
        found = rows.rows_of(self.table, rows.last_tokens(1, 0)[:, 0])
        if not self.add:
            rows.values[self.x] = found
            return
        x = rows.values[self.x].copy()
        x[:, self.first : self.first + found.shape[1]] += found
        rows.values[self.x] = x

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        ends = [places[self.history].offset, places[self.x].offset + 4 * self.first]
        return Lowered([*packed(places[self.table], "decode_row"), *ends, int(self.add)])

    def flops(self, tensors: Tensors, t: int) -> int:
        return tensors[self.table].shape[1] if self.add else 0


@operator("gather_position")
class GatherPosition(Operator):
    """x += table[t - 1]: the row of the position; the table has one for every position of the context."""

    table: str
    x: str

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        table = tensors[self.table]
        need_vector(self, tensors, self.x, table.shape[1])
        need(table.kind != "state", self, f"{self.table} should be a weight")
        need(is_arithmetic(table.format), self, f"{self.table} cannot be {table.format}")
        need(table.shape[0] >= bounds.context, self, "fewer rows than positions")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        x = tensors[self.x]
        return [row_of(tensors[self.table], t - 1), *whole(x), *whole(x, write=True)]

    def run(self, arena: Arena) -> None:
        arena.put_row(self.x, arena.row(self.x) + arena.row(self.table, arena.registers.t - 1))

    def batch(self, rows: Batch) -> None:
        rows.values[self.x] = rows.values[self.x] + rows.rows_of(self.table, rows.position_N)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([*packed(places[self.table], "decode_row"), 0, places[self.x].offset])

    def flops(self, tensors: Tensors, t: int) -> int:
        return tensors[self.table].shape[1]


@operator("add_row")
class AddRow(Operator):
    """x += table[row], the same row for every token."""

    table: str
    x: str
    row: int

    def check(self, bounds: Bounds) -> None:
        table = bounds.tensors[self.table]
        need_vector(self, bounds.tensors, self.x, table.shape[1])
        need(table.kind != "state", self, f"{self.table} should be a weight")
        need(is_arithmetic(table.format), self, f"{self.table} cannot be {table.format}")
        need(0 <= self.row < table.shape[0], self, f"row {self.row} of {table.shape[0]}")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        x = tensors[self.x]
        return [row_of(tensors[self.table], self.row), *whole(x), *whole(x, write=True)]

    def run(self, arena: Arena) -> None:
        arena.put_row(self.x, arena.row(self.x) + arena.row(self.table, self.row))

    def batch(self, rows: Batch) -> None:
        rows.values[self.x] = rows.values[self.x] + rows.rows_of(self.table, np.array([self.row]))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([*packed(places[self.table], "decode_row"), self.row, places[self.x].offset])

    def flops(self, tensors: Tensors, t: int) -> int:
        return tensors[self.table].shape[1]


@operator("keep")
class Keep(Operator):
    """kept = x, for an operator further on."""

    x: str
    out: str

    def check(self, bounds: Bounds) -> None:
        width = bounds.tensors[self.x].shape[1]
        need_vector(self, bounds.tensors, self.x, width)
        need_vector(self, bounds.tensors, self.out, width)
        need(self.x != self.out, self, "x and out should be two vectors")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        return [*whole(tensors[self.x]), *whole(tensors[self.out], write=True)]

    def run(self, arena: Arena) -> None:
        arena.put_row(self.out, arena.row(self.x))

    def batch(self, rows: Batch) -> None:
        rows.values[self.out] = rows.values[self.x]

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([places[self.x].offset, places[self.out].offset, places[self.x].tensor.shape[1]])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0


@operator("add_kept")
class AddKept(Operator):
    """x += gains * kept, all of one width."""

    skip: str
    gains: str
    x: str

    def check(self, bounds: Bounds) -> None:
        width = bounds.tensors[self.x].shape[1]
        need_vector(self, bounds.tensors, self.x, width)
        need_vector(self, bounds.tensors, self.skip, width)
        need_vector(self, bounds.tensors, self.gains, width, state=False)
        need(self.x != self.skip, self, "x and skip should be two vectors")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = [access for name in (self.x, self.skip, self.gains) for access in whole(tensors[name])]
        return [*read, *whole(tensors[self.x], write=True)]

    def run(self, arena: Arena) -> None:
        arena.put_row(self.x, arena.row(self.x) + arena.row(self.gains) * arena.row(self.skip))

    def batch(self, rows: Batch) -> None:
        rows.values[self.x] = rows.values[self.x] + rows.weight(self.gains) * rows.values[self.skip]

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        ends = [places[name].offset for name in (self.x, self.skip, self.gains)]
        return Lowered([*ends, places[self.x].tensor.shape[1]])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 2 * tensors[self.x].shape[1]


@operator("gather_hashed")
class GatherHashed(Operator):
    """x += table[hash(the last `order` tokens)]; before the start of the stream stands the token `pad`."""

    history: str
    table: str
    x: str
    order: int
    seed: int
    pad: int

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        table = tensors[self.table]
        need_vector(self, tensors, self.x, table.shape[1])
        need(1 <= self.order <= 8, self, f"order {self.order} is not in 1..8")
        need(table.kind != "state" and table.shape[0] > 0, self, f"{self.table} should be a weight with rows")
        need(is_arithmetic(table.format), self, f"{self.table} cannot be {table.format}")
        need(0 <= self.seed < 2**62 and 0 <= self.pad < 2**32, self, "seed or pad is out of range")
        need_history(self, bounds, self.history)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        x, seen = tensors[self.x], min(self.order, t)
        look = span_of(tensors[self.history], t - seen, seen)
        return [look, row_of(tensors[self.table]), *whole(x), *whole(x, write=True)]

    def run(self, arena: Arena) -> None:
        t = arena.registers.t
        seen = min(self.order, t)
        tokens = np.full(self.order, self.pad, dtype=np.uint64)
        tokens[self.order - seen :] = arena.span(self.history, t - seen, seen)
        row = int(row_index(tokens, self.seed, arena.tensor(self.table).shape[0]))
        arena.put_row(self.x, arena.row(self.x) + arena.row(self.table, row))

    def batch(self, rows: Batch) -> None:
        at_N = row_index(rows.last_tokens(self.order, self.pad), self.seed, rows.n_rows(self.table))
        rows.values[self.x] = rows.values[self.x] + rows.rows_of(self.table, at_N)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        ends = [places[self.history].offset, places[self.x].offset]
        start = (start_of(self.seed) ^ 1 << 63) - (
            1 << 63
        )  # the same 64 bits, as the signed number an operand can hold
        return Lowered([*packed(places[self.table], "decode_row"), *ends, self.order, start, self.pad])

    def flops(self, tensors: Tensors, t: int) -> int:
        return tensors[self.table].shape[1]
