"""Activations of eight bits in training: the forward pass sees them rounded, the backward pass does not.

The numbers are those of `ops/integer_activations.py`, bit for bit; the gradient passes unchanged (Bengio et al. 2013).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

from weightless.ops.integer_activations import BLOCK, LEAST


def taken(x: torch.Tensor, activations: str) -> torch.Tensor:
    """What a product with activations of this format multiplies: the shape and dtype of x.

    x             [..., D] of any width
    activations   "f32": x itself; "int8": x rounded in groups of 64 columns, all of one NaN where one is not finite

    A format that is neither raises ConfigError where a model is described, not here.
    """
    return x if activations == "f32" else _Rounded.apply(x)  # type: ignore[no-any-return]


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        width = x.shape[-1]
        x_NGB = (pad(x, (0, -width % BLOCK)) if width % BLOCK else x).float().unflatten(-1, (-1, BLOCK))
        m_NG1 = x_NGB.abs().amax(dim=-1, keepdim=True)
        is_zero = m_NG1 < LEAST
        codes = x_NGB.mul((127.0 / m_NG1).masked_fill(is_zero, 0.0)).round_()
        scales = m_NG1.mul(1 / 127).masked_fill(is_zero, 0.0)
        # Adding 0 turns -0 into the +0 that a whole number stands for.
        return codes.add_(0.0).mul_(scales).flatten(-2)[..., :width].to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]
