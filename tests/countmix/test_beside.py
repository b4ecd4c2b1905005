"""A neural model beside the counts: the tree over its classes, what it says at a node, and that the mixers hear it."""

from __future__ import annotations

import numpy as np
import pytest
from countmix.small import SHAPE, V, learner, text
from countmix.test_learning import rules_of

from weightless.countmix.learning import rates_at
from weightless.countmix.tree import Blocks, build_tree, depths
from weightless.kernels.numba import node_odds as fast
from weightless.ops import count_mixing, node_odds
from weightless.ops.count_learning import Memory, learn
from weightless.ops.count_mixing import LIMIT, MAX_DEPTH

SIZES = [(8,), (7,), (60,), (61,), (1,), (12, 4), (10, 5), (6, 3)]


def blocked(sizes, seed=0):
    """(slots of a head, a tree over its classes)."""
    slot = np.random.default_rng(seed).permutation(V)
    return slot, build_tree(text(8000), V, Blocks(slot, sizes))


def nodes(tree):
    """(node, first rank, end) of all of them."""
    waiting = [(tree.root, 0, V)]
    while waiting:
        node, low, high = waiting.pop()
        if high - low > 1:
            yield node, low, high
            waiting += [(tree.child[node, 0], low, node), (tree.child[node, 1], node, high)]


@pytest.mark.parametrize("sizes", SIZES)
def test_every_block_is_a_subtree(sizes):
    slot, tree = blocked(sizes)
    assert np.array_equal(np.sort(tree.rank), np.arange(V)) and np.array_equal(tree.token[tree.rank], np.arange(V))
    assert depths(tree).max() <= MAX_DEPTH
    for size in sizes:
        for first in range(0, V, size):
            assert len(set(slot[tree.token[first : first + size]] // size)) == 1
        for node, low, high in nodes(tree):
            whole = low % size == node % size == 0 and (high % size == 0 or high == V)
            assert whole or low // size == (high - 1) // size


def test_without_blocks_the_tree_is_what_it_was():
    one, two = build_tree(text(8000), V), build_tree(text(8000), V, Blocks(np.arange(V), ()))
    assert np.array_equal(one.child, two.child) and np.array_equal(one.rank, two.rank)


@pytest.mark.parametrize("sizes", [(8,), (7,), (12, 4)])
def test_sums_over_classes_say_what_sums_over_tokens_do(sizes):
    """Oracle: the whole distribution.  The rounding to 1/256 may turn where float64 sums differ in their last bits."""
    slot, tree = blocked(sizes)
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(V, 0.3), 40)
    ranks = rng.integers(0, V, 40)
    levels, weights, at = [], np.zeros((40, 400)), 0
    for unit, block in zip((*sizes, 1), (V, *sizes), strict=True):
        levels.append((at, unit, block))
        for i, rank in enumerate(ranks.tolist()):
            first = rank // block * block
            inside = [p[i, k : min(k + unit, V)].sum() for k in range(first, min(first + block, V), unit)]
            weights[i, at : at + len(inside)] = np.array(inside) / sum(inside)
        at += -(-block // unit)
    out = np.zeros((40, MAX_DEPTH), np.int64)
    fast.path_odds(ranks, weights, np.array(levels), tree.child, tree.root, out)
    for i, rank in enumerate(ranks.tolist()):
        want = node_odds.path_odds(p[i], tree.child, tree.root, rank)
        assert np.abs(out[i, : len(want)] - want).max() <= 1 and (out[i, : len(want)] != want).mean() < 0.02


def test_odds_are_log_odds():
    for left, right in ((1.0, 1.0), (0.25, 0.75), (3e-9, 2e-4), (5.0, 1e-30), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)):
        want = 0 if left == right else LIMIT if left == 0 else -LIMIT if right == 0 else 256 * np.log(right / left)
        assert abs(count_mixing.odds(left, right) - np.clip(want, -LIMIT, LIMIT)) <= 0.5
    assert [count_mixing.sureness(x) for x in (0, 63, -64, 511, 2047, -2048, LIMIT)] == [0, 0, 1, 4, 10, 11, 11]


def test_what_is_said_is_learned_as_by_dictionaries():
    """Bit for bit, as without it."""
    tokens, rng = text(300), np.random.default_rng(2)
    shape = SHAPE._replace(beside=True)
    made = learner(tokens, shape)
    rules, memory = rules_of(made), Memory()
    for first in range(0, 300, 57):
        window = tokens[first : first + 58]
        said = rng.integers(-LIMIT, LIMIT + 1, (len(window) - 1, MAX_DEPTH))
        want = learn(rules, memory, window.tolist(), said.tolist())
        have = made.window(window, made.hashes(window), rates_at(0, 0.01, 0.0007), True, True, said)
        assert have.tolist() == want


def test_mixers_believe_a_model_that_knows():
    """An input that says the side takes most of what a text costs away; silence costs what no input does."""
    tokens, shape = text(3000), SHAPE._replace(beside=True)
    without, silent, spoken = learner(tokens), learner(tokens, shape), learner(tokens, shape)
    tree = spoken._tree

    def knows(window):
        out = np.zeros((len(window) - 1, MAX_DEPTH), np.int64)
        for i, rank in enumerate(tree.rank[window[1:]].tolist()):
            said = node_odds.path_odds(np.eye(V)[rank] * 0.9 + 0.1 / V, tree.child, int(tree.root[0]), rank)
            out[i, : len(said)] = said
        return out

    nats = without.tune(tokens, 0)
    assert silent.tune(tokens, 0) == nats
    assert spoken.tune(tokens, 0, said_of=knows) < nats / 2
