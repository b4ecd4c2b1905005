"""Held-out loss from the artifact: every target once, nats per token and exact bits per byte.

The stream is cut into windows of `context` tokens; window i feeds tokens iC .. iC+C-1 and scores the C tokens that
follow each, with no memory across windows.  So the first token of the stream is the only one that is no target.
With `stride` < C windows start every `stride` tokens and score only their last `stride` targets (the first window
all of its own): more context per target, more work, still every target once.

With `limit` only so many windows are scored that they hold about that many targets, spread evenly over the stream;
with a `stretch`, in stretches of so many targets, which are the same for every context.

    bits per byte = sum of nats / (ln 2 * source bytes of the targets)        <|endoftext|> costs nats and 0 bytes

`whole_windows` cuts a stream so that its targets fill windows side by side, as Parameter Golf does: with n tokens,
floor((n - 1) / C) * C targets are left, and what was cut off is told by whoever asked for it.

For ids of a SentencePiece model a ByteTable takes the place of `token_bytes` (sentencepiece_bytes.py).
Without `token_bytes` (ids whose tokenizer nobody knows) there are no source bytes, and bits per byte are None.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weightless.base.cores import cores
from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.units import LN2, bits_per_byte
from weightless.evals.scoring import Checked, score_windows
from weightless.evals.sentencepiece_bytes import token_counts
from weightless.export.packed import Packed
from weightless.tokenizer.sentencepiece import ByteTable

if TYPE_CHECKING:
    from weightless.evals.batched import Batching


@dataclass(frozen=True)
class Score:
    """`data_bytes` [n, N_TRAFFIC] = bytes touched at each scored position by operators whose cost the text decides.

    `tokens_per_second` is the speed of scoring.
    """

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
    path: str = "stepped"
    """How the windows were scored: stepped, blocked or batched (`scoring.py`)."""
    decoded_per_second: float | None = None
    """Tokens that the engine decodes per second, one after the other; None: that is what `tokens_per_second` says."""
    checked: Checked | None = None
    """How far the engine was apart where it looked, of windows scored in blocks or batches."""
    token_nats: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """The nats of each scored target, in the order of the text; `nats` is their sum."""

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
        told |= {"checked": self.checked.to_plain()} if self.path == "batched" and self.checked else {}
        return {
            "nats": self.nats,
            "eval_tokens": self.n_tokens,
            "eval_bytes": self.n_bytes,
            "nats_per_token": self.nats_per_token,
            "bits_per_byte": self.bits_per_byte if self.knows_bytes else None,
            "bytes_per_token": self.nats_per_token / (LN2 * self.bits_per_byte) if self.knows_bytes else None,
            "decode_tokens_per_second": self.tokens_per_second
            if self.decoded_per_second is None
            else self.decoded_per_second,
            "scored_by": self.path,
            "scoring_tokens_per_second": self.tokens_per_second,
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


def whole_windows(tokens: Any, context: int) -> Any:
    """The stream without the targets at its end that fill no window; WeightlessError when there is no whole one."""
    n_targets = (len(tokens) - 1) // context * context
    if n_targets < 1:
        raise WeightlessError(
            f"{len(tokens):,} tokens hold no whole window of {context:,} targets: give a longer text, or do not cut it"
        )
    return tokens[: n_targets + 1]


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
    path: str = "auto",
    batching: Batching | None = None,
) -> Score:
    """Score a token stream; `no_bytes` are tokens that stand for no source text.

    `refused` says why bits per byte would be wrong: they are None then, and the reason is kept.  `stride`, `limit` and
    `stretch` choose the windows (`chosen_windows`).
    Windows are independent and run on `n_threads` threads (default: all cores), each with its own state, by the
    engine, in blocks or in batches as `path` and `batching` say (`scoring.py`).  Speeds are those of the windows alone:
    what is compiled, loaded or mapped once is done on a few tokens before the clock runs.
    """
    tokens = np.asarray(tokens[:], dtype=np.int64)
    if len(tokens) < 2:
        raise WeightlessError(f"{len(tokens)} tokens leave nothing to score: give a longer held-out text")
    context = packed.program.context
    todo = chosen_windows(len(tokens), context, context if stride is None else stride, limit, stretch)
    found = score_windows(packed, tokens, todo, n_threads or cores(), label, path, batching)
    at = np.concatenate([np.arange(scored, end) for _, scored, end in todo])
    n_bytes = bytes_at(at, tokens, None if refused else token_bytes, no_bytes)
    overlapping = stride if stride is not None and stride < context else None
    return Score(
        float(found.nats[at].sum()),
        len(at),
        n_bytes,
        found.tokens_per_second,
        found.data[at],
        found.positions[at],
        refused,
        overlapping,
        len(at) < len(tokens) - 1,
        found.paths[at],
        found.path,
        found.decoded_per_second,
        found.checked,
        found.nats[at],
    )


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
