"""Bits per byte of ids that a SentencePiece model made (Parameter Golf's sp1024 to sp8192), from anybody's losses.

    bits per byte = sum of nats / (ln 2 * sum of bytes)
    bytes(y | x) = base[y] + (leading_space[y] and not boundary[x])        (tokenizer/sentencepiece.py)

The stream holds documents of BOS + tokens; BOS costs nats and 0 bytes, and the space of the word behind it is no byte
of the text.  x is the token before y in the stream, also where an evaluation window begins.  For lossless models the
bytes of a whole stream are those of its text, whatever the vocabulary: 151,080,891 on the canonical validation set.

    token_counts(table, tokens, places) -> int64      bytes of the tokens at these places
    score_losses(tokens, nats, table) -> PieceScore   nats[i] is the loss of tokens[i + 1]; NaN where it was not scored

Errors: ConfigError for shapes that do not belong together, ids outside the table, losses that are no numbers, and ids
that swallow characters or spell spaces in bytes (tokenizer/byte_table.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.units import LN2, bits_per_byte
from weightless.tokenizer.sentencepiece import ByteTable, byte_table


@dataclass(frozen=True)
class PieceScore:
    """Sums over the scored targets; bytes_per_token = nats_per_token / (ln 2 bits_per_byte)."""

    nats: float
    eval_tokens: int
    eval_bytes: int

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.eval_tokens

    @property
    def bits_per_byte(self) -> float:
        return bits_per_byte(self.nats, self.eval_bytes)

    def to_plain(self) -> dict[str, float]:
        """The keys of eval.json, which `weightless audit --claim` reads."""
        per_token, bpb = self.nats_per_token, self.bits_per_byte
        return {
            **asdict(self),
            "nats_per_token": per_token,
            "bits_per_byte": bpb,
            "bytes_per_token": per_token / (LN2 * bpb),
        }


def score_losses(
    tokens: Sequence[int] | np.ndarray, nats: Sequence[float] | np.ndarray, table: ByteTable | str | Path
) -> PieceScore:
    """Add up the losses of a stream, each target's once; `table` may be the path of a .model file."""
    stream, losses = np.asarray(tokens), np.asarray(nats, dtype=np.float64)
    if stream.ndim != 1 or len(stream) < 2 or losses.shape != (len(stream) - 1,):
        raise ConfigError(
            f"{len(stream)} tokens have one loss each but the first; the losses have shape {losses.shape}"
        )
    places = 1 + np.flatnonzero(~np.isnan(losses))
    if not len(places) or np.isinf(losses[places - 1]).any():
        raise ConfigError("the losses hold no number, or infinity: nothing can be added up")
    known = table if isinstance(table, ByteTable) else byte_table(table)
    if why := known.why_refused(stream):
        raise ConfigError(f"bits per byte are refused: {why}")
    counts = token_counts(known, stream, places)
    if not counts.any():
        raise ConfigError("the scored tokens stand for no text at all: bits per byte would be infinite")
    return PieceScore(float(losses[places - 1].sum()), len(places), int(counts.sum()))


def token_counts(table: ByteTable, tokens: np.ndarray, places: np.ndarray) -> np.ndarray:
    """int64: bytes of tokens[places], each behind the token before it (place 0: at the start of a text)."""
    before = np.where(places > 0, tokens[places - 1].astype(np.int64), -1)
    return table.bytes_of(before, tokens[places])
