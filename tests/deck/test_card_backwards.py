"""The card `backwards`: our solution passes, each known mistake gets its status."""

from __future__ import annotations

from deck.trying import CardTests

ZEROS = """import numpy as np
def layer_norm_forward(x, gamma, beta, eps=1e-5):
    return np.zeros_like(x), (x, gamma)
def layer_norm_backward(dy, cache):
    return np.zeros_like(dy), np.zeros_like(cache[1]), np.zeros_like(cache[1])
def gradient_check(x, gamma, beta, dy, eps=1e-5, forward=None, backward=None):
    return 0.0
"""


class TestBackwards(CardTests):
    name = "backwards"
    zeros = ZEROS
    not_by_own_tests = frozenset({"a Jacobian for every row"})
