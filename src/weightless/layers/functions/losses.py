"""Cross-entropies in nats per position whose memory and time stay small on a CPU; both are exact.

`fused_cross_entropy`: nats_n = logsumexp_v(h_n . w_v) - h_n . w_target(n), with the logits made for a block of rows
at a time.  With p = softmax and e = one-hot target,
d nats_n / d h_n = (p_n - e_n) W and d nats_n / d W = (p_n - e_n)^T h_n.
Both are summed in the forward pass, while the block is in cache.  In the backward pass the first is scaled by the
upstream weight g_n; the second can be scaled only if all g_n are equal (a mean, a sum), else it is computed again.

`class_cross_entropy`: a two-level softmax over S = C * W slots, slot s = word s mod W of class s div W
(Goodman 2001, cs/0108006):  nats_n = CE(h_n . classes, class of n) + CE(h_n . words of that class, word of n).
Positions are sorted by class, so that each class is one small matrix product; N (C + W) D products instead of N C W D.

Under autocast the products of the first are in its dtype, everything between them is float32; the second stays float32.
A target (or slot) of IGNORED = -1 costs 0 nats, has no gradient and is not computed: padding.

Shapes: N positions, D width, V vocabulary, C classes, W words per class, S slots.  Any floating dtype: half precision
is worked out in float32, logits and gradients included, and nats come back in the dtype of h.
Errors: ConfigError when the shapes do not fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from weightless.base.errors import ConfigError
from weightless.data.batches.packing import IGNORED
from weightless.layers.functions.norm import widened

Slopes = Callable[[torch.Tensor, torch.Tensor, float | None], tuple[torch.Tensor, torch.Tensor]]
BLOCK_ELEMENTS = 1 << 20
"""Logits made at a time: 4 MiB of float32, which a core's share of the cache holds."""


def fused_cross_entropy(
    h_ND: torch.Tensor, w_VD: torch.Tensor, targets_N: torch.Tensor, softcap: float | None = None
) -> torch.Tensor:
    """Nats per position of a softmax over the rows of `w_VD`, with the logits made for a block of positions at a time.

    h_ND        [N, D] hidden states        w_VD   [V, D], one row per token
    targets_N   int64 [N], the token of each position; -1 is padding: 0 nats, no gradient, not computed
    softcap     c: logits z become c tanh(z / c); None leaves them as they are

    Returns [N] in the dtype of h; half precision is worked out in float32.  Never holds N x V logits.
    Raises ConfigError when the shapes do not fit together.
    """
    _same_width(h_ND, w_VD, targets_N)
    given = h_ND.dtype
    h_ND, w_VD = _detached_unless_recording(widened(h_ND), widened(w_VD))
    return _of_counted(h_ND, targets_N, lambda h, targets: _FullSoftmax.apply(h, w_VD, targets, softcap)).to(given)


def class_cross_entropy(
    h_ND: torch.Tensor, classes_CD: torch.Tensor, words_SD: torch.Tensor, slots_N: torch.Tensor, n_slots_valid: int
) -> torch.Tensor:
    """Nats per position of a two-level softmax: -log p(class) - log p(word | class), exactly normalised.

    h_ND            [N, D] hidden states
    classes_CD      [C, D], one row per class
    words_SD        [S, D], S = C W: slot s is word s % W of class s // W
    slots_N         int64 [N], the slot of each position; -1 is padding: 0 nats, no gradient, not computed
    n_slots_valid   slots from here on are padding of the last class, with probability 0

    Returns [N] in the dtype of h; half precision is worked out in float32.
    Raises ConfigError when the shapes do not fit together, or when padding is not in the last class alone.
    """
    _same_width(h_ND, classes_CD, slots_N)
    n_classes, n_slots = classes_CD.shape[0], words_SD.shape[0]
    if words_SD.shape[1] != h_ND.shape[1] or n_slots % n_classes:
        shape = f"{n_slots} x {words_SD.shape[1]}"
        raise ConfigError(f"{shape} word rows do not fit {n_classes} classes of width {h_ND.shape[1]}")
    if not n_slots - n_slots // n_classes < n_slots_valid <= n_slots:
        raise ConfigError(f"{n_slots_valid} of {n_slots} slots: only the last of {n_classes} classes may have padding")
    given = h_ND.dtype
    h_ND, classes_CD, words_SD = _detached_unless_recording(*map(widened, (h_ND, classes_CD, words_SD)))
    with without_autocast(h_ND):
        return _of_counted(
            h_ND, slots_N, lambda h, slots: _ClassSoftmax.apply(h, classes_CD, words_SD, slots, n_slots_valid)
        ).to(given)


