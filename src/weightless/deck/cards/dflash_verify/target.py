"""The model that drafted trees are verified with: a transformer block in float64, asked through the pipe, and counted.

It takes `target_model(tokens, mask)` and gives logits (P + N, V): row i is what follows token i.  A token stands at the
position that its row of the mask says: the number of tokens it attends to, less one.  So siblings share a position, as
they must, and whoever masks wrongly gets other logits.  Every tree is also followed here without any mask of a tree, by
asking for plain texts, which is the truth:

    expected(target, prompt, tokens, parents)    what greedy decoding takes of a tree, and the token it adds
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weightless.deck.outcome import Failed

LONGEST = 4096


class Target:
    """A block of attention and a nonlinear map, with learned positions: mask, position and order all matter."""

    def __init__(self, rng: np.random.Generator, vocab_size: int = 7, width: int = 12, n_positions: int = 320) -> None:
        def numbers(*shape: int) -> np.ndarray:
            return rng.standard_normal(shape)

        self.vocab_size, self.passes = vocab_size, 0
        self.embed, self.place = numbers(vocab_size, width), numbers(n_positions, width)
        self.q, self.k, self.v, self.up = (numbers(width, width) / width**0.5 for _ in range(4))
        self.head = numbers(width, vocab_size)

    def __call__(self, tokens: Any, mask: Any) -> np.ndarray:
        """The hook: one counted pass, over arguments that are checked first.  Raises Failed with WRONG_SHAPE."""
        self.passes += 1
        return self.logits(*checked(tokens, mask, self.vocab_size, len(self.place)))

    def logits(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(n, V) of tokens (n,) under a mask (n, n)."""
        x = self.embed[tokens] + self.place[mask.sum(axis=1) - 1]
        scores = np.where(mask, (x @ self.q) @ (x @ self.k).T / x.shape[1] ** 0.5, -np.inf)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        x = x + p / p.sum(axis=1, keepdims=True) @ (x @ self.v)
        return (x + np.tanh(x @ self.up)) @ self.head

    def after(self, text: Sequence[int]) -> np.ndarray:
        """Logits (V,) of what follows a plain text."""
        return self.logits(np.array(text), np.tri(len(text), dtype=bool))[-1]


class Table(Target):
    """The same questions, answered from a list: the logits after a text are those of its last token's row."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.vocab_size, self.passes, self.place = rows, rows.shape[1], 0, np.zeros(LONGEST)

    def logits(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self.rows[tokens]


def checked(tokens: Any, mask: Any, vocab_size: int, n_positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and mask as they are pinned; a mask of 0 and −inf, to be added to scores, is understood as well."""
    ids = np.asarray(tokens) if isinstance(tokens, (list, tuple, np.ndarray)) else np.zeros(())
    if ids.ndim != 1 or not 0 < len(ids) <= LONGEST or ids.dtype.kind not in "iu":
        raise Failed("WRONG_SHAPE", "target_model was not given a list of token ids")
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise Failed("WRONG_NUMERIC", f"target_model was given token {ids.max()}, of a vocabulary of {vocab_size}")
    if not isinstance(mask, np.ndarray) or mask.shape != (len(ids), len(ids)) or mask.dtype.kind not in "bf":
        raise Failed("WRONG_SHAPE", f"target_model was not given a bool mask ({len(ids)}, {len(ids)})")
    seen = mask if mask.dtype == bool else mask == 0
    counts = seen.sum(axis=1)
    if counts.min() < 1 or counts.max() > n_positions:
        raise Failed(
            "WRONG_NUMERIC", f"a row of the mask sees {counts.min()} tokens" if counts.min() < 1 else "too long"
        )
    return ids, seen


def expected(
    target: Target, prompt: Sequence[int], tokens: Sequence[int], parents: Sequence[int]
) -> tuple[list[int], int]:
    """What greedy decoding, one plain text after another, takes of a tree, and the token it adds; ties: lowest id."""
    paths: list[tuple[int, ...]] = []
    for token, parent in zip(tokens, parents):
        paths.append((*(paths[parent] if parent >= 0 else ()), token))
    known, taken = set(paths), []
    while True:
        token = int(np.argmax(target.after([*prompt, *taken])))
        if (*taken, token) not in known:
            return taken, token
        taken.append(token)
