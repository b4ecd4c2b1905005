"""The accounting of a family's own model: what `ledger` needs, taken from the family instead of from a formula.

Parameters and their groups come from `Model(config).tensors()`, FLOPs from the operators of its decode program:
at position t an operator costs `flops(tensors, t)`, so a pass over T positions without causal discount costs T times
that of the last, and with it the sum over all.  Activations follow from the shape of the blocks, where they are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from weightless.base.errors import ConfigError
from weightless.ledger.memory import Activation, kept_activations
from weightless.ledger.shape import TransformerShape, Weight
from weightless.models.catalog import family
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
    program: Program
    weights: tuple[Weight, ...]

    @property
    def context(self) -> int:
        return self.program.context

    def forward_flops(self, T: int, causal: bool) -> dict[str, int]:
        """{component: FLOPs} of scoring one sequence of T tokens."""
        positions = range(1, T + 1) if causal else (T,)
        times = 1 if causal else T
        out: dict[str, int] = {}
        for op in self.program.operators("score"):
            n = times * sum(op.flops(self.program.by_name, t) for t in positions)
            line = operator_line(op, self.program)
            out[line] = out.get(line, 0) + n
        return {line: n for line, n in out.items() if n}

    def activations(self, T: int) -> list[Activation] | None:
        """What training keeps of one sequence; None for a family whose blocks are not described here."""
        described = block_shape(self.name, self.config)
        if described is None:
            return None
        shape, extras = described
        return kept_activations(shape, T, self.config.activation, **extras)


def family_model(name: str, config: Any) -> FamilyModel:
    """ConfigError for a family that is counted instead of trained."""
    room = family(name)
    if not hasattr(room, "Model"):
        raise ConfigError(f"family {name!r} is counted, not trained: it has no gradients and no optimizer; "
                          f"`weightless count {name}` gives its bytes")  # fmt: skip
    program = room.decode_program(config)
    weights = []
    for spec in room.Model(config).tensors():
        stored = program.by_name.get(spec.name)
        component: str = stored.component if stored else spec.group
        rows = math.prod(spec.shape[:-1])
        weights.append(Weight(spec.name, LINES.get(component, component), rows, spec.shape[-1], spec.group))
    return FamilyModel(name, config, program, tuple(weights))


def operator_line(op: Any, program: Program) -> str:
    """The ledger line of an operator's FLOPs: that of its largest weight, or looking back when it has none."""
    named = [program.by_name.get(value) for value in vars(op).values() if isinstance(value, str)]
    weights: list[Tensor] = [tensor for tensor in named if tensor is not None and tensor.kind == "weight"]
    if not weights:
        return LOOKING_BACK
    component = max(weights, key=lambda tensor: tensor.nbytes).component
    return LINES.get(component, component)


def block_shape(name: str, config: Any) -> tuple[TransformerShape, dict[str, int]] | None:
    """(the shape, further arguments of `kept_activations`) of the families made of this library's standard block."""
    if name == "dense":
        shape = TransformerShape(config.vocab_size, config.context, config.n_layers, config.d_model, config.heads,
                                 config.hidden, config.kv_heads, config.d_head, _ffn(config),
                                 tied=config.tied)  # fmt: skip
        return shape, {}
    if name == "feather":
        shape = TransformerShape(config.vocab_size, config.context, config.n_layers, config.d_model, config.n_heads,
                                 config.d_ff, config.n_kv_heads, config.d_head, _ffn(config),
                                 qk_norm="bare")  # fmt: skip
        return shape, {"n_classes": config.classes if config.head == "class" else 0, "n_tables": len(config.tables)}
    return None


def _ffn(config: Any) -> Any:
    return "gated" if config.activation == "swiglu" else "plain"
