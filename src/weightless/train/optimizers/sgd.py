"""Stochastic gradient descent, without state:  w <- w - lr * decay * w - lr * g."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from weightless.train.gradients import Gradient, RowGradient


class SGD:
    """Touched rows only where the gradient has rows (then without decay, which would touch all)."""

    def __init__(self, params: Mapping[str, torch.Tensor], decay: float) -> None:
        self.params, self.decay = dict(params), decay

    @torch.no_grad()
    def update(self, gradients: Mapping[str, Gradient], lr: float, t: int) -> None:
        """One step; parameters without a gradient stay as they are."""
        for name, w in self.params.items():
            gradient = gradients.get(name)
            if isinstance(gradient, RowGradient):
                w.index_add_(0, gradient.rows_R, gradient.values_RD, alpha=-lr)
            elif gradient is not None:
                w.mul_(1.0 - lr * self.decay).add_(gradient, alpha=-lr)

    def state(self) -> dict[str, torch.Tensor]:
        """Nothing."""
        return {}
