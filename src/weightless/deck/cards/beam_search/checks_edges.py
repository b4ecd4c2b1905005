"""Small vocabularies, impossible tokens, ends at the first step, very small probabilities, and what a search asks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightless.deck.bench import Bench, Worker
from weightless.deck.cards.beam_search.truth import END, Asked, by_the_rules, compare, random_model, scripted, search
from weightless.deck.costs import seconds_beside
from weightless.deck.outcome import Failed


def first_step(bench: Bench) -> None:
    """One step, K = 4: four different first tokens, and no copies of the best."""
    model = random_model(bench.rng, 9)
    with bench.solution() as worker:
        found = search(worker, model, [[1, 2], [5]], 4, 1, 0.6)
    for prompt, one in zip([[1, 2], [5]], found):
        compare(one, by_the_rules(model, prompt, 4, 1, 0.6), f"one step from {prompt}, K = 4")


def small_vocabulary(bench: Bench) -> None:
    """V = 3 and K = 5: a beam proposes all the tokens there are."""
    model = random_model(bench.rng, 3)
    with bench.solution() as worker:
        for n_steps in (1, 4):
            found = search(worker, model, [[1], [2, 1]], 5, n_steps, 0.6)
            for prompt, one in zip([[1], [2, 1]], found):
                compare(one, by_the_rules(model, prompt, 5, n_steps, 0.6), f"V = 3, K = 5, {n_steps} steps")


def impossible_tokens(bench: Bench) -> None:
    """Two tokens possible, all others -inf: two sequences, whatever K is; an end that never comes changes nothing."""
    rows = {(): {END: -1.0, 1: -2.0}}
    never = {(): {1: -0.5, 2: -1.0}, (1,): {3: -0.3}, (2,): {4: -0.1}}
    with bench.solution() as worker:
        found = search(worker, scripted(rows, 1, -np.inf), [[4]], 4, 1, 0.6)[0]
        compare(found, [([END], -1.0), ([1], -2.0)], "two possible tokens, K = 4")
        found = search(worker, scripted(never, 1, -np.inf), [[4]], 3, 2, 0.0)[0]
        compare(found, [([1, 3], -0.8), ([2, 4], -1.1)], "two possible sequences, K = 3")


def end_in_the_prompt(bench: Bench) -> None:
    """The end token among the prompt's tokens ends nothing."""
    model = random_model(bench.rng, 7)
    prompts = [[3, END, 2], [END]]
    with bench.solution() as worker:
        found = search(worker, model, prompts, 3, 4, 0.6)
    for prompt, one in zip(prompts, found):
        compare(one, by_the_rules(model, prompt, 3, 4, 0.6), f"the end token in the prompt {prompt}")


def another_end(bench: Bench) -> None:
    """The end token is the one that is named, here 5."""
    model = random_model(bench.rng, 7)
    with bench.solution() as worker:
        found = search(worker, model, [[1, 2], [3]], 3, 5, 0.6, end=5)
    for prompt, one in zip([[1, 2], [3]], found):
        compare(one, by_the_rules(model, prompt, 3, 5, 0.6, end=5), f"end token 5, prompt {prompt}")


def very_unlikely(bench: Bench) -> None:
    """Log-probabilities of -2,000 each: their exponentials are zero, their sums are exact."""
    base = random_model(bench.rng, 6)
    with bench.solution() as worker:
        found = search(worker, lambda rows: base(rows) - 2000.0, [[1, 2]], 3, 5, 0.6)[0]
    compare(found, by_the_rules(lambda rows: base(rows) - 2000.0, [1, 2], 3, 5, 0.6), "log-probabilities of -2000")


def finished_beams_are_left_alone(bench: Bench) -> None:
    """Nobody asks about a sequence that has ended, nor about any when all have."""
    certain = np.full(6, -20.0)
    certain[END] = -0.01
    prompts = [[1], [2, 3]]
    hook = Asked(lambda rows: np.tile(certain, (len(rows), 1)), prompts)
    with bench.solution() as worker:
        found = search(worker, hook, prompts, 1, 30, 0.6)
        if hook.n_calls > 2 or hook.n_rows > 2:
            told = f"{hook.n_calls} calls with {hook.n_rows} prefixes for two prompts that end at once"
            raise Failed("SLOW", f"{told}; finished beams are not expanded")
        for one in found:
            compare(one, [([END], -0.01)], "a model that ends at once")
        _no_question_behind_an_end(worker, bench)


def _no_question_behind_an_end(worker: Worker, bench: Bench) -> None:
    model, prompt = random_model(bench.rng, 6), [2, 1]

    def watched(rows: Sequence[Sequence[int]]) -> np.ndarray:
        for row in rows:
            if END in list(row)[len(prompt) :]:
                raise Failed("WRONG_NUMERIC", f"log_probs was asked what follows {row}, which has ended")
        return model(rows)

    search(worker, watched, [prompt], 3, 6, 0.6)


def one_call_a_step(bench: Bench) -> None:
    """Unfinished beams of all prompts go into one call: at most one call a step, and no more prefixes than beams."""
    model = random_model(bench.rng, 40)
    prompts, K, n_steps = [bench.rng.integers(1, 40, 3).tolist() for _ in range(6)], 4, 6
    hook, ours = Asked(model, prompts), Asked(model, prompts)
    with bench.solution() as worker:
        search(worker, hook, prompts, K, n_steps, 0.6)
    with bench.reference() as worker:
        search(worker, ours, prompts, K, n_steps, 0.6)
    if hook.n_calls > n_steps or hook.n_rows > ours.n_rows:
        told = f"{hook.n_calls} calls with {hook.n_rows} prefixes, ours {ours.n_calls} with {ours.n_rows}"
        raise Failed("SLOW", f"{len(prompts)} prompts, K = {K}, {n_steps} steps: {told}")


def speed(bench: Bench) -> None:
    """Ten steps of eight beams over 20,000 tokens: within eight times our processor time, and half a second."""
    table = 3 * bench.rng.standard_normal((16, 20_000))
    table -= np.log(np.exp(table).sum(1, keepdims=True))

    def ask(worker: Worker) -> None:
        worker.call("batched_beam_search", [[1, 2], [3]], 4, 10, 0.6, END, log_probs=_rows_of(table))

    seconds_beside(bench, "10 steps of 8 beams over 20,000 tokens", ask, 8, 0.5)


def _rows_of(table: np.ndarray):  # type: ignore[no-untyped-def]
    return lambda rows: table[[(sum(row) * 7 + len(row)) % len(table) for row in rows]]
