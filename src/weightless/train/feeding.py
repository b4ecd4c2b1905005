"""From a configuration to batches: windows, their order, and a thread that prepares them ahead, if asked for.

Where documents begin follows from the tokens and the id of <|endoftext|>; what their text is, for the order by
compression, from the tokenizer.  Both are asked of `source`, a prepared corpus, and only when they are needed.
Errors: ConfigError when the configuration needs documents and nobody said where they begin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from weightless.base.errors import ConfigError
from weightless.data.batches.loader import Batches
from weightless.data.batches.order import STRICT, Curriculum
from weightless.data.batches.packing import Batch, DocumentWindows, StreamWindows, document_starts
from weightless.data.batches.prefetch import Prefetched
from weightless.data.batches.scores import compression_ratios, document_lengths, read_scores
from weightless.train.config import TrainConfig


class TokenBytes(Protocol):
    """What is asked of a tokenizer."""

    @property
    def token_bytes(self) -> Sequence[bytes]: ...


class TextSource(Protocol):
    """What is asked of a corpus."""

    @property
    def end_of_text(self) -> int | None: ...

    def tokenizer(self) -> TokenBytes: ...


@dataclass(frozen=True)
class Feeding:
    """Batches, one line about them, and the hash of the scores that order them (empty without)."""

    batches: Batches
    description: str
    scores_sha256: str


def feeding(tokens: Any, config: TrainConfig, source: TextSource | None) -> Feeding:
    """The batches that `config` asks for."""
    if config.packing == "stream" and not config.document_mask and not config.is_sorted:
        windows = StreamWindows(tokens, config.context, config.seed)
        return _fed(tokens, config, windows, config.order, "")
    end_of_text = None if source is None else source.end_of_text
    if source is None or end_of_text is None:
        wish = next(
            name
            for name, asked in (
                ("packing", config.packing != "stream"),
                ("order", config.is_sorted),
                ("document_mask", config.document_mask),
            )
            if asked
        )
        raise ConfigError(
            f"{wish} = {getattr(config, wish)!r} needs to know where documents begin, and the id of "
            "<|endoftext|> is not known here: train on a corpus that has one"
        )
    starts = document_starts(tokens, end_of_text)
    scores = _scores(tokens, starts, config, source, end_of_text) if config.is_sorted else None
    if config.packing == "documents":
        windows = DocumentWindows(tokens, config.context, end_of_text, starts, scores, config.document_mask)
    else:
        windows = StreamWindows(tokens, config.context, config.seed, end_of_text if config.document_mask else None)
    if scores is None:
        return _fed(tokens, config, windows, config.order, "")
    n_buckets = {"sorted": STRICT, "buckets": config.buckets, "shuffled": 1}[config.pacing]
    order = Curriculum(
        windows.n_windows,
        config.seed,
        lambda epoch: windows.window_scores(epoch, starts, scores),
        n_buckets,
        config.descending,
        config.n_draws,
    )
    return _fed(tokens, config, windows, order, hashlib.sha256(scores.astype("<f8").tobytes()).hexdigest())


@contextmanager
def ahead(batch: Callable[[int], Batch], n: int, first: int) -> Iterator[Callable[[int], Batch]]:
    """`batch`, of which a thread prepares n ahead from number `first` on; itself where n is 0."""
    if not n:
        yield batch
        return
    with Prefetched[Batch](batch, n, first) as prepared:
        yield prepared.batch


def _fed(
    tokens: Any, config: TrainConfig, windows: StreamWindows | DocumentWindows, order: str | Curriculum, sha256: str
) -> Feeding:
    batches = Batches(tokens, config.context, config.batch_size, config.seed, order, windows=windows)
    mask = "; documents do not see each other" if config.document_mask else ""
    return Feeding(batches, f"{windows.description}{mask}; {_order_in_words(config)}", sha256)


def _order_in_words(config: TrainConfig) -> str:
    if not config.is_sorted:
        return f"order: {config.order}"
    paces = {"sorted": "strictly sorted", "buckets": f"in {config.buckets} buckets", "shuffled": "shuffled (control)"}
    direction = "highest" if config.descending else "lowest"
    span = "" if config.num_steps is not None else ", over whole epochs: a run by the clock may end inside one"
    return f"order: {config.order} of documents, {direction} first, {paces[config.pacing]}{span}"


def _scores(tokens: Any, starts: np.ndarray, config: TrainConfig, source: TextSource, end_of_text: int) -> np.ndarray:
    """One number per document."""
    if config.order == "length":
        return document_lengths(starts)
    if config.order == "compression":
        pieces = source.tokenizer().token_bytes
        return compression_ratios(tokens, starts, pieces, end_of_text, show_progress=True, n_threads=config.threads)
    return read_scores(config.score_file, len(starts) - 1)
