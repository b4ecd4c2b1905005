"""Batched beam search, held to the checks of checks_beam_search.py; each known mistake is caught by a named check."""

import numpy as np
import pytest
from decode import checks_beam_search as checks
from ops.mutants import mutated

from weightless.base.errors import ArgumentError
from weightless.decode import beam_search
from weightless.decode.beam_search import batched_beam_search


@pytest.mark.parametrize("check", checks.CHECKS)
def test_beam_search(check):
    check(batched_beam_search)


MUTANTS = {
    "selected by raw log-probability": (
        "key=lambda beam: -beam.score(alpha))",
        "key=lambda beam: -beam.acc)",
        checks.check_pruned,
    ),
    "finished beams leave the pool": (
        "[beam for beam in beams if beam.finished] for beams in kept]",
        "[] for beams in kept]",
        checks.check_finished_beams_stay,
    ),
    "only one proposal per beam": (
        "_proposals(beam, logp_V, 2 * K, end)",
        "_proposals(beam, logp_V, 1, end)",
        checks.check_first_step,
    ),
    "the end token is not counted": (
        "return self.acc / len(self.tokens) ** alpha",
        "return self.acc / max(1, len(self.tokens) - self.finished) ** alpha",
        checks.check_exhaustive,
    ),
    "K copies of the prompt at the first step": (
        "kept = [[Beam((), 0.0, False)] for _ in items]",
        "kept = [[Beam((), 0.0, False)] * K for _ in items]",
        checks.check_first_step,
    ),
    "more proposals than tokens": ("n = min(n, len(logp_V))", "n = n", checks.check_small_vocabulary),
    "impossible tokens proposed": (" & (logp_V > -np.inf)", "", checks.check_impossible_tokens),
    "done when one beam has ended": (
        "if not beam.finished]",
        "if not any(other.finished for other in beams)]",
        checks.check_pruned,
    ),
    "sorted by raw log-probability in the end": (
        "beam.score(alpha)) for beam in beams] for",
        "beam.score(alpha)) for beam in sorted(beams, key=lambda beam: -beam.acc)] for",
        checks.check_pruned,
    ),
    "acc is rescaled": (
        "beam.acc + float(logp_V[token])",
        "(beam.acc + float(logp_V[token])) / 1.1",
        checks.check_greedy,
    ),
    "finished beams go on": ("if not beam.finished]", "]", checks.check_stops_early),
    "prompts share a pool": ("pools[item] +=", "pools[0] +=", checks.check_independence),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants(name):
    old, new, check = MUTANTS[name]
    mutant = mutated(beam_search, old, new)
    with pytest.raises(AssertionError):
        check(mutant.batched_beam_search)


BAD = [
    (([], 1, 1, 0.6, 0), "prompts should be a list"),
    (([[]], 1, 1, 0.6, 0), r"prompts\[0\] should be a list of at least one token id"),
    (("abc", 1, 1, 0.6, 0), "prompts should be a list"),
    (([[1]], 0, 1, 0.6, 0), "beam_width should be a whole number of at least 1"),
    (([[1]], 1, 0, 0.6, 0), "max_new_tokens should be a whole number of at least 1"),
    (([[1]], 1, 1, float("nan"), 0), "alpha should be a finite number, not nan"),
    (([[1]], 1, 1, 2000.0, 0), "alpha should lie in -40..40"),
    (([[1]], 1, 1, 0.6, 1.5), "eos_token_id should be a whole number of at least 0, not 1.5"),
    ((None, 1, 1, 0.6, 0), "prompts should be a list"),
    (([[1], [2.5]], 1, 1, 0.6, 0), r"prompts\[1\]\[0\] should be a whole number of at least 0, not 2.5"),
    (([5], 1, 1, 0.6, 0), r"prompts\[0\] should be a list of whole numbers, not 5"),
    (([[1]], 1, 1, 0.6, 7), "eos_token_id 7 is not in the vocabulary"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        batched_beam_search(*arguments, checks.tiny_model)


@pytest.mark.parametrize("rows, message", [(np.zeros((2, 5)), "one row per prefix"), (np.full((1, 5), np.nan), "NaN")])
def test_a_model_that_answers_nonsense_is_named(rows, message):
    with pytest.raises(ArgumentError, match=message):
        batched_beam_search([[1]], 1, 1, 0.6, 0, lambda prefixes: rows)


def test_most_probable_takes_the_lower_id_of_equals():
    row = np.array([0.5, 0.7, 0.5, 0.7, -np.inf])
    assert beam_search.most_probable(row, 3).tolist() == [1, 3, 0]
    assert beam_search.most_probable(row, 9).tolist() == [1, 3, 0, 2]
