"""What is asked of distillation: a teacher, and how much of it to learn (the loss: `layers/functions/teaching.py`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from weightless.base.errors import ConfigError

MOST_KEPT = 65_536


@dataclass(frozen=True)
class Distil:
    """Learn from a teacher's distributions beside the text: (1 - weight) nats + weight temperature^2 KL.

    ConfigError names a field that cannot be.
    """

    teacher: str
    """The artifact (.wl) of a model, the folder of one that was trained or of Hugging Face's, or in a recipe a model
    that stands before this one."""
    weight: float = 0.5
    """Share of KL (0 to 1); the rest is the usual loss.  0: the teacher is asked, and decides nothing."""
    temperature: float = 1.0
    """By which logits of both are divided before KL; above 1 the unlikely tokens count for more."""
    top_k: int = 64
    """The teacher's likeliest tokens that are kept of every position; all others are one outcome."""

    def __post_init__(self) -> None:
        if not self.teacher:
            raise ConfigError("distil.teacher is empty: name a model")
        if not 0 <= self.weight <= 1:
            raise ConfigError(f"distil.weight = {self.weight} should lie between 0 and 1")
        if not (0 < self.temperature < math.inf and 0.01 <= self.temperature <= 100):
            raise ConfigError(f"distil.temperature = {self.temperature} should lie between 0.01 and 100")
        if not 1 <= self.top_k <= MOST_KEPT:
            raise ConfigError(f"distil.top_k = {self.top_k} should be from 1 to {MOST_KEPT}")
