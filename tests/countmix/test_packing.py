"""What was counted is found again when it is packed.  Oracle: the growing tables that it was packed from."""

from __future__ import annotations

import numpy as np
import pytest
from countmix.small import SHAPE, learner, text

from weightless.countmix import packing
from weightless.countmix.learning import Learner
from weightless.countmix.packing import census, packed_tables, plan
from weightless.countmix.tree import Tree, group_places
from weightless.ops.count_mixing import N_LEVELS

DENSE = SHAPE._replace(lists=(), window=(), mixers=("node", "input"))
LISTS = SHAPE._replace(dense=(), window=(), mixers=("node", "input"))


def packed(grown: Learner, shape, budget: int = 10**7, shift: int = 0) -> Learner:
    """The same learner over packed tables; `shift` moves every node away from where it is looked for."""
    rank, child, root = grown._tree
    tree = Tree(rank, np.argsort(rank), child, int(root[0]))
    places, n_roots = group_places(tree, N_LEVELS)
    kept = plan(census(grown.tables, len(shape.dense)), budget, n_roots)
    tables = packed_tables(grown.tables, kept, places + shift, grown.learned.stretch)
    return Learner(shape, tree, tables._replace(places=places), grown.learned, grown.records)


def mean_nats(model: Learner, tokens: np.ndarray) -> float:
    return float(np.mean([model.score(tokens[i : i + 64]).mean() for i in range(0, len(tokens) - 64, 64)]))


@pytest.mark.parametrize("shape", [DENSE, LISTS], ids=["dense", "lists"])
def test_what_is_packed_says_what_was_counted(shape, monkeypatch):
    """With room for all, a byte per node and check and a list of six cost little; losing them costs far more."""
    monkeypatch.setattr(packing, "FILL", 0.2)
    tokens = text(8000)
    grown = learner(tokens, shape)
    grown.go_over(tokens, "all")
    whole = mean_nats(grown, tokens[-2000:])
    assert abs(mean_nats(packed(grown, shape), tokens[-2000:]) - whole) < 0.05


def test_looked_for_beside_where_it_lies_it_is_not_found():
    """The test above fails where a line is computed otherwise in packing than in looking."""
    tokens = text(8000)
    grown = learner(tokens, DENSE)
    grown.go_over(tokens, "all")
    whole = mean_nats(grown, tokens[-2000:])
    assert mean_nats(packed(grown, DENSE, shift=1), tokens[-2000:]) > whole + 0.2


@pytest.mark.parametrize("budget", [20_000, 60_000, 10**6])
def test_a_plan_keeps_to_its_budget(budget):
    tokens = text(8000)
    grown = learner(tokens)
    grown.go_over(tokens, "all", learns=False)
    model = packed(grown, SHAPE, budget)
    assert len(model.tables.nodes) + len(model.tables.lists) <= budget
