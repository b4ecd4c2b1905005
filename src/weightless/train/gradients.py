"""Gradients as the optimizers take them, and their one global norm.

A gradient is a dense tensor or, for a table of which a step reads few rows, a `RowGradient`: the touched rows in
ascending order, each once, with their values.  Autograd gives it as an uncoalesced sparse tensor (F.embedding with
sparse=True); equal rows are summed here, because only then is the norm that of the true gradient.

Clipping: with N = sqrt(sum of squares over all tensors), every gradient is multiplied by min(1, M / (N + 1e-6)).
"""

# torch._foreach has no public name; the optimizers of torch call it in the same way.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

EPSILON = 1e-6


class RowGradient(NamedTuple):
    """values_RD[i] belongs to row rows_R[i] of a table with `n_rows`; the other rows have gradient 0."""

    rows_R: torch.Tensor
    values_RD: torch.Tensor
    n_rows: int

    def dense(self) -> torch.Tensor:
        """The same gradient with its zeros."""
        full = self.values_RD.new_zeros(self.n_rows, self.values_RD.shape[1])
        full[self.rows_R] = self.values_RD
        return full


Gradient = torch.Tensor | RowGradient


def collect(leaves: Mapping[str, torch.Tensor]) -> dict[str, Gradient]:
    """Take the gradients off the leaves (which are left without); leaves that have none are absent."""
    found: dict[str, Gradient] = {}
    for name, leaf in leaves.items():
        grad, leaf.grad = leaf.grad, None
        if grad is not None:
            found[name] = merge_rows(grad) if grad.is_sparse else grad
    return found


def merge_rows(grad: torch.Tensor) -> RowGradient:
    """Sum the equal rows of a sparse gradient.  Sorting the row numbers alone beats coalesce(), which moves values."""
    rows_N, values_ND = grad._indices()[0], grad._values()
    rows_R, place_N = torch.unique(rows_N, return_inverse=True)
    summed_RD = values_ND.new_zeros(rows_R.shape[0], values_ND.shape[1])
    summed_RD.index_add_(0, place_N, values_ND)
    return RowGradient(rows_R, summed_RD, grad.shape[0])


def _values(gradient: Gradient) -> torch.Tensor:
    return gradient.values_RD if isinstance(gradient, RowGradient) else gradient


def norms(gradients: Mapping[str, Gradient]) -> dict[str, float]:
    """Euclidean norm of each gradient."""
    if not gradients:
        return {}
    each = torch._foreach_norm([_values(g) for g in gradients.values()])
    return dict(zip(gradients, torch.stack(list(each)).tolist(), strict=True))


def global_norm(gradients: Mapping[str, Gradient]) -> float:
    """Euclidean norm of all gradients together; not finite if any of them is not."""
    if not gradients:
        return 0.0
    each = torch._foreach_norm([_values(g) for g in gradients.values()])
    return float(torch.linalg.vector_norm(torch.stack(list(each))))


def clip(gradients: Mapping[str, Gradient], norm: float, max_norm: float) -> None:
    """Scale all gradients in place so that their global norm, which is `norm` now, is at most `max_norm`."""
    scale = max_norm / (norm + EPSILON)
    if gradients and scale < 1.0:
        torch._foreach_mul_([_values(g) for g in gradients.values()], scale)
