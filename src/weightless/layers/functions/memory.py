"""Slots of a memory for all positions at once: which are taken (`ops.memory` says how), and what is made of their rows.

    rows_summed   y = sum over k of w_k V[s_k]           rows_scored   a_k = U[s_k] . h

Each is the other's adjoint, so both backward passes are made of the same two and of one sum per touched row.  Only
chosen rows are read, no [N, K, D] is ever made, and the gradient of a table is sparse: a step costs what was touched,
however many slots there are.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from weightless.base.errors import ConfigError
from weightless.layers.functions.experts import largest_first

SUM = 0  # PyTorch's number for mode="sum" of an embedding bag


def choose_slots(scores_NHSR: torch.Tensor, k: int, gating: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(slots int64 [N, H, k], gates [N, H, k]) of product keys: the k slots i R + j with the largest s_1[i] + s_2[j].

    scores_NHSR   [N, H, 2, R]: half-queries times half-keys, for H heads        k   slots per head, 1..R
    gating        "softmax" over the k sums, or "sigmoid" of each

    The largest first; of equal ones the lower number, as in the engine.  The gradient goes through the gates.
    Raises ConfigError when k is not in 1..R.
    """
    R = scores_NHSR.shape[-1]
    if not 1 <= k <= R:
        raise ConfigError(f"{k} of {R} half-keys cannot be chosen")
    best_NHSK, rank = (
        largest_first(scores_NHSR.detach().clone(), k),
        torch.arange(1, k + 1, device=scores_NHSR.device),
    )
    can_win_P2 = (rank[:, None] * rank <= k).nonzero()
    shape = (*best_NHSK.shape[:2], len(can_win_P2))
    first, second = (best_NHSK[:, :, half].gather(-1, can_win_P2[:, half].expand(shape)) for half in (0, 1))
    by_number = (first * R + second).argsort(dim=-1)
    first, second = first.gather(-1, by_number), second.gather(-1, by_number)
    halves = scores_NHSR.detach()
    sums = halves[:, :, 0].gather(-1, first) + halves[:, :, 1].gather(-1, second)
    place_NHK = largest_first(sums, k)
    at_NHSK = torch.stack([first.gather(-1, place_NHK), second.gather(-1, place_NHK)], dim=2)
    chosen = scores_NHSR.gather(-1, at_NHSK).sum(dim=2)
    gates_NHK = chosen.softmax(dim=-1) if gating == "softmax" else chosen.sigmoid()
    return at_NHSK[:, :, 0] * R + at_NHSK[:, :, 1], gates_NHK


def rows_summed(table: torch.Tensor, slots_NK: torch.Tensor, weights_NK: torch.Tensor) -> torch.Tensor:
    """sum over k of weights[:, k] table[slots[:, k]]: [N, D].

    table   [M, D]        slots_NK   int64 [N, K], below M        weights_NK   [N, K] in the dtype of the table

    The gradient of the table is sparse, each touched row once.  Shapes that do not fit raise RuntimeError.
    """
    return _RowsSummed.apply(table, slots_NK, weights_NK.to(table.dtype))  # type: ignore[no-any-return]


def rows_scored(table: torch.Tensor, slots_NK: torch.Tensor, h_ND: torch.Tensor) -> torch.Tensor:
    """table[slots[:, k]] . h for every k: [N, K].

    table   [M, D]        slots_NK   int64 [N, K], below M        h_ND   [N, D] in the dtype of the table

    The gradient of the table is sparse, each touched row once.  Shapes that do not fit raise RuntimeError.
    """
    return _RowsScored.apply(table, slots_NK, h_ND.to(table.dtype))  # type: ignore[no-any-return]


class _RowsSummed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, slots_NK: torch.Tensor, weights_NK: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(table, slots_NK, weights_NK)
        return _summed(table, slots_NK, weights_NK)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, torch.Tensor]:
        table, slots_NK, weights_NK = ctx.saved_tensors
        upstream_ND = gradients[0].contiguous()
        return _touched(table, slots_NK, weights_NK, upstream_ND), None, _scored(table, slots_NK, upstream_ND)


class _RowsScored(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, slots_NK: torch.Tensor, h_ND: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(table, slots_NK, h_ND)
        return _scored(table, slots_NK, h_ND)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, torch.Tensor]:
        table, slots_NK, h_ND = ctx.saved_tensors
        upstream_NK = gradients[0].contiguous()
        return _touched(table, slots_NK, upstream_NK, h_ND), None, _summed(table, slots_NK, upstream_NK)


def _summed(table: torch.Tensor, slots_NK: torch.Tensor, weights_NK: torch.Tensor) -> torch.Tensor:
    return F.embedding_bag(slots_NK, table.detach(), mode="sum", per_sample_weights=weights_NK)


def _scored(table: torch.Tensor, slots_NK: torch.Tensor, h_ND: torch.Tensor) -> torch.Tensor:
    """The gradient of a weighted sum of rows by its weights: PyTorch has it fused, and six times as quick here as
    gathering the rows, but has given it no public name."""
    N, K = slots_NK.shape
    first_N = torch.arange(0, N * K, K, device=slots_NK.device)
    bag_M = torch.arange(N, device=slots_NK.device).repeat_interleave(K)
    given = h_ND.contiguous(), table.detach(), slots_NK.reshape(-1), first_N, bag_M
    scored: torch.Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(*given, SUM)
    return scored.view(N, K)


def _touched(table: torch.Tensor, slots_NK: torch.Tensor, weights_NK: torch.Tensor, x_ND: torch.Tensor) -> torch.Tensor:
    """Gradient of the table, sparse: row r is the sum of weights[n, k] x[n] over all (n, k) with slots[n, k] = r."""
    flat, order = slots_NK.reshape(-1).sort(stable=True)
    rows_R, n_R = torch.unique_consecutive(flat, return_counts=True)
    weights = weights_NK.reshape(-1)[order]
    token, first_R = order // slots_NK.shape[1], n_R.cumsum(0) - n_R
    values_RD = F.embedding_bag(token, x_ND, first_R, mode="sum", per_sample_weights=weights)
    return torch.sparse_coo_tensor(rows_R[None], values_RD, table.shape, is_coalesced=True, check_invariants=False)
