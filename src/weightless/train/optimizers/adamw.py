"""AdamW (Loshchilov & Hutter 2019, 1711.05101): decoupled decay, applied before the update.

    w <- w - lr * decay * w
    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
    w <- w - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)          t = 1, 2, ...

8 bytes of state per parameter.  PyTorch's fused kernel reads and writes every tensor once.
"""

# torch._fused_adamw_ has no public name; the optimizer of torch calls it in the same way.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from weightless.train.gradients import Gradient, RowGradient


class AdamW:
    """Holds the moments of `params`; the step number comes from the caller, so that a resume needs no counter."""

    def __init__(
        self, params: Mapping[str, torch.Tensor], decay: float, betas: tuple[float, float], eps: float = 1e-8
    ) -> None:
        self.params, self.decay, self.betas, self.eps = dict(params), decay, betas, eps
        self.first = {name: torch.zeros_like(p, requires_grad=False) for name, p in params.items()}
        self.second = {name: torch.zeros_like(p, requires_grad=False) for name, p in params.items()}

    @torch.no_grad()
    def update(self, gradients: Mapping[str, Gradient], lr: float, t: int) -> None:
        """One step, the t-th counted from 1; parameters without a gradient stay as they are."""
        names = [name for name in self.params if name in gradients]
        if not names:
            return
        g = [_dense(gradients[name]) for name in names]
        w, m, v = ([of[name] for name in names] for of in (self.params, self.first, self.second))
        b1, b2 = self.betas
        steps = [torch.tensor(float(t), device=w[0].device)] * len(names)
        rule: dict[str, Any] = {"beta1": b1, "beta2": b2, "weight_decay": self.decay, "eps": self.eps}
        torch._fused_adamw_(w, g, m, v, [], steps, lr=lr, **rule, amsgrad=False, maximize=False)

    def state(self) -> dict[str, torch.Tensor]:
        """The live state tensors by name; a checkpoint writes them and copies into them."""
        moments = {f"{name}/first_moment": m for name, m in self.first.items()}
        return moments | {f"{name}/second_moment": v for name, v in self.second.items()}


def _dense(gradient: Gradient) -> torch.Tensor:
    """In the order of its parameter: the kernel reads memory as it lies, whatever the strides say."""
    return gradient.dense() if isinstance(gradient, RowGradient) else gradient.contiguous()
