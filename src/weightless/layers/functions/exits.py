"""Confidence of an exit, and the loss that it learns from (Schuster et al. 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from weightless.data.batches.packing import IGNORED
from weightless.layers.functions.norm import rms_norm


def exit_logits(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """z [...] of c = sigmoid(z), z = w · x / rms(x) + b.

    x [..., D]        weight   D elements in any shape        bias   one        eps   as in `rms_norm`

    Raises ConfigError for another eps, RuntimeError when weight has another width than x.
    """
    return rms_norm(x, None, eps) @ weight.reshape(-1) + bias.reshape(())


def exit_loss(
    logits_BT: torch.Tensor, early_BT: torch.Tensor, nats_BT: torch.Tensor, targets_BT: torch.Tensor
) -> torch.Tensor:
    """Mean over targets of the cross entropy of c against min(1, p_exit / p_model) of the target.

    logits_BT   z of c = sigmoid(z)         early_BT   nats of the target at the exit
    nats_BT     nats at the end of the model        targets_BT   as in `mean_nats`

    Both nats are taken as they are, without a gradient.  Over targets that the model itself draws the ratio averages to
    the sum over the vocabulary of min(p_exit, p_model) = 1 - total variation: how often a draw at the exit could pass
    for a draw of the model (Leviathan et al. 2023).  That is what c comes to estimate, from one target a position.
    Shapes that do not fit raise RuntimeError.
    """
    ratio_BT = (nats_BT - early_BT).detach().clamp(max=0).exp()
    each_BT = F.binary_cross_entropy_with_logits(logits_BT, ratio_BT, reduction="none")
    return mean_nats(each_BT, targets_BT)


def mean_nats(nats_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
    """Mean of nats_BT [B, T] over those of targets_BT [B, T] that are not IGNORED (-1); 0 where all are.

    Shapes that do not fit raise RuntimeError.
    """
    counted_BT = targets_BT != IGNORED
    return (nats_BT * counted_BT).sum() / counted_BT.sum().clamp(min=1)
