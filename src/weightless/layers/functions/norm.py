"""RMSNorm (Zhang & Sennrich 2019): y = x / sqrt(mean(x^2) + eps) * w over the last axis of D elements.

The gradient in closed form, because on a CPU the composed one costs twice as much: with x̂ = x / rms and u = dy * w,

    dx = (u - x̂ mean(u x̂)) / rms        dw = sum of dy * x̂ over all positions

LayerNorm (Ba et al. 2016) beside it is PyTorch's own, which is one operation already.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from weightless.ops.norm import check_eps


def rms_norm(x: torch.Tensor, weight: torch.Tensor | None, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis: the shape and dtype of x.

    x        [..., D], any float dtype; half precision is worked out in float32 (squares leave float16 at 256)
    weight   D elements in any shape and any float dtype, or None for ones; it does not decide the dtype of the result
    eps      stands inside the root, 1e-30..1, so that a row of zeros gives zeros

    Raises ConfigError for another eps, ValueError when weight has another width than x.
    """
    check_eps(eps)
    if weight is not None and weight.numel() != x.shape[-1]:
        raise ValueError(f"{weight.numel()} norm weights for a width of {x.shape[-1]}")
    return _RmsNorm.apply(x, weight, eps)  # type: ignore[no-any-return]


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """(x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias over the last axis: the shape and dtype of x.

    x              [..., D], any float dtype; half precision is worked out in float32
    weight, bias   D elements each, in any shape and any float dtype
    eps            stands inside the root, 1e-30..1, so that a constant row gives the bias

    Raises ConfigError for another eps, RuntimeError when weight or bias has another width than x.
    """
    check_eps(eps)
    wide = widened(x)
    weight, bias = (z.reshape(-1).to(wide.dtype) for z in (weight, bias))
    return F.layer_norm(wide, x.shape[-1:], weight, bias, eps).to(x.dtype)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor | None, eps: float) -> torch.Tensor:
        given, x = x, widened(x)
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        inverse_rms = mean_square.add_(eps).rsqrt_()
        normed = x * inverse_rms
        ctx.save_for_backward(normed, inverse_rms, weight)
        ctx.given = given.dtype
        return (normed if weight is None else normed * weight.reshape(-1)).to(given.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        normed, inverse_rms, weight = ctx.saved_tensors
        gradient = gradients[0].to(normed.dtype)
        product = gradient * normed
        d_weight = None
        if weight is None:
            upstream, mean = gradient.clone(), product.mean(dim=-1, keepdim=True)
        else:
            d_weight = product.flatten(0, -2).sum(0).view_as(weight).to(weight.dtype)
            w = weight.reshape(-1).to(normed.dtype)
            upstream = gradient * w
            mean = torch.matmul(product, w[:, None]).div_(normed.shape[-1])
        return upstream.addcmul_(normed, mean, value=-1).mul_(inverse_rms).to(ctx.given), d_weight, None


def widened(x: torch.Tensor) -> torch.Tensor:
    """float32 for half precision, everything else as it is: what sums, squares and exponentials are made in."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
