"""What tree verification is held to; every check takes (build_tree_mask, verify_and_accept)."""

from __future__ import annotations

import numpy as np
from decode.exact_draws import distribution

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


def check_sampling(build, verify) -> None:
    """The first two tokens have the target's distribution, enumerated (exact_draws.py), to 1e-12; siblings repeat."""
    model, prompt, temperature = MinimalLM(10, 4), [1, 3], 4.0
    tokens, parents = [2, 0, 2, 1, 3, 0], [-1, -1, 0, 0, 1, 1]
    memory = model(prompt + tokens, build(2, parents), np.array([0, 1, 2, 2, 3, 3, 3, 3]))
    found = dict.fromkeys(enumerated(model, prompt, 2, temperature), 0.0)
    one_pass = distribution(lambda rng: emitted(verify(prompt, tokens, parents, lambda *_: memory, temperature, rng)))
    for path, p in one_pass.items():
        for longer, share in enumerated(model, [*prompt, *path], max(0, 2 - len(path)), temperature).items():
            found[(*path, *longer)[:2]] += p * share
    for path, p in enumerated(model, prompt, 2, temperature).items():
        assert abs(found[path] - p) < 1e-12, (path, found[path], p)


def emitted(result: tuple[list[int], int]) -> tuple[int, ...]:
    """Everything that one pass adds to the text."""
    return (*result[0], result[1])


def check_drawn_children(build, verify) -> None:
    """Two children drawn from q without replacement, q given: over every pair they could be, the next token has p."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        p, q = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))
        found = np.zeros(4)
        for a, b in ((a, b) for a in range(4) for b in range(4) if a != b):
            for token, share in next_token(verify, p, q, [a, b]).items():
                found[token] += q[a] * q[b] / (1 - q[a]) * share
        np.testing.assert_allclose(found, p, rtol=0, atol=1e-12)


def next_token(verify, p: np.ndarray, q: np.ndarray, children: list[int]) -> dict:
    """Exact probabilities of the token after a prompt, where every place has the target p and the draft q."""
    logits, draft, roots = np.log([p] * (1 + len(children))), np.array([q] * (1 + len(children))), [-1] * len(children)
    return distribution(
        lambda rng: emitted(verify([0], children, roots, lambda *_: logits, 1.0, rng, draft_probs=draft))[0]
    )


CHECKS = [check_greedy, check_longest, check_siblings, check_mask, check_sampling, check_drawn_children]
