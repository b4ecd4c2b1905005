"""Learning from a teacher's distribution: KL over its k likeliest tokens and all others as one.

With t the teacher's and q the student's probabilities at temperature tau (logits divided by tau before the softmax), K
the k tokens that t likes best and k + 1 outcomes, of which the last is "any other token" (Hinton et al. 2015):

    KL = sum_{i in K} t_i (ln t_i - ln q_i) + t_rest (ln t_rest - ln q_rest)       q_rest = 1 - sum_{i in K} q_i

A term of probability 0 is 0; with k = V there is no rest, and KL is that of the whole distributions.  What is minimised
per position, with mixing weight alpha and nats = -ln q(target) at temperature 1, is

    (1 - alpha) nats + alpha tau^2 KL          d KL / d z_v = (q_v - u_v) / tau

z are the student's logits, u_v = t_v for v in K and t_rest q_v / q_rest outside: what the teacher left open is shared
out as the student does.  tau^2 keeps the size of the gradient (Hinton et al. 2015, section 2.1).

Shapes: N positions, D width, V vocabulary, k kept tokens.  A target of IGNORED = -1 costs nothing in any of the three.
Errors: ConfigError when the shapes do not fit together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from weightless.base.errors import ConfigError
from weightless.data.batches.packing import IGNORED
from weightless.layers.functions.losses import capped, minus_one_hot, row_blocks
from weightless.layers.functions.norm import widened

LEAST = 1e-37
"""Probabilities below are taken for this one in logarithms: a float32 that is not 0."""
LEAST_LOG = -6e4
"""The logarithm that stands for a probability of 0: it can be stored in 16 bits."""


class Kept(NamedTuple):
    """What is kept of a teacher's distribution at temperature tau, renormalised to sum 1: ids int64 [N, k], ln of their
    probabilities float32 [N, k], and the probability of all other tokens float32 [N]."""

    ids_NK: torch.Tensor
    log_p_NK: torch.Tensor
    rest_N: torch.Tensor


class Taught(NamedTuple):
    """Per position: what is minimised (it has the gradient), nats of the target, and KL (neither has one)."""

    objective: torch.Tensor
    nats: torch.Tensor
    kl: torch.Tensor


def kept_of(log_p_NV: torch.Tensor, k: int, temperature: float = 1.0) -> Kept:
    """The k likeliest tokens of each distribution [N, V] at a temperature, and the mass of the others.

    log_p_NV is up to a constant per row (logits will do).  ConfigError unless 1 <= k <= V.
    """
    if not 1 <= k <= log_p_NV.shape[1]:
        raise ConfigError(f"{k} tokens cannot be kept of a distribution over {log_p_NV.shape[1]}")
    warm_NV = (log_p_NV.float() / temperature if temperature != 1.0 else log_p_NV.float()).log_softmax(dim=1)
    log_p_NK, ids_NK = warm_NV.clamp(min=LEAST_LOG).topk(k, dim=1)
    rest_N = warm_NV.exp().scatter_(1, ids_NK, 0.0).sum(dim=1)
    return renormalised(ids_NK, log_p_NK, rest_N)


def renormalised(ids_NK: torch.Tensor, log_p_NK: torch.Tensor, rest_N: torch.Tensor) -> Kept:
    """The same outcomes with probabilities that sum to 1, as rounded ones need not."""
    log_p_NK, rest_N = log_p_NK.float(), rest_N.float()
    total_N = log_p_NK.exp().sum(dim=1) + rest_N
    return Kept(ids_NK, log_p_NK - total_N.log()[:, None], rest_N / total_N)


def kl_of_kept(log_q_NV: torch.Tensor, kept: Kept, temperature: float = 1.0) -> torch.Tensor:
    """KL [N] of a student with (log-)probabilities or logits [N, V]; differentiable, and as plain as the equation."""
    warm_NV = (log_q_NV / temperature).log_softmax(dim=1)
    t_NK = kept.log_p_NK.exp()
    within_N = (t_NK * (kept.log_p_NK - warm_NV.gather(1, kept.ids_NK))).sum(dim=1)
    q_rest_N = warm_NV.exp().scatter(1, kept.ids_NK, 0.0).sum(dim=1)
    return within_N + _rest_term(kept.rest_N, q_rest_N)


def mixed(nats_N: torch.Tensor, kl_N: torch.Tensor, weight: float, temperature: float) -> torch.Tensor:
    """(1 - alpha) nats + alpha tau^2 KL; exactly the nats where alpha is 0."""
    return nats_N * (1.0 - weight) + kl_N * (weight * temperature**2) if weight else nats_N


def taught_by_log_probs(
    nats_BT: torch.Tensor,
    log_q_BTV: torch.Tensor,
    targets_BT: torch.Tensor,
    kept: Kept,
    weight: float,
    temperature: float = 1.0,
) -> Taught:
    """The same from a model's nats and all of its log-probabilities, by PyTorch's own gradients."""
    counted_N = targets_BT.reshape(-1) != IGNORED
    kl_N = torch.where(counted_N, kl_of_kept(log_q_BTV.flatten(0, 1), kept, temperature), 0.0)
    kl_BT = kl_N.view(targets_BT.shape).to(nats_BT.dtype)
    return Taught(mixed(nats_BT, kl_BT, weight, temperature), nats_BT.detach(), kl_BT.detach())


def taught_cross_entropy(
    h_ND: torch.Tensor,
    w_VD: torch.Tensor,
    targets_N: torch.Tensor,
    kept: Kept,
    weight: float,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> Taught:
    """`fused_cross_entropy` and KL from the same logits, made for a block of positions at a time.

    h_ND        [N, D] hidden states        w_VD   [V, D], one row per token
    targets_N   int64 [N], the token of each position; -1 is padding: 0 in all three, no gradient
    kept        what a teacher says of each: ids [N, k], log-probabilities [N, k], mass of all other tokens [N]
    weight      alpha, the share of KL in what is minimised: (1 - alpha) nats + alpha temperature^2 KL
    temperature   by which the student's logits are divided for KL; `kept` was made at the same one
    softcap     c: logits z become c tanh(z / c); None leaves them as they are

    Returns three of [N]: what is minimised, which alone has a gradient, nats and KL.  With weight 0 it is
    `fused_cross_entropy` to the bit.  Raises ConfigError when the shapes do not fit together.
    """
    n = h_ND.shape[0]
    if h_ND.ndim != 2 or h_ND.shape[1] != w_VD.shape[1] or targets_N.shape != (n,) or len(kept.ids_NK) != n:
        shapes = [tuple(t.shape) for t in (h_ND, w_VD, targets_N, kept.ids_NK)]
        raise ConfigError(f"hidden, weights, targets and teacher have shapes {shapes}: (N, D), (V, D), (N,), (N, k)")
    given, counted_N = h_ND.dtype, targets_N != IGNORED
    h_ND, w_VD = widened(h_ND), widened(w_VD)
    how = (weight, temperature, softcap)
    if bool(counted_N.all()):
        found = _TaughtSoftmax.apply(h_ND, w_VD, targets_N, *kept, *how)
    else:
        rows = counted_N.nonzero()[:, 0]
        parts = _TaughtSoftmax.apply(h_ND.index_select(0, rows), w_VD, targets_N[rows], *(t[rows] for t in kept), *how)
        found = (part.new_zeros(n).index_copy(0, rows, part) for part in parts)
    return Taught(*(part.to(given) for part in found))


def _rest_term(t_rest_N: torch.Tensor, q_rest_N: torch.Tensor) -> torch.Tensor:
    """t_rest (ln t_rest - ln q_rest), 0 where t_rest is."""
    return t_rest_N * (t_rest_N.clamp(min=LEAST).log() - q_rest_N.clamp(min=LEAST).log())


class _How(NamedTuple):
    weight: float
    temperature: float
    softcap: float | None


def _block(
    h_RD: torch.Tensor, w_VD: torch.Tensor, targets_R: torch.Tensor, kept: Kept, how: _How
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(nats [R], KL [R], gradient of the objective by the logits as they were made [R, V])."""
    logits_RV, slope_RV = capped(h_RD @ w_VD.T, how.softcap)
    logp_RV = torch.log_softmax(logits_RV, dim=1)
    nats_R = -logp_RV.gather(1, targets_R[:, None])[:, 0]
    logq_RV = logp_RV if how.temperature == 1.0 else torch.log_softmax(logits_RV / how.temperature, dim=1)
    logq_RK = logq_RV.gather(1, kept.ids_NK)
    q_RV = logq_RV.exp()
    delta_RV = minus_one_hot(logp_RV.exp_(), targets_R)
    t_RK = kept.log_p_NK.exp()
    q_RV.scatter_(1, kept.ids_NK, 0.0)
    q_rest_R = q_RV.sum(dim=1)
    kl_R = (t_RK * (kept.log_p_NK - logq_RK)).sum(dim=1) + _rest_term(kept.rest_N, q_rest_R)
    if how.weight:
        q_RV *= (1.0 - kept.rest_N / q_rest_R.clamp(min=LEAST))[:, None]
        q_RV.scatter_(1, kept.ids_NK, logq_RK.exp() - t_RK)
        delta_RV.mul_(1.0 - how.weight).add_(q_RV, alpha=how.weight * how.temperature)
    if slope_RV is not None:
        delta_RV *= slope_RV
    return nats_R, kl_R, delta_RV


