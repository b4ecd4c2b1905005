"""Held-out loss of a model that goes on counting: every token scored first, then learned.  Its own column, no headline.

Windows are those of the frozen evaluation (`bits_per_byte.py`), one behind the other, because each begins with what the
ones before have taught; so a part of the text is its beginning.  The artifact is only read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.progress import progress, told_if_slow
from weightless.base.units import bits_per_byte
from weightless.evals.bits_per_byte import bytes_at, windows
from weightless.export.adapting import open_adapter
from weightless.export.packed import Packed
from weightless.tokenizer.sentencepiece import ByteTable


@dataclass(frozen=True)
class Adapted:
    """Loss while learning; bytes per token: read to score, read to learn, written; bytes kept beside the model."""

    nats: float
    n_tokens: int
    n_bytes: int
    tokens_per_second: float
    spent: tuple[float, float, float]
    state_bytes: int

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.n_tokens

    @property
    def bits_per_byte(self) -> float | None:
        return bits_per_byte(self.nats, self.n_bytes) if self.n_bytes else None

    def to_plain(self) -> dict[str, Any]:
        return {
            "nats_per_token": self.nats_per_token,
            "bits_per_byte": self.bits_per_byte,
            "eval_tokens": self.n_tokens,
            "eval_bytes": self.n_bytes,
            "bytes_read_to_score": self.spent[0],
            "bytes_read_to_learn": self.spent[1],
            "bytes_written": self.spent[2],
            "state_bytes": self.state_bytes,
            "tokens_per_second": self.tokens_per_second,
        }


def evaluate_adaptive(
    packed: Packed,
    tokens: Sequence[int] | np.ndarray,
    token_bytes: Sequence[bytes] | ByteTable | None,
    no_bytes: Sequence[int] = (),
    limit: int = 0,
    label: str = "adapting",
) -> Adapted:
    """Score the first `limit` targets (0: all) of a stream, learning each once it is scored; one core.

    ConfigError for a family that cannot; WeightlessError for a stream without targets or with unknown tokens.
    """
    end = len(tokens) if not limit else min(len(tokens), limit + 1)
    stream = np.asarray(tokens[:end], dtype=np.int64)
    if len(stream) < 2:
        raise WeightlessError(f"{len(stream)} tokens have no target to score: give a longer text")
    if stream.min() < 0 or stream.max() >= packed.program.vocab_size:
        raise WeightlessError(f"the text has token {stream.max()}, the model knows {packed.program.vocab_size}")
    adapter, context = open_adapter(packed, len(stream)), packed.program.context
    with told_if_slow("compiling what adapts (once per machine and version of the code)"):
        open_adapter(packed, 2).window(stream[:2])
    nats, spent, began = 0.0, np.zeros(3), time.perf_counter()
    with progress(label, len(stream) - 1, "tokens") as tick:
        for first, scored, stop in windows(len(stream), context, context):
            found, touched = adapter.window(stream[first:stop])
            nats, spent = nats + float(found.sum()), spent + touched.sum(0)
            tick(stop - scored)
    n, seconds = len(stream) - 1, time.perf_counter() - began
    n_bytes = bytes_at(np.arange(1, len(stream)), stream, token_bytes, no_bytes)
    read, learned, written = (float(part) / n for part in spent)
    return Adapted(nats, n, n_bytes, n / seconds, (read, learned, written), adapter.state_bytes)


def check_no_stride(stride: int | None, context: int) -> None:
    """ConfigError for windows that overlap: what is scored with more context would have been learned already."""
    if stride not in (None, 0, context):
        raise ConfigError(f"--stride {stride}: what adapts reads its text once, in windows side by side: leave it out")
