"""Row-wise Adagrad for large lookup tables (Duchi 2011; one accumulator per row as in 1906.00091).

    s_r <- s_r + mean_d g_rd^2           w_r <- w_r - lr * g_r / (sqrt(s_r) + eps)

for the rows r that have a gradient; all others are neither read nor written, so a step costs O(touched rows), not
O(table).  4 bytes of state per row.  No decay: it would touch every row.
eps is small because the gradient of a mean over many positions is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from weightless.train.gradients import Gradient, RowGradient


class RowwiseAdagrad:
    """Holds one accumulator per row of each table."""

    def __init__(self, params: Mapping[str, torch.Tensor], eps: float = 1e-10) -> None:
        self.params, self.eps = dict(params), eps
        self.sums = {name: torch.zeros(p.shape[0], device=p.device) for name, p in params.items()}

    @torch.no_grad()
    def update(self, gradients: Mapping[str, Gradient], lr: float, t: int) -> None:
        """One step over the touched rows."""
        for name, w_RD in self.params.items():
            gradient = gradients.get(name)
            if isinstance(gradient, RowGradient):
                rows_K, g_KD = gradient.rows_R, gradient.values_RD
                sums_K = self.sums[name][rows_K] + g_KD.square().mean(1)
                self.sums[name][rows_K] = sums_K
                w_RD.index_add_(0, rows_K, g_KD / (sums_K.sqrt() + self.eps)[:, None], alpha=-lr)
            elif gradient is not None:
                sums_R = self.sums[name].add_(gradient.square().flatten(1).mean(1))
                scale_R = (sums_R.sqrt() + self.eps).view(-1, *[1] * (gradient.ndim - 1))
                w_RD.addcdiv_(gradient, scale_R, value=-lr)

    def state(self) -> dict[str, torch.Tensor]:
        """The live state tensors by name."""
        return {f"{name}/row_sums": s for name, s in self.sums.items()}
