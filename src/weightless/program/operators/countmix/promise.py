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

from weightless.base.errors import CorruptFileError
from weightless.ops.context_hashes import ContextParts, WordState, context_hash, context_parts, word_behind
from weightless.ops.count_mixing import MAX_DEPTH, N_GROUPS, N_LEVELS, probability
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
from weightless.program.operators.countmix.reading import (
    COUNTS,
    MAPS,
    MIXING,
    MOMENT,
    TREE,
    WINDOW,
    Memory,
    Reader,
    tokens_needed,
    window_place,
)
from weightless.program.operators.countmix.shape import (
    LINE,
    MIXERS,
    MOST_INPUTS,
    WINDOW_SLOT,
    Walking,
    map_sizes,
    mixer_rows,
    numbers,
    regions,
)

MOST_COUNTED = 255
ORDER = (MOMENT, COUNTS, WINDOW, MAPS, MIXING, TREE)


def packed_parts(parts: Sequence[ContextParts]) -> list[int]:
    """Contexts as operands: bits of the tokens, and above them those of the words."""
    return [part.tokens | part.words << 8 for part in parts]


@operator("countmix_window")
class CountmixWindow(Walking):
    """pairs and slots take the last token in; hashes and words of the position after it."""

    def check(self, bounds: Bounds) -> None:
        self._check_window(bounds)
        self._needs_words(self.window)

    def state_rows(self, bounds: Bounds) -> Mapping[str, int]:
        n = max(1, len(self.window_parts) * self.n_slots)
        return {self.slots: n * WINDOW_SLOT, self.pairs: 2 * bounds.vocab_size}

    def decided(self) -> Mapping[int, str]:
        return {MOMENT: self.history, WINDOW: self.pairs, TREE: self.tree}

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = bytes of activations, the window, the tree; without it what a longest path would take."""
        if not data:
            n, words = len(self.window_parts), bool(self.records)
            path = MAX_DEPTH if t > 1 else 0
            slot = 2 + 4 + 4 * self.n_followers + 6
            window = 2 * path + n * (4 + 4 + slot if t > 1 else 4) + (tensors[self.pairs].nbytes if t == 1 else 0)
            data = (4 * (t if t < 8 else 8) + 4 + 24 * words, window, 2 * path + 2 + 20 * words)
        names = (self.history, self.pairs, self.tree)
        return [Access(name, 0, n, False) for name, n in zip(names, data, strict=True) if n]

    def run(self, arena: Arena) -> tuple[int, ...]:
        memory, t = Memory(arena), arena.registers.t
        (token,) = memory.span(self.history, t - 1, 1, MOMENT)
        if t == 1:
            n = arena.tensor(self.pairs).shape[0]
            arena.put_rows(self.pairs, 0, np.zeros((n, 1), np.uint8))
            memory.spent[WINDOW] += n
        else:
            rank = memory.number(self.rank, token, TREE)
            self._enter_pairs(memory, rank)
            self._enter_lists(memory, t - 2, rank)
        state = self._words(memory, t, token) if self.records else WordState()
        self._hash(memory, t, token, state)
        return tuple(memory.spent[register] for register in (MOMENT, WINDOW, TREE))

    def _enter_pairs(self, memory: Memory, rank: int) -> None:
        """One more on every side that the path took."""
        node, low, high = self.root, 0, memory.arena.tensor(self.rank).shape[0]
        for _ in range(MAX_DEPTH):
            side = int(rank >= node)
            n = memory.byte(self.pairs, 2 * node + side, WINDOW)
            memory.put(self.pairs, 2 * node + side, [min(n + 1, MOST_COUNTED)], WINDOW)
            low, high = (node, high) if side else (low, node)
            if high - low < 2:
                return
            node = memory.child(self, node, side, low, high)
        raise CorruptFileError(f"the tree is deeper than {MAX_DEPTH}")

    def _enter_lists(self, memory: Memory, i: int, rank: int) -> None:
        """One more behind every context of the position before."""
        n, K = len(self.window_parts), self.n_followers
        for w in range(n):
            (h,) = memory.span(self.hashes, i * n + w, 1, WINDOW)
            at, holds = window_place(memory, self, w, i, h)
            counts_at = at + 2 + 2 * K
            if not holds:
                memory.put(self.slots, at, [i & 255, i >> 8, rank & 255, rank >> 8], WINDOW)
                memory.put(self.slots, counts_at, [1, *[0] * (K - 1)], WINDOW)
                continue
            self._count_follower(memory, at + 2, counts_at, rank)

    def _count_follower(self, memory: Memory, ranks_at: int, counts_at: int, rank: int) -> None:
        """`kernels.numba.count_tables.count_in`: found, free, or in the place of the last of the least frequent."""
        counts: list[int] = []
        for k in range(self.n_followers):
            n = memory.byte(self.slots, counts_at + k, WINDOW)
            if n == 0:
                memory.put(self.slots, ranks_at + 2 * k, [rank & 255, rank >> 8], WINDOW)
                memory.put(self.slots, counts_at + k, [1], WINDOW)
                return
            counts.append(n)
            if memory.pair(self.slots, ranks_at + 2 * k, WINDOW) == rank:
                self._raise(memory, ranks_at, counts_at, k, counts)
                return
        least = max(k for k in range(len(counts)) if counts[k] == min(counts))
        memory.put(self.slots, ranks_at + 2 * least, [rank & 255, rank >> 8], WINDOW)
        memory.put(self.slots, counts_at + least, [1], WINDOW)

    def _raise(self, memory: Memory, ranks_at: int, counts_at: int, k: int, counts: list[int]) -> None:
        """One more for place k, which changes places with the one ahead where it has more now."""
        n = min(counts[k] + 1, MOST_COUNTED)
        if k == 0 or n <= counts[k - 1]:
            memory.put(self.slots, counts_at + k, [n], WINDOW)
            return
        ranks = memory.peek(self.slots, ranks_at + 2 * (k - 1), 4)
        memory.put(self.slots, counts_at + k - 1, [n, counts[k - 1]], WINDOW)
        memory.put(self.slots, ranks_at + 2 * (k - 1), [*ranks[2:], *ranks[:2]], WINDOW)

    def _words(self, memory: Memory, t: int, token: int) -> WordState:
        state = WordState(*memory.span(self.words, 0, 3, MOMENT)) if t > 1 else WordState()
        record = memory.arena.rows(self.records, token, 1)[0]
        memory.spent[TREE] += 4 * len(record)
        state = word_behind(state, record)
        memory.put_span(self.words, 0, list(state), MOMENT)
        return state

    def _hash(self, memory: Memory, t: int, token: int, state: WordState) -> None:
        n = len(self.window_parts)
        if n == 0:
            return
        bits = tokens_needed(self.window_parts)
        tokens = [
            memory.span(self.history, t - back, 1, MOMENT)[0] if bits >> (back - 1) & 1 else -1
            for back in range(min(bits.bit_length(), t), 1, -1)
        ]
        found = [context_hash(parts, [*tokens, token], state) >> 32 for parts in self.window_parts]
        memory.put_span(self.hashes, (t - 1) * n, found, WINDOW)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self.window_operands(places) + packed_parts(self.window_parts))

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0

    def kept(self) -> tuple[str, ...]:
        return (self.pairs, self.slots, self.hashes, *([self.words] if self.words else []))

    def indifferent(self) -> list[tuple[str, str, int]]:
        return [(BISECTED, name, 0) for name in (self.slots, self.hashes, self.history)]


@dataclass(frozen=True)
class Path(Walking):
    """What the heads share: the fields of all that a node asks.

    dense_map, list_map, pair_map: a byte each cell.  mix_*: rows of n_inputs bytes; empty where the mixer is not in
    `mixers` ("node" has its weights in the tree).  mix_last: a byte per depth and mixer.
    """

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
        """Order 0, every context, the window's pairs, and what is always there."""
        return len(self.dense_parts) + len(self.list_parts) + len(self.window_parts) + 3

    def check(self, bounds: Bounds) -> None:
        self._check_window(bounds)
        self._needs_words(f"{self.dense} {self.listed} {self.window}")
        need(self.n_inputs <= MOST_INPUTS, self, f"{self.n_inputs} inputs are more than {MOST_INPUTS}")
        self._need_ids(bounds, self.token)
        self._check_tables(bounds)
        self._check_mixers(bounds)
        need_vector(self, bounds.tensors, self.outcome, bounds.vocab_size if self.full else 1)
        need_result(self, bounds, self.outcome, self.full)

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
            if table:
                rows = mixer_rows(name, len(self.list_parts), bounds.vocab_size)
                self._need_bytes(bounds, table, rows * self.n_inputs, "weight")
        self._need_bytes(bounds, self.mix_last, MAX_DEPTH * len(names), "weight")

    def decided(self) -> Mapping[int, str]:
        return {
            MOMENT: self.history,
            COUNTS: self.nodes,
            WINDOW: self.pairs,
            MAPS: self.list_map,
            MIXING: self.mix_last,
            TREE: self.tree,
        }

    def slot_tables(self) -> tuple[str, str]:
        return self.rank, self.token

    def result(self) -> str:
        return self.outcome

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = bytes by register, in the order of ORDER, without the outcome; without it at most."""
        names = [self.decided()[register] for register in ORDER]
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
        window = n_window * (4 + 2 + 4 + 3 * self.n_followers) + 2 * nodes
        if self.full:
            maps = sum(tensors[name].nbytes for name in (self.dense_map, self.list_map, self.pair_map))
            tables = [name for name in (self.mix_depth, self.mix_confidence, self.mix_input, self.mix_last) if name]
            mixing = sum(tensors[name].nbytes for name in tables) + N_GROUPS * n
        else:
            maps, mixing = (n - 2) * nodes, m * (n + 1) * nodes
        return moment, counts, window, maps, mixing, 2 * vocab_size + nodes * (4 + 1 + n) + 2 * groups

    def flops(self, tensors: Tensors, t: int) -> int:
        """Multiply-adds of the mixers on a path of the balanced length."""
        nodes = tensors[self.rank].shape[0] - 1 if self.full else (tensors[self.rank].shape[0] - 1).bit_length()
        m = len(self.mixer_names)
        return 2 * nodes * m * (self.n_inputs + (1 if m > 1 else 0))

    def indifferent(self) -> list[tuple[str, str, int]]:
        searched = (self.nodes, self.lists, self.slots, self.hashes, self.history)
        maps = (self.dense_map, self.list_map, self.pair_map)
        return [*((BISECTED, name, 0) for name in searched), *((WEIGHTLESS, name, 0) for name in maps)]

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        names = (self.token, self.nodes, self.lists, self.dense_map, self.list_map, self.pair_map)
        mixing = (self.mix_depth, self.mix_confidence, self.mix_input, self.mix_token)
        at = [places[name].offset for name in names]
        at += [places[name].offset if name else -1 for name in mixing] + [places[self.mix_last].offset]
        sizes = [self.node_bits, self.list_bits, len(self.dense_parts), len(self.list_parts)]
        sizes += [sum(1 << MIXERS.index(name) for name in self.mixer_names), places[self.outcome].offset]
        parts = packed_parts([*self.dense_parts, *self.list_parts])
        lines = regions(self.node_line_numbers + self.list_line_numbers)
        lines[len(self.node_line_numbers) :, 0] -= sum(self.node_line_numbers)
        return Lowered(self.window_operands(places) + at + sizes + parts + lines.reshape(-1).tolist())


@operator("countmix_score")
class CountmixScore(Path):
    """outcome = -log p(target)."""

    def run(self, arena: Arena) -> tuple[int, ...]:
        reader = Reader(self, arena)
        rank = reader.memory.number(self.rank, arena.registers.target, TREE)
        nats = 0.0
        for _, p in _walk(self, reader, lambda node, p: rank >= node):
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

        for _ in _walk(self, reader, side):
            pass
        return _left(self, reader, np.array([reader.memory.number(self.token, at, TREE)]))


@operator("countmix_full")
class CountmixFull(Path):
    """outcome (1, V) = p of every token."""

    full: ClassVar[bool] = True

    def run(self, arena: Arena) -> tuple[int, ...]:
        reader, memory = Reader(self, arena, shared_is_whole=True), None
        memory = reader.memory
        vocab_size = arena.tensor(self.rank).shape[0]
        p_V = np.zeros(vocab_size)
        waiting = [(self.root, 0, vocab_size, 0, 1, 1.0)]
        while waiting:
            node, low, high, depth, place, p = waiting.pop()
            right = probability(reader.logit(node, low, high, depth, place))
            place = 1 if (depth + 1) % N_LEVELS == 0 else 2 * place
            for side, (first, end), share in ((1, (node, high), right), (0, (low, node), 1 - right)):
                if end - first < 2:
                    p_V[memory.number(self.token, first, TREE)] = p * share
                else:
                    child = memory.child(self, node, side, first, end)
                    waiting.append((child, first, end, depth + 1, place + (side if place > 1 else 0), p * share))
        return _left(self, reader, p_V)


def _walk(op, reader, side):  # type: ignore[no-untyped-def]
    """(node, P of the side taken) from the root to a token; side(node, P(right)) says where to go."""
    node, low, high, depth, place = op.root, 0, reader.vocab_size, 0, 1
    while True:
        p = probability(reader.logit(node, low, high, depth, place))
        right = bool(side(node, p))
        yield node, p if right else 1 - p
        low, high = (node, high) if right else (low, node)
        if high - low < 2:
            return
        depth += 1
        place = 1 if depth % N_LEVELS == 0 else 2 * place + right
        node = reader.memory.child(op, node, int(right), low, high)


def _left(op: Path, reader: Reader, values: np.ndarray) -> tuple[int, ...]:
    """Store the outcome; the bytes by register."""
    memory = reader.memory
    memory.arena.put_row(op.outcome, values.astype(np.float32))
    return tuple(memory.spent[register] for register in ORDER)
