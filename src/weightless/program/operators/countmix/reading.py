"""Count mixing, readable: one position of a packed model, byte by byte through the arena.

    reader = Reader(operator, arena)        contexts, found lists, slots of the window
    reader.logit(spot)                      what all inputs say at one node of the tree, in 1/256

The page to follow with a pencil: `logit` asks order 0, every dense context, every list, the window's pairs, turns
each answer into an input, and adds them up with the weights that the situation selects (`ops.count_mixing`).
Every byte that is read is counted where it belongs, `spent` by register of traffic.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.ops.context_hashes import WordState, context_hash
from weightless.ops.count_layout import (
    CHECK,
    LEFT,
    LINE,
    ORDER0,
    PLACE,
    RANKS,
    SLOT,
    WEIGHTS,
    WINDOW_SLOT,
    confidence_row,
    heap_place,
    input_at,
    list_cell,
    pair_at,
    pair_cell,
    regions,
    row_at,
    token_row,
    tree_line,
)
from weightless.ops.count_mixing import (
    BIAS,
    EXACT_CODES,
    LAST_SHIFT,
    LIST_COUNTS,
    MAP_STEP,
    MAX_DEPTH,
    MIDDLE,
    N_CONFIDENCES,
    N_GROUPS,
    N_LEVELS,
    N_SPREADS,
    WEIGHT_SHIFT,
    confidence,
    count_class,
    mixed,
    node_of_code,
    sureness,
)
from weightless.program.arena import Arena
from weightless.program.operators.countmix.beside import Head
from weightless.program.registers import CONTEXT_INDEX, PROBABILITY, STATE, SUFFIX, TEXT, WORD_INDEX

MOMENT, COUNTS, WINDOW, MAPS, MIXING, TREE = STATE, CONTEXT_INDEX, WORD_INDEX, PROBABILITY, SUFFIX, TEXT
"""Which register counts what: activations, packed tables, the window's counts, maps, weights, the tree and words."""


class Followers(NamedTuple):
    """Ranks and counts, most frequent first."""

    ranks: np.ndarray
    counts: np.ndarray


