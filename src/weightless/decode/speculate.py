"""Speculative decoding: a drafter guesses a tree, the target verifies it in one pass, and nothing changes but the time.

One cycle, with a last token that the target has not been fed yet:
    draft a tree below it  ->  forward [last token | tree]  ->  accept a path (tree_verification.py)  ->  one new token
so each cycle yields 1 + accepted tokens for one reading of the weights.  Without a drafter every cycle yields one
token: plain decoding, by the same arithmetic.

Greedy output is token for token that of plain decoding; drawn output has the same distribution (and, for one seed, is
not the same text: verification uses its own random numbers).  Rows of one batch and rows alone may differ in the last
bits of a float32 sum, so a tie within 1e-6 could fall differently; in float64 this was never seen (tests/decode). When
the context is full its second half is fed again, as in generate.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.random import rng_for
from weightless.decode.drafters import Drafter
from weightless.decode.engine_runner import Runner
from weightless.decode.sampling import Sampling
from weightless.decode.tree_verification import accept


@dataclass
class Speculation:
    """What happened: passes of the target, tokens drafted, accepted, and produced."""

    cycles: int = 0
    drafted: int = 0
    accepted: int = 0
    produced: int = 0

    @property
    def tokens_per_cycle(self) -> float:
        """1 without speculation; at most 1 + the depth of the tree."""
        return self.produced / self.cycles if self.cycles else 0.0

    @property
    def acceptance(self) -> float:
        """Share of drafted tokens that were taken."""
        return self.accepted / self.drafted if self.drafted else 0.0


def speculative_tokens(
    target: Runner,
    prompt: Sequence[int],
    sampling: Sampling,
    drafter: Drafter | None = None,
    ends: Collection[int] = (),
    record: Speculation | None = None,
    rng: np.random.Generator | None = None,
) -> Iterator[int]:
    """The tokens that follow `prompt` (at least one token); stops after max_tokens or before one of `ends`."""
    if not prompt:
        raise ConfigError("a prompt of at least one token is needed; <|endoftext|> begins an empty one")
    record = Speculation() if record is None else record
    rng = rng or rng_for(sampling.seed, "speculate")
    text = [int(token) for token in prompt]
    sequence = _fed(target, text[:-1])
    n_made = 0
    while n_made < sampling.max_tokens:
        length = len(target.tokens(sequence))
        if length >= target.context:
            target.free(sequence)
            sequence = _fed(target, text[-(target.context // 2 + 1) : -1])
            length = len(target.tokens(sequence))
        room = min(target.context - length - 1, sampling.max_tokens - n_made - 1)
        tree, parents = drafter.draft(text, room) if drafter and room > 0 else ([], [])
        (log_p,) = target.forward([(sequence, [text[-1], *tree], [-1, *(parent + 1 for parent in parents)])])
        nodes, new_token = accept(_rows(log_p, sampling, text, tree, parents), tree, parents, _unit(sampling), rng)
        target.keep(sequence, length + 1, [length + 1 + node for node in nodes])
        record.cycles, record.drafted = record.cycles + 1, record.drafted + len(tree)
        record.accepted += len(nodes)
        for token in (*(tree[node] for node in nodes), new_token):
            if sampling.stop_at_end and token in ends:
                target.free(sequence)
                return
            record.produced, n_made = record.produced + 1, n_made + 1
            text.append(token)
            yield token
    target.free(sequence)


def _fed(target: Runner, tokens: Sequence[int]) -> int:
    """A new sequence with these tokens, the oldest left out where they exceed half of the context."""
    sequence = target.begin()
    if len(tokens) >= target.context:
        tokens = tokens[-max(1, target.context // 2) :]
    if tokens:
        target.forward([(sequence, tokens)])
    return sequence


def _unit(sampling: Sampling) -> float:
    """Temperature for `accept`: the rows carry the sampling's own already."""
    return 0.0 if sampling.temperature == 0 else 1.0


def _rows(
    log_p: np.ndarray, sampling: Sampling, text: list[int], tree: Sequence[int], parents: Sequence[int]
) -> np.ndarray:
    """Log-probabilities as they are drawn from, after penalty, temperature and cuts; each node with its own past."""
    if sampling.is_plain or (sampling.temperature == 0 and sampling.repetition_penalty == 1):
        return log_p.astype(np.float64)
    pasts = [text]
    for token, parent in zip(tree, parents):
        pasts.append([*pasts[parent + 1], token])
    with np.errstate(divide="ignore"):
        return np.log([sampling.distribution(np.exp(row), past) for row, past in zip(log_p, pasts)])
