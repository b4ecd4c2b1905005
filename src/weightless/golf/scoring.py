"""Score an artifact for a submission: nats of every target once, and bits per byte of the raw text.

    bits per byte = sum of nats / (ln 2 * bytes)

The bytes are those of the raw text.  Where the tokenizer rewrites it (NFC, SentencePiece's nmt_nfkc) nobody knows which
raw bytes belong to which token: then a whole stream is divided by the bytes of its source, and a part of one has no
bits per byte.  `whole_windows` cuts the stream to a multiple of the model's context and tells what went.
The arithmetic is `evals.bits_per_byte`; a sample is of windows spread evenly, the same ones every time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.units import bits_per_byte
from weightless.evals.bits_per_byte import Score, evaluate, whole_windows
from weightless.export.packed import Packed
from weightless.golf.stream import Stream

STRETCH = 1 << 22


@dataclass(frozen=True)
class Asked:
    """What to score: about `tokens` targets (0: all), windows every `stride` tokens (0: side by side)."""

    tokens: int = 0
    stride: int = 0
    whole_windows: bool = False
    threads: int = 0
    path: str = "auto"


@dataclass(frozen=True)
class Scored:
    """The sums over the scored targets; `n_bytes` 0 where bits per byte are unknown, and `refused` says why."""

    nats: float
    n_tokens: int
    n_bytes: int
    n_stream: int
    """Targets of the whole stream."""
    n_cut: int
    """Of these, cut off at the end."""
    stride: int | None
    sampled: bool
    refused: str
    path: str
    tokens_per_second: float

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.n_tokens

    @property
    def bits_per_byte(self) -> float | None:
        return bits_per_byte(self.nats, self.n_bytes) if self.n_bytes else None

    def lines(self) -> list[str]:
        """For a reader."""
        bpb = self.bits_per_byte
        told = f"{self.nats_per_token:.8f} nats per token, "
        told += f"{bpb:.8f} bits per byte" if bpb is not None else f"bits per byte unknown: {self.refused}"
        part = f"{self.n_tokens:,} of {self.n_stream:,} targets, {self.n_bytes:,} bytes"
        part += f", {self.n_cut:,} at the end cut off (whole windows)" if self.n_cut else ""
        part += ", a sample of windows spread evenly" if self.sampled else ""
        return [told, f"{part}; {self.tokens_per_second:,.0f} tokens/s, {self.path}"]

    def to_plain(self) -> dict[str, Any]:
        return {
            "nats": self.nats,
            "eval_tokens": self.n_tokens,
            "eval_bytes": self.n_bytes,
            "nats_per_token": self.nats_per_token,
            "bits_per_byte": self.bits_per_byte,
            "stream_tokens": self.n_stream,
            "cut_tokens": self.n_cut,
            "stride": self.stride,
            "sampled": self.sampled,
        }


def score(packed: Packed, stream: Stream, asked: Asked, label: str = "scoring") -> Scored:
    """Score the stream as asked; ConfigError for what cannot be asked."""
    if min(asked.tokens, asked.stride, asked.threads) < 0:
        raise ConfigError("tokens, stride and threads are at least 0, which means all, side by side, every core")
    tokens = whole_windows(stream.tokens, packed.program.context) if asked.whole_windows else stream.tokens
    found = evaluate(
        packed,
        tokens,
        stream.table,
        (),
        asked.stride or None,
        asked.tokens,
        asked.threads or None,
        label=label,
        refused=stream.refused,
        path=asked.path,
    )
    n_cut = stream.n_targets - (len(tokens) - 1)
    scored = Scored(
        found.nats,
        found.n_tokens,
        found.n_bytes,
        stream.n_targets,
        n_cut,
        found.stride,
        found.sampled,
        found.refused or ("" if found.knows_bytes else "nobody knows the text behind the ids"),
        found.path,
        found.tokens_per_second,
    )
    return _of_raw_text(scored, found, stream)


def _of_raw_text(scored: Scored, found: Score, stream: Stream) -> Scored:
    """With the bytes of the source where the tokens decode to others."""
    if not stream.rewritten or not scored.n_bytes:
        return scored
    assert stream.source_bytes is not None
    if scored.n_tokens == scored.n_stream:
        return replace(scored, n_bytes=stream.source_bytes)
    told = "the tokenizer rewrites the text, so raw bytes are known of the whole stream only: score all of it, uncut"
    return replace(scored, n_bytes=0, refused=told)


def raw_bytes(stream: Stream, places: np.ndarray) -> int | None:
    """Raw bytes of the targets at these places; None where nobody knows them."""
    if stream.refused or stream.table is None:
        return None
    if stream.rewritten:
        return stream.source_bytes if len(places) == stream.n_targets else None
    total = 0
    for first in range(0, len(places), STRETCH):
        at = places[first : first + STRETCH]
        total += int(stream.table.bytes_of(_ids(stream, at - 1), _ids(stream, at)).sum())
    return total


def _ids(stream: Stream, places: np.ndarray) -> np.ndarray:
    return np.asarray(stream.tokens[places], dtype=np.int64)
