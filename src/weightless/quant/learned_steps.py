"""Gradients of a rounding whose scales are learned (LSQ: Esser et al. 2020, 1902.08153).

With x the numbers of a group, r the scale that the format's rule gives it, c the learned factor, m the largest code:

    s = fp16(r c)      x' = s q,  q = codes(x / s)
    dx'/dx = 1 where |x / s| <= m, else 0
    dx'/ds = q - x / s where |x / s| <= m, else q (which is -m or m)          dx'/dc = r dx'/ds

Rounding to codes and to fp16 is passed straight through, and r counts as a constant.  Over the n numbers that share a
factor the gradient of c is summed and divided by sqrt(n m), the paper's scale.  In NumPy what is stored is
`code_rows.quantise` with the same factors: the same bits.
"""

from __future__ import annotations

import torch

from weightless.quant.layout import Format
from weightless.quant.straight_through import clipped_scales, codes_of, grouped, kept_scales


@torch.no_grad()
def step_gradients(
    w_RC: torch.Tensor, fmt: Format, clip_RG: torch.Tensor, upstream_RC: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the gradient of w float32 [R, C], that of the factors in their shape, [R, G] or [1, 1]), from that of w'."""
    cols, limit = w_RC.shape[1], (fmt.levels - 1) / 2
    w_RGL, g_RGL = grouped(w_RC, fmt), grouped(upstream_RC, fmt)
    rule_RG1 = clipped_scales(w_RGL, cols, fmt, None)
    scale_RG1 = kept_scales(rule_RG1 * clip_RG[..., None], fmt)
    ratio_RGL = w_RGL / scale_RG1.masked_fill(scale_RG1 == 0, 1)
    inside_RGL = ratio_RGL.abs() <= limit
    slope_RGL = codes_of(w_RGL, scale_RG1, fmt.levels) - ratio_RGL.where(inside_RGL, torch.zeros(()))
    each_RG = (g_RGL * slope_RGL * rule_RG1).sum(-1)
    d_clip = each_RG if clip_RG.numel() > 1 else each_RG.sum().view(1, 1)
    d_clip = d_clip / (w_RC.numel() / clip_RG.numel() * limit) ** 0.5
    d_w = (g_RGL * inside_RGL).flatten(-2)[:, :cols]
    return d_w.contiguous(), d_clip
