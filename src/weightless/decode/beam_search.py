"""Batched beam search with a length penalty and finished beams that stay in the race.

    score(beam) = acc / n^alpha        acc: sum of log-probabilities of its n new tokens, <eos> included, never rescaled

One step, for every prompt by itself: each unfinished beam proposes its 2K most probable tokens; the pool is the
finished beams and all proposals; the K best scores are kept.  A beam that takes the end token is finished: frozen, but
still in the pool.  If finished beams left the pool, a short and likely sequence could be overtaken by a longer, less
likely one that was only kept because its rival had gone.  Selection is by score, not by acc: with alpha > 0 the two
differ often. A prompt is done when no unfinished beam is kept, and the search when all prompts are or max_new_tokens
are made.

2K proposals are the custom of searches that set finished beams aside; here, where they stay in the pool, K would select
the same (docs/algorithms/beam_search.md).
At the first step there is one beam (the prompt), so its copies cannot fill the pool.
Ties: the earlier beam, then the lower token id.  Tokens of probability 0 are never proposed.

Cost: one call of `log_probs` per step for the unfinished beams of all prompts together, then O(beams V) to select.
With K at least the number of prefixes that can exist it is exhaustive; a larger K is not always better otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from weightless.base.errors import ArgumentError
from weightless.ops.arguments import real_number, whole_number, whole_numbers

LARGEST_ALPHA = 40
LogProbs = Callable[[list[list[int]]], np.ndarray]


@dataclass(frozen=True)
class Beam:
    """New tokens so far, the sum of their log-probabilities, and whether the last one ended it."""

    tokens: tuple[int, ...]
    acc: float
    finished: bool

    def score(self, alpha: float) -> float:
        """acc / n^alpha; 0 before the first token."""
        return self.acc / len(self.tokens) ** alpha if self.tokens else 0.0


def batched_beam_search(
    prompts: Sequence[Sequence[int]],
    beam_width: int,
    max_new_tokens: int,
    alpha: float,
    eos_token_id: int | None,
    log_probs: LogProbs,
    *,
    is_end: Callable[[tuple[int, ...]], bool] | None = None,
) -> list[list[tuple[list[int], float]]]:
    """Per prompt up to `beam_width` pairs (new tokens, score), best first; score = sum of log p / n^alpha.

    prompts          lists of token ids, at least one each; they may differ in length and nothing is padded: every
                     prompt is searched by itself, and only the calls of the model are shared
    beam_width       K, how many beams are kept per prompt, at least 1
    max_new_tokens   how many tokens a beam may get, at least 1
    alpha            length penalty, within -40..40: 0 compares sums, 1 means per token
    eos_token_id     the token that ends a beam (its log-probability and its place in n count); None or -1: none does
    log_probs        log_probs(prefixes) -> [n, V]: for n prefixes (prompt and new tokens) the log-probabilities of the
                     next token; -inf is impossible and never proposed
    is_end           is_end(new tokens as a tuple) -> bool, whether they end a beam as the end token does (a stop
                     string); None: nothing else does

    n counts the new tokens, the end token included, and a list of new tokens contains it.  Finished beams stay in the
    race, so all that are returned compete by score; fewer than K come back where the model allows no more.  Ties go to
    the earlier beam, then to the lower token id.

    Raises ArgumentError (a ValueError) for no prompts, an empty prompt, ids that are no whole numbers, sizes below 1,
    alpha that is not finite or too large, an end token outside the vocabulary, and NaN, +inf or a wrong shape from
    log_probs.
    """
    items = _checked_prompts(prompts)
    K = whole_number("beam_width", beam_width)
    n_steps = whole_number("max_new_tokens", max_new_tokens)
    if abs(real_number("alpha", alpha)) > LARGEST_ALPHA:
        raise ArgumentError(
            f"alpha should lie in -{LARGEST_ALPHA}..{LARGEST_ALPHA}, where n^alpha is a float: {alpha!r}"
        )
    kept = [[Beam((), 0.0, False)] for _ in items]
    for _ in range(n_steps):
        open_beams = [(item, beam) for item, beams in enumerate(kept) for beam in beams if not beam.finished]
        if not open_beams:
            break
        logp_NV = _checked(log_probs([[*items[item], *beam.tokens] for item, beam in open_beams]), len(open_beams))
        end = _checked_end(eos_token_id, logp_NV.shape[1])
        pools: list[list[Beam]] = [[beam for beam in beams if beam.finished] for beams in kept]
        for (item, beam), logp_V in zip(open_beams, logp_NV):
            pools[item] += _proposals(beam, logp_V, 2 * K, end)
        for item, pool in enumerate(pools):
            best = sorted(pool, key=lambda beam: -beam.score(alpha))[:K]  # stable, so ties keep their order
            kept[item] = best if is_end is None else [_ended(beam, is_end) for beam in best]
    return [[(list(beam.tokens), beam.score(alpha)) for beam in beams] for beams in kept]


def _ended(beam: Beam, is_end: Callable[[tuple[int, ...]], bool]) -> Beam:
    """The beam, finished if its tokens say so."""
    return replace(beam, finished=beam.finished or is_end(beam.tokens))


def _proposals(beam: Beam, logp_V: np.ndarray, n: int, end: int | None) -> list[Beam]:
    """The `n` most probable continuations of one beam."""
    return [
        Beam((*beam.tokens, int(token)), beam.acc + float(logp_V[token]), token == end)
        for token in most_probable(logp_V, n)
    ]


def most_probable(logp_V: np.ndarray, n: int) -> np.ndarray:
    """The `n` largest entries above -inf, best first, ties to the lower index; O(V) beside sorting what remains."""
    n = min(n, len(logp_V))
    least = np.partition(logp_V, len(logp_V) - n)[len(logp_V) - n]
    at = np.flatnonzero((logp_V >= least) & (logp_V > -np.inf))
    return at[np.argsort(-logp_V[at], kind="stable")[:n]]


def _checked_prompts(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    if isinstance(prompts, (str, bytes)) or not isinstance(prompts, (Sequence, np.ndarray)) or not len(prompts):
        raise ArgumentError(f"prompts should be a list of lists of token ids, not {prompts!r:.60}")
    checked = [whole_numbers(f"prompts[{number}]", prompt) for number, prompt in enumerate(prompts)]
    if [] in checked:
        raise ArgumentError(f"prompts[{checked.index([])}] should be a list of at least one token id, not []")
    return checked


def _checked(found: Any, n: int) -> np.ndarray:
    """The model's answer: float64 [n, V] without NaN or +inf."""
    logp_NV = np.asarray(found, dtype=np.float64)
    if logp_NV.ndim != 2 or len(logp_NV) != n or not logp_NV.shape[1]:
        raise ArgumentError(f"log_probs should return one row per prefix, ({n}, V), but its shape is {logp_NV.shape}")
    if np.isnan(logp_NV).any() or (logp_NV == np.inf).any():
        raise ArgumentError(f"log_probs returned NaN or +inf in an array of shape {logp_NV.shape}")
    return logp_NV


def _checked_end(eos_token_id: int | None, vocab_size: int) -> int | None:
    if eos_token_id is None or eos_token_id == -1:
        return None
    if whole_number("eos_token_id", eos_token_id, 0) >= vocab_size:
        raise ArgumentError(f"eos_token_id {eos_token_id} is not in the vocabulary 0..{vocab_size - 1}; None: no end")
    return int(eos_token_id)
