"""Models that a search is asked about, and what it should find: the rules with sets of tuples, and brute force.

score = (sum of log p) / n^alpha, n new tokens, the end token among them
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weightless.deck.bench import Worker
from weightless.deck.outcome import Failed

END = 0
Found = list[tuple[list[int], float]]
Model = Callable[[Sequence[Sequence[int]]], np.ndarray]


class Asked:
    """A model as a hook: counts calls and rows, and holds the prefixes to what is pinned."""

    def __init__(self, model: Model, prompts: list[list[int]], end: int = END) -> None:
        self.model, self.prompts, self.end = model, prompts, end
        self.n_calls, self.n_rows = 0, 0

    def __call__(self, prefixes: Any) -> np.ndarray:
        rows = self._checked(prefixes)
        self.n_calls += 1
        self.n_rows += len(rows)
        return self.model(rows)

    def _checked(self, prefixes: Any) -> list[list[int]]:
        try:
            rows = [[int(token) for token in row] for row in prefixes]
        except (TypeError, ValueError):
            told = f"log_probs was called with {prefixes!r:.80}, not with a list of lists of token ids"
            raise Failed("CONTRACT", told) from None
        for row in rows:
            if not any(row[: len(prompt)] == prompt for prompt in self.prompts):
                told = f"log_probs was asked about {row[:12]}, which begins with no prompt"
                raise Failed("CONTRACT", f"{told}; a prefix is the prompt and the new tokens")
        return rows


def random_model(rng: np.random.Generator, vocab_size: int, sharpness: float = 2.0) -> Model:
    """A fixed random distribution for each prefix, drawn anew for each grading."""
    secret = int(rng.integers(2**31))

    def log_probs(prefixes: Sequence[Sequence[int]]) -> np.ndarray:
        rows = []
        for prefix in prefixes:
            z = np.random.default_rng([secret, len(prefix), *prefix]).standard_normal(vocab_size) * sharpness
            rows.append(z - np.log(np.exp(z).sum()))
        return np.array(rows)

    return log_probs


def scripted(table: dict[tuple[int, ...], dict[int, float]], prompt_length: int, rest: float = -50.0) -> Model:
    """{new tokens: {token: log p}} for five tokens; whatever is not said has log p `rest`."""

    def log_probs(prefixes: Sequence[Sequence[int]]) -> np.ndarray:
        rows = np.full((len(prefixes), 5), rest)
        for row, prefix in zip(rows, prefixes):
            for token, log_p in table.get(tuple(prefix[prompt_length:]), {}).items():
                row[token] = log_p
        return rows

    return log_probs


def score_of(acc: float, n: int, alpha: float) -> float:
    """The length-penalised score."""
    return acc / n**alpha


def by_the_rules(model: Model, prompt: list[int], K: int, n_steps: int, alpha: float, end: int = END) -> Found:
    """2K proposals of each unfinished beam, finished ones in the pool, the K best scores kept."""
    beams: dict[tuple[int, ...], float] = {(): 0.0}
    for _ in range(n_steps):
        pool = {tokens: acc for tokens, acc in beams.items() if tokens and tokens[-1] == end}
        for tokens, acc in beams.items():
            if tokens not in pool:
                row = model([[*prompt, *tokens]])[0]
                for token in sorted(range(len(row)), key=lambda t: -row[t])[: 2 * K]:
                    if row[token] > -np.inf:
                        pool[(*tokens, token)] = acc + row[token]
        best = sorted(pool, key=lambda tokens: -score_of(pool[tokens], len(tokens), alpha))[:K]
        beams = {tokens: pool[tokens] for tokens in best}
    return [(list(tokens), score_of(acc, len(tokens), alpha)) for tokens, acc in beams.items()]


def every_ending(model: Model, prompt: list[int], n_steps: int, alpha: float) -> Found:
    """Brute force: every sequence that ends by the end token or by length, best first."""
    found: Found = []
    open_ones: list[tuple[list[int], float]] = [([], 0.0)]
    while open_ones:
        tokens, acc = open_ones.pop()
        if tokens and (tokens[-1] == END or len(tokens) == n_steps):
            found.append((tokens, score_of(acc, len(tokens), alpha)))
            continue
        row = model([[*prompt, *tokens]])[0]
        open_ones += [([*tokens, token], acc + float(log_p)) for token, log_p in enumerate(row)]
    return sorted(found, key=lambda item: -item[1])


def search(
    worker: Worker, model: Model, prompts: list[list[int]], K: int, n_steps: int, alpha: float, end: int = END
) -> list[Found]:
    """What the solution finds, as plain lists."""
    hook = model if isinstance(model, Asked) else Asked(model, prompts, end)
    found = worker.call("batched_beam_search", prompts, K, n_steps, alpha, end, log_probs=hook)
    return as_pairs(found, len(prompts))


def as_pairs(found: Any, n_prompts: int) -> list[Found]:
    """One list per prompt of pairs (tokens, score); WRONG_SHAPE when it is something else."""
    if not isinstance(found, (list, tuple)) or len(found) != n_prompts:
        raise Failed("WRONG_SHAPE", f"{found!r:.80} was returned, not a list with one entry per prompt ({n_prompts})")
    return [[_pair(one) for one in _listed(item)] for item in found]


def _listed(item: Any) -> Any:
    if not isinstance(item, (list, tuple)):
        raise Failed("WRONG_SHAPE", f"an entry is {item!r:.80}, not a list of pairs (tokens, score)")
    return item


def _pair(one: Any) -> tuple[list[int], float]:
    try:
        tokens, score = one
        if isinstance(score, (bool, str)) or isinstance(tokens, (str, dict)):
            raise TypeError
        return [int(token) for token in tokens], float(score)
    except (TypeError, ValueError):
        raise Failed("WRONG_SHAPE", f"{one!r:.80} is no pair of a list of token ids and a score") from None


def compare(found: Found, wanted: Found, what: str) -> None:
    """Raise Failed unless tokens are equal, in order, and scores to 1e-9."""
    if len(found) != len(wanted):
        raise Failed("WRONG_NUMERIC", f"{what}: {len(found)} sequences, and there should be {len(wanted)}")
    for rank, ((tokens, score), (right, right_score)) in enumerate(zip(found, wanted)):
        if tokens != right:
            told = f"rank {rank} is {tokens[:12]} ({score:.4f}), and should be {right[:12]} ({right_score:.4f})"
            raise Failed("WRONG_NUMERIC", f"{what}: {told}")
        if not abs(score - right_score) <= 1e-9 * max(1e-3, abs(right_score)):
            told = f"{tokens[:12]} has score {score:.6f}, and sum / n^alpha is {right_score:.6f}"
            raise Failed("WRONG_NUMERIC", f"{what}: {told}")
