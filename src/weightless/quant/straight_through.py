"""Quantisation-aware training: the forward pass sees the stored value, the backward pass sees the identity.

    fake_quantise(w, fmt) = decode_rows(encode_rows(w)) bit for bit          d fake_quantise / d w = 1

(the straight-through estimator, Bengio et al. 2013; nothing is clipped, because a group's scale follows its largest
weight).  The last axis is the row; all others are rows of it.  The order of the float32 operations is that of
`formats.py`, down to dividing by the scale instead of multiplying by its reciprocal.

No check costs a synchronisation here: what `encode_rows` refuses (NaN, infinity, a scale beyond fp16) comes out as NaN
or infinity, which the training loop stops at.  Errors: ConfigError for formats that are not trained through.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

from weightless.base.errors import ConfigError
from weightless.quant.formats import GROUP, code_bytes, format_named

_ROUNDED = {"f16": torch.float16, "bf16": torch.bfloat16}


def fake_quantise(w: torch.Tensor, fmt: str) -> torch.Tensor:
    """The float32 tensor that comes back when `w` is stored in `fmt`; its gradient passes unchanged."""
    described = format_named(fmt)
    if described.is_integer_table:
        raise ConfigError(f"{fmt} stores integers, which have no gradient: choose f32, f16, bf16, int8 or int4")
    code_bytes(fmt, w.shape[-1])
    w = w.float()
    return w if fmt == "f32" else _StraightThrough.apply(w, fmt)  # type: ignore[no-any-return]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: torch.Tensor, fmt: str) -> torch.Tensor:
        if fmt in _ROUNDED:
            return w.to(_ROUNDED[fmt]).float()
        return _rounded_in_groups(w, format_named(fmt).limit)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


def _rounded_in_groups(w_RC: torch.Tensor, limit: int) -> torch.Tensor:
    cols = w_RC.shape[-1]
    if w_RC.numel() == 0:
        return w_RC.clone()
    if cols % GROUP:
        return _rounded_in_groups(pad(w_RC, (0, GROUP - cols % GROUP)), limit)[..., :cols].contiguous()
    w_RGL = w_RC.unflatten(-1, (-1, GROUP))
    largest_RG1 = torch.maximum(w_RGL.amax(-1, keepdim=True), w_RGL.amin(-1, keepdim=True).neg_())
    # A tensor as divisor: on some devices dividing by a Python number multiplies by its reciprocal.
    scale_RG1 = (largest_RG1 / largest_RG1.new_full((), limit)).half().float()
    scale_RG1.masked_fill_(scale_RG1 == 0, 1)
    # Adding 0 turns -0 into the +0 that an integer code decodes to.
    q_RGL = (w_RGL / scale_RG1).round_().clamp_(-limit, limit).add_(0.0)
    return q_RGL.mul_(scale_RG1).flatten(-2)
