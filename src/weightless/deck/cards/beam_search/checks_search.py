"""Contract, the prompt's own tests, the rules and brute force."""

from __future__ import annotations

import numpy as np

from weightless.deck.bench import Bench
from weightless.deck.cards.beam_search.truth import (
    END,
    as_pairs,
    by_the_rules,
    compare,
    every_ending,
    random_model,
    scripted,
    search,
)
from weightless.deck.outcome import Failed

V = 6


def answers(bench: Bench) -> None:
    """Two prompts, three beams: two lists of pairs (list of ints, float)."""
    with bench.solution() as worker:
        found = search(worker, random_model(bench.rng, V), [[1, 2], [3]], 3, 4, 0.6)
    for item in found:
        for tokens, score in item:
            if not tokens or not all(0 <= token < V for token in tokens) or not np.isfinite(score):
                raise Failed("WRONG_SHAPE", f"({tokens}, {score}) is no sequence of new tokens with its score")


def a_model_of_its_own(bench: Bench) -> None:
    """Without log_probs: a thousand tokens, the same twice, and each prompt as it is alone."""
    prompts = [bench.rng.integers(1, 1000, n).tolist() for n in (3, 5)]
    with bench.solution() as worker:
        first, again = (as_pairs(worker.call("batched_beam_search", prompts, 3, 4, 0.6, END), 2) for _ in range(2))
        alone = [as_pairs(worker.call("batched_beam_search", [one], 3, 4, 0.6, END), 1)[0] for one in prompts]
    for number, (one, two, three) in enumerate(zip(first, again, alone)):
        if not one or not all(0 <= token < 1000 for tokens, _ in one for token in tokens):
            raise Failed("WRONG_NUMERIC", f"prompt {number}: {one!r:.80} is not of a vocabulary of 1000")
        compare(two, one, f"prompt {number} of its own model, a second time")
        compare(three, one, f"prompt {number} of its own model, alone")


def greedy(bench: Bench) -> None:
    """K = 1, alpha = 0 takes the most probable token at every step."""
    model = random_model(bench.rng, 50, 3.0)
    with bench.solution() as worker:
        for prompt in ([7], [4, 9, 2]):
            found = search(worker, model, [prompt], 1, 8, 0.0)[0]
            text, acc = [], 0.0
            while len(text) < 8 and END not in text:
                row = model([[*prompt, *text]])[0]
                acc += float(row.max())
                text = [*text, int(row.argmax())]
            compare(found, [(text, acc)], f"K = 1, alpha = 0, prompt {prompt}")


def independent(bench: Bench) -> None:
    """Prompts of 3 and 5 tokens, K = 3, alpha = 0.6: together as alone."""
    model = random_model(bench.rng, 30)
    prompts = [bench.rng.integers(1, 30, n).tolist() for n in (3, 5)]
    with bench.solution() as worker:
        together = search(worker, model, prompts, 3, 6, 0.6)
        for number, prompt in enumerate(prompts):
            alone = search(worker, model, [prompt], 3, 6, 0.6)[0]
            compare(together[number], alone, f"prompt {number} of two beside the same prompt alone")
            if len(alone) != 3 or alone != sorted(alone, key=lambda one: -one[1]):
                raise Failed("WRONG_NUMERIC", f"prompt {number}: {alone!r:.80} are not three sequences, best first")


STORY = {(): {END: -3.0, 1: -4.0}, (1,): {2: -1.0}, (1, 2): {3: -9.0}}


def finished_beams_stay(bench: Bench) -> None:
    """Ended with -3.0 beside -4.0, then -5.0 after two tokens: the ended one wins at alpha = 0.6, 0 and 0.73."""
    prompt = bench.rng.integers(1, 5, 3).tolist()
    with bench.solution() as worker:
        for alpha in (0.6, 0.0, 0.73):
            best = search(worker, scripted(STORY, 3), [prompt], 2, 2, alpha)[0][:1]
            compare(best, [([END], -3.0)], f"ended at -3.0 against -5.0 after two tokens, alpha = {alpha}")


def the_penalty_can_turn_it(bench: Bench) -> None:
    """Above alpha = log2(5 / 3) = 0.737 the same story is won by the longer text: 5 / 2^alpha < 3."""
    prompt = bench.rng.integers(1, 5, 2).tolist()
    with bench.solution() as worker:
        for alpha in (0.75, 1.0):
            best = search(worker, scripted(STORY, 2), [prompt], 2, 2, alpha)[0][:1]
            wanted = [([1, 2], -5.0 / 2**alpha)]
            compare(best, wanted, f"ended at -3.0 against -5.0 after two tokens, alpha = {alpha}")


def exhaustive(bench: Bench) -> None:
    """With K at least the number of prefixes nothing is pruned: brute force, for three penalties."""
    model = random_model(bench.rng, 4)
    with bench.solution() as worker:
        for alpha in (0.0, 0.6, 1.3):
            found = search(worker, model, [[1, 2], [3]], 60, 3, alpha)
            for prompt, one in zip([[1, 2], [3]], found):
                compare(one, every_ending(model, prompt, 3, alpha), f"K = 60 against brute force, alpha = {alpha}")


def selected_by_score(bench: Bench) -> None:
    """Small K: what is kept at every step is kept by score, finished beams among them."""
    model = random_model(bench.rng, V)
    prompts = [bench.rng.integers(1, V, int(bench.rng.integers(1, 5))).tolist() for _ in range(12)]
    with bench.solution() as worker:
        for K, alpha in ((2, 0.6), (3, 0.6), (3, 1.0), (2, 0.0)):
            found = search(worker, model, prompts, K, 5, alpha)
            for prompt, one in zip(prompts, found):
                compare(one, by_the_rules(model, prompt, K, 5, alpha), f"prompt {prompt}, K = {K}, alpha = {alpha}")


def new_tokens_count(bench: Bench) -> None:
    """A long and a short prompt with the same continuations have the same scores: the prompt counts for nothing."""
    long_one = [1, *bench.rng.integers(1, 5, 9).tolist()]
    story = {(): {1: -1.0, 2: -1.5}, (1,): {END: -1.0, 3: -0.8}, (2,): {END: -0.2}, (1, 3): {END: -0.5}}
    with bench.solution() as worker:
        for prompt in ([1], long_one):
            found = search(worker, scripted(story, len(prompt)), [prompt], 2, 3, 0.6)[0]
            wanted = by_the_rules(scripted(story, len(prompt)), prompt, 2, 3, 0.6)
            compare(found, wanted, f"a prompt of {len(prompt)} tokens")


def many_prompts(bench: Bench) -> None:
    """Nine prompts that end at different steps, two of them equal."""
    model = random_model(bench.rng, 8, 3.0)
    prompts = [bench.rng.integers(1, 8, int(bench.rng.integers(1, 7))).tolist() for _ in range(8)]
    prompts.append(prompts[0])
    with bench.solution() as worker:
        found = search(worker, model, prompts, 3, 7, 0.6)
    for number, (prompt, one) in enumerate(zip(prompts, found)):
        compare(one, by_the_rules(model, prompt, 3, 7, 0.6), f"prompt {number} of nine")
