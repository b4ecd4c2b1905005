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
from torch import library
from torch.nn.functional import pad

from weightless.base.errors import ConfigError
from weightless.quant.layout import Format, code_bytes, format_named
from weightless.quant.rules import ROUNDS, SHARES, USUAL_CLIP, quantile_place, rule_of

_ROUNDED = {"f16": torch.float16, "bf16": torch.bfloat16}


def fake_quantise(w: torch.Tensor, fmt: str) -> torch.Tensor:
    """The float32 tensor that comes back when `w` is stored in `fmt`; its gradient passes unchanged."""
    described = format_named(fmt)
    if described.is_integer_table:
        raise ConfigError(f"{fmt} stores integers, which have no gradient: choose f32, int4 or another")
    code_bytes(fmt, w.shape[-1])
    w = w.float()
    return w if fmt == "f32" else _StraightThrough.apply(w, fmt)  # type: ignore[no-any-return]


def _stored(w: torch.Tensor, fmt: str) -> torch.Tensor:
    return w.to(_ROUNDED[fmt]).float() if fmt in _ROUNDED else rounded(w, format_named(fmt))


@library.custom_op("weightless::stored", mutates_args=())
def _opaque(w: torch.Tensor, fmt: str) -> torch.Tensor:
    """The same for a compiler that must not look inside: torch.compile leaves out a rounding to half precision and back
    between other operations, and then training sees numbers that nothing will store."""
    return _stored(w, fmt)


@_opaque.register_fake
def _(w: torch.Tensor, fmt: str) -> torch.Tensor:
    return torch.empty_like(w, memory_format=torch.contiguous_format)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: torch.Tensor, fmt: str) -> torch.Tensor:
        return _opaque(w, fmt) if torch.compiler.is_compiling() else _stored(w, fmt)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


def rounded(w_RC: torch.Tensor, fmt: Format, clip_RG: torch.Tensor | None = None) -> torch.Tensor:
    """What comes back when `w` is stored in a format with codes, without a gradient; `clip_RG` as `code_rows.quantise`
    takes it."""
    cols = w_RC.shape[-1]
    if w_RC.numel() == 0:
        return w_RC.clone()
    w_RGL = grouped(w_RC, fmt)
    scale_RG1 = kept_scales(clipped_scales(w_RGL, cols, fmt, clip_RG), fmt)
    # Adding 0 turns -0 into the +0 that an integer code decodes to.
    value_RGL = codes_of(w_RGL, scale_RG1, fmt.levels).add_(0.0).mul_(scale_RG1).flatten(-2)
    return value_RGL[..., :cols].contiguous() if value_RGL.shape[-1] != cols else value_RGL


def grouped(w_RC: torch.Tensor, fmt: Format) -> torch.Tensor:
    """[R, G, L], the last group filled up with zeros."""
    cols, size = w_RC.shape[-1], fmt.group_size(w_RC.shape[-1])
    return (pad(w_RC, (0, size - cols % size)) if cols % size else w_RC).unflatten(-1, (-1, size))


def clipped_scales(w_RGL: torch.Tensor, cols: int, fmt: Format, clip_RG: torch.Tensor | None) -> torch.Tensor:
    """[R, G, 1]: what the rule says, times the clip."""
    wanted_RG1 = _wanted_scales(w_RGL, cols, fmt)
    return wanted_RG1 if clip_RG is None else wanted_RG1 * clip_RG[..., None]


def kept_scales(wanted_RG1: torch.Tensor, fmt: Format) -> torch.Tensor:
    """As they are stored: fp16, or eight bits of an fp16 unit."""
    return wanted_RG1.half().float() if fmt.parts.scale_bits == 16 else _scales_8(wanted_RG1)


def codes_of(w_RGL: torch.Tensor, scale_RG1: torch.Tensor, levels: int) -> torch.Tensor:
    """`rules.codes`."""
    ratio_RGL, limit = w_RGL / scale_RG1.clone().masked_fill_(scale_RG1 == 0, 1), (levels - 1) / 2
    near_RGL = ratio_RGL.round_() if levels % 2 else ratio_RGL.floor_().add_(0.5)
    return near_RGL.clamp_(-limit, limit)


