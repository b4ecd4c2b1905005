"""Muon (Jordan 2024, kellerjordan.github.io/posts/muon): momentum whose update is made nearly orthogonal.

    b <- mu b + (1 - mu) g             u = (1 - mu) g + mu b        (Nesterov)
    X = u / |u|;  five times  A = X X^T,  X <- a X + (b A + c A^2) X  with (a, b, c) = (3.4445, -4.7750, 2.0315)
    w <- w - lr * decay * w            w <- w - lr * sqrt(max(1, rows / cols)) * X

X has the singular vectors of u and singular values near 1.  Rows are outputs, columns inputs.  The iteration runs on
the side with fewer rows, in float32 (on CPUs without fast bf16 that is also the quick way), batched over matrices of
one shape.  A fused matrix (query, key and value; gate and up) is treated as the one matrix it is stored as; of
stacked ones (experts) each is made orthogonal by itself.
4 bytes of state per parameter.
"""

# torch._foreach has no public name; the optimizers of torch call it in the same way.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from weightless.base.errors import ConfigError
from weightless.train.gradients import Gradient, RowGradient

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon:
    """Holds one momentum matrix per parameter."""

    def __init__(
        self,
        params: Mapping[str, torch.Tensor],
        decay: float,
        momentum: float = 0.95,
        stacked: Mapping[str, int] | None = None,
    ) -> None:
        for name, p in params.items():
            if p.ndim != 2:
                raise ConfigError(
                    f"Muon needs matrices and {name} has shape {tuple(p.shape)}; put it into group 'vector'"
                )
        self.params, self.decay, self.momentum, self.stacked = dict(params), decay, momentum, dict(stacked or {})
        for name, n in self.stacked.items():
            if name in self.params and self.params[name].shape[0] % n:
                raise ConfigError(f"{name} has {self.params[name].shape[0]} rows, which are not {n} equal matrices")
        self.buffer = {name: torch.zeros_like(p, requires_grad=False) for name, p in params.items()}

    @torch.no_grad()
    def update(self, gradients: Mapping[str, Gradient], lr: float, t: int) -> None:
        """One step; parameters without a gradient stay as they are."""
        by_shape: dict[tuple[int, int, int], list[str]] = {}
        for name, p in self.params.items():
            if name in gradients:
                n = self.stacked.get(name, 1)
                by_shape.setdefault((n, p.shape[0] // n, p.shape[1]), []).append(name)
        for (_, rows, cols), names in by_shape.items():
            steps = torch.stack([self._nesterov(name, gradients[name]) for name in names])
            update_NRC = orthogonal(steps.view(-1, rows, cols)).reshape(steps.shape)
            w = [self.params[name] for name in names]
            if self.decay:
                torch._foreach_mul_(w, 1.0 - lr * self.decay)
            torch._foreach_add_(w, list(update_NRC), alpha=-lr * math.sqrt(max(1.0, rows / cols)))

    def _nesterov(self, name: str, gradient: Gradient) -> torch.Tensor:
        g = gradient.dense() if isinstance(gradient, RowGradient) else gradient
        self.buffer[name].lerp_(g, 1.0 - self.momentum)
        return g.lerp(self.buffer[name], self.momentum)

    def state(self) -> dict[str, torch.Tensor]:
        """The live state tensors by name."""
        return {f"{name}/momentum": b for name, b in self.buffer.items()}


def orthogonal(x_NRC: torch.Tensor, iterations: int = ITERATIONS) -> torch.Tensor:
    """Newton-Schulz: the same singular vectors, singular values drawn towards 1 (0.7 to 1.2); zero stays zero."""
    a, b, c = COEFFICIENTS
    tall = x_NRC.shape[1] > x_NRC.shape[2]
    x_NRC = x_NRC.mT if tall else x_NRC
    x_NRC = x_NRC / (torch.linalg.matrix_norm(x_NRC, keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram_NRR = x_NRC @ x_NRC.mT
        mixed_NRR = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        x_NRC = torch.baddbmm(x_NRC, mixed_NRR, x_NRC, beta=a)
    return x_NRC.mT if tall else x_NRC
