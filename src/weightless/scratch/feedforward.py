"""The feed-forward half of a block: every position by itself, first wider, then back.

    silu(x) = x sigmoid(x)                                   smooth, and nearly max(x, 0) far from zero
    SwiGLU   y = W2 (silu(W1 x) * W3 x)                      W1, W3 (d_ff, d_model)    W2 (d_model, d_ff)
    SiLU     y = W2  silu(W1 x)                              the same without a gate, for comparisons

The gate W3 x says per channel how much of what W1 x found is let through (Shazeer 2020).  Three matrices of
8/3 d_model hold as many numbers as two of 4 d_model, which is why 8/3 is the usual width.
"""

from __future__ import annotations

import torch

from weightless.scratch.linear import Linear

ROUNDED_TO = 64
"""Matrix units of processors work in tiles, so widths are made multiples of this."""


def silu(x: torch.Tensor) -> torch.Tensor:
    """x sigmoid(x), element by element."""
    return x * torch.sigmoid(x)


class SwiGLU(torch.nn.Module):
    """d_ff None: the multiple of 64 nearest to 8/3 d_model (512 gives 1,344)."""

    def __init__(
        self,
        d_model: int,
        d_ff: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if d_ff is None:
            d_ff = max(1, round(d_model * 8 / 3 / ROUNDED_TO)) * ROUNDED_TO
        self.w1 = Linear(d_model, d_ff, device, dtype)
        self.w2 = Linear(d_ff, d_model, device, dtype)
        self.w3 = Linear(d_model, d_ff, device, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(silu(self.w1(x)) * self.w3(x))


class SiLUFeedForward(torch.nn.Module):
    """Without a gate.  d_ff None: 4 d_model; to match a SwiGLU of width d_ff in parameters, give 3/2 d_ff."""

    def __init__(
        self,
        d_model: int,
        d_ff: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        d_ff = 4 * d_model if d_ff is None else d_ff
        self.w1 = Linear(d_model, d_ff, device, dtype)
        self.w2 = Linear(d_ff, d_model, device, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(silu(self.w1(x)))
