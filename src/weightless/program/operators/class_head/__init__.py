"""The class head in two or three levels."""

from weightless.program.operators.class_head.groups import GroupFull, GroupSample, GroupScore
from weightless.program.operators.class_head.promise import (
    ClassFull,
    ClassSample,
    ClassScore,
    WordFull,
    WordSample,
    WordScore,
)

__all__ = [
    "ClassFull",
    "ClassSample",
    "ClassScore",
    "GroupFull",
    "GroupSample",
    "GroupScore",
    "WordFull",
    "WordSample",
    "WordScore",
]
