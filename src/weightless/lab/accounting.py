"""The accounting of a family's own model: what `ledger` needs, taken from the family instead of from a formula.

Parameters and their groups come from the family's stack of layers, FLOPs from the operators of its decode program:
at position t an operator costs `flops(tensors, t)`, so a pass over T positions without causal discount costs T times
that of the last, and with it the sum over all.  Activations are what each layer says that training keeps of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from weightless.layers.stack import Stack
from weightless.ledger.memory import Activation
from weightless.ledger.shape import Weight
from weightless.models.catalog import trained
from weightless.program.program import Program
from weightless.program.tensor import Tensor

LOOKING_BACK = "attention scores and values"
LINES = {"attention": "attention projections"}
"""Names of the generic ledger where a family's own would be taken for something else."""


@dataclass(frozen=True)
class FamilyModel:
    """One model of a family, ready to be accounted for."""

    name: str
    config: Any
    stack: Stack
    program: Program
    weights: tuple[Weight, ...]

    @property
    def context(self) -> int:
        return self.program.context

    def forward_flops(self, T: int, causal: bool) -> dict[str, int]:
        """{component: FLOPs} of scoring one sequence of T tokens, at full depth."""
        positions = range(1, T + 1) if causal else (T,)
        times = 1 if causal else T
        out: dict[str, int] = {}
        for op in self.program.along(0, "score"):
            n = times * sum(op.flops(self.program.by_name, t) for t in positions)
            line = operator_line(op, self.program)
            out[line] = out.get(line, 0) + n
        return {line: n for line, n in out.items() if n}

    def activations(self, T: int) -> list[Activation]:
        """What training keeps of one sequence, layer by layer."""
        return self.stack.kept(T)


def family_model(name: str, config: Any) -> FamilyModel:
    """ConfigError for a family that is counted instead of trained."""
    stack = trained(name).laid(config)
    weights = tuple(
        Weight(s.name, LINES.get(s.component, s.component), math.prod(s.shape[:-1]), s.shape[-1], s.group)
        for s in stack.parameters()
    )
    return FamilyModel(name, config, stack, stack.program(), weights)


def operator_line(op: Any, program: Program) -> str:
    """The ledger line of an operator's FLOPs: that of its largest weight, or looking back when it has none."""
    named = [program.by_name.get(value) for value in vars(op).values() if isinstance(value, str)]
    weights: list[Tensor] = [tensor for tensor in named if tensor is not None and tensor.kind == "weight"]
    if not weights:
        return LOOKING_BACK
    component = max(weights, key=lambda tensor: tensor.nbytes).component
    return LINES.get(component, component)
