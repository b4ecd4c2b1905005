"""Vocabulary sweep: how much longer do tokens get when the vocabulary grows?

    sweep(documents, sizes, special_tokens) -> Sweep     .sizes  .tokenizers  .rows

One training serves all sizes, and exactly: training makes one merge after another, each chosen by counts that depend
on the text and on the merges before, and the size of the vocabulary only says when to stop.  So the first n merges of
the largest vocabulary are the merges of the vocabulary with n merges, ties included; only the ids of special tokens,
which stand behind the merges, differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightless.base.errors import ConfigError
from weightless.lab.tokenizer_study import Measurement, Sample, measure
from weightless.tokenizer import Tokenizer, train_bpe
from weightless.tokenizer.bpe_train import LARGEST_VOCABULARY
from weightless.tokenizer.patterns import check_special_tokens

N_BYTES = 256
SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True)
class Sweep:
    """Tokenizers by vocabulary size, ascending, and their measurements on every sample: rows[size][corpus]."""

    tokenizers: dict[int, Tokenizer]
    rows: dict[int, dict[str, Measurement]]
    exhausted: int | None
    """The size at which the text had no pair left, when larger ones were asked for."""

    @property
    def sizes(self) -> list[int]:
        return list(self.rows)

    @property
    def corpora(self) -> list[str]:
        return list(next(iter(self.rows.values())))

    def series(self, corpus: str) -> list[tuple[int, float]]:
        """(vocabulary, bytes per token) of one corpus."""
        return [(size, cells[corpus].bytes_per_token) for size, cells in self.rows.items()]

    def as_json(self) -> dict[str, Any]:
        """Plain values of every cell."""
        cells = [cell.as_json() for cells in self.rows.values() for cell in cells.values()]
        return {"sizes": self.sizes, "corpora": self.corpora, "exhausted": self.exhausted, "cells": cells}


def checked_sizes(sizes: Sequence[int], special_tokens: Sequence[str]) -> list[int]:
    """The sizes, ascending and distinct; ConfigError for one that cannot hold the bytes and the special tokens."""
    least = N_BYTES + len(check_special_tokens(special_tokens))
    for size in sizes:
        if size < least:
            raise ConfigError(
                f"a vocabulary of {size} is too small: 256 bytes and {least - N_BYTES} special token(s) need {least}"
            )
        if size > LARGEST_VOCABULARY:
            raise ConfigError(f"a vocabulary of {size} is too large: {LARGEST_VOCABULARY} is the most")
    if not sizes:
        raise ConfigError("no sizes given; for example --sizes 256 1024 4096")
    return sorted(set(sizes))


def smaller(tokenizer: Tokenizer, size: int) -> Tokenizer:
    """The tokenizer that training with vocab_size = `size` would have given (see above).

    Wants ids in the order of training (bytes, merges, special tokens); ConfigError when there are too few merges.
    """
    n_merges = size - N_BYTES - len(tokenizer.special_tokens)
    if not 0 <= n_merges <= len(tokenizer.merges):
        raise ConfigError(f"a vocabulary of {size} would have {n_merges} merges; there are {len(tokenizer.merges)}")
    vocab = dict(enumerate(tokenizer.token_bytes[: N_BYTES + n_merges]))
    names = sorted(tokenizer.special_tokens, key=tokenizer.special_tokens.__getitem__)
    vocab.update({len(vocab) + k: name.encode() for k, name in enumerate(names)})
    specials = {name: N_BYTES + n_merges + k for k, name in enumerate(names)}
    return Tokenizer(vocab, tokenizer.merges[:n_merges], specials, tokenizer.pattern)


def sweep(
    documents: Iterable[bytes],
    sizes: Sequence[int],
    samples: Mapping[str, Sample],
    special_tokens: Sequence[str] = (),
    *,
    pattern: str = "gpt2",
    ties: str = "greatest",
    show_progress: bool = False,
) -> Sweep:
    """Train on `documents` at the largest size, and measure every size on every sample."""
    wanted = checked_sizes(sizes, special_tokens)
    vocab, merges = train_bpe(
        documents, wanted[-1], special_tokens, pattern=pattern, ties=ties, show_progress=show_progress
    )
    largest = Tokenizer(vocab, merges, special_tokens, pattern)
    possible = [size for size in wanted if size <= largest.vocab_size]
    exhausted = largest.vocab_size if len(possible) < len(wanted) else None
    if exhausted and exhausted not in possible:
        possible.append(exhausted)
    tokenizers = {size: smaller(largest, size) for size in possible}
    rows = {
        size: {corpus: measure(tokenizer, sample, f"{size}", corpus) for corpus, sample in samples.items()}
        for size, tokenizer in tokenizers.items()
    }
    return Sweep(tokenizers, rows, exhausted)