def group_cross_entropy(
    h_ND: torch.Tensor, words_SD: torch.Tensor, slots_N: torch.Tensor, n_groups: int, n_slots_valid: int
) -> torch.Tensor:
    """Nats per position of the second level alone: -log p(word | group), one softmax per group of W = S / n_groups.

    h_ND            [N, D] hidden states
    words_SD        [S, D]: slot s is word s % W of group s // W
    slots_N         int64 [N], the slot of each position; -1 is padding: 0 nats, no gradient, not computed
    n_groups        groups, each of equally many slots
    n_slots_valid   slots from here on are padding of the last group, with probability 0

    Returns [N] in the dtype of h; half precision is worked out in float32.
    Raises ConfigError when the shapes do not fit together, or when padding is not in the last group alone.
    """
    _same_width(h_ND, words_SD, slots_N)
    n_slots = words_SD.shape[0]
    if n_slots % n_groups or not n_slots - n_slots // n_groups < n_slots_valid <= n_slots:
        raise ConfigError(f"{n_slots} slots, {n_slots_valid} of them valid, do not fit {n_groups} groups")
    given = h_ND.dtype
    h_ND, words_SD = _detached_unless_recording(widened(h_ND), widened(words_SD))
    with without_autocast(h_ND):
        return _of_counted(
            h_ND, slots_N, lambda h, slots: _GroupSoftmax.apply(h, words_SD, slots, n_groups, n_slots_valid)
        ).to(given)


