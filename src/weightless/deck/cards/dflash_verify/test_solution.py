"""What the prompt asks to be tested, and a little more; needs nothing but NumPy."""

from __future__ import annotations

import numpy as np
from solution import build_tree_mask, verify_and_accept


class MinimalLM:
    """One block of attention; a token stands where its row of the mask says."""

    def __init__(self, seed, vocab_size=1000, width=16):
        rng = np.random.default_rng(seed)
        self.embed, self.place = rng.standard_normal((vocab_size, width)), rng.standard_normal((300, width))
        self.q, self.k, self.v = rng.standard_normal((3, width, width)) / 4
        self.head, self.passes = rng.standard_normal((width, vocab_size)), 0

    def __call__(self, tokens, mask):
        self.passes += 1
        x = self.embed[tokens] + self.place[mask.sum(axis=1) - 1]
        scores = np.where(mask, (x @ self.q) @ (x @ self.k).T / 4, -np.inf)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.tanh(x + p / p.sum(axis=1, keepdims=True) @ (x @ self.v)) @ self.head

    def after(self, text):
        return int(self(text, np.tri(len(text), dtype=bool))[-1].argmax())


def written(model, text, n):
    """Greedy decoding: n tokens after a text."""
    text = list(text)
    for _ in range(n):
        text.append(model.after(text))
    return text[-n:] if n else []


def check(model, prompt, tokens, parents, n_accepted=None):
    accepted, new = verify_and_accept(prompt, tokens, parents, model, 0.0)
    assert [*accepted, new] == written(model, prompt, len(accepted) + 1)
    assert n_accepted is None or len(accepted) == n_accepted
    return [*accepted, new]


def test_mask():
    mask = build_tree_mask(3, [-1, 0, 0, 1])
    wanted = np.zeros((7, 7), bool)
    wanted[:3, :3] = np.tri(3, dtype=bool)
    for node, seen in enumerate(([0], [0, 1], [0, 2], [0, 1, 3])):
        wanted[3 + node, [0, 1, 2, *(3 + s for s in seen)]] = True
    assert mask.dtype == bool and np.array_equal(mask, wanted)
    assert np.array_equal(build_tree_mask(2, []), np.tri(2, dtype=bool))


def test_three_roots():
    model, prompt = MinimalLM(0), [10, 20, 30]
    right = model.after(prompt)
    check(model, prompt, [right + 1, right + 2, right], [-1, -1, -1], 1)
    check(model, prompt, [1, 2, 3], [-1, -1, -1])


def test_nothing_below_a_refused_token():
    model, prompt = MinimalLM(1), [10, 20, 30]
    right = model.after(prompt)
    wrong = (right + 1) % 1000
    seduced, second = model.after([*prompt, wrong]), model.after([*prompt, right])
    check(model, prompt, [wrong, seduced, second], [-1, 0, 0], 0)
    check(model, prompt, [wrong, seduced, second, right], [-1, 0, 0, -1], 1)


def test_three_cycles():
    model, text = MinimalLM(2), [5, 6]
    for cycle in range(3):
        path = written(model, text, cycle + 1)
        tokens = [(path[0] + 1) % 1000, *path, 7]
        parents = [-1, -1, *range(1, len(path)), len(path)]
        text += check(model, text, tokens, parents)
    assert text[2:] == written(MinimalLM(2), [5, 6], len(text) - 2) and len(text) >= 11


def test_chain_is_taken_whole():
    model = MinimalLM(3)
    path = written(model, [9], 60)
    check(model, [9], path, list(range(-1, 59)), 60)


def test_equal_siblings():
    model, prompt = MinimalLM(4), [1, 2]
    a, b = written(model, prompt, 2)
    check(model, prompt, [a, a, b], [-1, -1, 1], 2)
    check(model, prompt, [a, a, b], [-1, -1, 0], 2)


def test_random_trees():
    for seed in range(30):
        rng, model = np.random.default_rng(seed), MinimalLM(seed, vocab_size=6)
        n = int(rng.integers(0, 12))
        parents = [int(rng.integers(-1, i)) for i in range(n)]
        check(model, rng.integers(0, 6, 3).tolist(), rng.integers(0, 6, n).tolist(), parents)


def test_ties_go_to_the_lowest():
    accepted, new = verify_and_accept([0], [2, 1], [-1, -1], lambda tokens, mask: np.zeros((len(tokens), 3)), 0.0)
    assert (accepted, new) == ([], 0)


def test_one_pass():
    model = MinimalLM(5)
    verify_and_accept([1, 2], [3, 4], [-1, -1], model, 0.0)
    assert model.passes == 1


def test_sampling():
    """Two children and a deeper one, drawn 1,500 times: each token as often as softmax(logits / T) says."""
    p = np.array([0.4, 0.3, 0.2, 0.1])
    table = np.array([2 * np.log(p), 2 * np.log(p[::-1])])[[0, 1, 0, 1]]
    firsts, seconds = np.zeros(4), np.zeros(4)
    for seed in range(1500):
        accepted, new = verify_and_accept([0], [0, 2, 3], [-1, -1, 0], lambda t, m: table[t], 2.0, rng=seed)
        text = [*accepted, new]
        firsts[text[0]] += 1
        if text[0] == 0 and len(text) > 1:
            seconds[text[1]] += 1
    for counts in (firsts, seconds):
        n = counts.sum()
        assert np.all(np.abs(counts - n * p) < 5.5 * np.sqrt(n * p * (1 - p)))


def test_same_rng_same_tokens():
    table = np.zeros((2, 50))

    def drawn(seed):
        return [verify_and_accept([0], [1], [-1], lambda t, m: table, 1.0, rng=seed)[1] for _ in range(2)]

    found = [drawn(seed) for seed in range(8)]
    assert all(a == b for a, b in found) and len({a for a, _ in found}) > 1
