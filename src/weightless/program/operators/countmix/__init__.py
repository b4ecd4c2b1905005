"""Count mixing: a walk through a tree over tokens, at every node of which counts are mixed."""

from weightless.program.operators.countmix.promise import (
    CountmixFull,
    CountmixSample,
    CountmixScore,
    CountmixWindow,
)

__all__ = ["CountmixFull", "CountmixSample", "CountmixScore", "CountmixWindow"]