def target_slots(slot_of_token: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """int64 [N]: the slot of every target token; -1 (padding) stays -1.

    slot_of_token   int64 [V]        targets_N   int64 [N], ids below V or -1
    """
    return torch.where(targets_N == IGNORED, IGNORED, slot_of_token[targets_N.clamp(min=0)])


def _of_counted(
    h_ND: torch.Tensor, targets_N: torch.Tensor, nats_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """nats_of at the positions that have a target, 0 at the others."""
    counted_N = targets_N != IGNORED
    if bool(counted_N.all()):
        return nats_of(h_ND, targets_N)
    rows = counted_N.nonzero()[:, 0]
    nats = nats_of(h_ND.index_select(0, rows), targets_N[rows])
    return nats.new_zeros(h_ND.shape[0]).index_copy(0, rows, nats)


def _detached_unless_recording(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Under no_grad a Function still sees requires_grad and would compute gradients nobody asks for."""
    return tensors if torch.is_grad_enabled() else tuple(t.detach() for t in tensors)


def _same_width(h_ND: torch.Tensor, w_VD: torch.Tensor, targets_N: torch.Tensor) -> None:
    if h_ND.ndim != 2 or h_ND.shape[1] != w_VD.shape[1] or targets_N.shape != h_ND.shape[:1]:
        shapes = [tuple(t.shape) for t in (h_ND, w_VD, targets_N)]
        raise ConfigError(f"hidden, weights and targets have shapes {shapes}; they should be (N, D), (V, D) and (N,)")


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h_ND: torch.Tensor, w_VD: torch.Tensor, targets_N: torch.Tensor, softcap: float | None
    ) -> torch.Tensor:
        nats_N = h_ND.new_empty(h_ND.shape[0])
        dh_ND = torch.empty_like(h_ND) if ctx.needs_input_grad[0] else None
        dw_VD = torch.zeros_like(w_VD) if ctx.needs_input_grad[1] else None
        ctx.dtype = _dtype_of_products(h_ND)
        with without_autocast(h_ND):
            factor_ND, factor_VD = h_ND.to(ctx.dtype), w_VD.to(ctx.dtype)
            for rows in row_blocks(h_ND.shape[0], w_VD.shape[0]):
                logits_RV = factor_ND[rows] @ factor_VD.T
                if dh_ND is None and dw_VD is None:
                    logp_RV = torch.log_softmax(capped(widened(logits_RV), softcap)[0], dim=1)
                    nats_N[rows] = -logp_RV.gather(1, targets_N[rows, None])[:, 0]
                    continue
                nats_N[rows], delta_RV = _SOFTMAX.get()(logits_RV, targets_N[rows], softcap)
                if dh_ND is not None:
                    _product_into(dh_ND[rows], delta_RV, factor_VD)
                if dw_VD is not None:
                    _product_added(dw_VD, delta_RV.T, factor_ND[rows])
        ctx.save_for_backward(h_ND, w_VD, targets_N, dh_ND, dw_VD)
        ctx.softcap = softcap
        return nats_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        h_ND, w_VD, targets_N, dh_ND, dw_VD = ctx.saved_tensors
        grad_h = None if dh_ND is None else dh_ND * g_N[:, None]
        if dw_VD is None or g_N.numel() == 0:
            return grad_h, dw_VD, None, None
        if bool((g_N == g_N[0]).all()):
            return grad_h, dw_VD * g_N[0], None, None
        grad_w, factor_VD = torch.zeros_like(w_VD), w_VD.to(ctx.dtype)
        for rows in row_blocks(h_ND.shape[0], w_VD.shape[0]):
            logits_RV, slope_RV = capped((h_ND[rows].to(ctx.dtype) @ factor_VD.T).to(h_ND.dtype), ctx.softcap)
            delta_RV = minus_one_hot(torch.softmax(logits_RV, dim=1), targets_N[rows])
            if slope_RV is not None:
                delta_RV *= slope_RV
            _product_added(grad_w, delta_RV.T.to(ctx.dtype), (h_ND[rows] * g_N[rows, None]).to(ctx.dtype))
        return grad_h, grad_w, None, None


def softmax_slopes(
    logits_RV: torch.Tensor, targets_R: torch.Tensor, softcap: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(nats [R] in float32, their gradient by the logits [R, V] in the dtype of these), between products of a block."""
    capped_RV, slope_RV = capped(widened(logits_RV), softcap)
    logp_RV = torch.log_softmax(capped_RV, dim=1)
    nats_R = -logp_RV.gather(1, targets_R[:, None])[:, 0]
    delta_RV = minus_one_hot(logp_RV.exp_(), targets_R)
    return nats_R, (delta_RV if slope_RV is None else delta_RV.mul_(slope_RV)).to(logits_RV.dtype)


def slopes_to_compile(
    logits_RV: torch.Tensor, targets_R: torch.Tensor, softcap: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """`softmax_slopes` without a write in place, for torch.compile, which makes two passes over the block of it."""
    z_RV = widened(logits_RV)
    z_RV, slope_RV = (z_RV, None) if softcap is None else _capped_apart(z_RV, softcap)
    hit_RV = torch.arange(z_RV.shape[1], device=z_RV.device) == targets_R[:, None]
    top_R1 = z_RV.amax(dim=1, keepdim=True)
    power_RV = (z_RV - top_R1).exp()
    sum_R1 = power_RV.sum(dim=1, keepdim=True)
    nats_R = (sum_R1.log() + top_R1 - z_RV.gather(1, targets_R[:, None]))[:, 0]
    delta_RV = power_RV / sum_R1 - hit_RV.to(z_RV.dtype)
    return nats_R, (delta_RV if slope_RV is None else delta_RV * slope_RV).to(logits_RV.dtype)


def _capped_apart(z_RV: torch.Tensor, softcap: float) -> tuple[torch.Tensor, torch.Tensor]:
    tanh_RV = (z_RV / softcap).tanh()
    return tanh_RV * softcap, 1 - tanh_RV.square()


_SOFTMAX: ContextVar[Slopes] = ContextVar("softmax", default=softmax_slopes)


@contextmanager
def slopes_by(made: Slopes) -> Iterator[None]:
    """`made` in the place of `softmax_slopes` while this is open: what torch.compile makes of `slopes_to_compile`."""
    before = _SOFTMAX.set(made)
    try:
        yield
    finally:
        _SOFTMAX.reset(before)


def without_autocast(tensor: torch.Tensor) -> torch.autocast:
    """Products in the dtype of their factors, whatever autocast is on where this is called."""
    return torch.autocast(tensor.device.type, enabled=False)


def _dtype_of_products(h_ND: torch.Tensor) -> torch.dtype:
    """What autocast asks for, where it is on."""
    kind = h_ND.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else h_ND.dtype


def _product_into(out: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    if a.dtype == out.dtype:
        torch.mm(a, b, out=out)
    else:
        out.copy_(a @ b)


def _product_added(out: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    if a.dtype == out.dtype:
        out.addmm_(a, b)
    else:
        out.add_(a @ b)


class _Sorted(NamedTuple):
    """Positions sorted by group: how many of each, their order and inputs, and log p of the words of their group."""

    counts: list[int]
    order_N: torch.Tensor
    h_ND: torch.Tensor
    word_N: torch.Tensor
    logp_NW: torch.Tensor


def _within_groups(
    h_ND: torch.Tensor, words_SD: torch.Tensor, slots_N: torch.Tensor, n_groups: int, n_valid: int
) -> _Sorted:
    size = words_SD.shape[0] // n_groups
    group_N = slots_N // size
    order_N = torch.argsort(group_N, stable=True)
    counts = torch.bincount(group_N, minlength=n_groups).tolist()
    sorted_ND, words_GWD = h_ND[order_N], words_SD.view(n_groups, size, -1)
    score_NW = h_ND.new_empty(h_ND.shape[0], size)
    for g, rows in _segments(counts):
        torch.mm(sorted_ND[rows], words_GWD[g].T, out=score_NW[rows])
    score_NW[score_NW.shape[0] - counts[-1] :, n_valid - (n_groups - 1) * size :] = float("-inf")
    return _Sorted(counts, order_N, sorted_ND, (slots_N % size)[order_N], torch.log_softmax(score_NW, dim=1))


def _through_groups(
    delta_NW: torch.Tensor, counts: list[int], sorted_ND: torch.Tensor, words_SD: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(gradient of the sorted inputs, gradient of the words) from that of the scores."""
    words_GWD = words_SD.view(len(counts), -1, words_SD.shape[1])
    grad_sorted_ND, grad_words_GWD = torch.empty_like(sorted_ND), torch.zeros_like(words_GWD)
    for g, rows in _segments(counts):
        torch.mm(delta_NW[rows], words_GWD[g], out=grad_sorted_ND[rows])
        torch.mm(delta_NW[rows].T, sorted_ND[rows], out=grad_words_GWD[g])
    return grad_sorted_ND, grad_words_GWD.view_as(words_SD)


class _ClassSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        h_ND: torch.Tensor,
        classes_CD: torch.Tensor,
        words_SD: torch.Tensor,
        slots_N: torch.Tensor,
        n_valid: int,
    ) -> torch.Tensor:
        n_classes = classes_CD.shape[0]
        words = _within_groups(h_ND, words_SD, slots_N, n_classes, n_valid)
        class_N = slots_N // (words_SD.shape[0] // n_classes)
        logp_NC = torch.log_softmax(h_ND @ classes_CD.T, dim=1)
        nats_N = -logp_NC.gather(1, class_N[:, None])[:, 0]
        nats_N.index_add_(0, words.order_N, words.logp_NW.gather(1, words.word_N[:, None])[:, 0], alpha=-1)
        if any(ctx.needs_input_grad):
            delta_NC = minus_one_hot(logp_NC.exp_(), class_N)
            delta_NW = minus_one_hot(words.logp_NW.exp_(), words.word_N)
            ctx.counts = words.counts
            ctx.save_for_backward(h_ND, classes_CD, words_SD, words.h_ND, words.order_N, delta_NC, delta_NW)
        return nats_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        h_ND, classes_CD, words_SD, sorted_ND, order_N, delta_NC, delta_NW = ctx.saved_tensors
        delta_NC = delta_NC * g_N[:, None]
        grad_sorted_ND, grad_words = _through_groups(delta_NW * g_N[order_N, None], ctx.counts, sorted_ND, words_SD)
        grad_h_ND = (delta_NC @ classes_CD).index_add_(0, order_N, grad_sorted_ND)
        return grad_h_ND, delta_NC.T @ h_ND, grad_words, None, None


class _GroupSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h_ND: torch.Tensor, words_SD: torch.Tensor, slots_N: torch.Tensor, n_groups: int, n_valid: int
    ) -> torch.Tensor:
        words = _within_groups(h_ND, words_SD, slots_N, n_groups, n_valid)
        nats_N = h_ND.new_zeros(h_ND.shape[0])
        nats_N.index_add_(0, words.order_N, words.logp_NW.gather(1, words.word_N[:, None])[:, 0], alpha=-1)
        if any(ctx.needs_input_grad):
            ctx.counts = words.counts
            delta_NW = minus_one_hot(words.logp_NW.exp_(), words.word_N)
            ctx.save_for_backward(words_SD, words.h_ND, words.order_N, delta_NW)
        return nats_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        words_SD, sorted_ND, order_N, delta_NW = ctx.saved_tensors
        grad_sorted_ND, grad_words = _through_groups(delta_NW * g_N[order_N, None], ctx.counts, sorted_ND, words_SD)
        grad_h_ND = torch.zeros_like(sorted_ND).index_add_(0, order_N, grad_sorted_ND)
        return grad_h_ND, grad_words, None, None, None


def capped(logits_RV: torch.Tensor, softcap: float | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(c tanh(z / c), its slope 1 - tanh^2), or the logits as they are."""
    if softcap is None:
        return logits_RV, None
    tanh_RV = (logits_RV / softcap).tanh_()
    return tanh_RV * softcap, 1 - tanh_RV.square()


def minus_one_hot(p_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """p - onehot(target), in place: the gradient of nats with respect to the logits."""
    p_NV[torch.arange(p_NV.shape[0], device=p_NV.device), targets_N] -= 1.0
    return p_NV


def row_blocks(n_rows: int, n_columns: int) -> list[slice]:
    """Blocks of rows in which about BLOCK_ELEMENTS logits are made at a time."""
    size = max(64, BLOCK_ELEMENTS // max(n_columns, 1))
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def _segments(counts: list[int]) -> list[tuple[int, slice]]:
    """(class, its rows in the sorted order) of the classes that occur."""
    found, start = [], 0
    for c, count in enumerate(counts):
        if count:
            found.append((c, slice(start, start + count)))
        start += count
    return found
