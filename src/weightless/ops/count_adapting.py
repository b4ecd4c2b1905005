"""Count mixing that goes on counting while it is scored, readable: score a token, then learn from it.

A packed model is only read.  What is counted anew stands beside it in tables that grow, as they did in training, and is
asked first; a slot of nodes or a list is copied there when it is first changed:

    score    nats of the token along its path, with everything as it stands
    learn    along the path again, node by node:  w_mi += rate (y - squash(s_m)) x_i     v_m += rate (y - P) s_m
             counters of the dense contexts     p += (y - p) / (min(n, SLOWEST) + 1.5)   n += 1
             order 0                            p += (y - p) / (ORDER0_SLOWEST + 1.5)
             lists                              the token TIMES more
             the window                         as in a frozen model
    maps stay what they are: that they learn changed nothing (docs/count_mixing.md)

`adapt` is what `kernels.numba.count_adapting.adapt_window` does, on the same arrays, bit for bit.  Every number is read
and written through a `Column`, which counts its bytes: where the compiled pass adds up what it knows that it touches,
this one cannot touch anything unseen.  A number that is needed twice in one walk is read once, where the walk keeps it.

Errors: none; arguments are the compiled pass's own.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from weightless.ops.adapted_counters import (
    APART,
    FRESH,
    LEARNING,
    LISTED,
    MOST_IN_WINDOW,
    MOST_LISTED,
    NODES,
    ORDER0_SLOWEST,
    PACKED_LISTED,
    SCORING,
    SLOWEST,
    TIMES,
    WAYS,
    Column,
    Spent,
    count_often,
    counter_of_logit,
    followers_of,
    nudged,
    unpacked,
    way_of,
)
from weightless.ops.count_mixing import (
    BIAS,
    EXACT_CODES,
    LARGEST_N,
    LIMIT,
    LIST_COUNTS,
    MAX_DEPTH,
    N_BITS,
    N_CLASSES,
    N_CONFIDENCES,
    N_GROUPS,
    N_LEVELS,
    N_SPREADS,
    ONE_P,
    P_BITS,
    RATE_BITS,
    WEIGHT_BITS,
    confidence,
    count_class,
    mixed,
    node_of_code,
)

KINDS = ("depth", "node", "confidence", "input", "token")


class Asked(NamedTuple):
    """Followers of one list: its slot, the packed one's, its place among the inputs, [(rank, count)]."""

    slot: int
    packed: int
    followers: list[tuple[int, int]]


class Model:
    """Tables, what is learned, what is counted anew, as the compiled pass has them, and the rates."""

    def __init__(self, n_lists: int, tree: Any, tables: Any, learned: Any, own: Any, rates: Any) -> None:
        spent = self.spent = Spent()
        self.tree, self.tables, self.learned, self.own = tree, tables, learned, own
        self.rates = int(rates[0]), int(rates[1])
        self.n_dense, self.n_lists, self.n_window = len(own.slot), n_lists, len(tables.window)
        self.n, self.m = learned.weights.shape[1], len(learned.kinds)
        self.nodes, self.order0 = Column(own.nodes, 4, spent), Column(own.order0, 4, spent)
        self.lists = [Column(part, 4, spent) for part in own.lists]
        self.packed_nodes, self.packed_lists = Column(tables.nodes, 1, spent), Column(tables.lists, 1, spent)
        self.packed_order0 = Column(learned.order0, 1, spent)
        self.window, self.pairs = [Column(part, 4, spent) for part in tables.window], Column(tables.pairs, 1, spent)
        self.dense_map, self.list_map = Column(learned.dense_map, 1, spent), Column(learned.list_map, 1, spent)
        self.pair_map = Column(learned.pair_map, 1, spent)
        self.weights, self.last = Column(learned.weights, 4, spent), Column(learned.last, 4, spent)
        self.rank, self.child = Column(tree.rank, 2, spent), Column(tree.child, 2, spent)
        self.places = Column(tables.places, 2, spent)


def adapt(model: Model, tokens: list[int], hashes: np.ndarray) -> list[tuple[float, tuple[int, int, int]]]:
    """(nats, bytes spent) of tokens[1:] in one window, each scored before anything learns from it."""
    found = []
    seen = Column(hashes, 8, model.spent)
    for i in range(len(tokens) - 1):
        model.spent.bytes = [0, 0, 0]
        if i == 0:
            for at in range(len(model.pairs.values)):
                model.pairs[at] = 0
        model.spent.now = SCORING
        nats = _Walk(model, i, hashes, seen, tokens[i]).follow(tokens[i + 1], learns=False)
        model.spent.now = LEARNING
        walk = _Walk(model, i, hashes, seen, tokens[i])
        walk.follow(tokens[i + 1], learns=True)
        walk.count_lists(int(model.tree.rank[tokens[i + 1]]))
        found.append((nats, tuple(model.spent.bytes)))
    return found


