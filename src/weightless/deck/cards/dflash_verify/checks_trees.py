"""What is taken of a tree, held to greedy decoding of plain texts (`target.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weightless.deck.bench import Bench, Worker
from weightless.deck.cards.dflash_verify.target import Target, expected
from weightless.deck.comparing import array_of
from weightless.deck.outcome import Failed

MASK, VERIFY = "build_tree_mask", "verify_and_accept"

Tree = tuple[list[int], list[int]]


def verified(
    worker: Worker,
    target: Target,
    prompt: Sequence[int],
    tree: Tree,
    temperature: float = 0.0,
    **named: Any,
) -> tuple[list[int], int]:
    """(accepted tokens, new token) of one call, as plain ints."""
    found = worker.call(VERIFY, list(prompt), *map(list, tree), target.__call__, temperature, **named)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise Failed("WRONG_SHAPE", f"{VERIFY} should return (accepted_tokens, new_token)")
    accepted, new = found
    if not isinstance(accepted, (list, tuple, np.ndarray)):
        raise Failed("WRONG_SHAPE", f"accepted_tokens is a {type(accepted).__name__}, not a list of ints")
    return [_id(token, "an accepted token") for token in accepted], _id(new, "new_token")


def greedy(worker: Worker, target: Target, prompt: Sequence[int], tree: Tree, what: str) -> list[int]:
    """Tokens of one call, which have to be those of greedy decoding, and as many as the tree holds of it."""
    accepted, new = verified(worker, target, prompt, tree)
    taken, token = expected(target, prompt, *tree)
    if (accepted, new) == (taken, token):
        return [*taken, token]
    found, wanted = [*accepted, new], [*taken, token]
    if found == wanted[: len(found)]:
        told = f"{len(accepted)} tokens accepted, and the tree holds {len(taken)} that greedy decoding writes"
    else:
        told = f"{found[:8]} where greedy decoding writes {wanted[:8]}; accepted {len(accepted)}, wanted {len(taken)}"
    raise Failed("WRONG_NUMERIC", f"{what}: {told}")


def random_tree(rng: np.random.Generator, vocab_size: int, kind: str, n: int) -> Tree:
    """A chain, roots only, or any shape; equal siblings are likely."""
    parents = [-1 if kind == "roots" else i - 1 if kind == "chain" else int(rng.integers(-1, i)) for i in range(n)]
    return rng.integers(0, vocab_size, n).tolist(), parents


def with_the_right_path(rng: np.random.Generator, target: Target, prompt: Sequence[int], tree: Tree, n: int) -> Tree:
    """The tree with n tokens of greedy decoding woven in at random places, each behind its parent."""
    marked = [(token, parent, False) for token, parent in zip(*tree)]
    text, at = list(prompt), -1
    for _ in range(n):
        token = int(np.argmax(target.after(text)))
        place = int(rng.integers(at + 1, len(marked) + 1))
        marked = [(t, p + (p >= place), right) for t, p, right in marked]
        marked.insert(place, (token, at, True))
        text.append(token)
        at = place
    return [t for t, _, _ in marked], [p for _, p, _ in marked]


def plain_mask(bench: Bench) -> None:
    with bench.solution() as worker:
        array_of(worker.call(MASK, 3, [-1, 0, 0, 1]), (7, 7), np.bool_, "the mask")


def plain_call(bench: Bench) -> None:
    with bench.solution() as worker:
        verified(worker, Target(bench.rng), [1, 2, 3], ([4, 5, 6], [-1, 0, -1]))


def prompt_three_roots(bench: Bench) -> None:
    """A thousand tokens; once the right one is among the roots, at each place, and once it is not."""
    target, prompt = Target(bench.rng, 1000), [10, 20, 30]
    right = int(np.argmax(target.after(prompt)))
    others = [(right + step) % 1000 for step in (1, 2, 3)]
    with bench.solution() as worker:
        for place in range(4):
            roots = [right if i == place else other for i, other in enumerate(others)]
            greedy(worker, target, prompt, (roots, [-1, -1, -1]), f"three roots, the right one at {place}")


def prompt_refused_subtree(bench: Bench) -> None:
    """Below a wrong root stand what the target would write after it, and what it would write after the right one."""
    with bench.solution() as worker:
        for _ in range(4):
            target, prompt = Target(bench.rng, 50), bench.rng.integers(0, 50, 3).tolist()
            first = int(np.argmax(target.after(prompt)))
            wrong = (first + 1) % 50
            seduced = int(np.argmax(target.after([*prompt, wrong])))
            second = int(np.argmax(target.after([*prompt, first])))
            tree = [wrong, seduced, second, first], [-1, 0, 0, -1]
            greedy(worker, target, prompt, tree, "children of a refused token")
            greedy(worker, target, prompt, ([wrong, seduced, second], [-1, 0, 0]), "a refused root alone")


def prompt_three_cycles(bench: Bench) -> None:
    target, text = Target(bench.rng, 100), bench.rng.integers(0, 100, 4).tolist()
    with bench.solution() as worker:
        for cycle in range(3):
            tree = random_tree(bench.rng, 100, "any", 6)
            tree = with_the_right_path(bench.rng, target, text, tree, cycle + 1)
            text += greedy(worker, target, text, tree, f"cycle {cycle + 1} of three")


def random_masks(bench: Bench) -> None:
    """Row by row: the prompt is causal; a node sees the prompt, itself, and what lies on its path to the root."""
    with bench.solution() as worker:
        for kind in ("chain", "roots", "any", "any", "any"):
            P, n = int(bench.rng.integers(1, 9)), int(bench.rng.integers(1, 20))
            _, parents = random_tree(bench.rng, 2, kind, n)
            wanted = np.zeros((P + n, P + n), bool)
            for i in range(P):
                wanted[i, : i + 1] = True
            for node in range(n):
                wanted[P + node, :P] = True
                at = node
                while at >= 0:
                    wanted[P + node, P + at] = True
                    at = parents[at]
            found = array_of(worker.call(MASK, P, parents), wanted.shape, np.bool_, "the mask")
            if (found != wanted).any():
                i, j = map(int, np.argwhere(found != wanted)[0])
                told = f"P = {P}, parents {parents}: M[{i}, {j}] is {bool(found[i, j])}"
                raise Failed("WRONG_NUMERIC", f"{told}; {np.count_nonzero(found != wanted)} places differ")


def random_trees(bench: Bench) -> None:
    with bench.solution() as worker:
        for trial in range(40):
            kind, target = ("any", "any", "chain", "roots")[trial % 4], Target(bench.rng)
            prompt = bench.rng.integers(0, 7, int(bench.rng.integers(1, 6))).tolist()
            tree = random_tree(bench.rng, 7, kind, int(bench.rng.integers(1, 13)))
            tree = with_the_right_path(bench.rng, target, prompt, tree, int(bench.rng.integers(0, 6)))
            greedy(worker, target, prompt, tree, f"a random tree ({kind})")


def chains_and_broad_trees(bench: Bench) -> None:
    """The right path alone; with a wrong end; and as the last of three children everywhere."""
    with bench.solution() as worker:
        for _ in range(5):
            target, prompt = Target(bench.rng, 40), bench.rng.integers(0, 40, 5).tolist()
            text = list(prompt)
            for _ in range(6):
                text.append(int(np.argmax(target.after(text))))
            path = text[5:]
            greedy(worker, target, prompt, (path, list(range(-1, 5))), "the right path as a chain")
            cut = [*path[:3], (path[3] + 1) % 40, *path[4:]]
            greedy(worker, target, prompt, (cut, list(range(-1, 5))), "a chain with a wrong fourth token")
            tokens, parents, at = [], [], -1
            for token in path:
                tokens += [(token + 1) % 40, (token + 2) % 40, token]
                parents += [at, at, at]
                at = len(tokens) - 1
            greedy(worker, target, prompt, (tokens, parents), "three children everywhere, the last one right")


def later_siblings(bench: Bench) -> None:
    with bench.solution() as worker:
        for _ in range(5):
            target, prompt = Target(bench.rng, 30), bench.rng.integers(0, 30, 2).tolist()
            first = int(np.argmax(target.after(prompt)))
            second = int(np.argmax(target.after([*prompt, first])))
            wrong, other = (first + 1) % 30, (second + 1) % 30
            tree = [wrong, first, other, second], [-1, -1, 1, 1]
            greedy(worker, target, prompt, tree, "a wrong root before the right one")
            tree = [wrong, other, first, second], [-1, 0, -1, 2]
            greedy(worker, target, prompt, tree, "a wrong root with a child before the right one")


def equal_siblings(bench: Bench) -> None:
    """What follows may hang below any of the twins, and below a twin of a twin's child."""
    with bench.solution() as worker:
        for _ in range(5):
            target, prompt = Target(bench.rng, 20), bench.rng.integers(0, 20, 3).tolist()
            text = list(prompt)
            for _ in range(3):
                text.append(int(np.argmax(target.after(text))))
            a, b, c = text[3:]
            greedy(worker, target, prompt, ([a, a, b], [-1, -1, 1]), "the second of two equal roots goes on")
            greedy(worker, target, prompt, ([a, a, b], [-1, -1, 0]), "the first of two equal roots goes on")
            tree = [a, a, b, b, c], [-1, -1, 0, 1, 3]
            greedy(worker, target, prompt, tree, "equal roots with equal children")


def _id(token: Any, what: str) -> int:
    if isinstance(token, np.ndarray) and token.size == 1:
        token = token.reshape(-1)[0]
    if isinstance(token, (bool, np.bool_)) or not isinstance(token, (int, np.integer)):
        raise Failed("WRONG_SHAPE", f"{what} is a {type(token).__name__}, not an int")
    return int(token)
