"""A text in a model's own tokens: what is scored, and what costs are measured on.

    text_tokens(packed, documents) -> TextTokens    ids of all documents, each after the mark that begins a document

Bits per byte of them are those of the text unless `kept.refused` says why not (`tokenizer/kept_text.py`).
WeightlessError for a model that was packed without a tokenizer.  Floor 7.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from weightless.export.packed import Packed
from weightless.tokenizer.kept_text import KeptText, kept


@dataclass(frozen=True)
class TextTokens:
    """`ids` int64, and what is left of the text when it has become tokens."""

    ids: np.ndarray
    kept: KeptText = field(default_factory=KeptText)


def text_tokens(packed: Packed, documents: Iterable[bytes]) -> TextTokens:
    """Encode documents, each after <|endoftext|>; a tokenizer that has no such mark puts them one after the other."""
    tokenizer, whole = packed.tokenizer, KeptText()
    parts = [np.zeros(0, dtype=np.int64)]
    mark = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
    for document in documents:
        parts += [np.array(mark, dtype=np.int64), tokenizer.encode_ordinary_array(document)]
        if tokenizer.byte_table.rewrites:
            whole += kept(tokenizer, document, parts[-1])
    return TextTokens(np.concatenate(parts).astype(np.int64), whole)