class _Walk:
    """One position: everything that does not hang on the node, and a walk along a path."""

    def __init__(self, model: Model, i: int, hashes: np.ndarray, seen: Column, token: int) -> None:
        self.model, self.i, self.token, self.seen = model, i, token, seen
        self.h = [int(h) for h in hashes[i]]
        self.n_contexts = hashes.shape[1]
        n_dense, n_lists = model.n_dense, model.n_lists
        self.asked = [self._list(j, self.h[n_dense + j]) for j in range(n_lists)]
        self.asked += [self._window_list(w, n_dense + n_lists + w) for w in range(model.n_window)]
        self.spread = [min(len(asked.followers), N_SPREADS) - 1 for asked in self.asked]
        self.own_slot, self.packed_slot = [-1] * n_dense, [-1] * n_dense

    def _list(self, j: int, h: int) -> Asked:
        model, bits = self.model, [int(b) for b in self.model.tables.bits]
        first, n_lines = (int(v) for v in model.tables.list_regions[j])
        check, packed, followers = max(1, h & 0xFFFF), -1, list[tuple[int, int]]()
        if n_lines:
            line = first + ((h >> (64 - bits[1])) * n_lines >> bits[1])
            packed = way_of(model.packed_lists, line, check % 255 + 1)
        if packed >= 0:
            followers = self._packed_followers(packed)
        slot, row = self._list_slot(j, h), model.lists[j]
        if slot >= 0:
            followers = followers_of(row, slot * (LISTED + 1) + 1, LISTED)
        return Asked(slot, packed, followers)

    def _packed_followers(self, at: int) -> list[tuple[int, int]]:
        table = self.model.packed_lists
        codes = [table[at + 1 + k] for k in range(3)]
        counts = [codes[k // 2] >> 4 * (k & 1) & 15 for k in range(PACKED_LISTED)]
        n = counts.index(0) if 0 in counts else PACKED_LISTED
        return [(table[at + 4 + 2 * k] | table[at + 5 + 2 * k] << 8, LIST_COUNTS[counts[k]]) for k in range(n)]

    def _list_slot(self, j: int, h: int) -> int:
        bits, row = int(self.model.own.bits[1]), self.model.lists[j]
        first = (h >> (64 - bits)) * WAYS
        for slot in (first, first + 1):
            if row[slot * (LISTED + 1)] & 0xFFFF == max(1, h & 0xFFFF):
                return slot
        return -1

    def _window_list(self, w: int, column: int) -> Asked:
        table, h = self.model.tables.window, self.h[column]
        slot, width = (h >> 32) * table.shape[1] >> 32, table.shape[2]
        made = self.model.window[w][slot * width]
        holds = made < self.i and self.seen[made * self.n_contexts + column] == h
        found = followers_of(self.model.window[w], slot * width + 1, width - 1) if holds else []
        return Asked(slot, -1, found)

    def follow(self, target: int, learns: bool) -> float:
        """Nats of the target; where it `learns`, everything on the path learns from it."""
        model = self.model
        squash, nats = model.learned.squash, 0.0
        rank, node, low, high, depth, place = model.rank[target], int(model.tree.root[0]), 0, len(model.tree.rank), 0, 1
        left = [asked.followers for asked in self.asked]
        while high - low > 1:
            y = int(rank >= node)
            place = 1 if depth % N_LEVELS == 0 else place
            order0, pair = model.order0[node], [model.pairs[2 * node], model.pairs[2 * node + 1]]
            x, sure, deepest = self._inputs(node, depth, place, order0, pair, left)
            places = self._rows(node, depth, deepest, sure)
            weights = [[model.weights[at] for at in row] for row in places]
            sums = [mixed(x, row, WEIGHT_BITS) for row in weights]
            last = [model.last[depth * model.m + m] for m in range(model.m)]
            P = int(squash[mixed(sums, last, WEIGHT_BITS) + LIMIT])
            nats -= math.log((P if y else ONE_P - P) / ONE_P)
            if learns:
                self._learn(y, P, depth, x, sums, places, weights, last)
                self._count(y, node, depth, place, order0)
                if pair[y] < 255:
                    model.pairs[2 * node + y] = pair[y] + 1
            left = [[(r, n) for r, n in part if int(r >= node) == y] for part in left]
            low, high = (node, high) if y else (low, node)
            node, depth, place = model.child[2 * node + y], depth + 1, 2 * place + y
        return nats

    def _inputs(
        self, node: int, depth: int, place: int, order0: int, pair: list[int], left: list[list[tuple[int, int]]]
    ) -> tuple[list[int], list[int], int]:
        """Logits and confidences of all inputs, and how many lists the longest that is known has before it."""
        model, known = self.model, model_logits(self.model)
        first = int(model.own.stretch[order0 >> 20]) if order0 else known(model.packed_order0[node])
        if depth % N_LEVELS == 0:
            self.number = model.places[node]
        said = [(first, 0), *(self._dense(c, node, depth, place) for c in range(model.n_dense))]
        deepest = 0
        for j, there in enumerate(left):
            if not there:
                said.append((0, 0))
                continue
            deepest = j + 1 if j < model.n_lists else deepest
            right = sum(n for rank, n in there if rank >= node)
            others = sum(n for _, n in there) - right
            cell = ((j * MAX_DEPTH + depth) * N_SPREADS + self.spread[j]) * N_CLASSES + count_class(others)
            sure = count_class(right + others)
            sure = sure if right and others else min(sure + 2, N_CONFIDENCES - 1)
            said.append((known(model.list_map[cell * N_CLASSES + count_class(right)]), sure))
        if sum(pair):
            cell = (depth * N_CONFIDENCES + confidence(pair[0])) * N_CONFIDENCES + confidence(pair[1])
            said.append((known(model.pair_map[cell]), confidence(sum(pair))))
        else:
            said.append((0, 0))
        said.append((BIAS, 0))
        return [x for x, _ in said], [sure for _, sure in said], deepest

    def _dense(self, c: int, node: int, depth: int, place: int) -> tuple[int, int]:
        """What a dense context says: what was counted anew, else what is packed."""
        model, known = self.model, model_logits(self.model)
        if depth % N_LEVELS == 0:
            self.packed_slot[c] = self._packed_slot(c, depth // N_LEVELS)
            self.own_slot[c] = self._node_slot(c, node, depth // N_LEVELS)
        said, at = (0, 0), (c * MAX_DEPTH + depth) * EXACT_CODES
        if self.packed_slot[c] >= 0 and (code := model.packed_nodes[self.packed_slot[c] + place]):
            sure, logit = node_of_code(code)
            said = (known(model.dense_map[at + code - 1]) if code <= EXACT_CODES else logit), sure
        if self.own_slot[c] < 0:
            return said
        value = model.nodes[self.own_slot[c] * (NODES + 1) + place]
        p, n = value >> N_BITS, value & LARGEST_N
        if n == 0:
            return 0, 0
        if n > 3:
            return int(model.own.stretch[value >> 20]), confidence(n)
        right = min(n, p * (4 * n + 2) + ONE_P >> P_BITS + 2)
        return known(model.dense_map[at + n * (n + 1) // 2 + right - 1]), n

    def _packed_slot(self, c: int, group: int) -> int:
        first, n_lines = (int(v) for v in self.model.tables.regions[c, group])
        if n_lines == 0:
            return -1
        bits, h = int(self.model.tables.bits[0]), self.h[c]
        line = first + (((h >> (64 - bits)) * n_lines >> bits) + self.number) % n_lines
        return way_of(self.model.packed_nodes, line, (h & 0x1FF) % 255 + 1)

    def _home(self, c: int, node: int, group: int) -> tuple[int, int]:
        """(first of two slots, key) of a dense context's node."""
        bits, h = int(self.model.own.bits[0]), self.h[c]
        first = ((h >> (64 - bits)) + node * APART & (1 << bits) - 1) * WAYS
        return first, h & 0x1FF | 1 << 9 | c << 10 | group << 13 | node << 16

    def _node_slot(self, c: int, node: int, group: int) -> int:
        first, key = self._home(c, node, group)
        for slot in (first, first + 1):
            if self.model.nodes[slot * (NODES + 1)] == key:
                return slot
        return -1

    def _rows(self, node: int, depth: int, deepest: int, sure: list[int]) -> list[list[int]]:
        """Where the weights of every mixer stand."""
        learned, n, n_dense = self.model.learned, self.model.n, self.model.n_dense
        rows = {
            "depth": deepest * MAX_DEPTH + depth,
            "node": node,
            "confidence": (depth * N_CONFIDENCES + sure[n_dense]) * N_CONFIDENCES + sure[n_dense - 1],
            "input": depth * N_CONFIDENCES,
            "token": self.token * N_GROUPS + depth // N_LEVELS,
        }
        found = []
        for kind, first in zip(learned.kinds, learned.first_row, strict=True):
            name = KINDS[int(kind)]
            steps = sure if name == "input" else [0] * n
            found.append([(int(first) + rows[name] + steps[k]) * n + k for k in range(n)])
        return found

    def _learn(
        self,
        y: int,
        P: int,
        depth: int,
        x: list[int],
        sums: list[int],
        places: list[list[int]],
        weights: list[list[int]],
        last: list[int],
    ) -> None:
        model, half = self.model, 1 << (RATE_BITS - 1)
        error = (y << P_BITS) - P >> 6
        for m, s in enumerate(sums):
            model.last[depth * model.m + m] = last[m] + (error * s * model.rates[1] + half >> RATE_BITS)
            step = ((y << P_BITS) - int(model.learned.squash[s + LIMIT]) >> 6) * model.rates[0]
            for at, weight, value in zip(places[m], weights[m], x, strict=True):
                model.weights[at] = weight + (step * value + half >> RATE_BITS)

    def _count(self, y: int, node: int, depth: int, place: int, order0: int) -> None:
        """Order 0 and every dense context count y; what was packed is copied when it is first changed."""
        model, reciprocals = self.model, self.model.learned.reciprocals
        if order0 == 0:
            logit = model_logits(model)(int(model.learned.order0[node]))
            order0 = counter_of_logit(logit, ORDER0_SLOWEST, model.learned.squash)
        model.order0[node] = nudged(order0, y, ORDER0_SLOWEST, reciprocals)
        for c in range(model.n_dense):
            if self.own_slot[c] < 0:
                self.own_slot[c] = self._new_slot(c, node, depth // N_LEVELS)
            at = self.own_slot[c] * (NODES + 1) + place
            model.nodes[at] = nudged(model.nodes[at], y, SLOWEST, reciprocals)

    def _new_slot(self, c: int, node: int, group: int) -> int:
        """Where the one of fewer visits was, unless this walk has made it; holding what is packed."""
        nodes, (first, key) = self.model.nodes, self._home(c, node, group)
        keys = [nodes[slot * (NODES + 1)] for slot in (first, first + 1)]
        if key in keys:
            return first + keys.index(key)
        visits = [nodes[slot * (NODES + 1) + 1] & LARGEST_N for slot in (first, first + 1)]
        slot = first + int(visits[1] < visits[0])
        nodes[slot * (NODES + 1)] = key
        for k in range(1, NODES + 1):
            nodes[slot * (NODES + 1) + k] = FRESH
        if self.packed_slot[c] >= 0:
            for k in range(1, NODES + 1):
                code = self.model.packed_nodes[self.packed_slot[c] + k]
                nodes[slot * (NODES + 1) + k] = unpacked(code, self.model.learned.squash)
        return slot

    def count_lists(self, rank: int) -> None:
        """The token TIMES more in every list, once in the window's."""
        model, n_dense = self.model, self.model.n_dense
        for j in range(model.n_lists):
            row, slot = model.lists[j], self.asked[j].slot
            slot = self._new_list(j) if slot < 0 else slot
            head = slot * (LISTED + 1)
            row[head] = row[head] + (1 << 16)
            count_often(row, head + 1, LISTED, rank, TIMES, MOST_LISTED, LISTED)
        for w in range(model.n_window):
            row, width = model.window[w], model.tables.window.shape[2]
            head, column = self.asked[model.n_lists + w].slot * width, n_dense + model.n_lists + w
            made = row[head]
            if not (made < self.i and self.seen[made * self.n_contexts + column] == self.h[column]):
                for k in range(width):
                    row[head + k] = 0 if k else self.i
            count_often(row, head + 1, width - 1, rank, 1, MOST_IN_WINDOW, 1)

    def _new_list(self, j: int) -> int:
        row, h, bits = self.model.lists[j], self.h[self.model.n_dense + j], int(self.model.own.bits[1])
        first = (h >> (64 - bits)) * WAYS
        visits = [row[slot * (LISTED + 1)] >> 16 for slot in (first, first + 1)]
        slot = first + int(visits[1] < visits[0])
        for k in range(LISTED + 1):
            row[slot * (LISTED + 1) + k] = 0 if k else max(1, h & 0xFFFF)
        if self.asked[j].packed >= 0:
            for k, (rank, n) in enumerate(self._packed_followers(self.asked[j].packed)):
                row[slot * (LISTED + 1) + 1 + k] = rank << 16 | n
        return slot


def model_logits(model: Model) -> Any:
    """What a map's or a packed order 0's counter says; opened from bytes, its first twelve bits are the byte."""
    return lambda value: int(model.learned.stretch[value >> 20])