class _TaughtSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        h_ND: torch.Tensor,
        w_VD: torch.Tensor,
        targets_N: torch.Tensor,
        ids_NK: torch.Tensor,
        log_p_NK: torch.Tensor,
        rest_N: torch.Tensor,
        weight: float,
        temperature: float,
        softcap: float | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        kept, how = Kept(ids_NK, log_p_NK, rest_N), _How(weight, temperature, softcap)
        nats_N, kl_N = h_ND.new_empty(h_ND.shape[0]), h_ND.new_empty(h_ND.shape[0])
        dh_ND = torch.empty_like(h_ND) if ctx.needs_input_grad[0] else None
        dw_VD = torch.zeros_like(w_VD) if ctx.needs_input_grad[1] else None
        for rows in row_blocks(h_ND.shape[0], w_VD.shape[0]):
            part = Kept(*(t[rows] for t in kept))
            nats_N[rows], kl_N[rows], delta_RV = _block(h_ND[rows], w_VD, targets_N[rows], part, how)
            if dh_ND is not None:
                torch.mm(delta_RV, w_VD, out=dh_ND[rows])
            if dw_VD is not None:
                dw_VD.addmm_(delta_RV.T, h_ND[rows])
        ctx.save_for_backward(h_ND, w_VD, targets_N, *kept, dh_ND, dw_VD)
        ctx.how = how
        objective_N = mixed(nats_N, kl_N, weight, temperature).clone()
        ctx.mark_non_differentiable(nats_N, kl_N)
        return objective_N, nats_N, kl_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        h_ND, w_VD, targets_N, *kept, dh_ND, dw_VD = ctx.saved_tensors
        g_N = upstream[0]
        grad_h = None if dh_ND is None else dh_ND * g_N[:, None]
        grad_w = dw_VD
        if dw_VD is not None and g_N.numel():
            grad_w = dw_VD * g_N[0]
            if not bool((g_N == g_N[0]).all()):
                grad_w = torch.zeros_like(w_VD)
                for rows in row_blocks(h_ND.shape[0], w_VD.shape[0]):
                    part = Kept(*(t[rows] for t in kept))
                    delta_RV = _block(h_ND[rows], w_VD, targets_N[rows], part, ctx.how)[2]
                    grad_w.addmm_(delta_RV.T, h_ND[rows] * g_N[rows, None])
        return grad_h, grad_w, *[None] * 7
