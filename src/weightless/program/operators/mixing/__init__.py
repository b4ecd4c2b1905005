"""Mixtures of two models, and the gates that weigh them."""

from weightless.program.operators.mixing.promise import (
    CHOICE,
    GateByList,
    GateByMatch,
    MixFull,
    MixSample,
    MixScore,
    gate_class,
)

__all__ = ["CHOICE", "GateByList", "GateByMatch", "MixFull", "MixSample", "MixScore", "gate_class"]