class Memory:
    """Bytes and numbers of an arena, with what they cost."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.spent: Counter[int] = Counter()

    def byte(self, name: str, at: int, register: int) -> int:
        self.spent[register] += 1
        return int(self.arena.rows(name, at, 1)[0, 0])

    def bytes(self, name: str, at: int, n: int, register: int) -> np.ndarray:
        self.spent[register] += n
        return self.arena.rows(name, at, n)[:, 0].astype(np.int64)

    def pair(self, name: str, at: int, register: int) -> int:
        """A u16 of a column of bytes."""
        low, high = self.bytes(name, at, 2, register)
        return int(low | high << 8)

    def number(self, name: str, row: int, register: int) -> int:
        """A u16 of a column of numbers."""
        self.spent[register] += 2
        return int(self.arena.rows(name, row, 1)[0, 0])

    def span(self, name: str, first: int, n: int, register: int) -> list[int]:
        """u32 of a row."""
        self.spent[register] += 4 * n
        return [int(value) for value in self.arena.span(name, first, n)]

    def put(self, name: str, at: int, values: list[int], register: int) -> None:
        """Write bytes of a column."""
        self.spent[register] += len(values)
        self.arena.put_rows(name, at, np.array(values, np.uint8)[:, None])

    def peek(self, name: str, at: int, n: int) -> list[int]:
        """Bytes that this operator has read already."""
        return [int(value) for value in self.arena.rows(name, at, n)[:, 0]]

    def put_span(self, name: str, first: int, values: list[int], register: int) -> None:
        """Write u32 of a row."""
        self.spent[register] += 4 * len(values)
        self.arena.put_span(name, first, np.array(values, np.uint32))

    def whole(self, name: str, at: int, register: int) -> int:
        """A u32 of a column of bytes."""
        return sum(int(byte) << 8 * k for k, byte in enumerate(self.bytes(name, at, 4, register)))


class Spot(NamedTuple):
    """A node on the way, with the ranks low .. high - 1 below it.

    path: a one, then the sides from the root on.  home: the node of an even depth in whose line of the tree it lies.
    """

    node: int
    low: int
    high: int
    depth: int
    path: int
    home: int

    @property
    def member(self) -> int:
        """Which of the three in its line: the node of even depth, its left child, its right one."""
        return 1 + (self.path & 1) if self.depth % 2 else 0

    def ends(self, side: int) -> tuple[int, int]:
        """The ranks on a side, first and end."""
        return (self.node, self.high) if side else (self.low, self.node)

    def below(self, op: Any, memory: Memory, side: int) -> Spot:
        """The node on a side of several tokens, which must lie inside its ends."""
        low, high = self.ends(side)
        at = tree_line(op.n_inputs) * self.home + LEFT + 4 * self.member + 2 * side
        child = memory.pair(op.tree, at, TREE)
        if not low < child < high:
            raise CorruptFileError(f"node {self.node} of the tree has a child {child} outside its own tokens")
        home = self.home if self.depth % 2 == 0 else child
        return Spot(child, low, high, self.depth + 1, 2 * self.path + side, home)


class Words(NamedTuple):
    """What a context is made of: the last tokens, oldest first, and the words."""

    tokens: list[int]
    state: WordState


def tokens_needed(parts: list[Any]) -> int:
    """Bit i: a context needs the token i + 1 back."""
    bits = 0
    for part in parts:
        bits |= part.tokens
    return bits


def context_of(op: Any, memory: Memory, t: int, parts: list[Any]) -> Words:
    """Read what contexts of these parts need at position t."""
    bits = tokens_needed(parts)
    tokens = []
    for back in range(bits.bit_length(), 0, -1):
        if back <= t:
            wanted = bits >> (back - 1) & 1
            tokens.append(memory.span(op.history, t - back, 1, MOMENT)[0] if wanted else -1)
    state = WordState()
    if any(part.words for part in parts):
        state = WordState(*memory.span(op.words, 0, 3, MOMENT))
    return Words(tokens, state)


def window_place(memory: Memory, op: Any, w: int, i: int, h: int) -> tuple[int, bool]:
    """(byte of the slot of the window's context w at index i, whether it holds this context)."""
    at = (w * op.n_slots + (h * op.n_slots >> 32)) * WINDOW_SLOT
    made, n = memory.pair(op.slots, at, WINDOW), len(op.window_parts)
    if made >= i or memory.byte(op.slots, at + CHECK, WINDOW) != h & 255:
        return at, False
    return at, memory.span(op.hashes, made * n + w, 1, WINDOW)[0] == h


class Reader:
    """One position: everything that does not hang on the node."""

    def __init__(self, op: Any, arena: Arena, shared_is_whole: bool = False) -> None:
        self.op, self.memory = op, Memory(arena)
        self.t, self.vocab_size = arena.registers.t, arena.tensor(op.rank).shape[0]
        self.whole = shared_is_whole
        self.head = Head(op, self.memory) if op.above else None
        op_parts = [*op.dense_parts, *op.list_parts, *op.window_parts]
        said = context_of(op, self.memory, self.t, op_parts)
        self.hashes = [context_hash(parts, said.tokens, said.state) for parts in op_parts]
        self.token = self.memory.span(op.history, self.t - 1, 1, MOMENT)[0]
        if any(parts.tokens & 1 for parts in op_parts):
            self.memory.spent[MOMENT] -= 4  # it was read among the context's
        n_dense, n_static = len(op.dense_parts), len(op.dense_parts) + len(op.list_parts)
        self.lists = [self._list(j, h) for j, h in enumerate(self.hashes[n_dense:n_static])]
        self.lists += [self._window_list(w, h >> 32) for w, h in enumerate(self.hashes[n_static:])]
        self.slots = [[-1] * n_dense for _ in range(N_GROUPS)]
        if shared_is_whole:
            self._read_whole()

    def root(self) -> Spot:
        """Where every walk begins."""
        return Spot(self.op.root, 0, self.vocab_size, 0, 1, self.op.root)

    def _read_whole(self) -> None:
        """Where all nodes are visited, what they share is read once."""
        op, memory = self.op, self.memory
        shared = [(op.dense_map, MAPS), (op.list_map, MAPS), (op.pair_map, MAPS), (op.mix_last, MIXING)]
        shared += [(name, MIXING) for name in (op.mix_depth, op.mix_confidence, op.mix_input) if name]
        for name, register in shared:
            memory.bytes(name, 0, memory.arena.tensor(name).shape[0], register)
        for group in range(N_GROUPS if op.mix_token else 0):
            memory.bytes(op.mix_token, self._token_at(group), op.n_inputs, MIXING)

    def _token_at(self, group: int) -> int:
        return row_at(token_row(self.token, group, self.vocab_size), self.op.n_inputs)

    def _shared(self, name: str, at: int, register: int) -> int:
        if self.whole:
            return int(self.memory.arena.rows(name, at, 1)[0, 0])
        return self.memory.byte(name, at, register)

    def _list(self, j: int, h: int) -> Followers:
        first, n_lines = regions(self.op.list_line_numbers)[j]
        nothing = Followers(np.zeros(0, np.int64), np.zeros(0, np.int64))
        if n_lines == 0:
            return nothing
        bits = self.op.list_bits
        line = int(first) + ((h >> (64 - bits)) * int(n_lines) >> bits)
        check = max(1, h & 0xFFFF) % 255 + 1
        for way in range(LINE // SLOT):
            at = LINE * line + SLOT * way
            if self.memory.byte(self.op.lists, at, COUNTS) == check:
                packed = self.memory.bytes(self.op.lists, at + 1, 3, COUNTS)
                codes = [int(packed[k // 2]) >> 4 * (k & 1) & 15 for k in range(6)]
                n = codes.index(0) if 0 in codes else 6
                ranks = self.memory.bytes(self.op.lists, at + 4, 2 * n, COUNTS).reshape(n, 2)
                return Followers(
                    ranks[:, 0] | ranks[:, 1] << 8, np.array([LIST_COUNTS[c] for c in codes[:n]], np.int64)
                )
        return nothing

    def _window_list(self, w: int, h: int) -> Followers:
        op = self.op
        at, holds = window_place(self.memory, op, w, self.t - 1, h)
        ranks, counts = [], []
        for k in range(op.n_followers if holds else 0):
            count = self.memory.byte(op.slots, at + RANKS + 2 * op.n_followers + k, WINDOW)
            if count == 0:
                break
            ranks.append(self.memory.pair(op.slots, at + RANKS + 2 * k, WINDOW))
            counts.append(count)
        return Followers(np.array(ranks, np.int64), np.array(counts, np.int64))

    def logit(self, at: Spot) -> int:
        """Everything at one node."""
        node, low, high, depth, _, _ = at
        if depth >= MAX_DEPTH:
            raise CorruptFileError(f"the tree is deeper than {MAX_DEPTH}")
        order0 = self.memory.byte(self.op.tree, tree_line(self.op.n_inputs) * at.home + ORDER0 + at.member, TREE)
        x, sure = [(order0 - MIDDLE) * MAP_STEP], [0]
        for c in range(len(self.op.dense_parts)):
            self._add(x, sure, *self._dense(c, node, depth, heap_place(at.path, depth, N_LEVELS)))
        deepest = 0
        for j, followers in enumerate(self.lists):
            there = (followers.ranks >= low) & (followers.ranks < high)
            if there.any() and j < len(self.op.list_parts):
                deepest = j + 1
            self._add(x, sure, *self._followers(j, node, depth, followers, there))
        self._add(x, sure, *self._pair(at))
        self._add(x, sure, BIAS, 0)
        if self.head is not None:
            said = self.head.odds(node, low, high)
            self._add(x, sure, said, sureness(said))
        return self._mixed(at, deepest, x, sure)

    @staticmethod
    def _add(x: list[int], sure: list[int], logit: int, confidence_: int) -> None:
        x.append(logit)
        sure.append(confidence_)

    def _map(self, name: str, cell: int) -> int:
        return (self._shared(name, cell, MAPS) - MIDDLE) * MAP_STEP

    def _dense(self, c: int, node: int, depth: int, place: int) -> tuple[int, int]:
        """(input, confidence) of a dense context."""
        group = depth // N_LEVELS
        if depth % N_LEVELS == 0:
            self.slots[group][c] = self._slot(c, node, group)
        at = self.slots[group][c]
        code = self.memory.byte(self.op.nodes, at + place, COUNTS) if at >= 0 else 0
        if code == 0:
            return 0, 0
        sure, logit = node_of_code(code)
        if code <= EXACT_CODES:
            logit = self._map(self.op.dense_map, (c * MAX_DEPTH + depth) * EXACT_CODES + code - 1)
        return logit, sure

    def _slot(self, c: int, node: int, group: int) -> int:
        first, n_lines = (int(v) for v in regions(self.op.node_line_numbers)[c * N_GROUPS + group])
        if c == 0:
            self.number = self.memory.pair(self.op.tree, tree_line(self.op.n_inputs) * node + PLACE, TREE)
        if n_lines == 0:
            return -1
        h, bits = self.hashes[c], self.op.node_bits
        line = first + ((h >> (64 - bits)) * n_lines // (1 << bits) + self.number) % n_lines
        check = (h & 0x1FF) % 255 + 1
        for way in range(LINE // SLOT):
            if self.memory.byte(self.op.nodes, LINE * line + SLOT * way, COUNTS) == check:
                return LINE * line + SLOT * way
        return -1

    def _followers(self, j: int, node: int, depth: int, followers: Followers, there: np.ndarray) -> tuple[int, int]:
        if not there.any():
            return 0, 0
        right = int(followers.counts[there & (followers.ranks >= node)].sum())
        left = int(followers.counts[there].sum()) - right
        spread = min(len(followers.ranks), N_SPREADS) - 1
        fewer, more = sorted((count_class(left), count_class(right)))
        cell = list_cell(j, depth, spread, fewer, more, int(count_class(right) > count_class(left)))
        sure = count_class(left + right)
        if left == 0 or right == 0:
            sure = min(sure + 2, N_CONFIDENCES - 1)
        return self._map(self.op.list_map, cell), sure

    def _pair(self, at: Spot) -> tuple[int, int]:
        first = 2 * pair_at(at.path, at.depth, at.node)
        left, right = (int(v) for v in self.memory.bytes(self.op.pairs, first, 2, WINDOW))
        if left + right == 0:
            return 0, 0
        cell = pair_cell(at.depth, confidence(left), confidence(right))
        return self._map(self.op.pair_map, cell), confidence(left + right)

    def _mixed(self, at: Spot, deepest: int, x: list[int], sure: list[int]) -> int:
        op, n, sums = self.op, self.op.n_inputs, []
        n_dense, depth = len(op.dense_parts), at.depth
        rows = {
            "node": tree_line(n) * at.home + WEIGHTS + n * at.member,
            "depth": row_at(deepest * MAX_DEPTH + depth, n),
            "confidence": row_at(confidence_row(depth, sure[n_dense], sure[max(n_dense - 1, 0)]), n),
            "token": self._token_at(depth // N_LEVELS),
        }
        if op.mix_token and not self.whole and depth % N_LEVELS == 0:
            self.memory.bytes(op.mix_token, rows["token"], n, MIXING)
        for name in op.mixer_names:
            weights = [self._weight(name, depth, rows.get(name, 0), k, sure[k]) if x[k] else 0 for k in range(n)]
            sums.append(mixed(x, weights, WEIGHT_SHIFT))
        m = len(op.mixer_names)
        if self.whole:
            last = self.memory.arena.rows(op.mix_last, depth * m, m)[:, 0].astype(np.int64)
        else:
            last = self.memory.bytes(op.mix_last, depth * m, m, MIXING)
        return mixed(sums, [int(v) - MIDDLE for v in last], LAST_SHIFT)

    def _weight(self, name: str, depth: int, at: int, k: int, sure: int) -> int:
        """Input k's weight; `at`: where the row begins that the situation selects."""
        op = self.op
        if name == "node":
            return self.memory.byte(op.tree, at + k, TREE) - MIDDLE
        if name == "token":
            return int(self.memory.arena.rows(op.mix_token, at + k, 1)[0, 0]) - MIDDLE
        if name == "input":
            return self._shared(op.mix_input, input_at(k, depth, sure, op.bias), MIXING) - MIDDLE
        return self._shared(getattr(op, f"mix_{name}"), at + k, MIXING) - MIDDLE
