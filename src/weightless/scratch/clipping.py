"""Gradients of one step are shortened together, so that one odd batch cannot throw the weights far.

    g <- g * min(1, M / (|g| + 1e-6))            |g|: one norm over all numbers of all gradients

One norm for all keeps the direction; clipping each tensor by itself would bend it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch


@torch.no_grad()
def clip_gradients(
    parameters: Iterable[torch.Tensor] | torch.Tensor, max_l2_norm: float, eps: float = 1e-6
) -> torch.Tensor:
    """Scale every .grad in place; return the norm before, a scalar (0 where nothing has a gradient).

    What is frozen has none and is passed over.  The norm of half precision is taken in float32.  A norm that is
    inf or NaN leaves NaN in the gradients: look at what is returned before a step.
    ValueError for a negative max_l2_norm.
    """
    if not max_l2_norm >= 0:
        raise ValueError(f"max_l2_norm = {max_l2_norm} should not be negative: it would turn gradients round")
    parameters = [parameters] if isinstance(parameters, torch.Tensor) else parameters
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.tensor(0.0)
    device = gradients[0].device
    norms = [torch.linalg.vector_norm(g.to(torch.promote_types(g.dtype, torch.float32))) for g in gradients]
    norm = torch.linalg.vector_norm(torch.stack([n.to(device) for n in norms]))
    factor = (max_l2_norm / (norm + eps)).clamp(max=1.0)
    for g in gradients:
        g.mul_(factor.to(g.device))
    return norm
