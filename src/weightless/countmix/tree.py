"""A binary tree over tokens in which every step says as much as it can about the context.

The tokens are halved again and again.  The halves of a set are those whose mutual information with the contexts is
largest among what exchanges of single tokens reach (`kernels.numba.token_tree`), from the halves of its principal
direction on.  A context is the token before, counted twice, and the one before that; the N_PREVIOUS most frequent ones
stand for themselves, all others together.  A token that never occurs goes where it leaves the tree balanced.

Tokens are named by their rank, their place from left to right; a node is the first rank on its right side, so a tree is

    rank [V]     child [V, 2] = (left, right) node, 0 where a token is reached     root

All arithmetic that decides is in integers (square roots are exact in IEEE 754): the same text gives the same tree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from weightless.kernels.numba.token_tree import exchange, log_table, project
from weightless.ops.count_mixing import MAX_DEPTH

N_PREVIOUS = 1024
SAMPLE_TOKENS = 20_000_000
PASSES, ROUNDS, AMPLITUDE = 8, 12, 1024


class Tree(NamedTuple):
    """rank int64 [V], token int64 [V] (its inverse), child int64 [V, 2], root."""

    rank: np.ndarray
    token: np.ndarray
    child: np.ndarray
    root: int


class _Rows(NamedTuple):
    """Sparse counts of contexts, by token."""

    start: np.ndarray
    index: np.ndarray
    value: np.ndarray
    totals: np.ndarray
    amplitude: np.ndarray
    weight: np.ndarray
    width: int


class Blocks(NamedTuple):
    """Parts of the vocabulary that are to be subtrees: the classes of a head, and the groups within them.

    slot int64 [V] of every token; sizes of the blocks, each a multiple of the next: block b of `size` has the slots
    b size .. (b + 1) size - 1, and the last one what is left.
    """

    slot: np.ndarray
    sizes: tuple[int, ...]


def build_tree(tokens: Any, vocab_size: int, blocks: Blocks | None = None) -> Tree:
    """The tree of a training text (its first SAMPLE_TOKENS).

    With `blocks` a tree of blocks has a tree of tokens at each of its leaves.  The last block, which may be short, is
    the rightmost, so that of the tokens by rank, too, every `size` are a block.
    """
    sample = np.asarray(tokens[:SAMPLE_TOKENS]).astype(np.int64)
    slot, sizes = blocks if blocks is not None else (np.arange(vocab_size), ())
    order, depth, above = np.zeros(1, np.int64), np.zeros(1, np.int64), vocab_size
    splits: dict[tuple[int, int], int] = {}
    for size in (*sizes, 1):
        rows, per_block = _context_rows(sample, slot // size), -(-above // size)
        order, depth, found = _arranged(rows, order, depth, per_block, size)
        splits |= {_ranks(ends, size, vocab_size): middle * size for ends, middle in found.items()}
        above = size
    token = np.argsort(slot, kind="stable")[order]
    rank = np.empty(vocab_size, np.int64)
    rank[token] = np.arange(vocab_size)
    child = np.zeros((vocab_size, 2), np.int64)
    for (low, high), middle in splits.items():
        for side, ends in enumerate(((low, middle), (middle, high))):
            child[middle, side] = splits.get(ends, 0)
    return Tree(rank, token, child, splits[0, vocab_size])


def token_counts(tokens: Any, vocab_size: int) -> np.ndarray:
    """int64 [V]: how often every token occurs; read in stretches, since counting makes eight bytes of a token."""
    counts = np.zeros(vocab_size, np.int64)
    for first in range(0, len(tokens), SAMPLE_TOKENS):
        counts += np.bincount(tokens[first : first + SAMPLE_TOKENS], minlength=vocab_size)
    return counts


def _ranks(ends: tuple[int, int], size: int, vocab_size: int) -> tuple[int, int]:
    """First rank and end of a stretch of blocks; the last block may be short."""
    return ends[0] * size, min(ends[1] * size, vocab_size)


def _arranged(
    rows: _Rows, blocks: np.ndarray, depths: np.ndarray, per_block: int, size: int
) -> tuple[np.ndarray, np.ndarray, dict[tuple[int, int], int]]:
    """The parts of all blocks from left to right, their depths, and {(first place, end): first place of the right}.

    A part has `size` tokens, for which levels are left below it.
    """
    most = MAX_DEPTH - (size - 1).bit_length()
    n, orders, below, splits, start = len(rows.totals), [], [], dict[tuple[int, int], int](), 0
    for block, depth in zip(blocks.tolist(), depths.tolist(), strict=True):
        members = np.arange(block * per_block, min((block + 1) * per_block, n))
        order, found_depths, found = _halvings(rows, members, depth, most, n - 1 if size > 1 else -1)
        orders.append(order)
        below.append(found_depths)
        splits |= {(low + start, high + start): middle + start for (low, high), middle in found.items()}
        start += len(members)
    return np.concatenate(orders), np.concatenate(below), splits


def _context_rows(tokens: np.ndarray, part: np.ndarray) -> _Rows:
    """Counts of the contexts of every part, which int64 [V] gives each token."""
    vocab_size, n_parts = len(part), int(part.max()) + 1
    counts = np.bincount(tokens, minlength=vocab_size)
    frequent = np.argsort(-counts, kind="stable")[:N_PREVIOUS]
    width = len(frequent) + 1
    column = np.full(vocab_size, width - 1)
    column[frequent] = np.arange(width - 1)
    keys, values = [], []
    for back, times in ((1, 2), (2, 1)):
        pairs = part[tokens[back:]] * (2 * width) + column[tokens[:-back]] + (back - 1) * width
        found, n = np.unique(pairs, return_counts=True)
        keys.append(found)
        values.append(n * times)
    key, value = np.concatenate(keys), np.concatenate(values).astype(np.int64)
    order = np.argsort(key, kind="stable")
    key, value = key[order], value[order]
    part_of_key = key // (2 * width)
    start = np.searchsorted(part_of_key, np.arange(n_parts + 1))
    totals = np.bincount(part_of_key, value, n_parts).astype(np.int64)
    share = value / totals[part_of_key]
    amplitude = (AMPLITUDE * np.sqrt(share)).astype(np.int64)
    weight = np.sqrt(np.maximum(totals, 1)).astype(np.int64)
    return _Rows(start, key % (2 * width), value, totals, amplitude, weight, 2 * width)


def _halvings(
    rows: _Rows, members: np.ndarray, depth: int, most: int, last: int
) -> tuple[np.ndarray, np.ndarray, dict[tuple[int, int], int]]:
    """(members from left to right, their depths, {(first place, end): first place of the right half}).

    The tree begins at `depth` and is at most `most` deep; member `last`, if it is among them, is the rightmost.
    """
    space = [np.zeros(rows.width, np.int64) for _ in range(4)]
    logs, order, splits = log_table(), members.copy(), dict[tuple[int, int], int]()
    depths, waiting = np.full(len(members), depth), [(0, len(members), depth)]
    while waiting:
        low, high, depth = waiting.pop()
        depths[low:high] = depth
        if high - low < 2:
            continue
        members = order[low:high]
        side = _halved(members, rows, most - depth - 1, space, logs)
        if (side[members == last] == 0).any():
            side = 1 - side
        order[low:high] = np.concatenate([members[side == 0], members[side == 1]])
        middle = low + int((side == 0).sum())
        splits[low, high] = middle
        waiting += [(low, middle, depth + 1), (middle, high, depth + 1)]
    return order, depths, splits


def _halved(
    members: np.ndarray, rows: _Rows, levels_left: int, space: list[np.ndarray], logs: np.ndarray
) -> np.ndarray:
    """0 or 1 for every member, so that either half still fits `levels_left` levels."""
    most = 1 << min(levels_left, 40)
    if len(members) == 2:
        return np.array([0, 1])
    scores = np.zeros(len(members), np.int64)
    project(members, rows.start, rows.index, rows.amplitude, rows.weight, ROUNDS, space[0], space[1], scores)
    order = np.lexsort((members, scores))
    mass = np.cumsum(np.maximum(rows.totals[members[order]], 1))
    n_left = int(np.searchsorted(mass, mass[-1] / 2)) + 1
    n_left = min(max(n_left, len(members) - most, 1), most, len(members) - 1)
    side = np.ones(len(members), np.int64)
    side[order[:n_left]] = 0
    by_mass = np.lexsort((members, -rows.totals[members]))
    ordered = side[by_mass]
    exchange(
        members[by_mass],
        ordered,
        rows.start,
        rows.index,
        rows.value,
        rows.totals,
        most,
        PASSES,
        space[2],
        space[3],
        logs,
    )
    side[by_mass] = ordered
    return side


def order_zero(tree: Tree, counts: np.ndarray) -> np.ndarray:
    """float64 [V]: the share of every node's tokens that go right, +0.4 on either side; by node, 1/2 at node 0."""
    below = np.concatenate([[0], np.cumsum(counts[tree.token])])
    share = np.full(len(counts), 0.5)
    waiting = [(0, len(counts), tree.root)]
    while waiting:
        low, high, node = waiting.pop()
        if high - low < 2:
            continue
        left, right = below[node] - below[low], below[high] - below[node]
        share[node] = (right + 0.4) / (left + right + 0.8)
        waiting += [(low, node, int(tree.child[node, 0])), (node, high, int(tree.child[node, 1]))]
    return share


