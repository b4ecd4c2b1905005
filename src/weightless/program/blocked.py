"""Feed many tokens of one sequence at once, where the engine feeds one after the other: a weight is read once for all.

    feed(tokens)                            leaves in `state` what the engine would leave there for the tokens to come
    score(tokens, targets, first) -> nats   feed, and of the targets from number `first` on the nats, float64

The operators do it in their batched form (`program.batch`), a chunk of positions after the other.  What outlives a
token (caches, recurrent states, the history) lies in `state`, laid out and rounded as the engine has it, so that each
can go on where the other stopped.  Registers are not left behind: the engine writes them anew at every token.

Results are the engine's up to the order of sums.  With caches in float32 that is some 1e-6 nats per token; where a
cache or a state is rounded, a sum in another order may end in the next code, and then single tokens differ by up to
some 1e-3 nats while the mean over a text agrees to 1e-5.  Operators that compare sums (`Operator.chooses`) may choose
otherwise.  `why_not` says all that before.  Seconds, not bytes: none of this is ever counted as touched.

Errors: ConfigError for ids outside the vocabulary, or more tokens than the context holds.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from weightless.base.errors import ConfigError, nearest
from weightless.program.arena import aligned
from weightless.program.blocked_rows import Chunk, Past
from weightless.program.decoded import Decoded
from weightless.program.engine import Engine
from weightless.program.operator import has_batch
from weightless.program.operators.attention import Attend, NormMatvec
from weightless.program.operators.full_head import LogitsScore
from weightless.program.program import OUTCOME, Program

CHUNK = 512
"""Positions that are fed at once: enough for products at full speed, few enough for what lies between them."""
TILE = 4096
"""Rows of a head whose logits are made at once."""
PATHS = ("auto", "blocked", "stepped")


def check_path(path: str) -> None:
    """ConfigError naming the nearest for anything but a way to feed a text."""
    if path not in PATHS:
        raise ConfigError(f"path {path!r}: {nearest(path, PATHS)}")


def why_not(program: Program, scoring: bool, exactly: bool = True) -> str:
    """Why many tokens cannot be fed (and, `scoring`, scored) at once; empty where they can.

    `exactly` also refuses what another order of sums may send another way.
    """
    if program.flow.tests:
        return f"{program.body[program.flow.tests[0]].name!r} ends each token where the data say"
    ops = program.operators("score") if scoring else program.body
    if lacking := [op.name for op in ops if not has_batch(op)]:
        return f"{lacking[0]!r} has no form for many tokens at once"
    if scoring and (decided := [op.name for op in ops if op.decided()]):
        return f"the text decides what {decided[0]!r} touches, which is counted token by token"
    if exactly and (choosing := [op.name for op in ops if op.chooses() or op.rounds()]):
        return f"{choosing[0]!r} chooses by comparing sums, and in another order they may choose otherwise"
    return ""


class Blocked:
    """`state` is memory laid out as an engine's (None: its own), at position 0."""

    def __init__(
        self,
        program: Program,
        weights: np.ndarray,
        decoded: Decoded | None = None,
        state: np.ndarray | None = None,
        chunk: int = CHUNK,
    ) -> None:
        if told := why_not(program, scoring=False, exactly=False):
            raise ConfigError(f"this model cannot be fed in blocks: {told}")
        self.program, self._chunk = program, chunk
        self._decoded = Decoded(program.layout, weights) if decoded is None else decoded
        self.state = aligned(max(program.layout.state_bytes, 64)) if state is None else state
        self._past = Past(program, self.state)
        self._windows = {op.cache: op.window for op in program.body if isinstance(op, Attend)}
        self._weights = weights
        self._alone: Engine | None = None

    @property
    def position(self) -> int:
        """Tokens fed since the last reset."""
        return self._past.position

    def reset(self) -> None:
        """Forget everything fed."""
        self._past.position = 0

    def feed(self, tokens: np.ndarray) -> None:
        """Go on by these tokens."""
        self._run(np.asarray(tokens, np.int64), None, 0)

    def score(self, tokens: np.ndarray, targets: np.ndarray, first: int = 0) -> np.ndarray:
        """Nats of targets[first:], each of which follows its token."""
        tokens, targets = np.asarray(tokens, np.int64), np.asarray(targets, np.int64)
        if tokens.shape != targets.shape:
            raise ConfigError(f"{tokens.shape} tokens and {targets.shape} targets: one target per token is needed")
        self._check_ids(targets)
        return self._run(tokens, targets, first)

    def take_over(self, tokens: np.ndarray) -> None:
        """An engine has gone on in the same memory, by these tokens."""
        self._past.take_over(np.asarray(tokens, np.int64))

    def _run(self, tokens: np.ndarray, targets: np.ndarray | None, first: int) -> np.ndarray:
        self._check_ids(tokens)
        if not len(tokens):
            return np.zeros(0)
        if self.position + len(tokens) > self.program.context:
            told = f"{self.position + len(tokens)} tokens do not fit the model's context of {self.program.context}"
            raise ConfigError(f"{told}: reset first")
        nats = [np.zeros(0)]
        for begin in range(0, len(tokens), self._chunk):
            part = slice(begin, begin + self._chunk)
            chunk = Chunk(
                self._past, self._decoded, self._windows, tokens[part], None if targets is None else targets[part]
            )
            for op in self.program.body:
                op.batch(chunk)
            n_scored = begin + len(tokens[part]) - max(first, begin)
            if targets is not None and n_scored > 0:
                chunk.last(n_scored)
                nats.append(_nats(self.program, chunk))
            self._past.position += len(tokens[part])
        self._step_what_is_left(tokens)
        return np.concatenate(nats)

    def _check_ids(self, ids: np.ndarray) -> None:
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < self.program.vocab_size:
            worst = int(ids.max() if ids.max() >= self.program.vocab_size else ids.min())
            raise ConfigError(
                f"token id {worst} is outside the model's vocabulary of {self.program.vocab_size}: "
                "the text was encoded with another tokenizer"
            )

    def _step_what_is_left(self, tokens: np.ndarray) -> None:
        """Operators that keep something and do nothing in a batch (history, counts of the window) look at tokens
        alone: the engine runs them, and nothing else, over the same memory."""
        written = self._past.caches.keys() | self._past.states.keys()
        if self._alone is None:
            body = tuple(op for op in self.program.body if not set(op.kept()) <= written)
            self._alone = Engine(dataclasses.replace(self.program, body=body), self._weights, state=self.state)
        if self._alone.program.body:
            self._alone.resume(self.position - len(tokens))
            self._alone.feed_all(tokens)


