"""Count mixing as operators: the window's own counts in the body, a walk through the tree in every head.

countmix_window    enter the last token into the window's counts; hash its contexts; words       (once per token)
countmix_score     nats = -sum over the path of log P(the side that the target is on)
countmix_sample    at every node the side that a random number falls to; the token at the end    (the same walk)
countmix_full      both sides of every node

P is a multiple of 2^-22 and both sides of a node add up to 1, so the distribution is normalised exactly.  A walk is one
operator, as a binary search is: nothing is read twice, and no layer is passed.  Scoring and drawing read the same bytes
for the same token.  What is read hangs on the data: `data` are bytes by register (`reading.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from weightless.ops.context_hashes import ContextParts, context_parts
from weightless.ops.count_layout import (
    LINE,
    MIXERS,
    MOST_INPUTS,
    RANKS,
    map_sizes,
    mixer_bytes,
    regions,
    tree_line,
)
from weightless.ops.count_mixing import MAX_DEPTH, N_GROUPS, probability
from weightless.program.arena import Arena
from weightless.program.operator import (
    BISECTED,
    WEIGHTLESS,
    Access,
    Bounds,
    Lowered,
    Place,
    Tensors,
    need,
    need_result,
    need_vector,
    operator,
    whole,
)
from weightless.program.operators.countmix.beside import check_beside, flops_beside, most_beside, operands_beside
from weightless.program.operators.countmix.reading import (
    COUNTS,
    MAPS,
    MIXING,
    MOMENT,
    TREE,
    WINDOW,
    Reader,
)
from weightless.program.operators.countmix.shape import Walking, numbers, packed_parts
from weightless.program.registers import HEAD

ORDER = (MOMENT, COUNTS, WINDOW, MAPS, MIXING, TREE)


@dataclass(frozen=True)
class Path(Walking):
    """What the heads share: the fields of all that a node asks.

    dense, listed: contexts by name, with a space between; mixers likewise.  node_lines: lines of every dense context
    and group; list_lines: of every list.  node_bits, list_bits: of the hashes that choose a line.
    dense_map, list_map, pair_map: a byte each cell.  mix_*: rows of n_inputs bytes; empty where the mixer is not in
    `mixers` ("node" has its weights in the tree).  mix_last: a byte per depth and mixer.

    above .. n_words: the head of a neural model that is asked, too (`beside.py`): classes of n_words tokens, or of
    n_groups groups of so many; empty where there is none.
    """

    tree: str
    rank: str
    root: int
    token: str
    nodes: str
    lists: str
    dense: str
    listed: str
    node_lines: str
    list_lines: str
    node_bits: int
    list_bits: int
    dense_map: str
    list_map: str
    pair_map: str
    mixers: str
    mix_depth: str
    mix_confidence: str
    mix_input: str
    mix_token: str
    mix_last: str
    outcome: str
    above: str = ""
    h: str = ""
    group_rows: str = ""
    word_rows: str = ""
    n_groups: int = 0
    n_words: int = 0
    full: ClassVar[bool] = False

    @cached_property
    def dense_parts(self) -> list[ContextParts]:
        return [context_parts(name) for name in self.dense.split()]

    @cached_property
    def list_parts(self) -> list[ContextParts]:
        return [context_parts(name) for name in self.listed.split()]

    @cached_property
    def mixer_names(self) -> list[str]:
        return self.mixers.split()

    @cached_property
    def node_line_numbers(self) -> list[int]:
        return numbers(self.node_lines)

    @cached_property
    def list_line_numbers(self) -> list[int]:
        return numbers(self.list_lines)

    @property
    def n_inputs(self) -> int:
        """Order 0, every context, the window's pairs, what is always there, and a neural model."""
        return len(self.dense_parts) + len(self.list_parts) + len(self.window_parts) + 3 + bool(self.above)

    @property
    def order(self) -> tuple[int, ...]:
        """The registers that its bytes are counted in."""
        return (*ORDER, HEAD) if self.above else ORDER

    @property
    def bias(self) -> int:
        """Which input is always there."""
        return len(self.dense_parts) + len(self.list_parts) + len(self.window_parts) + 2

    def check(self, bounds: Bounds) -> None:
        self._check_window(bounds)
        check_beside(self, bounds)
        self._needs_words(f"{self.dense} {self.listed} {self.window}")
        need(self.n_inputs <= MOST_INPUTS, self, f"{self.n_inputs} inputs are more than {MOST_INPUTS}")
        for name in (self.rank, self.token):
            self._need_ids(bounds, name)
        for name, size in self.sizes_of_weights(bounds.vocab_size, self.n_inputs).items():
            self._need_bytes(bounds, name, size, "weight")
        need(0 < self.root < bounds.vocab_size, self, f"a root of {self.root} is none")
        self._check_tables(bounds)
        self._check_mixers(bounds)
        need_vector(self, bounds.tensors, self.outcome, bounds.vocab_size if self.full else 1)
        need_result(self, bounds, self.outcome, self.full)

    def sizes_of_weights(self, vocab_size: int, n: int) -> dict[str, int]:
        """{tensor: its bytes} of all that has weights, for n inputs."""
        tables = {name: getattr(self, f"mix_{name}", "") for name in MIXERS}
        n_lists = len(self.list_parts)
        found = {table: mixer_bytes(name, n_lists, vocab_size, n) for name, table in tables.items() if table}
        return {self.tree: tree_line(n) * vocab_size, **found}

    def _check_tables(self, bounds: Bounds) -> None:
        for text, wanted, name, bits in (
            (self.node_lines, N_GROUPS * len(self.dense_parts), self.nodes, self.node_bits),
            (self.list_lines, len(self.list_parts), self.lists, self.list_bits),
        ):
            words = text.split()
            fits = len(words) == wanted and all(word.isascii() and word.isdigit() and len(word) < 10 for word in words)
            need(fits, self, f"{wanted} numbers of lines are needed for {name}")
            need(1 <= bits <= 28, self, f"{bits} bits of a hash are not in 1..28")
            self._need_bytes(bounds, name, LINE * max(1, sum(map(int, words))), "weight")
        sizes = map_sizes(len(self.dense_parts), len(self.list_parts) + len(self.window_parts))
        for name, size in zip((self.dense_map, self.list_map, self.pair_map), sizes, strict=True):
            self._need_bytes(bounds, name, size, "weight")

    def _check_mixers(self, bounds: Bounds) -> None:
        names = self.mixer_names
        known = bool(names) and names == [name for name in MIXERS if name in names]
        need(known, self, f"mixers {self.mixers!r:.60} should be some of {' '.join(MIXERS)}, in this order")
        for name in MIXERS:
            table = getattr(self, f"mix_{name}", "")
            need(bool(table) == (name in names and name != "node"), self, f"mix_{name} and the mixers disagree")
        self._need_bytes(bounds, self.mix_last, MAX_DEPTH * len(names), "weight")

    def decided(self) -> Mapping[int, str]:
        return {
            MOMENT: self.history,
            COUNTS: self.nodes,
            WINDOW: self.pairs,
            MAPS: self.list_map,
            MIXING: self.mix_last,
            TREE: self.tree,
            **({HEAD: self.word_rows} if self.above else {}),
        }

    def slot_tables(self) -> tuple[str, str]:
        return self.rank, self.token

    def result(self) -> str:
        return self.outcome

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = bytes by register, in this `order`, without the outcome; without it at most."""
        names = [self.decided()[register] for register in self.order]
        data = data or self._most(tensors, t)
        read = [Access(name, 0, n, False) for name, n in zip(names, data, strict=True) if n]
        return [*read, *whole(tensors[self.outcome], write=True)]

    def _most(self, tensors: Tensors, t: int) -> tuple[int, ...]:
        """What the longest path reads where every context is known, or all paths."""
        n_dense, n_lists, n_window = len(self.dense_parts), len(self.list_parts), len(self.window_parts)
        vocab_size, n, m = tensors[self.rank].shape[0], self.n_inputs, len(self.mixer_names)
        nodes = vocab_size - 1 if self.full else MAX_DEPTH
        groups = nodes if self.full else N_GROUPS
        moment = 4 * min(t, 8) + 12 + 4
        counts = n_dense * (4 * groups + nodes) + n_lists * (4 + 3 + 12)
        window = n_window * (RANKS + 4 + 3 * self.n_followers) + 2 * nodes
        if self.full:
            maps = sum(tensors[name].nbytes for name in (self.dense_map, self.list_map, self.pair_map))
            tables = [name for name in (self.mix_depth, self.mix_confidence, self.mix_input, self.mix_last) if name]
            mixing = sum(tensors[name].nbytes for name in tables) + N_GROUPS * n
        else:
            maps, mixing = (n - 2) * nodes, m * (n + 1) * nodes
        tree = 2 * vocab_size + nodes * (4 + 1 + n) + 2 * groups
        said, rows = most_beside(self, tensors)
        most = (moment + said, counts, window, maps, mixing, tree)
        return (*most, rows) if self.above else most

    def flops(self, tensors: Tensors, t: int) -> int:
        """Multiply-adds of the mixers on a path of the balanced length."""
        nodes = tensors[self.rank].shape[0] - 1 if self.full else (tensors[self.rank].shape[0] - 1).bit_length()
        m = len(self.mixer_names)
        return 2 * nodes * m * (self.n_inputs + (1 if m > 1 else 0)) + flops_beside(self, tensors)

    def rounds(self) -> bool:
        """What a neural head says, to 1/256 of a logit."""
        return bool(self.above)

    def indifferent(self) -> list[tuple[str, str, int]]:
        searched = (self.nodes, self.lists, self.slots, self.hashes, self.history)
        maps = [self.dense_map, self.list_map, self.pair_map]
        maps += [name for name in (self.above, self.h, self.group_rows, self.word_rows) if name]
        return [*((BISECTED, name, 0) for name in searched), *((WEIGHTLESS, name, 0) for name in maps)]

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        names = (self.tree, self.rank, self.token, self.nodes, self.lists)
        names = (*names, self.dense_map, self.list_map, self.pair_map)
        mixing = (self.mix_depth, self.mix_confidence, self.mix_input, self.mix_token)
        at = [places[name].offset for name in names]
        at += [places[name].offset if name else -1 for name in mixing] + [places[self.mix_last].offset]
        sizes = [self.root, self.node_bits, self.list_bits, len(self.dense_parts), len(self.list_parts)]
        sizes += [sum(1 << MIXERS.index(name) for name in self.mixer_names), places[self.outcome].offset]
        beside = operands_beside(self, places)
        parts = packed_parts([*self.dense_parts, *self.list_parts, *self.window_parts])
        lines = regions(self.node_line_numbers + self.list_line_numbers)
        lines[len(self.node_line_numbers) :, 0] -= sum(self.node_line_numbers)
        before = [*self.window_operands(places), *at, *sizes]
        rest = [*parts, *lines.reshape(-1).tolist()]
        return Lowered([*before, len(before) + 1 + len(rest) if beside else -1, *rest, *beside])


@operator("countmix_score")
class CountmixScore(Path):
    """outcome = -log p(target)."""

    def run(self, arena: Arena) -> tuple[int, ...]:
        reader = Reader(self, arena)
        rank = reader.memory.number(self.rank, arena.registers.target, TREE)
        nats = 0.0
        for p in walk_tree(self, reader, lambda node, p: rank >= node):
            nats -= math.log(p)
        return _left(self, reader, np.array([nats]))


@operator("countmix_sample")
class CountmixSample(Path):
    """outcome = the token that uniform number 0 falls to."""

    def run(self, arena: Arena) -> tuple[int, ...]:
        reader, u, at = Reader(self, arena), float(arena.registers.uniforms[0]), 0

        def side(node: int, p: float) -> bool:
            nonlocal u, at
            right = u < p
            u = u / p if right else (u - p) / (1 - p)
            at = node if right else at
            return right

        for _ in walk_tree(self, reader, side):
            pass
        return _left(self, reader, np.array([reader.memory.number(self.token, at, TREE)]))


@operator("countmix_full")
class CountmixFull(Path):
    """outcome (1, V) = p of every token."""

    full: ClassVar[bool] = True

    def run(self, arena: Arena) -> tuple[int, ...]:
        reader, memory = Reader(self, arena, shared_is_whole=True), None
        memory = reader.memory
        p_V = np.zeros(reader.vocab_size)
        waiting = [(reader.root(), 1.0)]
        while waiting:
            at, p = waiting.pop()
            right = probability(reader.logit(at))
            for side, share in ((1, right), (0, 1 - right)):
                first, end = at.ends(side)
                if end - first < 2:
                    p_V[memory.number(self.token, first, TREE)] = p * share
                else:
                    waiting.append((at.below(self, memory, side), p * share))
        return _left(self, reader, p_V)


def walk_tree(op, reader, side):  # type: ignore[no-untyped-def]
    """P of the side taken, from the root to a token; side(node, P(right)) says where to go."""
    at = reader.root()
    while True:
        p = probability(reader.logit(at))
        right = bool(side(at.node, p))
        yield p if right else 1 - p
        first, end = at.ends(right)
        if end - first < 2:
            return
        at = at.below(op, reader.memory, int(right))


def _left(op: Path, reader: Reader, values: np.ndarray) -> tuple[int, ...]:
    """Store the outcome; the bytes by register."""
    memory = reader.memory
    memory.arena.put_row(op.outcome, values.astype(np.float32))
    return tuple(memory.spent[register] for register in op.order)
