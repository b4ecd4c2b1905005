"""The tests of our own solution of `beam_search`; `solution` is the file beside it."""

from __future__ import annotations

import numpy as np
from solution import batched_beam_search

END, V = 0, 5


def _model(prefixes):
    """A fixed random distribution for each prefix."""
    rows = []
    for prefix in prefixes:
        z = 2 * np.random.default_rng([3, len(prefix), *prefix]).standard_normal(V)
        rows.append(z - np.log(np.exp(z).sum()))
    return np.array(rows)


def _by_the_rules(prompt, K, n_steps, alpha, end=END):
    beams: dict[tuple[int, ...], float] = {(): 0.0}
    for _ in range(n_steps):
        pool = {tokens: acc for tokens, acc in beams.items() if tokens and tokens[-1] == end}
        for tokens, acc in beams.items():
            if tokens not in pool:
                for token, log_p in enumerate(_model([[*prompt, *tokens]])[0]):
                    pool[(*tokens, token)] = acc + log_p
        best = sorted(pool, key=lambda tokens: -pool[tokens] / len(tokens) ** alpha)[:K]
        beams = {tokens: pool[tokens] for tokens in best}
    return [(list(tokens), acc / len(tokens) ** alpha) for tokens, acc in beams.items()]


def _same(found, wanted):
    assert [list(tokens) for tokens, _ in found] == [tokens for tokens, _ in wanted]
    assert all(abs(a - b) < 1e-9 for (_, a), (_, b) in zip(found, wanted))


PROMPTS = [[1, 2, 3], [4, 1, 2, 3, 4], [2], [3, 3], [1, 4], [4], [2, 2, 2, 2]]


def test_the_rules():
    for K, alpha, end in ((1, 0.0, END), (2, 0.6, END), (3, 0.6, END), (3, 1.0, END), (3, 0.6, 4), (200, 0.6, END)):
        for prompt, found in zip(PROMPTS, batched_beam_search(PROMPTS, K, 4, alpha, end, _model)):
            _same(found, _by_the_rules(prompt, K, 4, alpha, end))


def test_finished_beams_stay():
    story = {(): {END: -3.0, 1: -4.0}, (1,): {2: -1.0}, (1, 2): {3: -9.0}}

    def told(prefixes):
        rows = np.full((len(prefixes), V), -np.inf)
        for row, prefix in zip(rows, prefixes):
            for token, log_p in story.get(tuple(prefix[1:]), {}).items():
                row[token] = log_p
        return rows

    for alpha, tokens, score in ((0.6, [END], -3.0), (0.73, [END], -3.0), (0.75, [1, 2], -5 / 2**0.75)):
        _same(batched_beam_search([[4]], 2, 2, alpha, END, told)[0][:1], [(tokens, score)])
    _same(batched_beam_search([[4]], 4, 1, 0.6, END, told)[0], [([END], -3.0), ([1], -4.0)])


def test_small_probabilities():
    found = batched_beam_search([[1, 2]], 3, 3, 0.0, END, lambda rows: _model(rows) - 2000.0)[0]
    assert all(abs(score + 2000 * len(tokens)) < 60 for tokens, score in found)


def test_one_call_a_step_and_none_behind_the_end():
    calls = []

    def watched(prefixes):
        calls.append(len(prefixes))
        assert not any(END in prefix[5:] for prefix in prefixes)
        return _model(prefixes)

    batched_beam_search([[1, 2, 3, 4, 1], [4, 1, 2, 3, 4]], 3, 6, 0.6, END, watched)
    assert len(calls) <= 6 and max(calls) <= 6


def test_a_model_of_its_own():
    found = batched_beam_search([[1, 2, 3], [5, 6, 7, 8, 9]], 3, 4)
    assert [len(one) for one in found] == [3, 3]
    assert found[1] == batched_beam_search([[5, 6, 7, 8, 9]], 3, 4)[0]
