"""Feed-forward blocks of which every token takes a few (Shazeer et al. 2017), all positions of an expert at once.

Positions are sorted by expert, so that each expert is one small matrix product over those that chose it; none is ever
dropped, however uneven the load.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from weightless.base.errors import ConfigError
from weightless.layers.functions.feedforward import ffn


def choose_experts(
    scores_NE: torch.Tensor, bias_E: torch.Tensor | None, k: int, scoring: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which experts every position takes: (chosen int64 [N, k], gates [N, k], p [N, E]).

    Gates are p of the chosen ones made to sum to 1, or p itself where only one is chosen.

    scores_NE   [N, E] of the router        bias_E   [E], added to p where experts are chosen, never to a gate; or None
    k           experts per position        scoring  "softmax" or "sigmoid": p is made of the scores by it

    The largest first; of equal ones the lower number, as in the engine.  The gradient goes through the gates.
    Raises ConfigError when k is not in 1..E.
    """
    if not 1 <= k <= scores_NE.shape[-1]:
        raise ConfigError(f"{k} of {scores_NE.shape[-1]} experts cannot be chosen")
    p_NE = scores_NE.softmax(dim=-1) if scoring == "softmax" else scores_NE.sigmoid()
    chosen_NK = largest_first(p_NE.detach() + (0.0 if bias_E is None else bias_E), k)
    p_NK = p_NE.gather(-1, chosen_NK)
    if k == 1:
        return chosen_NK, p_NK, p_NE
    return chosen_NK, p_NK / p_NK.sum(dim=-1, keepdim=True).clamp(min=1e-20), p_NE


def largest_first(wanted_NE: torch.Tensor, k: int) -> torch.Tensor:
    """The places of the k largest along the last axis, int64 [..., k]: the largest first, of equal ones the first.

    wanted_NE   [..., E], overwritten        k   1..E

    As quick as topk, which promises nothing about ties.
    """
    found = []
    for _ in range(k):
        found.append(wanted_NE.argmax(dim=-1, keepdim=True))  # of equal ones the first
        wanted_NE.scatter_(-1, found[-1], float("-inf"))
    return torch.cat(found, dim=-1)


@torch.compiler.disable  # how many positions an expert has is another number in every batch, and another graph
def expert_ffn(
    h_ND: torch.Tensor,
    up: torch.Tensor,
    down: torch.Tensor,
    chosen_NK: torch.Tensor,
    gate_NK: torch.Tensor,
    n_experts: int,
    activation: str,
) -> torch.Tensor:
    """sum over i of gate_i down_i act(up_i h): [N, D].

    h_ND        [N, D]
    up          (E n_up, D), experts one above the other; n_up = 2 d_e for "swiglu", d_e without a gate
    down        (E D, d_e)
    chosen_NK   int64 [N, k], below E        gate_NK   [N, k]        n_experts   E        activation   as in `ffn`

    Shapes that do not fit raise RuntimeError.
    """
    k, ups, downs = (
        chosen_NK.shape[1],
        up.view(n_experts, -1, up.shape[1]).unbind(0),
        down.view(n_experts, -1, down.shape[1]).unbind(0),
    )
    order_M = torch.argsort(chosen_NK.reshape(-1), stable=True)
    token_M = order_M // k
    counts = torch.bincount(chosen_NK.reshape(-1), minlength=n_experts).tolist()
    parts = [
        ffn(h, ups[e], downs[e], activation)
        for e, h in enumerate(h_ND.index_select(0, token_M).split(counts))
        if counts[e]
    ]
    weighted_MD = torch.cat(parts) * gate_NK.reshape(-1).index_select(0, order_M)[:, None]
    return torch.zeros_like(h_ND).index_add(0, token_M, weighted_MD.to(h_ND.dtype))


def balance_loss(p_NE: torch.Tensor, chosen_NK: torch.Tensor) -> torch.Tensor:
    """E sum over experts of f_e P_e (Fedus et al. 2021): 1 when the load is even, at most E.

    p_NE   [N, E], made to sum to 1        chosen_NK   int64 [N, k]

    f_e is the share of all choices that fell on e, P_e the mean of p_e; the gradient goes through P.  Shapes that do
    not fit raise RuntimeError.
    """
    E = p_NE.shape[-1]
    share_E = F.one_hot(chosen_NK, E).sum(dim=(0, 1)).to(p_NE.dtype) / chosen_NK.numel()
    mean_E = (p_NE / p_NE.sum(dim=-1, keepdim=True)).mean(dim=0)
    return E * (share_E * mean_E).sum()
