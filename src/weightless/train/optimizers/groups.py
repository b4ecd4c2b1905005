"""Which parameter learns by which rule.  A parameter's group decides, once:

group       optimizer = adamw      muon                 sgd      peak learning rate                decay
matrix      AdamW                  Muon                 SGD      max_lr (Muon: muon_lr)            yes
embedding   AdamW                  AdamW                SGD      max_lr * embedding_lr_scale       yes
head        AdamW                  AdamW                SGD      max_lr * head_lr_scale            yes
vector      AdamW                  AdamW                SGD      max_lr * vector_lr_scale          no
table       row-wise Adagrad       row-wise Adagrad     SGD      max_lr (Muon: table_lr)           no
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from weightless.base.errors import ConfigError, nearest
from weightless.program.tensor import Parameter
from weightless.train.config import TrainConfig
from weightless.train.gradients import Gradient
from weightless.train.optimizers.adamw import AdamW
from weightless.train.optimizers.muon import Muon
from weightless.train.optimizers.rowwise_adagrad import RowwiseAdagrad
from weightless.train.optimizers.sgd import SGD
from weightless.train.processes import current

GROUPS = ("matrix", "embedding", "head", "vector", "table")


class Optimizer(Protocol):
    """What the rules above have in common."""

    params: dict[str, torch.Tensor]

    def update(self, gradients: Mapping[str, Gradient], lr: float, t: int) -> None:
        """Apply the t-th step (from 1) to the parameters this optimizer holds."""

    def state(self) -> dict[str, torch.Tensor]:
        """Its live state by name."""
        ...


@dataclass(frozen=True)
class Part:
    """One group's optimizer and its peak learning rate."""

    group: str
    optimizer: Optimizer
    peak_lr: float


@dataclass(frozen=True)
class GroupedOptimizer:
    """All parts; together they hold every parameter exactly once."""

    parts: tuple[Part, ...]

    def update(self, gradients: Mapping[str, Gradient], factor: float, t: int) -> None:
        """One step at `factor` times the peak learning rates."""
        for part in self.parts:
            part.optimizer.update(gradients, factor * part.peak_lr, t)

    def rates(self, factor: float) -> dict[str, float]:
        """{group: learning rate} at `factor` times the peak."""
        return {part.group: factor * part.peak_lr for part in self.parts}

    def state(self) -> dict[str, torch.Tensor]:
        """Live state tensors of all parts."""
        return {name: tensor for part in self.parts for name, tensor in part.optimizer.state().items()}

    def state_bytes(self) -> dict[str, int]:
        """Bytes of optimizer state by group."""
        return {p.group: sum(t.numel() * t.element_size() for t in p.optimizer.state().values()) for p in self.parts}

    def membership(self) -> dict[str, list[str]]:
        """For every parameter held, the groups that hold it."""
        found: dict[str, list[str]] = {}
        for part in self.parts:
            for name in part.optimizer.params:
                found.setdefault(name, []).append(part.group)
        return found


def grouped_optimizer(
    specs: Iterable[Parameter], params: Mapping[str, torch.Tensor], config: TrainConfig
) -> GroupedOptimizer:
    """Give every parameter to the optimizer of its group; ConfigError for an unknown group."""
    members: dict[str, dict[str, torch.Tensor]] = {group: {} for group in GROUPS}
    specs = list(specs)
    for spec in specs:
        if spec.group not in members:
            raise ConfigError(f"parameter {spec.name!r} is in group {spec.group!r}: {nearest(spec.group, GROUPS)}")
        members[spec.group][spec.name] = params[spec.name]
    stacked = {spec.name: _parts(spec) for spec in specs if spec.stacked > 1 or spec.parts}
    return GroupedOptimizer(tuple(_part(group, held, config, stacked) for group, held in members.items() if held))


def _parts(spec: Parameter) -> tuple[int, ...]:
    """Rows of each of the matrices that lie above each other in a tensor."""
    return spec.parts or spec.stacked * (spec.shape[0] // spec.stacked,)


def _part(
    group: str, held: dict[str, torch.Tensor], config: TrainConfig, stacked: Mapping[str, tuple[int, ...]]
) -> Part:
    decay = 0.0 if group in ("vector", "table") else config.weight_decay
    lr = config.max_lr * {
        "embedding": config.embedding_lr_scale,
        "head": config.head_lr_scale,
        "vector": config.vector_lr_scale,
    }.get(group, 1.0)
    if config.optimizer == "sgd":
        return Part(group, SGD(held, decay), lr)
    if group == "table":
        return Part(group, RowwiseAdagrad(held), config.table_lr if config.optimizer == "muon" else lr)
    if group == "matrix" and config.optimizer == "muon":
        half = config.autocast == "bf16"
        rise = (config.muon_momentum_start, config.muon_momentum_warmup)
        return Part(group, Muon(held, decay, config.muon_momentum, stacked, rise, current(), half), config.muon_lr)
    return Part(group, AdamW(held, decay, (config.beta1, config.beta2)), lr)
