"""Sampling, the edges of trees and vocabularies, and what a pass brings."""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.deck.bench import Bench, Worker
from weightless.deck.cards.dflash_verify.checks_trees import (
    MASK,
    VERIFY,
    greedy,
    random_tree,
    verified,
    with_the_right_path,
)
from weightless.deck.cards.dflash_verify.target import Table, Target
from weightless.deck.costs import seconds_beside
from weightless.deck.outcome import Failed

DRAWS, REPEATED = 800, 20
SIGMAS = 6.5
"""Of a binomial count: chance alone passes this once in ten thousand million counts."""
SLOWER = 20.0


def sampling(bench: Bench) -> None:
    """Of the first token, and of the second where the first was accepted: counts of each id against its probability.

    The drafter is deterministic, so the tree says nothing about the target's probabilities.  The literal wording asks
    for temperature 0 alone; a solution of it that takes no `rng` is not asked.
    """
    temperature = 3.0
    rows = bench.rng.permuted([[0.4, 0.3, 0.2, 0.1]] * 4, axis=1)
    rows[1] = 0.1, 0.2, 0.4, 0.3  # after the prompt, where every mistake in what is left of p shows
    table = Table(np.log(rows) * temperature)
    tree = [2, 0, 2, 1, 3, 0, 1], [-1, -1, 0, 0, 1, 1, -1]
    prompt = [3, 1]
    with bench.solution() as worker:
        if worker.raises(VERIFY, prompt, *tree, table.__call__, temperature, rng=1) == "TypeError":
            if bench.variant == "literal":
                return
            raise Failed("CONTRACT", f"{VERIFY} takes no keyword rng, so nothing can be drawn again")
        drawn = [_text(verified(worker, table, prompt, tree, temperature, rng=_seed(bench))) for _ in range(DRAWS)]
        seeds = [_seed(bench) for _ in range(REPEATED)]
        again = [[verified(worker, table, prompt, tree, temperature, rng=seed) for seed in seeds] for _ in range(2)]
    if again[0] != again[1]:
        raise Failed("WRONG_NUMERIC", "the same rng gives different tokens")
    _counts_like(table, temperature, [1], [text[0] for text in drawn], "the first token")
    for first in (0, 1, 2):
        after = [text[1] for text in drawn if text[0] == first and len(text) > 1]
        _counts_like(table, temperature, [first], after, f"the token after an accepted {first}")


def empty_and_shortest(bench: Bench) -> None:
    with bench.solution() as worker:
        if worker.call(MASK, 1, []).tolist() != [[True]]:
            raise Failed("WRONG_NUMERIC", "the mask of one token and an empty tree should be [[True]]")
        for _ in range(3):
            target = Target(bench.rng)
            greedy(worker, target, [4, 2, 6], ([], []), "an empty tree")
            greedy(worker, target, [5], ([], []), "a prompt of one token, an empty tree")
            tree = with_the_right_path(bench.rng, target, [5], random_tree(bench.rng, 7, "any", 5), 3)
            greedy(worker, target, [5], tree, "a prompt of one token")


def deep_chain(bench: Bench) -> None:
    target, text = Target(bench.rng, 60), [7]
    for _ in range(200):
        text.append(int(np.argmax(target.after(text))))
    with bench.solution() as worker:
        greedy(worker, target, [7], (text[1:], list(range(-1, 199))), "a chain of 200 right tokens")


def ties_and_infinities(bench: Bench) -> None:
    """Tables of logits: after token i stands row i."""
    tied = Table(np.array([[0.0, 2.0, 2.0], [1.0, 0.0, 1.0], [3.0, 3.0, 3.0]]))
    wide = np.full((3, 3), -np.inf)
    wide[0, 2], wide[2, 1], wide[1, 0] = -1e30, 1e30, 0.0
    with bench.solution() as worker:
        greedy(worker, tied, [0], ([2, 1, 0, 2], [-1, -1, 1, 1]), "equal logits of several ids")
        greedy(worker, tied, [2], ([1, 0], [-1, -1]), "equal logits of all ids")
        greedy(worker, Table(wide), [0], ([1, 2, 1, 0], [-1, -1, 1, 2]), "logits of −inf and 1e30")
        half = Table(wide.astype(np.float32))
        greedy(worker, half, [0], ([1, 2, 1, 0], [-1, -1, 1, 2]), "the same in float32")


