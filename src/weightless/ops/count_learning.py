"""Count mixing as it learns, readable: dictionaries in the place of hashed tables, one token after the other.

`learn` is what `kernels.numba.count_mixing.learn_window` does while no two contexts meet in its tables: at every node
of the path to the next token it asks what every context has counted, mixes, and lets counters, maps and weights learn.
`ops.count_mixing` has the equations and the units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from weightless.ops.context_hashes import ContextParts, WordState, context_hash, word_behind
from weightless.ops.count_mixing import (
    BIAS,
    LARGEST_N,
    LIMIT,
    MAX_DEPTH,
    N_BITS,
    N_CONFIDENCES,
    N_GROUPS,
    N_LEVELS,
    ONE_P,
    P_BITS,
    RATE_BITS,
    WEIGHT_BITS,
    confidence,
    count_class,
    counter,
    mixed,
    reciprocal_table,
    squash_table,
    stepped,
    stretch_table,
    sureness,
)

FRESH = 1 << 31
"""A counter that has counted nothing: p = 1/2."""
LISTED = 7
SLOWER_FROM = 512


@dataclass
class Memory:
    """What has been counted and learned.  Weights int32 in 1/2^24: {mixer: {row: [one per input]}}."""

    nodes: dict[Any, int] = field(default_factory=dict)
    lists: dict[Any, list[list[int]]] = field(default_factory=dict)
    maps: dict[Any, int] = field(default_factory=dict)
    weights: dict[Any, list[int]] = field(default_factory=dict)
    last: dict[int, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """The tree (rank, child, root), contexts by their parts, mixers by name, what tokens do to words, order 0.

    first_weight, first_last: what weights begin with, in 1/2^24; rates = (weights, last sums, most steps of a map).
    """

    rank: Sequence[int]
    child: Any
    root: int
    dense: Sequence[ContextParts]
    lists: Sequence[ContextParts]
    window: Sequence[ContextParts]
    mixers: Sequence[str]
    records: Any
    order0: Sequence[int]
    followers: int
    first_weight: int
    first_last: int
    rates: tuple[int, int, int]


def learn(
    rules: Rules, memory: Memory, tokens: Sequence[int], said: Sequence[Sequence[int]] | None = None
) -> list[float]:
    """Nats of tokens[1:] in one window that begins with tokens[0], each predicted before it is counted.

    `said` is what a neural model says at every node of every path, where there is an input for it.
    """
    window, pairs, state, nats = dict[Any, list[list[int]]](), dict[tuple[int, int], int](), WordState(), []
    for i in range(len(tokens) - 1):
        state = word_behind(state, rules.records[tokens[i]])
        hashes = [
            [context_hash(parts, tokens[: i + 1], state) for parts in group]
            for group in (rules.dense, rules.lists, rules.window)
        ]
        followers = [memory.lists.get((j, h), []) for j, h in enumerate(hashes[1])]
        followers += [window.get((w, h >> 32), []) for w, h in enumerate(hashes[2])]
        rank, beside = int(rules.rank[tokens[i + 1]]), None if said is None else said[i]
        nats.append(_walk(rules, memory, pairs, hashes[0], followers, tokens[i], rank, i, beside))
        for j, h in enumerate(hashes[1]):
            count_in(memory.lists.setdefault((j, h), []), rank, LISTED, 60_000)
        for w, h in enumerate(hashes[2]):
            count_in(window.setdefault((w, h >> 32), []), rank, rules.followers, 255)
    return nats


def count_in(followers: list[list[int]], rank: int, room: int, most: int) -> None:
    """One more of [rank, count]: found (and ahead of a rarer one), free, or in the place of the last of the rarest."""
    for k, entry in enumerate(followers):
        if entry[0] == rank:
            entry[1] = min(entry[1] + 1, most)
            if k and entry[1] > followers[k - 1][1]:
                followers[k - 1], followers[k] = followers[k], followers[k - 1]
            return
    if len(followers) < room:
        followers.append([rank, 1])
        return
    least = max(range(room), key=lambda k: (-followers[k][1], k))
    followers[least] = [rank, 1]


def _walk(
    rules: Rules,
    memory: Memory,
    pairs: dict[tuple[int, int], int],
    dense: list[int],
    followers: list[list[list[int]]],
    token: int,
    rank: int,
    i: int,
    beside: Sequence[int] | None,
) -> float:
    """Nats of the token of that rank, which is counted on the way."""
    node, low, high, depth, root, nats, reciprocals = (
        rules.root,
        0,
        len(rules.rank),
        0,
        rules.root,
        0.0,
        reciprocal_table(),
    )
    while high - low > 1:
        y = int(rank >= node)
        root = node if depth % N_LEVELS == 0 else root
        keys = [(c, h, root, node) for c, h in enumerate(dense)]
        said = _Said(memory, [], [], [])
        said.logit(rules.order0[node], 0)
        for c, key in enumerate(keys):
            _ask_counter(said, memory.nodes.get(key, FRESH), c, depth)
        deepest = 0
        for j, entries in enumerate(followers):
            there = [entry for entry in entries if low <= entry[0] < high]
            deepest = j + 1 if there and j < len(rules.lists) else deepest
            _ask_followers(said, there, min(len(entries), 3), j, node, depth)
        left, right = pairs.get((node, 0), 0), pairs.get((node, 1), 0)
        if left + right:
            said.mapped(("pair", depth, confidence(left), confidence(right)), 0.5, confidence(left + right))
        else:
            said.nothing()
        said.x.append(BIAS)
        said.sure.append(0)
        if beside is not None:
            said.x.append(int(beside[depth]))
            said.sure.append(sureness(int(beside[depth])))
        P = _mix_and_learn(rules, memory, node, depth, deepest, token, said.x, said.sure, y)
        nats -= math.log((P if y else ONE_P - P) / ONE_P)
        for cell in said.cells:
            memory.maps[cell] = stepped(memory.maps[cell], y, rules.rates[2], reciprocals)
        for key in keys:
            value = memory.nodes.get(key, FRESH)
            slow = (value & LARGEST_N) >= SLOWER_FROM and ((i * 40503 >> 4) ^ depth) & 15 != 0
            memory.nodes[key] = stepped(value, y, 0 if slow else LARGEST_N, reciprocals)
        pairs[node, y] = min(pairs.get((node, y), 0) + 1, 255)
        low, high = (node, high) if y else (low, node)
        node, depth = int(rules.child[node][y]), depth + 1
    return nats


@dataclass
class _Said:
    """What was answered at a node: inputs, confidences, and the cells of maps that translated counts."""

    memory: Memory
    x: list[int]
    sure: list[int]
    cells: list[Any]

    def logit(self, value: int, sure: int) -> None:
        """The share of a counter as it is."""
        self.x.append(int(stretch_table()[value >> (P_BITS + N_BITS - 12)]))
        self.sure.append(sure)

    def mapped(self, cell: Any, first: float, sure: int) -> None:
        """What has been learned that such counts mean; `first` while nothing has."""
        self.cells.append(cell)
        self.logit(self.memory.maps.setdefault(cell, int(counter(first))), sure)

    def nothing(self) -> None:
        self.x.append(0)
        self.sure.append(0)


def _ask_counter(said: _Said, value: int, c: int, depth: int) -> None:
    """A dense context's counter of this node."""
    p, n = value >> N_BITS, value & LARGEST_N
    if n == 0:
        said.nothing()
    elif n < 4:
        right = min(n, p * (4 * n + 2) + ONE_P >> P_BITS + 2)
        said.mapped(("dense", c, depth, n, right), (right + 0.25) / (n + 0.5), n)
    else:
        said.logit(value, confidence(n))


