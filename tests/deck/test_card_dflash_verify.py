"""The card `dflash_verify`: our solution passes, each known mistake gets its status."""

from __future__ import annotations

from deck.trying import CardTests

ZEROS = """import numpy as np
def build_tree_mask(prompt_len, tree_parents):
    n = prompt_len + len(tree_parents)
    return np.zeros((n, n), bool)
def verify_and_accept(prompt_tokens, tree_tokens, tree_parents, target_model, temperature, rng=None):
    return [], 0
"""


class TestDflashVerify(CardTests):
    name = "dflash_verify"
    zeros = ZEROS