def ends_of_the_vocabulary(bench: Bench) -> None:
    """Ids 0 and V − 1 are accepted, and are new tokens, like any other."""
    last = 4
    rows = np.eye(5)[[last, 0, 0, 0, 0]]
    with bench.solution() as worker:
        greedy(worker, Table(rows), [1], ([0, last, 0, last], [-1, 0, 1, 2]), "a chain of the first and the last id")
        greedy(worker, Table(rows), [0], ([1], [-1]), "the last id as the new token")
        greedy(worker, Table(rows), [2], ([1], [-1]), "id 0 as the new token")


def one_pass(bench: Bench) -> None:
    with bench.solution() as worker:
        for n, right in ((0, 0), (5, 0), (5, 4)):
            target, prompt = Target(bench.rng, 30), bench.rng.integers(0, 30, 4).tolist()
            tree = with_the_right_path(bench.rng, target, prompt, random_tree(bench.rng, 30, "any", n), right)
            greedy(worker, target, prompt, tree, f"a tree of {len(tree[0])} tokens")
            if target.passes != 1:
                told = f"{target.passes} forward passes for a tree of {len(tree[0])} tokens of which {right} are right"
                raise Failed("SLOW", f"{told}; one pass over prompt and tree has all that is needed")


def tokens_per_pass(bench: Bench) -> None:
    """60 tokens with drafts that hold up to four right tokens: as many cycles as the walk needs, and no more."""
    target, text, wanted, cycles = Target(bench.rng, 30), [3], 0, 0
    with bench.solution() as worker:
        while len(text) < 60:
            right = int(bench.rng.integers(0, 5))
            tree = with_the_right_path(bench.rng, target, text, random_tree(bench.rng, 30, "any", 6), right)
            accepted, new = verified(worker, target, text, tree)
            wanted, cycles = wanted + right + 1, cycles + 1
            if len(accepted) < right:
                told = (
                    f"{len(accepted) + 1} tokens where the tree has {right + 1}; the walk gives {wanted / cycles:.2f}"
                )
                raise Failed("WRONG_NUMERIC", f"cycle {cycles} brings {told} a pass so far")
            text += [*accepted, new]


def time_beside_ours(bench: Bench) -> None:
    """A prompt of 800 tokens with 200 of tree; the logits are a table's, so that the model costs nothing."""
    table = Table(np.eye(8)[[1, 2, 3, 4, 5, 6, 7, 0]])
    tree = random_tree(bench.rng, 8, "any", 200)
    prompt = bench.rng.integers(0, 8, 800).tolist()

    def asked(worker: Worker) -> Any:
        return verified(worker, table, prompt, tree)

    seconds_beside(bench, "a prompt of 800 tokens, a tree of 200", asked, SLOWER, 1.0)


def _counts_like(table: Table, temperature: float, text: list[int], found: list[int], what: str) -> None:
    """Every id as often as its probability says."""
    z = table.after(text) / temperature
    p = np.exp(z - z.max())
    p /= p.sum()
    counts = np.bincount(found, minlength=len(p))
    off = np.abs(counts - len(found) * p) / np.sqrt(max(1, len(found)) * p * (1 - p))
    if len(counts) > len(p) or off.max() > SIGMAS:
        shares = ", ".join(f"{c / max(1, len(found)):.3f}" for c in counts)
        right = ", ".join(f"{x:.3f}" for x in p)
        raise Failed("WRONG_NUMERIC", f"{what}, drawn {len(found)} times: shares {shares} of probabilities {right}")


def _text(result: tuple[list[int], int]) -> list[int]:
    return [*result[0], result[1]]


def _seed(bench: Bench) -> int:
    return int(bench.rng.integers(2**31))
