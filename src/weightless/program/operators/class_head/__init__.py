"""The two-level class head."""

from weightless.program.operators.class_head.promise import (
    ClassFull,
    ClassSample,
    ClassScore,
    WordFull,
    WordSample,
    WordScore,
)

__all__ = ["ClassFull", "ClassSample", "ClassScore", "WordFull", "WordSample", "WordScore"]
