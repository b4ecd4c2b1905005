"""The operators, by what they do; importing this package fills the registry in `program.operator`."""

from weightless.program.operators import (
    attention,
    class_head,
    feedforward,
    full_head,
    lookup,
    mixing,
    ngram,
    suffix,
    unigram,
)

__all__ = ["attention", "class_head", "feedforward", "full_head", "lookup", "mixing", "ngram", "suffix", "unigram"]
