"""The stream as it began, for every block to mix in again."""

from weightless.program.operators.start.promise import MixKept, NormKeep

__all__ = ["MixKept", "NormKeep"]
