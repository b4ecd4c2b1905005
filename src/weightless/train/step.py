"""One optimizer step: forward and backward over the micro-batches, one norm, clipping, update.

The objective is the mean of the nats over all targets of all micro-batches; IGNORED ones (padding) are no targets.
Layers may ask for something beside the nats (a balance of experts): it is minimised with them and reported apart.
Nothing is updated unless loss and gradient norm are sound (divergence.py); else Diverged names the batch and the
tensors with the largest gradients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from weightless.data.batches.packing import IGNORED, Batch
from weightless.layers.layer import Record
from weightless.train.combining import combined, counted
from weightless.train.distilling import Lesson, taught_by
from weightless.train.divergence import Diverged, is_sound
from weightless.train.gradients import Gradient, clip, collect, global_norm, norms
from weightless.train.optimizers.groups import GroupedOptimizer
from weightless.train.processes import ALONE, Processes
from weightless.train.working_weights import WorkingWeights


class StepReport(NamedTuple):
    """Mean nats per target before the update, the number of targets, the gradients' global norm before clipping, who
    had a gradient, the auxiliary loss (beside the nats; None where no layer has one), what layers have counted, and KL
    per target (None without a teacher)."""

    loss: float
    n_targets: int
    norm: float
    with_gradient: frozenset[str]
    auxiliary: float | None = None
    counts: Mapping[str, torch.Tensor] = MappingProxyType({})
    kl: float | None = None


def as_tensor(tokens: Any, device: str) -> torch.Tensor:
    """Tokens as the int64 tensor that lookups need; of one layout, for another one is another graph to compile."""
    return torch.as_tensor(np.ascontiguousarray(tokens, dtype=np.int64), device=device)


def constant_tensor(value: np.ndarray, device: str) -> torch.Tensor:
    """A constant of a model; integers become int64, because torch can index with few other types."""
    value = np.ascontiguousarray(value)
    return torch.from_numpy(value.astype(np.int64) if value.dtype.kind in "iu" else value).to(device)


def train_step(
    model: Any,
    weights: WorkingWeights,
    optimizer: GroupedOptimizer,
    batches: Sequence[Batch],
    *,
    step: int,
    factor: float,
    max_norm: float,
    device: str = "cpu",
    lessons: Sequence[Lesson] | None = None,
    together: Processes = ALONE,
    n_batches: int | None = None,
) -> StepReport:
    """Step number `step` (from 0) at `factor` of the peak learning rates; max_norm 0 means no clipping.

    With `lessons`, one per batch, what is minimised is what they mix of nats and KL to a teacher; the loss stays nats.
    Of several processes `together`, each gives its share (shares.py) of the `n_batches` of the step, and all of them
    report, and do to their weights, the same.
    """
    loss, auxiliary, kept, kl = 0.0, None, Record(), None
    n_batches = n_batches or len(batches)
    n_targets = int(together.total(sum(int(np.count_nonzero(batch.targets_BT != IGNORED)) for batch in batches)))
    for i, batch in enumerate(batches):
        arrays = [as_tensor(array, device) for array in batch if array is not None]
        record = Record()
        if lessons is None:
            nats_BT = model.losses(weights.inputs, *arrays, record=record)
            mean = objective = nats_BT.sum() / max(1, n_targets)
        else:
            taught = taught_by(lessons[i], model, weights, arrays, record, device)
            mean, objective = (each.sum() / max(1, n_targets) for each in (taught.nats, taught.objective))
            kl = (kl or 0.0) + float(taught.kl.sum()) / max(1, n_targets)
        if record.auxiliary:
            beside = torch.stack(record.auxiliary).sum() / n_batches
            objective, auxiliary = objective + beside, (auxiliary or 0.0) + float(beside.detach())
        objective.backward()
        loss += float(mean.detach())
        for name, count in record.counts.items():
            kept.counts[name] = kept.counts[name] + count if name in kept.counts else count
    sums = loss, auxiliary or 0.0, kl or 0.0
    gradients, sums = combined(together, weights.leaves, collect(weights.leaves), sums)
    kept.counts = counted(together, kept.counts)
    loss, auxiliary, kl = sums[0], None if auxiliary is None else sums[1], None if kl is None else sums[2]
    if weights.clips is not None:
        weights.clips.take(gradients, weights.masters, weights.strength)
    norm = global_norm(gradients)
    if not is_sound(loss, norm):
        raise _diverged(step, n_batches, loss, norm, gradients)
    if max_norm:
        clip(gradients, norm, max_norm)
    optimizer.update(gradients, factor, step + 1)
    if weights.clips is not None:
        weights.clips.update(factor, step + 1)
    weights.follow(gradients)
    if kept.counts:
        model.after_step(weights.inputs, kept)
    return StepReport(loss, n_targets, norm, frozenset(gradients), auxiliary, kept.counts, kl)


def warm_up(model: Any, weights: WorkingWeights, batch: Batch, device: str = "cpu") -> dict[str, Gradient]:
    """The gradients of a forward and a backward pass that change nothing (rehearsal.py)."""
    arrays, record = [as_tensor(array, device) for array in batch if array is not None], Record()
    mean = model.losses(weights.inputs, *arrays, record=record).mean()
    objective = mean + torch.stack(record.auxiliary).sum() if record.auxiliary else mean
    objective.backward()
    float(mean.detach())
    return collect(weights.leaves)


def _diverged(step: int, n_batches: int, loss: float, norm: float, gradients: Mapping[str, Gradient]) -> Diverged:
    each = norms(gradients)
    worst = sorted(each, key=lambda name: math.inf if math.isnan(each[name]) else each[name], reverse=True)[:3]
    first = step * n_batches
    where = f"batch {first}" if n_batches == 1 else f"batches {first} to {first + n_batches - 1}"
    return Diverged("loss", loss, norm, [(name, each[name]) for name in worst], where)
