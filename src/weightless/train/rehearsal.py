"""What comes before the clock of a training: a step whose every trace is taken away again.

A pass forwards and backwards, and the optimizers' update of what it found: what is compiled, allocated, or loaded at
its first use is then there, and how long both take says whether a first step fits.  Undone are weights, the state of
the optimizers and what training computes with instead of the weights, to the bit; batches are numbered and random
numbers seeded by the step, so neither moves.  Tables of which a batch looks rows up are not updated: there is nothing
to warm up in that, and the copy to restore them from would be as large as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from weightless.data.batches.packing import Batch
from weightless.train.clock import StepClock
from weightless.train.combining import combined
from weightless.train.config import TrainConfig
from weightless.train.gradients import Gradient, RowGradient, clip, global_norm
from weightless.train.optimizers.groups import GroupedOptimizer, Part
from weightless.train.processes import current
from weightless.train.step import warm_up
from weightless.train.working_weights import WorkingWeights


class Rehearsal:
    """One step of a training that leaves nothing behind: `one_pass`, then `one_update` of what it found."""

    def __init__(
        self, model: Any, weights: WorkingWeights, optimizer: GroupedOptimizer, batch: Batch, config: TrainConfig
    ) -> None:
        self.model, self.weights, self.optimizer = model, weights, optimizer
        self.batch, self.config = batch, config
        self.gradients: dict[str, Gradient] = {}

    def fits(self, clock: StepClock, used: float, n_passes: int) -> bool:
        """Whether a step of so many passes fits into what is left of the budget, after doing this one."""
        return clock.warm_up(self.one_pass, n_passes, used, self.one_update)

    def one_pass(self) -> None:
        """Forwards and backwards."""
        self.gradients = warm_up(self.model, self.weights, self.batch, self.config.device)

    def one_update(self) -> None:
        """By the first step's rule, undone part by part, so that at most one part lies in memory twice."""
        gradients, _ = combined(current(), self.weights.leaves, self.gradients, ())
        self.gradients = {}
        if self.config.grad_clip:
            clip(gradients, global_norm(gradients), self.config.grad_clip)
        for part in self.optimizer.parts:
            updated_and_undone(part, gradients)
        self.weights.follow({name: g for name, g in gradients.items() if not isinstance(g, RowGradient)})


@torch.no_grad()
def updated_and_undone(part: Part, gradients: Mapping[str, Gradient]) -> None:
    """An optimizer's update, and its parameters and state as they were; nothing where it looks rows up."""
    if any(isinstance(gradients.get(name), RowGradient) for name in part.optimizer.params):
        return
    live = [*part.optimizer.params.values(), *part.optimizer.state().values()]
    before = [tensor.detach().clone() for tensor in live]
    part.optimizer.update(gradients, part.peak_lr, 1)
    for tensor, value in zip(live, before, strict=True):
        tensor.copy_(value)
