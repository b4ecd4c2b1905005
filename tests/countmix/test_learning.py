"""The compiled pass against dictionaries: the same nats to the last bit, token after token."""

from __future__ import annotations

import numpy as np
import pytest
from countmix.small import PIECES, SHAPE, V, learner, text

from weightless.countmix.learning import LAST_RATE, rates_at
from weightless.ops.context_hashes import context_parts, token_records
from weightless.ops.count_learning import Memory, Rules, count_in, learn

SHAPES = {
    "all": SHAPE,
    "no_lists": SHAPE._replace(lists=(), mixers=("node", "token")),
    "no_dense": SHAPE._replace(dense=(), mixers=("depth", "input")),
    "no_window": SHAPE._replace(window=(), mixers=("confidence",)),
    "one_follower": SHAPE._replace(n_followers=1, dense=("o1",), mixers=("input",)),
}


def rules_of(made) -> Rules:
    """The same learner for the readable twin."""
    shape, tree, learned = made.shape, made._tree, made.learned
    parts = [[context_parts(name) for name in names] for names in (shape.dense, shape.lists, shape.window)]
    rates = tuple(int(rate) for rate in rates_at(0, 0.01, 0.0007, LAST_RATE))
    first = int(learned.weights[0, 0]), int(learned.last[0, 0])
    return Rules(
        tree.rank,
        tree.child,
        int(tree.root[0]),
        *parts,
        shape.mixers,
        token_records(PIECES).tolist(),
        learned.order0.tolist(),
        shape.n_followers,
        *first,
        rates,
    )


@pytest.mark.parametrize("name", SHAPES)
def test_windows_of_learning_are_those_of_dictionaries(name):
    tokens = text(400)
    made = learner(tokens, SHAPES[name])
    rules, memory = rules_of(made), Memory()
    for first in range(0, 400, 57):
        window = tokens[first : first + 58]
        want = learn(rules, memory, window.tolist())
        have = made.window(window, made.hashes(window), rates_at(0, 0.01, 0.0007), counts=True, learns=True)
        assert have.tolist() == want
    for depth, row in memory.last.items():
        assert made.learned.last[depth].tolist() == row
    for (mixer, *_), (weight,) in memory.weights.items():
        assert mixer in SHAPES[name].mixers and -(2**31) <= weight < 2**31


def test_it_learns():
    tokens = text(6000)
    made = learner(tokens)
    first = made.go_over(tokens[:3000], "first half")
    then = made.go_over(tokens, "second half", first=2999)
    assert then < first - 0.1
    assert then < np.log(V) - 0.5


def test_tuning_goes_over_every_window_and_counts_nothing():
    tokens = text(4000)
    made = learner(tokens)
    made.go_over(tokens[:3000], "first", end=3000)
    tables = [part.copy() for part in (made.tables.nodes, made.tables.lists)]
    context, seen = made.shape.context, []
    before = [made.score(tokens[i : i + context + 1]).sum() for i in range(3000, 3999, context)]
    untouched = made.window

    def window(tokens, hashes, rates, counts, learns, said):
        seen.append((tuple(tokens), int(rates[0])))
        return untouched(tokens, hashes, rates, counts, learns, said)

    made.window = window
    made.tune(tokens, 3000)
    made.window = untouched
    windows = [tuple(tokens[i : i + context + 1]) for i in range(3000, 3999, context)]
    assert sorted(w for w, _ in seen) == sorted(windows) and [w for w, _ in seen] != windows
    rates = [rate for _, rate in seen]
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[-1]
    for part, kept in zip((made.tables.nodes, made.tables.lists), tables, strict=True):
        assert np.array_equal(part, kept)
    after = [made.score(tokens[i : i + context + 1]).sum() for i in range(3000, 3999, context)]
    assert sum(after) < sum(before)


def test_scoring_changes_nothing():
    tokens = text(1500)
    made = learner(tokens)
    made.go_over(tokens, "all")
    before = [part.copy() for part in (made.tables.nodes, made.tables.lists, *made.learned)]
    one, two = made.score(tokens[:60]), made.score(tokens[:60])
    assert np.array_equal(one, two)
    for part, kept in zip((made.tables.nodes, made.tables.lists, *made.learned), before, strict=True):
        assert np.array_equal(part, kept)


def test_the_same_text_gives_the_same_bits():
    tokens, found = text(2000), []
    for _ in range(2):
        made = learner(tokens)
        made.go_over(tokens, "all")
        found.append(b"".join(part.tobytes() for part in (made.tables.nodes, made.tables.lists, *made.learned)))
    assert found[0] == found[1]


def test_a_window_forgets_the_one_before():
    """Scores of a window do not depend on what was scored before it; stale slots and pairs would show."""
    tokens = text(3000)
    made = learner(tokens)
    made.go_over(tokens, "all")
    alone = made.score(tokens[100:160])
    for other in (0, 700, 100, 101):
        made.score(tokens[other : other + 64])
        assert np.array_equal(made.score(tokens[100:160]), alone)


@pytest.mark.parametrize("room", [1, 3])
def test_followers_are_replaced_from_behind(room):
    followers: list[list[int]] = []
    for rank in (5, 6, 5, 7, 8, 5):
        count_in(followers, rank, room, 255)
    assert followers == ([[5, 1]] if room == 1 else [[5, 3], [6, 1], [8, 1]])
