"""What several processes have found becomes what one would have found: gradients, losses, counts; shared work.

Every process's objective is divided by what all of them have together, so gradients and losses are added, not averaged.
Dense gradients go through sums of at most BUCKET numbers; of a table only the touched rows travel, each with its
number, and equal rows are summed in the order of the processes, so nothing is lost and nothing is rounded on the way.
What is combined has the same bits in every process.
Floor 6 (train).
"""

# torch._foreach has no public name; the optimizers of torch call it in the same way.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from weightless.train.gradients import Gradient, RowGradient, merge_rows
from weightless.train.processes import Processes

BUCKET = 1 << 22
"""Numbers that travel at once: 16 MB."""
ABSENT, DENSE = -2.0, -1.0
"""How a gradient is told of that has no count of rows."""


def combined(
    processes: Processes, leaves: Mapping[str, torch.Tensor], gradients: dict[str, Gradient], sums: Sequence[float]
) -> tuple[dict[str, Gradient], list[float]]:
    """The sum of everybody's gradients, by name in the order of `leaves`, and of everybody's `sums`."""
    if processes.world == 1:
        return gradients, list(sums)
    told = processes.gathered([*sums, *(_kind(gradients.get(name)) for name in leaves)])
    added = [float(sum(column)) for column in zip(*(each[: len(sums)] for each in told), strict=True)]
    kinds = dict(zip(leaves, zip(*(each[len(sums) :] for each in told), strict=True), strict=True))
    found: dict[str, Gradient] = {}
    for name, leaf in leaves.items():
        kind, mine = kinds[name], gradients.get(name)
        if max(kind) == ABSENT:
            continue
        if DENSE in kind:
            mine = torch.zeros_like(leaf) if mine is None else mine
            found[name] = mine.dense() if isinstance(mine, RowGradient) else mine
        else:
            found[name] = _rows(processes, leaf, mine, [max(0, int(count)) for count in kind])
    _add(processes, [g for g in found.values() if isinstance(g, torch.Tensor)])
    return found, added


def _kind(gradient: Gradient | None) -> float:
    if gradient is None:
        return ABSENT
    return float(len(gradient.rows_R)) if isinstance(gradient, RowGradient) else DENSE


def _rows(processes: Processes, leaf: torch.Tensor, mine: Gradient | None, counts: list[int]) -> RowGradient:
    """Everybody's touched rows; those of one number are summed."""
    most, at = max(counts), processes.rank
    rows_R = torch.zeros(most, dtype=torch.int64, device=leaf.device)
    values_RD = torch.zeros(most, leaf.shape[1], dtype=leaf.dtype, device=leaf.device)
    if isinstance(mine, RowGradient):
        rows_R[: counts[at]], values_RD[: counts[at]] = mine.rows_R, mine.values_RD
    held = [
        torch.cat([part[:n] for part, n in zip(processes.everybodys(t), counts, strict=True)])
        for t in (rows_R, values_RD)
    ]
    shape = (leaf.shape[0], leaf.shape[1])
    return merge_rows(torch.sparse_coo_tensor(held[0][None], held[1], shape, check_invariants=False))


@torch.no_grad()
def _add(processes: Processes, tensors: list[torch.Tensor]) -> None:
    """Sum each over all processes, in place."""
    for bucket in _buckets(tensors):
        flat = torch.cat([t.reshape(-1) for t in bucket])
        processes.add(flat)
        parts = flat.split([t.numel() for t in bucket])
        torch._foreach_copy_(bucket, [part.view(t.shape) for part, t in zip(parts, bucket, strict=True)])


def _buckets(tensors: list[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Runs of tensors of at most BUCKET numbers; a larger one goes alone."""
    found: list[list[torch.Tensor]] = []
    room = 0
    for tensor in tensors:
        if not found or tensor.numel() > room:
            found.append([])
            room = BUCKET
        found[-1].append(tensor)
        room -= tensor.numel()
    return found


def counted(processes: Processes, counts: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The sum of everybody's counts, which are whole numbers."""
    if processes.world == 1 or not counts:
        return dict(counts)
    flat = torch.cat([count.detach().reshape(-1).double() for count in counts.values()])
    processes.add(flat)
    parts = flat.split([count.numel() for count in counts.values()])
    return {n: part.view(count.shape).to(count.dtype) for (n, count), part in zip(counts.items(), parts, strict=True)}


def shared_out(processes: Processes, work: Callable[[torch.Tensor], torch.Tensor], x_NRC: torch.Tensor) -> torch.Tensor:
    """work(x_NRC), which treats every matrix by itself: each process does some of them, and everybody has all."""
    n_all = x_NRC.shape[0]
    if processes.world == 1 or n_all == 1:
        return work(x_NRC)
    n = -(-n_all // processes.world)
    mine = x_NRC[processes.rank * n : (processes.rank + 1) * n]
    done = x_NRC.new_zeros(n, *x_NRC.shape[1:])
    if len(mine):
        done[: len(mine)] = work(mine)
    return torch.cat(processes.everybodys(done))[:n_all]
