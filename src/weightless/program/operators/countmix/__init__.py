"""Count mixing: a walk through a tree over tokens, at every node of which counts are mixed."""

from weightless.program.operators.countmix.promise import CountmixFull, CountmixSample, CountmixScore
from weightless.program.operators.countmix.window import CountmixWindow

__all__ = ["CountmixFull", "CountmixSample", "CountmixScore", "CountmixWindow"]
