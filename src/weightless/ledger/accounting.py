"""The whole account of training one model, as plain numbers: parameters, FLOPs, memory, time.

It is told the weights, the forward FLOPs by component and the activations of one sequence, and does not care whether
they come from a formula (`shape`, `flops`, `memory`) or from a family of this library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightless.base.errors import ConfigError
from weightless.ledger.flops import DAY, optimizer_flops, seconds_for, training_flops
from weightless.ledger.memory import Activation, optimizer_bytes, training_memory
from weightless.ledger.shape import Weight, parameters, without_embeddings


@dataclass(frozen=True)
class Plan:
    """How the model would be trained.  0 means not given: no device, no known speed, no number of tokens."""

    context: int
    batch_size: int = 1
    optimizer: str = "adamw"
    device_bytes: int = 0
    flops_per_second: float = 0.0
    mfu: float = 0.5
    tokens: int = 0

    def __post_init__(self) -> None:
        if self.context < 1 or self.batch_size < 1:
            raise ConfigError(f"context {self.context} and batch_size {self.batch_size} should be at least 1")
        if min(self.device_bytes, self.tokens) < 0 or not 0 <= self.flops_per_second < math.inf:
            raise ConfigError("device memory, tokens and flops_per_second should be numbers, and not negative")
        if not 0 < self.mfu <= 1:
            raise ConfigError(f"mfu = {self.mfu!r} is a share of the peak: above 0, at most 1")


@dataclass(frozen=True)
class Subject:
    """What is accounted for; `forward` is {component: FLOPs} of one sequence, `activations` None when unknown."""

    weights: Sequence[Weight]
    forward: Mapping[str, int]
    activations: Sequence[Activation] | None


def account(subject: Subject, plan: Plan) -> dict[str, Any]:
    """Everything as plain values; sizes in bytes, times in seconds."""
    total, not_looked_up, in_blocks = without_embeddings(subject.weights)
    return {
        "parameters": {
            "total": total,
            "without_lookups": not_looked_up,
            "without_embeddings": in_blocks,
            "components": parameters(subject.weights),
        },
        "flops": _flops(subject, plan, total),
        "memory": _memory(subject, plan),
        "time": _time(subject, plan),
    }


def _flops(subject: Subject, plan: Plan, n_parameters: int) -> dict[str, Any]:
    forward = sum(subject.forward.values())
    return {
        "context": plan.context,
        "components": dict(subject.forward),
        "forward": forward,
        "forward_per_token": forward / plan.context,
        "training_step": training_flops(forward, plan.batch_size),
        "optimizer_step": optimizer_flops(n_parameters) if plan.optimizer == "adamw" else None,
    }


def _memory(subject: Subject, plan: Plan) -> dict[str, Any]:
    memory = training_memory(subject.weights, plan.optimizer, subject.activations or [])
    known = subject.activations is not None
    return {
        "parameters": memory.parameters,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "optimizer_groups": optimizer_bytes(subject.weights, plan.optimizer),
        "activations": {part.name: part.nbytes for part in subject.activations} if subject.activations else None,
        "activations_of_one_sequence": memory.activations if known else None,
        "batch_size": plan.batch_size,
        "peak": memory.peak(plan.batch_size) if known else None,
        "device": plan.device_bytes or None,
        "largest_batch": memory.largest_batch(plan.device_bytes) if known and plan.device_bytes else None,
    }


def _time(subject: Subject, plan: Plan) -> dict[str, Any] | None:
    if not plan.flops_per_second:
        return None
    step = training_flops(sum(subject.forward.values()), plan.batch_size)
    seconds = seconds_for(step, plan.flops_per_second, plan.mfu)
    n_steps = -(-plan.tokens // (plan.batch_size * plan.context))
    return {
        "seconds_per_step": seconds,
        "tokens": plan.tokens or None,
        "steps": n_steps or None,
        "seconds": seconds * n_steps if n_steps else None,
        "days": seconds * n_steps / DAY if n_steps else None,
    }
