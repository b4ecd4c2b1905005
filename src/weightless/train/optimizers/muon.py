"""Muon (Jordan 2024, kellerjordan.github.io/posts/muon): momentum whose update is made nearly orthogonal.

    b <- mu b + (1 - mu) g             u = (1 - mu) g + mu b        (Nesterov)
    X = u / |u|;  five times  A = X X^T,  X <- a X + (b A + c A^2) X  with (a, b, c) = (3.4445, -4.7750, 2.0315)
    w <- w - lr * decay * w            w <- w - lr * sqrt(max(1, rows / cols)) * X

X has the singular vectors of u and singular values near 1.  Rows are outputs, columns inputs.  The iteration runs on
the side with fewer rows, batched over matrices of one shape, in float32, or in bf16 where training multiplies in it.
A fused matrix (query, key and value; gate and up) is treated as the one matrix it is stored as; of stacked ones
(experts, or queries, keys and values apart) each is made orthogonal by itself.

mu may rise over the first steps.  Then b is scaled with it, so that it stays 1 - mu times the sum B <- mu B + g that
others keep: u is theirs but for a factor, which X does not depend on.
4 bytes of state per parameter.
"""

# torch._foreach has no public name; the optimizers of torch call it in the same way.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby

import torch

from weightless.base.errors import ConfigError
from weightless.train.combining import shared_out
from weightless.train.gradients import Gradient, RowGradient
from weightless.train.processes import ALONE, Processes

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon:
    """Holds one momentum matrix per parameter."""

    def __init__(
        self,
        params: Mapping[str, torch.Tensor],
        decay: float,
        momentum: float = 0.95,
        stacked: Mapping[str, tuple[int, ...]] | None = None,
        rise: tuple[float, int] = (0.0, 0),
        together: Processes = ALONE,
        half: bool = False,
    ) -> None:
        """`stacked` {name: rows of each of its matrices}; `rise`: the momentum of the first step, and over how many
        steps it comes to `momentum`; `together`: who makes the matrices of one shape orthogonal, each some of them;
        `half`: whether they multiply in bf16 for it.
        ConfigError for what is no matrix, and for rows that do not add up."""
        for name, p in params.items():
            if p.ndim != 2:
                raise ConfigError(
                    f"Muon needs matrices and {name} has shape {tuple(p.shape)}; put it into group 'vector'"
                )
        self.params, self.decay, self.momentum, self.rise = dict(params), decay, momentum, rise
        self.together, self.half = together, half
        self.stacked = dict(stacked or {})
        for name, parts in self.stacked.items():
            if name in self.params and self.params[name].shape[0] != sum(parts):
                raise ConfigError(f"{name} has {self.params[name].shape[0]} rows, and its matrices have {sum(parts)}")
        self.buffer = {name: torch.zeros_like(p, requires_grad=False) for name, p in params.items()}

    @torch.no_grad()
    def update(self, gradients: Mapping[str, Gradient], lr: float, t: int) -> None:
        """One step; parameters without a gradient stay as they are."""
        by_shape: dict[tuple[int, int, int], list[tuple[str, int]]] = {}
        for name, p in self.params.items():
            if name in gradients:
                for first, n, rows in self._blocks(name):
                    by_shape.setdefault((n, rows, p.shape[1]), []).append((name, first))
        steps = {name: self._nesterov(name, gradients[name], t) for name in self.params if name in gradients}
        for (n, rows, cols), places in by_shape.items():
            stack = torch.stack([steps[name][first : first + n * rows] for name, first in places])
            update_NRC = shared_out(self.together, self._orthogonal, stack.view(-1, rows, cols)).reshape(stack.shape)
            w = [self.params[name][first : first + n * rows] for name, first in places]
            if self.decay:
                torch._foreach_mul_(w, 1.0 - lr * self.decay)
            torch._foreach_add_(w, list(update_NRC), alpha=-lr * math.sqrt(max(1.0, rows / cols)))

    def _blocks(self, name: str) -> list[tuple[int, int, int]]:
        """(first row, how many matrices, rows of each) of the runs of equal matrices in a tensor."""
        found: list[tuple[int, int, int]] = []
        first = 0
        for rows, run in groupby(self.stacked.get(name, (self.params[name].shape[0],))):
            n = len(list(run))
            found.append((first, n, rows))
            first += n * rows
        return found

    def momentum_at(self, t: int) -> float:
        """mu of the t-th step, counted from 1."""
        start, n = self.rise
        return self.momentum if t > n else start + (self.momentum - start) * (t - 1) / n

    def _nesterov(self, name: str, gradient: Gradient, t: int) -> torch.Tensor:
        g = gradient.dense() if isinstance(gradient, RowGradient) else gradient
        mu, before = self.momentum_at(t), self.momentum_at(max(1, t - 1))
        if mu != before:
            self.buffer[name].mul_((1.0 - mu) / (1.0 - before))
        self.buffer[name].lerp_(g, 1.0 - mu)
        return g.lerp(self.buffer[name], mu)

    def _orthogonal(self, x_NRC: torch.Tensor) -> torch.Tensor:
        return orthogonal(x_NRC, half=self.half)

    def state(self) -> dict[str, torch.Tensor]:
        """The live state tensors by name."""
        return {f"{name}/momentum": b for name, b in self.buffer.items()}


def orthogonal(x_NRC: torch.Tensor, iterations: int = ITERATIONS, half: bool = False) -> torch.Tensor:
    """Newton-Schulz: the same singular vectors, singular values drawn towards 1 (0.7 to 1.2); zero stays zero.

    `half` iterates in bf16, as published; the result has the dtype of x."""
    given = x_NRC.dtype
    a, b, c = COEFFICIENTS
    tall = x_NRC.shape[1] > x_NRC.shape[2]
    x_NRC = x_NRC.mT if tall else x_NRC
    x_NRC = x_NRC / (torch.linalg.matrix_norm(x_NRC, keepdim=True) + 1e-7)
    x_NRC = x_NRC.to(torch.bfloat16) if half else x_NRC
    for _ in range(iterations):
        gram_NRR = x_NRC @ x_NRC.mT
        mixed_NRR = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        x_NRC = torch.baddbmm(x_NRC, mixed_NRR, x_NRC, beta=a)
    return (x_NRC.mT if tall else x_NRC).to(given)
