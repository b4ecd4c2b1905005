"""A linear map without bias, the one piece that does nearly all of the arithmetic.

    y = x W^T            x (..., d_in)    W (d_out, d_in)    y (..., d_out)    2 d_in d_out FLOPs per row of x

Rows of W are outputs: y_o is the inner product of row o with x, and a row lies in one piece in memory.
"""

from __future__ import annotations

import math

import torch

from weightless.scratch.initial import truncated_normal


class Linear(torch.nn.Module):
    """y = x W^T, any leading dimensions; W starts from N(0, 2 / (d_in + d_out)), cut at three deviations.

    That variance (Glorot & Bengio 2010) is the compromise between 1 / d_in, which keeps the size of what flows
    forward, and 1 / d_out, which keeps that of the gradients flowing back.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        std = math.sqrt(2.0 / (in_features + out_features))
        self.weight = truncated_normal((out_features, in_features), std, device, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.T
