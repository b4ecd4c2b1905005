"""Tree verification, held to the checks of checks_tree.py and to exact enumeration; each known mistake is caught."""

import numpy as np
import pytest
from decode import checks_tree as checks
from decode.checks_tree import MinimalLM
from ops.mutants import mutated

from weightless.base.errors import ArgumentError
from weightless.decode import tree_verification
from weightless.decode.tree_verification import _try_children, build_tree_mask, tree_positions, verify_and_accept


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
    "a node judged by its own logits": ("row = logits[at[0] + 1]", "row = logits[(children or at)[0] + 1]",
    checks.check_greedy), "positions by index": (
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
    "siblings see one another": ("mask[P + node] = mask[P + parent] if parent >= 0 else mask[P - 1]",
                                 "mask[P + node] = mask[P + node - 1]", checks.check_mask),
    "bonus token forgotten": ("return accepted, token", "return accepted, tokens[accepted[-1]] if accepted else token",
    checks.check_greedy), "refused child stays possible": ("left = np.maximum(p - draft, 0.0)", "left = p.copy()",
    checks.check_sampling), "residual not renormalised": ("p = left / left.sum()", "p = left", checks.check_sampling),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants(name):
    old, new, check = MUTANTS[name]
    mutant = mutated(tree_verification, old, new)
    with pytest.raises((AssertionError, IndexError)):
        check(mutant.build_tree_mask, mutant.verify_and_accept)


def outcome(p, q, children, tokens) -> np.ndarray:
    """Exact distribution of the emitted token: each trial's uniform integrated out by its acceptance probability."""
    p, total, weight = np.array(p, float), np.zeros(len(p)), 1.0
    q = None if q is None else np.array(q, float)
    for node in children:
        x = tokens[node]
        draft = np.eye(len(p))[x] if q is None else q
        accept = min(1.0, p[x] / draft[x])
        total[x] += weight * accept
        weight *= 1 - accept
        left = np.maximum(p - draft, 0)
        if left.sum() == 0:
            return total
        p = left / left.sum()
        if q is not None:
            q[x] = 0
            q /= q.sum() or 1
    return total + weight * p


@pytest.mark.parametrize("seed", range(5))
def test_fixed_children_leave_the_target_distribution_exact(seed):
    """By enumeration, and the code's own accept probabilities by its uniform: 1e-12."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(4) * 0.7)
    tokens = rng.integers(0, 4, 3).tolist()
    np.testing.assert_allclose(outcome(p, None, [0, 1, 2], tokens), p, atol=1e-12)
    counts = np.bincount([_try_children(p, None, [0, 1, 2], tokens, rng)[1] for _ in range(6_000)], minlength=4)
    assert (np.abs(counts / 6_000 - p) < 4.5 * np.sqrt(p * (1 - p) / 6_000) + 1e-9).all()


@pytest.mark.parametrize("seed", range(5))
def test_drawn_children_leave_the_target_distribution_exact(seed):
    """Two children drawn from q without replacement: summed over every pair they could be, the result is p."""
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))
    total = np.zeros(4)
    for a in range(4):
        for b in range(4):
            if a != b:
                total += q[a] * q[b] / (1 - q[a]) * outcome(p, q, [0, 1], [a, b])
    np.testing.assert_allclose(total, p, atol=1e-12)
    counts = np.zeros(4)
    for _ in range(6_000):
        pair = rng.choice(4, 2, replace=False, p=q).tolist()
        counts[_try_children(p, q, [0, 1], pair, rng)[1]] += 1
    assert (np.abs(counts / 6_000 - p) < 4.5 * np.sqrt(p * (1 - p) / 6_000)).all()


def test_positions_follow_depth():
    assert tree_positions(3, [-1, 0, 0, 2, -1]).tolist() == [0, 1, 2, 3, 4, 4, 5, 3]


BAD = [
    (([], [1], [-1]), {}, "prompt_len should be a whole number of at least 1"),
    (([1], [1], []), {}, "1 tree_tokens and 0 tree_parents"),
    (([1], [1, 2], [-1, 1]), {}, r"tree_parents\[1\] is 1"),
    (([1], [1, 2], [-2, 0]), {}, r"tree_parents\[0\] should be a whole number of at least -1, not -2"),
    (([1], [99], [-1]), {}, "tree token 99 is outside the vocabulary"),
    (([1], [1], [-1]), {"temperature": -1.0}, "temperature should be 0"),
    (([1], [1], [-1]), {"temperature": 1.0, "draft_probs": np.ones((1, 7))}, "draft_probs of shape"),
]


@pytest.mark.parametrize("arguments, options, message", BAD)
def test_bad_input_is_named(arguments, options, message):
    def model(tokens, mask, positions):
        return np.zeros((len(tokens), 7))

    with pytest.raises(ArgumentError, match=message):
        verify_and_accept(*arguments, model, **options)


@pytest.mark.parametrize("logits, message", [(np.zeros((9, 7)), "logits of shape"), (np.full((2, 7), np.nan), "NaN")])
def test_a_model_that_answers_nonsense_is_named(logits, message):
    with pytest.raises(ArgumentError, match=message):
        verify_and_accept([1], [1], [-1], lambda *_: logits)


def test_the_minimal_model_is_causal():
    """The oracle itself: logits of a prefix do not depend on what follows."""
    model = MinimalLM(0)
    whole = model([1, 2, 3], np.tri(3, dtype=bool), np.arange(3))
    np.testing.assert_allclose(whole[1], model.next([1, 2]), atol=1e-12)
