"""How to train: every choice of the loop in one frozen record, checked when it is made.

The length of a run is num_steps or seconds (training seconds; evaluation and checkpoints do not count), never both.
Fractions (warmup, warmdown, qat_start) are shares of the whole run.  Learning rates are peaks; the schedule multiplies
them all.  Errors: ConfigError naming the field.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from weightless.base.errors import ConfigError, nearest
from weightless.train.schedules import SCHEDULES

OPTIMIZERS = ("adamw", "muon", "sgd")
CLOCK_NAMES = ("wall", "cpu")
RESUMABLE_CHANGES = frozenset({"checkpoint_every"})
"""Fields that a resumed run may change: they cannot alter a single number of the result."""


@dataclass(frozen=True)
class TrainConfig:
    """See the module's docstring; `optimizers/groups.py` says which parameter uses which rate."""

    batch_size: int
    context: int
    num_steps: int | None = None
    seconds: float | None = None
    optimizer: str = "muon"
    max_lr: float = 3e-3
    muon_lr: float = 0.02
    table_lr: float = 0.05
    embedding_lr_scale: float = 1.0
    head_lr_scale: float = 1.0
    vector_lr_scale: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1
    grad_clip: float = 1.0  # 0: no clipping
    grad_accumulation: int = 1
    schedule: str = "cosine"
    warmup: float = 0.02
    warmdown: float = 0.2  # of schedule "wsd" only
    min_lr_ratio: float = 0.1
    qat_start: float = 1.0  # 1: never
    eval_every: int | None = None  # steps; None: ten times, evenly spaced in progress
    eval_tokens: int = 65_536
    log_every: int = 20  # steps
    checkpoint_every: float = 60.0  # seconds
    seed: int = 0
    threads: int | None = None  # None: as torch is set
    clock: str = "wall"  # "cpu": seconds of processor time, so that a busy machine trains no less
    device: str = "cpu"

    def __post_init__(self) -> None:
        if (self.num_steps is None) == (self.seconds is None):
            raise ConfigError("give either num_steps or seconds, and not both: one budget decides when training ends")
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"optimizer = {self.optimizer!r}: {nearest(self.optimizer, OPTIMIZERS)}")
        if self.clock not in CLOCK_NAMES:
            raise ConfigError(f"clock = {self.clock!r}: {nearest(self.clock, CLOCK_NAMES)}")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"schedule = {self.schedule!r}: {nearest(self.schedule, SCHEDULES)}")
        for name in ("batch_size", "context", "num_steps", "seconds", "grad_accumulation", "eval_every", "eval_tokens",
                     "log_every", "threads"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} = {value!r} should be greater than 0")
        for name in ("warmup", "warmdown", "min_lr_ratio", "qat_start", "beta1", "beta2"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} = {getattr(self, name)!r} should lie between 0 and 1")
        for name in ("max_lr", "muon_lr", "table_lr", "weight_decay", "grad_clip", "checkpoint_every"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} = {getattr(self, name)!r} should not be negative")
        if self.warmup >= 1.0 or (self.schedule == "wsd" and self.warmup + self.warmdown > 1.0):
            raise ConfigError(f"warmup = {self.warmup} leaves no room for the rest of schedule {self.schedule!r}")

    @property
    def tokens_per_step(self) -> int:
        """Positions that one optimizer step learns from."""
        return self.batch_size * self.context * self.grad_accumulation

    def differences(self, other: TrainConfig) -> list[str]:
        """Fields in which a run that resumes `other` would not be the same run."""
        names = (f.name for f in dataclasses.fields(self) if f.name not in RESUMABLE_CHANGES)
        return [name for name in names if getattr(self, name) != getattr(other, name)]