def _nats(program: Program, chunk: Chunk) -> np.ndarray:
    ops = list(program.heads["score"])
    product, last = (ops[-2], ops[-1]) if len(ops) > 1 else (None, ops[-1])
    with np.errstate(invalid="ignore", over="ignore"):  # a model that gives no numbers is told of by its loss
        if isinstance(product, NormMatvec) and isinstance(last, LogitsScore) and product.y == last.logits:
            for op in ops[:-2]:
                op.batch(chunk)
            return _nats_by_tiles(product, chunk)
        for op in ops:
            op.batch(chunk)
    return chunk.values[OUTCOME][:, 0].astype(np.float64)


def _nats_by_tiles(product: NormMatvec, chunk: Chunk) -> np.ndarray:
    """-log softmax(logits)[target] without the logits of all words at once: a running maximum m and sum l."""
    h_ND, W_VD, target_N = product.inputs(chunk), product.matrix(chunk), chunk.target_N
    m_N, l_N, z_N = np.full(len(h_ND), -np.inf, np.float32), *np.zeros((2, len(h_ND)), np.float32)
    for first in range(0, len(W_VD), TILE):
        z_NT = product.outputs(chunk, h_ND, W_VD, slice(first, first + TILE))
        hit_N = np.flatnonzero((target_N >= first) & (target_N < first + z_NT.shape[1]))
        z_N[hit_N] = z_NT[hit_N, target_N[hit_N] - first]
        before_N, m_N = m_N, np.maximum(m_N, z_NT.max(axis=1))
        z_NT -= m_N[:, None]
        l_N = l_N * np.exp(before_N - m_N) + np.exp(z_NT, out=z_NT).sum(axis=1)
    return (m_N - z_N).astype(np.float64) + np.log(l_N)
