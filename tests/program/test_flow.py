"""Ways through a body: which operators run, whatever the data say.

Oracle: a body as a tree of stretches, walked by recursion; of costs, every path.
"""

from __future__ import annotations

import copy
import random
from typing import NamedTuple

import numpy as np
import pytest
from contract.cases import ALL, bench

from weightless.base.errors import CorruptFileError
from weightless.program.cost import Bytes, along, costliest, fixed_bytes, flops, flops_of_steps, formula, is_exact
from weightless.program.flow import MOST_EXITS, Flow
from weightless.program.program import Program

WITH_EXITS = [case for case in ALL if bench(*case).program.flow.tests]
TWO = ("dense", "exits_after_two_blocks")


class Op(NamedTuple):
    """What a flow asks of an operator."""

    full: int = 0
    lite: int = 0
    name: str = "op"

    def stretches(self) -> tuple[int, int]:
        return self.full, self.lite


def drawn(rng: random.Random, depth: int = 0) -> list:
    """A body as a tree: None is an operator, (full, lite) a test with the trees behind it."""
    tree: list = []
    for _ in range(rng.randint(1, 4)):
        if depth < 3 and rng.random() < 0.4:
            tree.append((drawn(rng, depth + 1), drawn(rng, depth + 1) if rng.random() < 0.7 else []))
        else:
            tree.append(None)
    return tree


def flat(tree: list) -> list[Op]:
    body: list[Op] = []
    for node in tree:
        if node is None:
            body.append(Op())
        else:
            full, lite = (flat(part) for part in node)
            body += [Op(len(full), len(lite)), *full, *lite]
    return body


def walked(tree: list, first: int, path: int, tests: list[int]) -> list[int]:
    """The places that run, by recursion; `tests` counts the tests met, taken or not."""
    found, at = [], first
    for node in tree:
        found.append(at)
        at += 1
        if node is None:
            continue
        exits = path >> len(tests) & 1
        tests.append(at)
        for part, runs in zip(node, (not exits, exits), strict=True):
            inside = walked(part, at, path, tests)
            found += inside if runs else []
            at += len(flat(part))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_every_path_runs_what_the_tree_says(seed):
    tree = drawn(random.Random(seed))
    body = flat(tree)
    flow = Flow.of(body)
    n = sum(op != Op() for op in body)
    assert len(flow.tests) == n
    for path in range(min(1 << n, 256)):
        assert list(flow.taken(path)) == walked(tree, 0, path, [])
        assert flow.exits(path) == [j for j in range(n) if path >> j & 1]


@pytest.mark.parametrize("seed", range(20))
def test_the_costliest_path_by_trying_all(seed):
    rng = random.Random(seed)
    body = next(
        body for body in (flat(drawn(rng)) for _ in range(100)) if sum(op != Op() for op in body) in range(1, 11)
    )
    flow, costs = Flow.of(body), [rng.randint(0, 9) for _ in body]
    n = len(flow.tests)
    of = {path: sum(costs[i] for i in flow.taken(path)) for path in range(1 << n)}
    assert of[flow.costliest(costs.__getitem__)] == max(of.values())


@pytest.mark.parametrize(
    "body",
    [
        [Op(0, 1), Op()],
        [Op(-1, 2), Op()],
        [Op(2, -1), Op(), Op()],
        [Op(1, 1), Op()],
        [Op(2, 0), Op()],
        [Op(2, 1), Op(1, 1), Op(), Op()],
        [Op(1, 2), Op(), Op(1, 1), Op()],
        [Op(2**62, 2**62), Op()],
        [Op(1, 0), Op()] * (MOST_EXITS + 1),
        [*(Op(k, 0) for k in range(MOST_EXITS + 1, 0, -1)), Op()],
    ],
    ids=lambda body: f"{len(body)} operators",
)
def test_stretches_that_do_not_fit(body):
    with pytest.raises(CorruptFileError, match=r"do not fit|more than 62") as caught:
        Flow.of(body)
    assert "\n" not in str(caught.value)


def test_as_many_as_may_be():
    flow = Flow.of([*(Op(k, 0) for k in range(MOST_EXITS, 0, -1)), Op()])
    last = 1 << (MOST_EXITS - 1)
    assert len(flow.taken(0)) == MOST_EXITS + 1 and len(flow.taken(last)) == MOST_EXITS and flow.taken(1) == (0,)


@pytest.mark.parametrize("case", WITH_EXITS, ids="-".join)
def test_position_and_path_are_enough_to_know_a_step(case):
    """Oracle: the compiled engine's log.  What is decided by data beside the exits is added as it was counted."""
    b = bench(*case)
    engine, logged = b.engine(), b.logged_engine()
    _, traffic = engine.score_stream_with_traffic(b.tokens, b.targets)
    _, counts = logged.touched(b.tokens, b.targets)
    assert np.array_equal(engine.paths, logged.paths)
    positions = np.arange(1, len(b.tokens) + 1)
    fixed = fixed_bytes(b.program, "score", positions, engine.paths)
    assert np.array_equal(sum(fixed.values()) + traffic.sum(axis=1), counts[:, :, 0].sum(axis=1))
    assert len(np.unique(engine.paths)) > 1, "exits are taken, and not by all"
    assert not is_exact(b.program)


@pytest.mark.parametrize("case", WITH_EXITS, ids="-".join)
def test_the_formula_is_the_most(case):
    program = bench(*case).program
    for t in (1, 2, program.context):
        most = sum(formula(program, t).values(), Bytes()).T
        each = [sum(along(program, t, path).values(), Bytes()).T for path in range(1 << len(program.flow.tests))]
        assert most == max(each) and min(each) < most and costliest(program, t) == 0


def test_flops_of_steps():
    b = bench(*TWO)
    positions = np.arange(1, b.program.context + 1)
    assert flops_of_steps(b.program, positions, np.zeros_like(positions)) == flops(b.program)
    early = flops_of_steps(b.program, positions, np.ones_like(positions))
    config = b.config
    # the second to fourth block leave keys and values only: 2 d 2 d_kv each, and nothing of attention or feed-forward
    block = (flops(b.program) - 2 * 301 * 40 - 2 * 2 * 40) / config.n_layers
    assert early == pytest.approx(block + 2 * 40 + 3 * 2 * 40 * 80 + 2 * 301 * 40)


def test_a_test_in_a_head_is_refused():
    values = copy.deepcopy(bench(*TWO).program.to_plain())
    test = next(op for op in values["body"] if op["op"] == "exit_test")
    values["heads"]["score"] = [{**test, "full": 1, "lite": 0}, *values["heads"]["score"]]
    with pytest.raises(CorruptFileError, match="'score' has operators that exit"):
        Program.from_plain(values)
