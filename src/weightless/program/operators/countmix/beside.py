"""What a model with a class head says at the nodes of a tree over its classes, readable (`ops/node_odds.py`).

    above     log p of every class, which `class_full` left in the state          h    what the head's rows are times
    groups    rows of the groups of every class, in a head of three levels        words    rows of the words

Rows lie in the order of the tree: class c has the ranks c B .. (c + 1) B - 1.  While a node's tokens are of several
classes, its odds are sums over classes; below, over words of one class, whose rows are read when the walk arrives.  So
it reads what the head would read for the same token.  Float sums are rounded to 1/256 of a logit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weightless.ops.count_mixing import odds
from weightless.program.operator import (
    SCRATCH_BYTES,
    Bounds,
    Operand,
    Place,
    Tensors,
    need,
    need_matrix,
    need_vector,
    packed,
)
from weightless.program.registers import HEAD, STATE

if TYPE_CHECKING:
    from weightless.program.operators.countmix.reading import Memory

SCRATCH_BEFORE = 2048
"""Numbers of the scratch memory that the walk has for itself."""


class Level(NamedTuple):
    """Rows below the classes: each stands for `unit` ranks, those of a block of `block` ranks lie together."""

    rows: str
    unit: int
    block: int

    @property
    def per_block(self) -> int:
        return self.block // self.unit


def levels(op: Any) -> list[Level]:
    """The levels below the first, of which a head has one or two."""
    words = Level(op.word_rows, 1, op.n_words)
    return [Level(op.group_rows, op.n_words, op.n_words * op.n_groups), words] if op.group_rows else [words]


def check_beside(op: Any, bounds: Bounds) -> None:
    """Rows for all classes, groups and words there are, and room for the weights of one path."""
    tensors, names = bounds.tensors, (op.above, op.h, op.word_rows)
    need(all(names) or not any((*names, op.group_rows)), op, "a head beside the counts is named in part only")
    if not op.above:
        need(op.n_words == op.n_groups == 0, op, "sizes of a head that is not there")
        return
    need(op.n_words > 0 and (op.n_groups > 0) == bool(op.group_rows), op, "a head beside the counts without sizes")
    need(max(op.n_words, op.n_groups) <= bounds.vocab_size, op, "classes larger than the vocabulary")
    width, room = tensors[op.h].shape[1], SCRATCH_BYTES // 4 - SCRATCH_BEFORE
    need_vector(op, tensors, op.h, width)
    below = levels(op)
    n_classes = -(-bounds.vocab_size // below[0].block)
    need_vector(op, tensors, op.above, n_classes)
    need(n_classes + sum(level.per_block for level in below) <= room, op, "the head exceeds the scratch memory")
    for rows, unit, block in below:
        n = -(-bounds.vocab_size // block) * (block // unit)
        need_matrix(op, tensors, rows, n, width)
        need(not tensors[rows].by_row, op, f"{rows} should be packed tightly: parts are read as blocks")


def most_beside(op: Any, tensors: Tensors) -> tuple[int, int]:
    """(bytes of activations, bytes of rows) that a walk reads at most, or where all nodes are visited (`op.full`)."""
    if not op.above:
        return 0, 0
    moment = tensors[op.above].nbytes + tensors[op.h].nbytes
    rows = [(tensors[level.rows], level.per_block) for level in levels(op)]
    return moment, sum(tensor.row_bytes * (tensor.shape[0] if op.full else n) for tensor, n in rows)


def flops_beside(op: Any, tensors: Tensors) -> int:
    """Products with the rows of one path, or with all."""
    if not op.above:
        return 0
    rows = [(tensors[level.rows].shape, level.per_block) for level in levels(op)]
    return sum(2 * width * (n if op.full else per_block) for (n, width), per_block in rows)


def operands_beside(op: Any, places: Mapping[str, Place]) -> list[Operand]:
    """[above, classes, ranks per class, h, levels below], then per level the packed rows, ranks per row and block."""
    if not op.above:
        return []
    below = levels(op)
    (above, tensor), h = places[op.above], places[op.h].offset
    found: list[Operand] = [above, tensor.shape[1], below[0].block, h, len(below)]
    for rows, unit, block in below:
        found += [*packed(places[rows], "matvec"), unit, block]
    return found


class Head:
    """One position of the neural model: weights of the classes, and of those parts that the walk has come to."""

    def __init__(self, op: Any, memory: Memory) -> None:
        self.op, self.memory, self.levels = op, memory, levels(op)
        log_p, self.h = memory.arena.row(op.above), memory.arena.row(op.h)
        memory.spent[STATE] += 4 * (len(log_p) + len(self.h))
        self.vocab_size = memory.arena.tensor(op.rank).shape[0]
        self.above = _weights(log_p)
        self.came_to: list[tuple[int, np.ndarray]] = [(-1, self.above)] * len(self.levels)

    def odds(self, node: int, low: int, high: int) -> int:
        """ln(p right / p left) at a node of the ranks low .. high - 1, in whole 1/256."""
        unit, base, weights = self.levels[0].block, 0, self.above
        for k, level in enumerate(self.levels):
            block = low // level.block
            if block != (high - 1) // level.block:
                break
            unit, base, weights = level.unit, block * level.block, self._within(k, block)
        first, middle, end = (low - base) // unit, (node - base) // unit, -(-(high - base) // unit)
        left, right = (weights[part].sum(dtype=np.float64) for part in (slice(first, middle), slice(middle, end)))
        return odds(float(left), float(right))

    def _within(self, k: int, block: int) -> np.ndarray:
        """Weights of the parts of one block, whose rows are read once."""
        if self.came_to[k][0] != block:
            rows, unit, size = self.levels[k]
            per_block, tensor = self.levels[k].per_block, self.memory.arena.tensor(rows)
            n = min(per_block, -(-(self.vocab_size - block * size) // unit))
            scores = self.memory.arena.rows(rows, block * per_block, n) @ self.h
            self.memory.spent[HEAD] += n * tensor.row_bytes
            self.came_to[k] = block, _weights(scores - scores.max())
        return self.came_to[k][1]


def _weights(scores: np.ndarray) -> np.ndarray:
    """exp of them, float32."""
    return np.exp(scores.astype(np.float64)).astype(np.float32)
