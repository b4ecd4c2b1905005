"""A small text with something to learn in it, and learners of it."""

from __future__ import annotations

import numpy as np

from weightless.countmix.learning import Learner, fresh_learned, growing_tables
from weightless.countmix.shape import Shape
from weightless.countmix.tree import build_tree
from weightless.ops.context_hashes import token_records

V = 61
PIECES = [*(b" " + bytes([97 + i]) for i in range(20)), *(bytes([97 + i, 98]) for i in range(20))]
PIECES += [bytes([65 + i]) for i in range(16)] + [b". ", b"'s", b"1 x", b"", b", "]
SHAPE = Shape(
    ("w0", "t2", "o1", "o2"),
    ("o3", "o4"),
    ("w01", "o1", "o2"),
    ("depth", "node", "confidence", "input", "token"),
    64,
    1 << 16,
    5,
)


def text(n: int, seed: int = 0) -> np.ndarray:
    """int64 [n]: a walk through a sparse random grammar, with stretches that come again."""
    rng = np.random.default_rng(seed)
    followers = rng.integers(0, V, (V, 4))
    tokens = np.zeros(n, np.int64)
    for i in range(1, n):
        tokens[i] = followers[tokens[i - 1], rng.zipf(1.6) % 4] if rng.random() < 0.9 else rng.integers(0, V)
        if i > 60 and rng.random() < 0.3:
            tokens[i] = tokens[i - 37]
    return tokens


def learner(tokens: np.ndarray, shape: Shape = SHAPE, bits: int = 16) -> Learner:
    """One that has learned nothing yet."""
    tree = build_tree(tokens, V)
    learned = fresh_learned(shape, tree, np.bincount(tokens, minlength=V))
    return Learner(shape, tree, growing_tables(shape, V, bits, bits), learned, token_records(PIECES))
