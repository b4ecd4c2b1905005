"""Kneser-Ney lists and unigrams."""

from weightless.program.operators.ngram.columns import MAX_LEVEL, NOT_DRAWN
from weightless.program.operators.ngram.promise import (
    NgramContext,
    NgramFinish,
    NgramFull,
    NgramSample,
    NgramScore,
)
from weightless.program.operators.ngram.unigram import UnigramSample

__all__ = [
    "MAX_LEVEL",
    "NOT_DRAWN",
    "NgramContext",
    "NgramFinish",
    "NgramFull",
    "NgramSample",
    "NgramScore",
    "UnigramSample",
]