def group_places(tree: Tree, n_levels: int) -> tuple[np.ndarray, np.ndarray]:
    """(number of every node among those of its group, int64 [V]; nodes per group): a group is every n_levels-th level.

    Nodes between the levels, which belong to a slot of one above, have number 0.
    """
    places, n_roots = np.zeros(len(tree.rank), np.int64), np.zeros(MAX_DEPTH // n_levels, np.int64)
    waiting = [(0, len(places), tree.root, 0)]
    while waiting:
        low, high, node, depth = waiting.pop()
        if high - low < 2:
            continue
        if depth % n_levels == 0:
            places[node] = n_roots[depth // n_levels]
            n_roots[depth // n_levels] += 1
        waiting += [(node, high, int(tree.child[node, 1]), depth + 1), (low, node, int(tree.child[node, 0]), depth + 1)]
    return places, n_roots


def depths(tree: Tree) -> np.ndarray:
    """int64 [V]: how many steps lead to every token."""
    found = np.zeros(len(tree.rank), np.int64)
    waiting = [(0, len(found), tree.root, 0)]
    while waiting:
        low, high, node, depth = waiting.pop()
        if high - low < 2:
            found[tree.token[low:high]] = depth
            continue
        waiting += [(low, node, int(tree.child[node, 0]), depth + 1), (node, high, int(tree.child[node, 1]), depth + 1)]
    return found
