"""A tree over tokens as bytes of a packed model, and back: lines of three nodes, 64 bytes a token (`count_layout`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from weightless.countmix.tree import Tree
from weightless.ops.count_layout import (
    CODE,
    DEEP,
    LEFT,
    NEAR_LEVELS,
    ORDER0,
    PLACE,
    RANK,
    TOKEN,
    WEIGHTS,
    tree_line,
)


class Nodes(NamedTuple):
    """By node: its number in its group, order 0 as a byte, weights as bytes [V, n]."""

    places: np.ndarray
    order0: np.ndarray
    weights: np.ndarray


class _Spot(NamedTuple):
    """A node with the ranks low .. high - 1 below it, where its line is, and which of the three in it."""

    node: int
    low: int
    high: int
    steps: tuple[tuple[int, int], ...]
    home: int
    member: int


def tree_bytes(tree: Tree, nodes: Nodes) -> np.ndarray:
    """uint8 [V lines, 1]."""
    n = nodes.weights.shape[1]
    lines = np.zeros((len(tree.rank), tree_line(n)), np.uint8)
    for node, _, _, _, home, member in _spots(tree.root, len(lines), lambda at, side: int(tree.child[at.node, side])):
        line = lines[home]
        line[LEFT + 4 * member : LEFT + 4 * member + 4] = tree.child[node].astype("<u2").view(np.uint8)
        line[ORDER0 + member] = nodes.order0[node]
        line[WEIGHTS + n * member : WEIGHTS + n * (member + 1)] = nodes.weights[node]
        if member == 0:
            line[PLACE : PLACE + 2] = nodes.places[node : node + 1].astype("<u2").view(np.uint8)
    return lines.reshape(-1, 1)


def token_bytes(tree: Tree, records: np.ndarray) -> np.ndarray:
    """uint8 [64 V, 1]: `records` uint32 [V, 5] is what tokens do to words."""
    found = np.zeros((len(records), TOKEN), np.uint8)
    found[:, :CODE] = np.ascontiguousarray(records.astype("<u4")).view(np.uint8)
    found[:, RANK : RANK + 2] = tree.rank.astype("<u2")[:, None].view(np.uint8)
    for at in _spots(tree.root, len(records), lambda at, side: int(tree.child[at.node, side])):
        for side, (low, high) in enumerate(((at.low, at.node), (at.node, at.high))):
            if high - low == 1:
                _write_path(found[tree.token[low]], (*at.steps, (at.node, side)))
    return found.reshape(-1, 1)


def _write_path(record: np.ndarray, steps: tuple[tuple[int, int], ...]) -> None:
    code = 1
    for _, side in steps:
        code = 2 * code + side
    record[CODE : CODE + 4] = np.array([code], "<u4").view(np.uint8)
    deep = np.array([node for node, _ in steps[NEAR_LEVELS:]], "<u2").view(np.uint8)
    record[DEEP : DEEP + len(deep)] = deep


def unpacked(tree: np.ndarray, ranks: np.ndarray, tokens: np.ndarray, root: int, n: int) -> tuple[Tree, Nodes]:
    """(tree, what its nodes have) of a sound packed model with n inputs."""
    lines, vocab_size = tree.reshape(-1, tree_line(n)), len(ranks)
    child = np.zeros((vocab_size, 2), np.int64)
    nodes = Nodes(
        np.zeros(vocab_size, np.int64), np.full(vocab_size, 128, np.uint8), np.full((vocab_size, n), 128, np.uint8)
    )

    def below(at: _Spot, side: int) -> int:
        first = LEFT + 4 * at.member + 2 * side
        return int(lines[at.home, first]) | int(lines[at.home, first + 1]) << 8

    for at in _spots(root, vocab_size, below):
        line, member = lines[at.home], at.member
        child[at.node] = [below(at, side) for side in (0, 1)]
        nodes.order0[at.node] = line[ORDER0 + member]
        nodes.weights[at.node] = line[WEIGHTS + n * member : WEIGHTS + n * (member + 1)]
        if member == 0:
            nodes.places[at.node] = int(line[PLACE]) | int(line[PLACE + 1]) << 8
    return Tree(ranks.astype(np.int64), tokens.astype(np.int64), child, root), nodes


def records_of(tokens: np.ndarray) -> np.ndarray:
    """uint32 [V, 5]: what tokens do to words."""
    return np.ascontiguousarray(tokens.reshape(-1, TOKEN)[:, :CODE]).view("<u4")


def _spots(root: int, vocab_size: int, below: Callable[[_Spot, int], int]) -> Iterator[_Spot]:
    """Every node from the root on; `below` names the node on a side of several tokens."""
    waiting = [_Spot(root, 0, vocab_size, (), root, 0)]
    while waiting:
        at = waiting.pop()
        yield at
        for side, (low, high) in enumerate(((at.low, at.node), (at.node, at.high))):
            if high - low > 1:
                node, steps = below(at, side), (*at.steps, (at.node, side))
                odd = len(steps) % 2 == 1
                waiting.append(_Spot(node, low, high, steps, at.home if odd else node, 1 + side if odd else 0))
