"""How surprised the model is by what came: the mean of -log p(target), in nats.

    loss = mean over targets of  log sum_v e^(z_v) - z_target            z (..., vocab)    target (...)

Written with z - max z, so that the largest power is e^0: nothing overflows, and the sum is never zero.  Going by
probabilities (softmax, then log) would lose every token whose probability rounds to 0.
"""

from __future__ import annotations

import torch


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean loss over all leading dimensions, a scalar in the dtype of the logits, worked out in float32 at least.

    Half precision keeps three digits of it: give logits.float() where losses are recorded.  No targets give NaN, as
    in torch.  ValueError where shapes or kinds of numbers do not fit; a target outside the vocabulary is an error of
    torch's gather.
    """
    if targets.shape != logits.shape[:-1]:
        wanted = tuple(logits.shape[:-1])
        raise ValueError(f"targets have shape {tuple(targets.shape)}; those of logits (..., vocab) have {wanted}")
    if not logits.is_floating_point() or targets.is_floating_point():
        raise ValueError(f"logits are {logits.dtype} and targets {targets.dtype}: give floating point logits and ids")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    shifted = wide - wide.amax(dim=-1, keepdim=True)
    given = shifted.gather(-1, targets.long().unsqueeze(-1)).squeeze(-1)
    return (shifted.exp().sum(dim=-1).log() - given).mean().to(logits.dtype)
