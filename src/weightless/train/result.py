"""What a training leaves: weights, what it took, its curve, and what was observed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from weightless.train.divergence import Divergence
from weightless.train.usage import Used


@dataclass(frozen=True)
class TrainResult:
    """Trained float32 masters (their average where one was asked for) and constants by name, what it took, the curve,
    and the assertions that were checked.

    `tokens_seen` are targets; `wasted_share` of all positions was padding; `batches` says what batches were made of;
    `used` {layer: shares, or a summary} says how the parts that data choose (experts, slots) were used between the last
    two evaluations; `teacher` who taught, and what its passes cost (tokens, seconds, FLOPs), none of which is in the
    figures of the training itself.
    """

    params: dict[str, torch.Tensor]
    constants: dict[str, np.ndarray]
    tokens_seen: int
    wasted_share: float
    batches: str
    steps: int
    seconds: float
    evaluation_seconds: float
    checkpoint_seconds: float
    optimizer_bytes: int
    optimizer_bytes_by_group: dict[str, int]
    curve: list[dict[str, Any]]
    observed: dict[str, dict[str, Any]]
    used: Used
    diverged: Divergence | None = None
    teacher: dict[str, Any] | None = None
    clips: dict[str, np.ndarray] = field(default_factory=dict)
    """Learned factors on the scales of what is packed in codes, by tensor (learned_clips.py)."""
