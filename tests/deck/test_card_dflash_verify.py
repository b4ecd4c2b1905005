"""The card `dflash_verify`: our solution passes, each known mistake gets its status, and the target says the truth."""

from __future__ import annotations

import numpy as np
import pytest
from deck.in_process import HereBench
from deck.trying import CardTests, card_of, own, verdict

from weightless.deck.cards.dflash_verify.checks_edges import sampling
from weightless.deck.cards.dflash_verify.checks_trees import random_tree, with_the_right_path
from weightless.deck.cards.dflash_verify.target import Target, checked, expected
from weightless.deck.outcome import Failed
from weightless.decode.tree_verification import build_tree_mask

ZEROS = """import numpy as np
def build_tree_mask(prompt_len, tree_parents):
    n = prompt_len + len(tree_parents)
    return np.zeros((n, n), bool)
def verify_and_accept(prompt_tokens, tree_tokens, tree_parents, target_model, temperature, rng=None):
    return [], 0
"""
GREEDY_ALONE = """
import numpy as np
from weightless.decode import tree_verification as right
build_tree_mask = right.build_tree_mask
def verify_and_accept(prompt_tokens, tree_tokens, tree_parents, target_model, temperature):
    asked = lambda tokens, mask, positions: target_model(tokens, mask)
    return right.verify_and_accept(prompt_tokens, tree_tokens, tree_parents, asked, 0.0)
"""
MANY_PASSES = """
import numpy as np
from weightless.decode.tree_verification import build_tree_mask
def verify_and_accept(prompt_tokens, tree_tokens, tree_parents, target_model, temperature, rng=None):
    text, at, accepted = list(prompt_tokens), [-1], []
    while True:
        logits = target_model(text, np.tri(len(text), dtype=bool))[-1]
        if temperature:
            p = np.exp((logits - logits.max()) / temperature)
            token = int(np.random.default_rng([rng, len(text)]).choice(len(p), p=p / p.sum()))
        else:
            token = int(logits.argmax())
        at = [i for i, parent in enumerate(tree_parents) if parent in at and tree_tokens[i] == token]
        if not at:
            return accepted, token
        accepted.append(token)
        text.append(token)
"""


class TestDflashVerify(CardTests):
    name = "dflash_verify"
    zeros = ZEROS


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return own("dflash_verify", tmp_path_factory.mktemp("ours") / "card")


def replaced(ours, folder, text):
    """Our folder with another solution.py."""
    own("dflash_verify", folder)
    (folder / "solution.py").write_text(text)
    return folder


def test_sampling_is_asked_of_the_clarified_wording_alone(ours, tmp_path):
    folder = replaced(ours, tmp_path / "greedy", GREEDY_ALONE)
    sampling(HereBench(folder, ours, variant="literal"))
    with pytest.raises(Failed) as failed:
        sampling(HereBench(folder, ours, variant="clarified"))
    assert failed.value.status == "CONTRACT"


def test_decoding_token_by_token_is_right_and_slow(ours, tmp_path):
    found = verdict(card_of("dflash_verify"), replaced(ours, tmp_path / "many", MANY_PASSES), ours)
    assert (found.level, found.status) == ("efficiency", "SLOW")


def test_a_pass_over_a_tree_says_what_plain_texts_say():
    """Every node's row, against a pass over its path alone: to rounding, since the sums differ in order."""
    rng = np.random.default_rng(4)
    target, prompt = Target(rng), [3, 1]
    tokens, parents = random_tree(rng, 7, "any", 12)
    logits = target([*prompt, *tokens], build_tree_mask(2, parents))
    for node in range(12):
        path, at = [], node
        while at >= 0:
            path.insert(0, tokens[at])
            at = parents[at]
        np.testing.assert_allclose(logits[2 + node], target.after([*prompt, *path]), rtol=0, atol=1e-12)
    assert target.passes == 1


def test_what_is_expected_is_greedy_and_as_long_as_the_tree_allows():
    rng = np.random.default_rng(6)
    for right in range(6):
        target, prompt = Target(rng, 30), rng.integers(0, 30, 3).tolist()
        tree = with_the_right_path(rng, target, prompt, random_tree(rng, 30, "any", 8), right)
        assert all(-1 <= parent < node for node, parent in enumerate(tree[1]))
        taken, new = expected(target, prompt, *tree)
        text = list(prompt)
        for token in (*taken, new):
            assert token == int(np.argmax(target.after(text)))
            text.append(token)
        assert len(taken) >= right


@pytest.mark.parametrize(
    ("tokens", "mask", "status"),
    [
        ("text", np.ones((1, 1), bool), "WRONG_SHAPE"),
        ([1.5], np.ones((1, 1), bool), "WRONG_SHAPE"),
        ([7], np.ones((1, 1), bool), "WRONG_NUMERIC"),
        ([-1], np.ones((1, 1), bool), "WRONG_NUMERIC"),
        ([1, 2], np.ones((2, 3), bool), "WRONG_SHAPE"),
        ([1, 2], None, "WRONG_SHAPE"),
        ([1, 2], np.array([[True, False], [False, False]]), "WRONG_NUMERIC"),
        ([1] * 5000, np.ones((1, 1), bool), "WRONG_SHAPE"),
    ],
)
def test_a_hook_is_not_asked_anything(tokens, mask, status):
    with pytest.raises(Failed) as failed:
        checked(tokens, mask, 7, 320)
    assert failed.value.status == status


def test_an_additive_mask_is_understood():
    mask = np.tri(3, dtype=bool)
    assert np.array_equal(checked([1, 2, 3], np.where(mask, 0.0, -np.inf), 7, 320)[1], mask)
