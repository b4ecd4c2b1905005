"""Held-out loss from the artifact: every target once, nats per token and exact bits per byte.

The stream is cut into windows of `context` tokens; window i feeds tokens iC .. iC+C-1 and scores the C tokens that
follow each, with no memory across windows.  So the first token of the stream is the only one that is no target.
With `stride` < C windows start every `stride` tokens and score only their last `stride` targets (the first window
all of its own): more context per target, more work, still every target once.

With `limit` only so many windows are scored that they hold about that many targets, spread evenly over the stream;
with a `stretch`, in stretches of so many targets, which are the same for every context.

    bits per byte = sum of nats / (ln 2 * source bytes of the targets)        <|endoftext|> costs nats and 0 bytes

For ids of a SentencePiece model a ByteTable takes the place of `token_bytes` (sentencepiece_bytes.py).
Without `token_bytes` (ids whose tokenizer nobody knows) there are no source bytes, and bits per byte are None.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weightless.base.cores import cores
from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.progress import progress
from weightless.base.units import LN2, bits_per_byte
from weightless.evals.sentencepiece_bytes import token_counts
from weightless.export.packed import Packed
from weightless.program.interpreter import N_TRAFFIC
from weightless.tokenizer.sentencepiece import ByteTable

WARM_UP_TOKENS = 17


@dataclass(frozen=True)
class Score:
    """`data_bytes` [n, N_TRAFFIC] = bytes touched at each scored position by operators whose cost the text decides."""

    nats: float
    n_tokens: int
    n_bytes: int
    tokens_per_second: float
    data_bytes: np.ndarray
    positions: np.ndarray
    refused: str = ""
    """Why the bytes are no denominator although the tokenizer is known."""
    stride: int | None = None
    """How far apart windows began, where they overlapped."""
    sampled: bool = False
    """Whether only a part of the targets was scored."""
    paths: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Which exits were taken at each scored position (`program.flow`)."""

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.n_tokens

    @property
    def bits_per_byte(self) -> float:
        return bits_per_byte(self.nats, self.n_bytes)

    @property
    def knows_bytes(self) -> bool:
        """Whether there is text behind the targets, so that bits per byte mean something."""
        return self.n_bytes > 0

    def to_plain(self) -> dict[str, Any]:
        told: dict[str, Any] = {"bits_per_byte_refused": self.refused} if self.refused else {}
        told |= {"stride": self.stride} if self.stride is not None else {}
        told |= {"sampled": True} if self.sampled else {}
        return {
            "nats": self.nats,
            "eval_tokens": self.n_tokens,
            "eval_bytes": self.n_bytes,
            "nats_per_token": self.nats_per_token,
            "bits_per_byte": self.bits_per_byte if self.knows_bytes else None,
            "bytes_per_token": self.nats_per_token / (LN2 * self.bits_per_byte) if self.knows_bytes else None,
            "decode_tokens_per_second": self.tokens_per_second,
            **told,
        }