def _ask_followers(said: _Said, there: list[list[int]], spread: int, j: int, node: int, depth: int) -> None:
    """A list's followers that are still on the path."""
    if not there:
        said.nothing()
        return
    right = sum(count for at, count in there if at >= node)
    left = sum(count for _, count in there) - right
    standing = (0, 1, 2, 3, 4, 6, 11, 30, 100)
    a, b = standing[count_class(left)], standing[count_class(right)]
    known = count_class(left + right)
    cell = ("list", j, depth, spread, count_class(left), count_class(right))
    sure = known if left and right else min(known + 2, N_CONFIDENCES - 1)
    said.mapped(cell, (b + 0.4) / (a + b + 0.8), sure)


def _mix_and_learn(
    rules: Rules,
    memory: Memory,
    node: int,
    depth: int,
    deepest: int,
    token: int,
    x: list[int],
    sure: list[int],
    y: int,
) -> int:
    """P(right) in 1/2^22 of the inputs, before the weights learn y."""
    squash, n_dense, half = squash_table(), len(rules.dense), 1 << (RATE_BITS - 1)
    rows = {
        "depth": deepest * MAX_DEPTH + depth,
        "node": node,
        "confidence": (depth, sure[n_dense], sure[max(n_dense - 1, 0)]),
        "input": depth,
        "token": token * N_GROUPS + depth // N_LEVELS,
    }
    sums, places = [], []
    for name in rules.mixers:
        places.append([(name, rows[name], sure[k] if name == "input" else 0, k) for k in range(len(x))])
        weights = [memory.weights.setdefault(place, [rules.first_weight])[0] for place in places[-1]]
        sums.append(mixed(x, weights, WEIGHT_BITS))
    last = memory.last.setdefault(depth, [rules.first_last] * len(sums))
    P = int(squash[mixed(sums, last, WEIGHT_BITS) + LIMIT])
    error = (y << P_BITS) - P >> 6
    for m, s in enumerate(sums):
        last[m] += error * s * rules.rates[1] + half >> RATE_BITS
        step = ((y << P_BITS) - int(squash[s + LIMIT]) >> 6) * rules.rates[0]
        for k, place in enumerate(places[m]):
            memory.weights[place][0] += step * x[k] + half >> RATE_BITS
    return P
