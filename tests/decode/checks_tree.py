"""What tree verification is held to; every check takes (build_tree_mask, verify_and_accept)."""

from __future__ import annotations

import numpy as np

V = 7


class MinimalLM:
    """One transformer block in float64 with learned absolute positions: mask, position and order all matter."""

    def __init__(self, seed: int, vocab_size: int = V, width: int = 12, n_positions: int = 256) -> None:
        rng = np.random.default_rng(seed)
        self.embed, self.place = rng.standard_normal((vocab_size, width)), rng.standard_normal((n_positions, width))
        self.q, self.k, self.v, self.up = (rng.standard_normal((width, width)) / width**0.5 for _ in range(4))
        self.head = rng.standard_normal((width, vocab_size))

    def __call__(self, tokens, mask, positions) -> np.ndarray:
        x = self.embed[tokens] + self.place[positions]
        scores = (x @ self.q) @ (x @ self.k).T / x.shape[1] ** 0.5
        scores = np.where(mask, scores, -np.inf)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        x = x + p / p.sum(axis=1, keepdims=True) @ (x @ self.v)
        return (x + np.tanh(x @ self.up)) @ self.head

    def next(self, tokens) -> np.ndarray:
        """Logits after a plain text."""
        n = len(tokens)
        return self(list(tokens), np.tri(n, dtype=bool), np.arange(n))[-1]


def random_tree(rng: np.random.Generator, kind: str) -> tuple[list[int], list[int]]:
    """Tokens and parents: a chain, several roots, anything, with duplicates likely; or none."""
    n = 0 if kind == "empty" else int(rng.integers(1, 13))
    parents = [-1 if kind == "roots" else i - 1 if kind == "chain" else int(rng.integers(-1, i)) for i in range(n)]
    return rng.integers(0, V, n).tolist(), parents


def follow(model: MinimalLM, prompt, kind: str, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """A random tree into which the target's own greedy continuation is woven, so that much is accepted."""
    tokens, parents = random_tree(rng, kind)
    text, at = list(prompt), -1
    for _ in range(int(rng.integers(0, 6))):
        token = int(model.next(text).argmax())
        tokens.append(token)
        parents.append(at)
        at = len(tokens) - 1
        text.append(token)
    return tokens, parents


def check_greedy(build, verify, n: int = 1000) -> float:
    """1,000 random models and trees: what is accepted, and the new token, is greedy decoding token for token."""
    taken = 0
    for trial in range(n):
        rng = np.random.default_rng([5, trial])
        model = MinimalLM(trial % 40)
        prompt = rng.integers(0, V, int(rng.integers(1, 6))).tolist()
        kind = ("chain", "roots", "any", "any", "empty")[trial % 5]
        accepted, new = verify(prompt, *follow(model, prompt, kind, rng), model)
        text = list(prompt)
        for token in (*accepted, new):
            assert token == int(model.next(text).argmax()), (trial, kind)
            text.append(token)
        taken += len(accepted) + 1
    return taken / n


def check_longest(build, verify) -> None:
    """All that could be accepted is: a tree that holds the greedy path of 200 tokens is taken whole."""
    model, prompt = MinimalLM(3), [1]
    text = list(prompt)
    for _ in range(200):
        text.append(int(model.next(text).argmax()))
    accepted, _ = verify(prompt, text[1:], list(range(-1, 199)), model)
    assert accepted == text[1:]


def check_siblings(build, verify) -> None:
    """The right child may come after wrong ones, and below the second of two equal ones."""
    model, prompt = MinimalLM(4), [2, 5]
    first = int(model.next(prompt).argmax())
    second = int(model.next([*prompt, first]).argmax())
    wrong = (first + 1) % V
    assert verify(prompt, [wrong, first, second], [-1, -1, 1], model)[0] == [first, second]
    assert verify(prompt, [first, first, second], [-1, -1, 1], model)[0] == [first, second]
    assert verify(prompt, [wrong, second], [-1, 0], model)[0] == []


def check_mask(build, verify) -> None:
    """Node 3 below 1 below 0: it sees the prompt, 0, 1 and itself, and no sibling."""
    mask = build(3, [-1, 0, 0, 1])
    wanted = np.zeros((7, 7), bool)
    wanted[:3, :3] = np.tri(3)
    for node, seen in enumerate(([0], [0, 1], [0, 2], [0, 1, 3])):
        wanted[3 + node, :3] = True
        wanted[3 + node, [3 + s for s in seen]] = True
    assert mask.dtype == bool and (mask == wanted).all()
    assert (build(2, []) == np.tri(2, dtype=bool)).all()


def enumerated(model, prompt, depth: int, temperature: float) -> dict[tuple[int, ...], float]:
    """The target's own distribution over the next `depth` tokens."""
    found = {(): 1.0}
    for _ in range(depth):
        longer = {}
        for path, p in found.items():
            z = model.next([*prompt, *path]) / temperature
            q = np.exp(z - z.max())
            for token, share in enumerate(q / q.sum()):
                longer[(*path, token)] = p * share
        found = longer
    return found


def check_sampling(build, verify, n: int = 12_000) -> None:
    """Frequencies of the first two tokens against the enumerated distribution: |z| < 4.5 for every pair."""
    model, prompt, temperature = MinimalLM(10, 4), [1, 3], 4.0
    wanted = enumerated(model, prompt, 2, temperature)
    tokens, parents = [2, 0, 2, 1, 3, 0], [-1, -1, 0, 0, 1, 1]
    memory = model(prompt + tokens, build(2, parents), np.array([0, 1, 2, 2, 3, 3, 3, 3]))
    rng = np.random.default_rng(0)
    count = dict.fromkeys(wanted, 0)
    after = {(token,): _softmax(model.next([*prompt, token]) / temperature) for token in range(4)}
    for _ in range(n):
        accepted, new = verify(prompt, tokens, parents, lambda *_: memory, temperature, rng)
        path = [*accepted, new]
        if len(path) == 1:
            path.append(int(np.searchsorted(after[tuple(path)].cumsum(), rng.random())))
        count[tuple(path[:2])] += 1
    for path, p in wanted.items():
        z = (count[path] / n - p) / (p * (1 - p) / n) ** 0.5
        assert abs(z) < 4.5, (path, count[path] / n, p)


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


CHECKS = [check_greedy, check_longest, check_siblings, check_mask, check_sampling]