def windows(n_tokens: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """(first token fed, first target scored, end of targets) so that targets 1 .. n_tokens-1 are scored once each."""
    if not 1 <= stride <= context:
        raise ConfigError(f"stride {stride} is not in 1..{context} (the context)")
    out, scored = [], 1
    while scored < n_tokens:
        end = min(n_tokens, scored + (context if scored == 1 else stride))
        out.append((max(0, end - 1 - context), scored, end))
        scored = end
    return out


def chosen_windows(
    n_tokens: int, context: int, stride: int, limit: int, stretch: int = 0
) -> list[tuple[int, int, int]]:
    """The windows in which at least `limit` targets are scored (0: all).

    With a `stretch` the targets are those of evenly spaced stretches of so many tokens, whatever the context is: models
    of different contexts are asked for the same targets.  Where windows reach over a stretch's end, they score less.
    """
    todo = windows(n_tokens, context, stride)
    if not stretch:
        return spread(todo, limit)
    ends, found = [end for _, _, end in todo], []
    for _, begin, stop in spread(windows(n_tokens, stretch, stretch), limit):
        for first, scored, end in todo[bisect.bisect_right(ends, begin) :]:
            if scored >= stop:
                break
            found.append((first, max(scored, begin), min(end, stop)))
    return found


def spread(todo: list[tuple[int, int, int]], limit: int) -> list[tuple[int, int, int]]:
    """As many windows as hold at least `limit` targets (0: all), evenly spaced."""
    n_targets = sum(end - scored for _, scored, end in todo)
    if not 0 < limit < n_targets:
        return todo
    n = -(-limit * len(todo) // n_targets)
    return [todo[i * len(todo) // n] for i in range(n)]


def evaluate(
    packed: Packed,
    tokens: Sequence[int] | np.ndarray,
    token_bytes: Sequence[bytes] | ByteTable | None,
    no_bytes: Sequence[int] = (),
    stride: int | None = None,
    limit: int = 0,
    n_threads: int | None = None,
    label: str = "evaluating",
    refused: str = "",
    stretch: int = 0,
) -> Score:
    """Score a token stream with the compiled engine; `no_bytes` are tokens that stand for no source text.

    `refused` says why bits per byte would be wrong: they are None then, and the reason is kept.  `stride`, `limit` and
    `stretch` choose the windows (`chosen_windows`).
    Windows are independent and run on `n_threads` threads (default: all cores), each with its own state.  The speed is
    that of the windows alone: what is compiled, loaded or mapped once is done on a few tokens before the clock runs.
    """
    tokens = np.asarray(tokens[:], dtype=np.int64)
    if len(tokens) < 2:
        raise WeightlessError(f"{len(tokens)} tokens leave nothing to score: give a longer held-out text")
    context = packed.program.context
    todo = chosen_windows(len(tokens), context, context if stride is None else stride, limit, stretch)
    nats, data, positions, paths, seconds = _scored(packed, tokens, todo, n_threads or cores(), label)
    at = np.concatenate([np.arange(scored, end) for _, scored, end in todo])
    n_bytes = bytes_at(at, tokens, None if refused else token_bytes, no_bytes)
    overlapping = stride if stride is not None and stride < context else None
    return Score(
        float(nats[at].sum()),
        len(at),
        n_bytes,
        len(at) / seconds,
        data[at],
        positions[at],
        refused,
        overlapping,
        len(at) < len(tokens) - 1,
        paths[at],
    )


def _scored(
    packed: Packed, tokens: np.ndarray, todo: list[tuple[int, int, int]], n_threads: int, label: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """At every token: nats, bytes that the data decides, position, path; and the seconds that the windows took."""
    nats, (positions, paths) = np.zeros(len(tokens)), np.zeros((2, len(tokens)), dtype=np.int64)
    data = np.zeros((len(tokens), N_TRAFFIC), dtype=np.int64)
    n_threads = min(n_threads, len(todo))
    first, end = todo[0][0], min(todo[0][2], todo[0][0] + WARM_UP_TOKENS)
    packed.engine().score_stream_with_traffic(tokens[first : end - 1], tokens[first + 1 : end])
    started = time.perf_counter()
    with (
        progress(label, sum(end - scored for _, scored, end in todo), "tokens") as tick,
        ThreadPoolExecutor(n_threads) as pool,
    ):

        def work(part: list[tuple[int, int, int]]) -> None:
            engine = packed.engine()
            for first, scored, end in part:
                engine.reset()
                fed, traffic = engine.score_stream_with_traffic(tokens[first : end - 1], tokens[first + 1 : end])
                done = scored - first - 1
                nats[scored:end], data[scored:end] = fed[done:], traffic[done:]
                positions[scored:end], paths[scored:end] = np.arange(scored - first, end - first), engine.paths[done:]
                tick(end - scored)

        for finished in [pool.submit(work, todo[i::n_threads]) for i in range(n_threads)]:
            finished.result()
    return nats, data, positions, paths, time.perf_counter() - started


def bytes_at(
    at: np.ndarray, tokens: np.ndarray, token_bytes: Sequence[bytes] | ByteTable | None, no_bytes: Sequence[int]
) -> int:
    """Source bytes of the targets at these places; 0 when nobody knows them."""
    if token_bytes is None:
        return 0
    if isinstance(token_bytes, ByteTable):
        return int(token_counts(token_bytes, tokens, at).sum())
    lengths = np.array([len(piece) for piece in token_bytes])
    lengths[list(no_bytes)] = 0
    return int(lengths[tokens[at]].sum())