def _scales_8(wanted_RG1: torch.Tensor) -> torch.Tensor:
    """`code_rows._scales_8`."""
    unit_R11 = (wanted_RG1.amax(-2, keepdim=True) / wanted_RG1.new_full((), 255)).half().float()
    n_RG1 = (wanted_RG1 / unit_R11.masked_fill(unit_R11 == 0, 1)).round_().clamp_(1, 255)
    return n_RG1.masked_fill_(wanted_RG1 == 0, 0).mul_(unit_R11)


def _wanted_scales(w_RGL: torch.Tensor, cols: int, fmt: Format) -> torch.Tensor:
    """`rules.wanted_scales`, [R, G, 1]."""
    rule, number = rule_of(fmt.parts)
    # Tensors as divisors: on some devices dividing by a Python number multiplies by its reciprocal.
    limit = w_RGL.new_full((), (fmt.levels - 1) / 2)
    if rule == "absmax":
        return _largest(w_RGL) / limit
    n_groups, size = w_RGL.shape[-2:]
    count_G = torch.tensor([min(size, cols - size * g) for g in range(n_groups)], device=w_RGL.device)
    count_G1 = count_G.float()[:, None]
    if rule == "absmean":
        return _halved_sum(w_RGL.abs()) / count_G1 * (w_RGL.new_full((), number) / limit)
    if rule == "quantile":
        return _quantile(w_RGL.abs(), count_G, number) / limit
    clip = w_RGL.new_full((), number if rule == "std" else USUAL_CLIP[fmt.levels]) / limit
    spread_RG1 = (_halved_sum(w_RGL * w_RGL) / count_G1).sqrt_() * clip
    if rule == "std":
        return spread_RG1
    starts = [spread_RG1, *(_largest(w_RGL) / limit * limit.new_full((), share) for share in SHARES)]
    return _least_squares(w_RGL, starts, count_G1, fmt.levels)


def _largest(w_RGL: torch.Tensor) -> torch.Tensor:
    """max |w|, never -0, [R, G, 1]."""
    return torch.maximum(w_RGL.amax(-1, keepdim=True), w_RGL.amin(-1, keepdim=True).neg_()).add_(0.0)


def _halved_sum(x_RGL: torch.Tensor) -> torch.Tensor:
    """`rules.halved_sum`, [R, G, 1]."""
    size = x_RGL.shape[-1]
    power = 1 << max(0, size - 1).bit_length()
    if power != size:
        x_RGL = pad(x_RGL, (0, power - size))
    while power > 1:
        power //= 2
        x_RGL = x_RGL[..., :power] + x_RGL[..., power:]
    return x_RGL


def _quantile(size_RGL: torch.Tensor, count_G: torch.Tensor, q: float) -> torch.Tensor:
    """`rules._quantile`."""
    sorted_RGL = size_RGL.sort(-1).values
    places = [quantile_place(n, size_RGL.shape[-1], q) for n in count_G.tolist()]
    groups = torch.arange(len(places), device=size_RGL.device)
    low, high, share = (torch.tensor(part, device=size_RGL.device) for part in zip(*places))
    below, above = sorted_RGL[..., groups, low], sorted_RGL[..., groups, high]
    return (below + (above - below) * share.float())[..., None]


def _least_squares(
    w_RGL: torch.Tensor, starts: list[torch.Tensor], count_G1: torch.Tensor, levels: int
) -> torch.Tensor:
    """`rules._least_squares`."""
    counts_GL = torch.arange(w_RGL.shape[-1], device=w_RGL.device) < count_G1

    def codes(scale_RG1: torch.Tensor) -> torch.Tensor:
        return codes_of(w_RGL, scale_RG1, levels).mul_(counts_GL)

    def error(scale_RG1: torch.Tensor) -> torch.Tensor:
        return _halved_sum((w_RGL - codes(scale_RG1) * scale_RG1).square_())

    best_RG1, least_RG1 = starts[0], error(starts[0])
    for start, scale_RG1 in enumerate(starts):
        for turn in range(ROUNDS + 1):
            if turn:
                q_RGL = codes(scale_RG1)
                power_RG1 = _halved_sum(q_RGL * q_RGL)
                scale_RG1 = (_halved_sum(q_RGL * w_RGL) / power_RG1.masked_fill(power_RG1 == 0, 1)).clamp_(min=0)
            if start or turn:
                error_RG1 = error(scale_RG1)
                best_RG1 = torch.where(error_RG1 < least_RG1, scale_RG1, best_RG1)
                least_RG1 = torch.minimum(error_RG1, least_RG1)
    return best_RG1
