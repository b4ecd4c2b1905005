"""What a batched beam search is held to; every check takes the function."""

from __future__ import annotations

import math

import numpy as np

V, END = 5, 0


def tiny_model(prefixes) -> np.ndarray:
    """A fixed random distribution for each prefix: log p (n, V)."""
    rows = []
    for prefix in prefixes:
        z = np.random.default_rng([17, len(prefix), *prefix]).standard_normal(V) * 2
        rows.append(z - np.log(np.exp(z).sum()))
    return np.array(rows)


def every_ending(prompt, n_steps: int, alpha: float, end: int | None = END) -> list[tuple[list[int], float]]:
    """Brute force: every sequence that ends by the end token or by length, with its score, best first."""
    found = []

    def go(tokens: list[int], acc: float) -> None:
        if (tokens and tokens[-1] == end) or len(tokens) == n_steps:
            found.append((tokens, acc / len(tokens) ** alpha))
            return
        for token, log_p in enumerate(tiny_model([[*prompt, *tokens]])[0]):
            go([*tokens, token], acc + log_p)

    go([], 0.0)
    return sorted(found, key=lambda item: -item[1])


def check_exhaustive(search) -> None:
    """With K at least the number of prefixes nothing is pruned: the list is brute force, scores to 1e-12."""
    for alpha in (0.0, 0.6, 1.3):
        for prompt, found in zip(([1, 2], [3]), search([[1, 2], [3]], 700, 4, alpha, END, tiny_model)):
            wanted = every_ending(prompt, 4, alpha)
            assert [tokens for tokens, _ in found] == [tokens for tokens, _ in wanted]
            np.testing.assert_allclose([s for _, s in found], [s for _, s in wanted], rtol=1e-12)


def check_greedy(search) -> None:
    """K = 1, alpha = 0 takes the argmax at every step."""
    for start in range(1, V):
        ((tokens, score),) = search([[start, 4]], 1, 6, 0.0, END, tiny_model)[0]
        text, acc = [start, 4], 0.0
        for token in tokens:
            row = tiny_model([text])[0]
            assert token == int(row.argmax())
            text, acc = [*text, token], acc + row[token]
        assert math.isclose(score, acc, rel_tol=1e-12)
        assert len(tokens) == 6 or tokens[-1] == END


def check_independence(search) -> None:
    """Prompts of other lengths in the same call change nothing."""
    prompts = [[1, 2, 3], [4, 1, 2, 3, 4], [2]]
    together = search(prompts, 3, 6, 0.6, END, tiny_model)
    for prompt, found in zip(prompts, together):
        assert found == search([prompt], 3, 6, 0.6, END, tiny_model)[0]


def by_definition(prompt, K: int, n_steps: int, alpha: float) -> list[tuple[list[int], float]]:
    """The rules of the algorithm with sets of tuples: 2K proposals, finished beams in the pool, selection by score."""
    beams: dict[tuple[int, ...], float] = {(): 0.0}
    for _ in range(n_steps):
        pool = {tokens: acc for tokens, acc in beams.items() if tokens and tokens[-1] == END}
        for tokens, acc in beams.items():
            if tokens not in pool:
                row = tiny_model([[*prompt, *tokens]])[0]
                for token in sorted(range(V), key=lambda t: -row[t])[: 2 * K]:
                    pool[(*tokens, token)] = acc + row[token]
        best = sorted(pool, key=lambda tokens: -pool[tokens] / len(tokens) ** alpha)[:K]
        beams = {tokens: pool[tokens] for tokens in best}
    return [(list(tokens), acc / len(tokens) ** alpha) for tokens, acc in beams.items()]


def check_pruned(search) -> None:
    """Small K against the rules written down once more (60 prompts, alpha 0, 0.6 and 1)."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        prompt = rng.integers(1, V, int(rng.integers(1, 5))).tolist()
        for alpha in (0.0, 0.6, 1.0):
            for K in (1, 2, 3):
                found = search([prompt], K, 5, alpha, END, tiny_model)[0]
                wanted = by_definition(prompt, K, 5, alpha)
                assert [tokens for tokens, _ in found] == [tokens for tokens, _ in wanted]
                np.testing.assert_allclose([s for _, s in found], [s for _, s in wanted], rtol=1e-12)


def scripted(*steps: dict[tuple[int, ...], dict[int, float]]):
    """A model that says what it is told: {new tokens: {token: log p}}; all else is impossible."""
    table = {key: value for step in steps for key, value in step.items()}

    def log_probs(prefixes) -> np.ndarray:
        rows = np.full((len(prefixes), V), -np.inf)
        for row, prefix in zip(rows, prefixes):
            for token, log_p in table[tuple(prefix[1:])].items():
                row[token] = log_p
        return rows

    return log_probs


def check_finished_beams_stay(search) -> None:
    """Ended at -3.0 against -4.0, then -5.0 after two: the ended one wins while alpha < log2(5/3) = 0.737."""
    model = scripted({(): {END: -3.0, 1: -4.0}}, {(1,): {2: -1.0}}, {(1, 2): {3: -9.0}})
    for alpha, winner, score in ((0.6, [END], -3.0), (0.73, [END], -3.0), (0.75, [1, 2], -5 / 2**0.75)):
        best = search([[4]], 2, 2, alpha, END, model)[0]
        assert best[0][0] == winner
        assert math.isclose(best[0][1], score, rel_tol=1e-12)
    assert search([[4]], 1, 2, 0.6, END, model)[0] == [([END], -3.0)]


def check_first_step(search) -> None:
    """One prompt is one beam: K different first tokens, not K copies of the best."""
    found = search([[1, 2]], 4, 1, 0.6, END, tiny_model)[0]
    assert len({tuple(tokens) for tokens, _ in found}) == 4


def check_small_vocabulary(search) -> None:
    """V < 2K: a beam proposes all V tokens, and there are no others."""
    try:
        found = search([[1, 2]], 50, 1, 0.6, END, tiny_model)[0]
    except (ValueError, IndexError) as error:
        raise AssertionError(f"2K = 100 proposals from {V} tokens: {error}") from error
    assert sorted(tokens for tokens, _ in found) == [[token] for token in range(V)]


def check_impossible_tokens(search) -> None:
    """Two tokens are possible, so there are two beams, whatever K is: none of probability 0 fills up."""
    model = scripted({(): {END: -1.0, 1: -2.0}})
    assert search([[4]], 4, 1, 0.6, END, model)[0] == [([END], -1.0), ([1], -2.0)]


def check_stops_early(search) -> None:
    """When every kept beam has ended, the model is not asked again."""
    calls = []

    def model(prefixes):
        calls.append(len(prefixes))
        rows = np.full((len(prefixes), V), -20.0)
        rows[:, END] = -0.01
        return rows

    search([[1], [2]], 1, 50, 0.6, END, model)
    assert calls == [2]


CHECKS = [
    check_exhaustive,
    check_greedy,
    check_independence,
    check_pruned,
    check_finished_beams_stay,
    check_first_step,
    check_small_vocabulary,
    check_impossible_tokens,
    check_stops_early,
]
