"""RMSNorm (Zhang & Sennrich 2019): x / sqrt(mean(x^2) + eps) * w over the last axis; the root in float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Same shape and dtype as x; `weight` has (1, d) or (d,) elements."""
    return F.rms_norm(x, (x.shape[-1],), weight.view(-1), eps)
