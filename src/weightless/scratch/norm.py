"""RMSNorm (Zhang & Sennrich 2019): a vector is divided by its root mean square and scaled per channel.

    y = x / sqrt(mean(x^2) + eps) * w            x, y (..., d_model)    w (d_model), starting at one

Unlike LayerNorm it subtracts no mean and adds no bias.  eps stands inside the root: a vector of zeros stays zero.
"""

from __future__ import annotations

import torch


class RMSNorm(torch.nn.Module):
    """Works in float32 at least and returns the dtype it was given: the square of 256 is too large for float16."""

    def __init__(
        self,
        d_model: int,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(d_model, device=device, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != len(self.weight):
            raise ValueError(f"x has {x.shape[-1]} channels, and this norm scales {len(self.weight)}")
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normed = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)
        return (normed * self.weight).to(x.dtype)
