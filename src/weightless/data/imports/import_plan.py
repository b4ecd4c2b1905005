"""What an import does, decided before it begins: which ids become the training split, which the validation split.

What validates:

    auto       the source's own validation, valid, val, dev or test split
    a name     that split of the source
    first:N    the first N tokens of the training split, which then begins behind them
    last:N     its last N tokens (the whole source is read once to find out where they begin)
    none       nothing
    a RowSet   the training split of another source

The boundary of first and last moves on to the next <|endoftext|>, so that no document stands on both sides, but by no
more than a tenth of N (or N itself, while that is less than 10,000).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from weightless.base.errors import ConfigError, nearest
from weightless.data.imports.token_rows import TokenSource

OWN_VALIDATION = ("validation", "valid", "val", "dev", "test")
SHORT = 10_000  # tokens; a few documents
_CUT = re.compile(r"(first|last):(\d+)")


class RowSet(Protocol):
    """Splits of one source of rows."""

    @property
    def name(self) -> str: ...

    @property
    def splits(self) -> list[str]: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def end_of_text(self) -> int | None: ...

    def source(self, split: str) -> TokenSource: ...


@dataclass(frozen=True)
class Part:
    """What one split of the corpus is made of: the first `limit` ids of a source, and up to `slack` more until
    a document begins.

    No more than `most` ids are taken in any case.  `follows` is the role whose end is the beginning of this one, but
    for what is passed over: this one begins at the document behind id number `offset` of the source.
    """

    role: str
    source: TokenSource
    limit: int | None = None
    slack: int = 0
    most: int | None = None
    follows: str = ""
    offset: int = 0


def plan(
    rows: RowSet, split: str, validation: str | RowSet, most: int | None, most_validation: int | None
) -> list[Part]:
    """The parts in the order in which they are written."""
    train = rows.source(split)
    if not isinstance(validation, str):
        return [Part("train", train, most), Part("val", validation.source("train"), most_validation)]
    if found := _CUT.fullmatch(validation):
        n = int(found[2])
        slack = max(n // 10, min(n, SHORT))
        if found[1] == "first":
            return [Part("val", train, n, slack=slack), Part("train", train, most, follows="val")]
        total = train.n_tokens if train.n_tokens is not None else sum(len(block.ids) for block in train.blocks())
        if not 0 < n < total:
            raise ConfigError(f"validation {validation}: the source has {total} tokens; leave some for training")
        begin = total - n
        head = Part("train", train, begin, slack=slack, most=most)
        return [head, Part("val", train, most_validation, slack=slack, follows="train", offset=begin)]
    if validation == "none":
        return [Part("train", train, most)]
    names = [name for name in (OWN_VALIDATION if validation == "auto" else (validation,)) if name in rows.splits]
    if not names:
        known = f"it has {', '.join(rows.splits)}" if validation == "auto" else nearest(validation, rows.splits)
        raise ConfigError(
            f"{rows.name} has no {'validation' if validation == 'auto' else repr(validation)} split "
            f"({known}): say --validation last:N or first:N tokens, another source, or none"
        )
    return [Part("train", train, most), Part("val", rows.source(names[0]), most_validation)]
