"""Tree verification, held to the checks of checks_tree.py and to exact enumeration; each known mistake is caught."""

import numpy as np
import pytest
from decode import checks_tree as checks
from decode.checks_tree import MinimalLM
from decode.exact_draws import distribution
from ops.mutants import mutated

from weightless.base.errors import ArgumentError
from weightless.decode import tree_verification
from weightless.decode.tree_verification import (
    _try_children,
    accept,
    build_tree_mask,
    tree_positions,
    verify_and_accept,
)


@pytest.mark.parametrize("check", checks.CHECKS)
def test_tree_verification(check):
    check(build_tree_mask, verify_and_accept)


def test_tokens_per_cycle_of_the_golden_trees(capsys):
    """A third of the trees hold the greedy path for some steps: more than one token per pass, never other text."""
    per_cycle = checks.check_greedy(build_tree_mask, verify_and_accept, 200)
    with capsys.disabled():
        print(f"\n{per_cycle:.2f} tokens per cycle over 200 random trees")
    assert per_cycle > 2


MUTANTS = {
    "a node judged by its own logits": (
        "row = logits[at[0] + 1]",
        "row = logits[(children or at)[0] + 1]",
        checks.check_greedy,
    ),
    "positions by index": (
        "depth.append(depth[parent] + 1 if parent >= 0 else 1)",
        "depth.append(len(depth) + 1)",
        checks.check_greedy,
    ),
    "stops at the first refused sibling": (
        "if tokens[node] == token), None)",
        "if tokens[node] == token and node == children[0]), None)",
        checks.check_siblings,
    ),
    "goes on below one of two equal siblings": (
        "at = [node for node in children if tokens[node] == token]",
        "at = [chosen]",
        checks.check_siblings,
    ),
    "gives up before the tree ends": (
        "        if chosen is None:\n",
        "        if chosen is None or len(accepted) == 99:\n",
        checks.check_longest,
    ),
    "siblings see one another": (
        "mask[P + node] = mask[P + parent] if parent >= 0 else mask[P - 1]",
        "mask[P + node] = mask[P + node - 1]",
        checks.check_mask,
    ),
    "a node does not see itself": ("mask[P + node, P + node] = True", "pass", checks.check_mask),
    "bonus token forgotten": (
        "return accepted, token",
        "return accepted, tokens[accepted[-1]] if accepted else token",
        checks.check_greedy,
    ),
    "temperature forgotten": ("tempered(row, temperature)", "tempered(row, 1.0)", checks.check_sampling),
    "refused child stays possible": ("left = np.maximum(p - draft, 0.0)", "left = p.copy()", checks.check_sampling),
    "residual not renormalised": ("p = left / left.sum()", "p = left", checks.check_sampling),
    "accepted by p alone": ("rng.random() * draft[x] < p[x]", "rng.random() < p[x]", checks.check_drawn_children),
    "the tried child stays in the draft": (
        "            q[x] = 0.0\n            q /= q.sum() or 1.0\n",
        "            pass\n",
        checks.check_drawn_children,
    ),
    "the draft not renormalised": ("            q /= q.sum() or 1.0\n", "", checks.check_drawn_children),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants(name):
    old, new, check = MUTANTS[name]
    mutant = mutated(tree_verification, old, new)
    with pytest.raises(AssertionError):
        check(mutant.build_tree_mask, mutant.verify_and_accept)


@pytest.mark.parametrize("seed", range(5))
def test_fixed_children_leave_the_target_distribution_exact(seed):
    """Three children whose tokens may repeat; every draw enumerated, 1e-12."""
    rng = np.random.default_rng(seed)
    p, tokens = rng.dirichlet(np.ones(4) * 0.7), rng.integers(0, 4, 3).tolist()
    found = distribution(lambda rng: _try_children(p, None, [0, 1, 2], tokens, rng)[1])
    np.testing.assert_allclose([found.get(token, 0.0) for token in range(4)], p, rtol=0, atol=1e-12)


def test_positions_follow_depth():
    assert tree_positions(3, [-1, 0, 0, 2, -1]).tolist() == [0, 1, 2, 3, 4, 4, 5, 3]


BAD = [
    (([], [1], [-1]), {}, "prompt_len should be a whole number of at least 1"),
    (([1], [1], []), {}, "1 tree_tokens and 0 tree_parents"),
    (([1], [1, 2], [-1, 1]), {}, r"tree_parents\[1\] is 1"),
    (([1], [1, 2], [-2, 0]), {}, r"tree_parents\[0\] should be a whole number of at least -1, not -2"),
    (([1], [99], [-1]), {}, "tree token 99 is outside the vocabulary"),
    (([1], [1], [-1]), {"temperature": -1.0}, "temperature should be 0"),
    (([1], [1], [-1]), {"temperature": float("nan")}, "temperature should be a finite number, not nan"),
    (([1], [1], [-1]), {"temperature": 1.0, "draft_probs": np.ones((1, 7))}, "draft_probs of shape"),
    (([1], [1], [-1]), {"temperature": 1.0, "draft_probs": np.full((2, 7), np.nan)}, "none below 0 and no NaN"),
    (([1.5], [1], [-1]), {}, r"prompt_tokens\[0\] should be a whole number of at least 0, not 1.5"),
    (([1], "a", [-1]), {}, "tree_tokens should be a list of whole numbers, not 'a'"),
    (([1], [1], None), {}, "tree_parents should be a list of whole numbers, not None"),
]


@pytest.mark.parametrize("arguments, options, message", BAD)
def test_bad_input_is_named(arguments, options, message):
    def model(tokens, mask, positions):
        return np.zeros((len(tokens), 7))

    with pytest.raises(ArgumentError, match=message):
        verify_and_accept(*arguments, model, **options)


@pytest.mark.parametrize(
    "logits, message",
    [
        (np.zeros((9, 7)), "logits of shape"),
        (np.full((2, 7), np.nan), "NaN"),
        (np.full((2, 7), -np.inf), "no token a chance"),
        (np.zeros((2, 0)), "no token a chance"),
    ],
)
def test_a_model_that_answers_nonsense_is_named(logits, message):
    with pytest.raises(ArgumentError, match=message):
        verify_and_accept([1], [1], [-1], lambda *_: logits)


def test_the_minimal_model_is_causal():
    """The oracle itself: logits of a prefix do not depend on what follows."""
    model = MinimalLM(0)
    whole = model([1, 2, 3], np.tri(3, dtype=bool), np.arange(3))
    np.testing.assert_allclose(whole[1], model.next([1, 2]), atol=1e-12)


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-300, 1e300])
def test_the_smallest_and_largest_temperatures_are_greedy_and_uniform(temperature):
    """Oracle: argmax of the row (no ties here), and equal shares; neither may be NaN."""
    logits = np.array([[1.0, 3.0, -2.0, -np.inf], [0.0, 1.0, 5.0, 2.0]])
    counts = np.zeros(4)
    for seed in range(200 if temperature > 1 else 3):
        nodes, token = accept(logits, [1], [-1], temperature, np.random.default_rng(seed))
        if temperature < 1:
            assert (nodes, token) == ([0], 2)
        counts[token if not nodes else 1] += 1
    if temperature > 1:
        assert counts[3] == 0 and (counts[:3] > 40).all()


def test_draft_probabilities_add_up_to_one():
    logits, drafted = np.zeros((2, 4)), np.full((2, 4), 0.25)
    drafted[1] = 0.0  # of a node without children: never looked at
    accept(logits, [1], [-1], 1.0, np.random.default_rng(0), drafted)
    with pytest.raises(ArgumentError, match="row 0 of draft_probs adds up to 0.5"):
        accept(logits, [1], [-1], 1.0, np.random.default_rng(0), drafted / 2)
