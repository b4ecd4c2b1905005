"""What a run has counted, and what it has seen with its own eyes.

`Counters` is all that a resume needs besides tensors: it goes into the checkpoint as JSON (floats survive exactly).
Assertions are made of what happened, not of what was asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.base.units import human_seconds
from weightless.train.config import TrainConfig
from weightless.train.schedules import factor

T = TypeVar("T")

EVALUATIONS = 10
"""Evaluations per run when the configuration leaves it open."""


@dataclass
class Counters:
    """`step` is the next step, `tokens` are targets learned from, `padded` positions without one; `window_*` are sums
    since the last line of metrics; `averaged` steps are in the average of
    the weights, from `average_step` on (averages.py)."""

    step: int = 0
    tokens: int = 0
    padded: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    window_nats: float = 0.0
    window_tokens: int = 0
    window_padded: int = 0
    window_seconds: float = 0.0
    qat_step: int | None = None
    qat_changed: int = 0
    qat_rounded: int = 0
    qat_whole_step: int | None = None
    average_step: int | None = None
    averaged: int = 0
    average_distance: float | None = None
    last_factor: float = 0.0
    n_resumes: int = 0
    warm_up_seconds: float = 0.0
    full: bool = False  # no further step fits into the budget of seconds
    fitting_seconds: float = 0.0

    @classmethod
    def from_json(cls, values: Any) -> Counters:
        """From a checkpoint's state; CorruptFileError when a counter is missing or unknown."""
        if isinstance(values, dict):
            older = {"warm_up_seconds": 0.0, "full": False, "qat_whole_step": values.get("qat_step")}
            older |= {"average_step": None, "averaged": 0, "average_distance": None, "fitting_seconds": 0.0}
            values = {**older, **values}  # what older checkpoints lack
        if not isinstance(values, dict) or set(values) != {f.name for f in dataclasses.fields(cls)}:
            raise CorruptFileError("the checkpoint's counters are not those of this version; start the run anew")
        try:
            return from_dict(cls, values, "counters")
        except ConfigError as error:
            raise CorruptFileError(f"the checkpoint's state is damaged: {error}") from error

    def round_by(self, strength: float, changed: int, rounded: int) -> None:
        """Rounding has a new strength from the coming step on, and has changed so many tensors of so many."""
        self.qat_step = self.step if self.qat_step is None else self.qat_step
        self.qat_changed, self.qat_rounded = changed, rounded
        if strength == 1.0:
            self.qat_whole_step = self.step

    def progress(self, config: TrainConfig) -> float:
        """Share of the budget that is used, 0 to 1."""
        if config.num_steps is not None:
            return min(1.0, self.step / config.num_steps)
        return min(1.0, self.seconds / (config.step_seconds or 1.0))

    def is_over(self, config: TrainConfig) -> bool:
        """Whether the budget is used, to the last whole step that fits."""
        return self.full or self.progress(config) >= 1.0

    def is_evaluation_due(self, before: float, config: TrainConfig) -> bool:
        """Whether the model is to be validated after a step that began at progress `before`."""
        if self.is_over(config):
            return True
        if config.eval_every is None:
            return int(self.progress(config) * EVALUATIONS) > int(before * EVALUATIONS)
        return self.step % config.eval_every == 0

    def fitted(self, now: Callable[[], float], fit: Callable[[], T]) -> T:
        """What `fit` gives, behind the last step; how long it took by the clock `now` is kept."""
        start = now()
        found = fit()
        self.fitting_seconds = now() - start
        return found

    @property
    def mean_seconds(self) -> float:
        """How long a step has taken so far."""
        return self.seconds / max(1, self.step)

    @property
    def wasted(self) -> float:
        """Share of all positions so far that were padding."""
        return self.padded / max(1, self.tokens + self.padded)

    def after_step(self, loss: float, n_targets: int, config: TrainConfig, seconds: float) -> None:
        """Count one finished step of `loss` nats per target."""
        n_padded = config.positions_per_step - n_targets
        self.step += 1
        self.tokens += n_targets
        self.padded += n_padded
        self.seconds += seconds
        self.window_nats += loss * n_targets
        self.window_tokens += n_targets
        self.window_padded += n_padded
        self.window_seconds += seconds

    def metrics_line(self, lr: float, rates: Mapping[str, float], val_loss: float | None) -> dict[str, Any]:
        """One line of the curve, with the rate of every group of parameters; closes the window."""
        tokens = self.window_tokens
        line = {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 4),
            "train_loss": self.window_nats / tokens if tokens else None,
            "val_loss": val_loss,
            "lr": lr,
            "tokens_per_second": round(tokens / max(self.window_seconds, 1e-9), 2) if tokens else None,
            "wasted": round(self.window_padded / max(1, tokens + self.window_padded), 6),
            **{f"lr_{group}": rate for group, rate in rates.items()},
        }
        self.window_nats, self.window_tokens, self.window_padded, self.window_seconds = 0.0, 0, 0, 0.0
        return line


def schedule_factor(config: TrainConfig, progress: float, mean_seconds: float = 0.0) -> float:
    """The factor of the peak learning rates at this progress; `mean_seconds` is how long a step has taken so far."""
    warmdown = config.least_warmdown
    if config.warmdown_steps and config.step_seconds:
        warmdown = config.warmdown_steps * mean_seconds / config.step_seconds
    return factor(config.schedule, progress, warmup=config.warmup, min_ratio=config.min_lr_ratio, warmdown=warmdown)


def observations(
    config: TrainConfig,
    counters: Counters,
    membership: Mapping[str, list[str]],
    names: set[str],
    silent: set[str],
    batches: str,
) -> dict[str, dict[str, Any]]:
    """The assertions of a run: {name: {"ok", "detail"}}."""
    wrong = sorted(n for n in names | set(membership) if len(membership.get(n, [])) != 1 or n not in names)
    end = schedule_factor(config, 1.0, counters.mean_seconds)
    per_step = config.positions_per_step
    found = {
        "every parameter in exactly one optimizer group": (not wrong, f"{len(names)} parameters; wrong: {wrong}"),
        "every parameter had a gradient": (not silent, f"without: {sorted(silent)}"),
        "schedule reached its end": (
            counters.is_over(config),
            f"progress {counters.progress(config):.4f}, last factor {counters.last_factor:.4g}, final value {end:.4g}",
        ),
        "tokens counted": (
            counters.tokens + counters.padded == counters.step * per_step,
            f"{counters.tokens:,} tokens + {counters.padded:,} of padding ({counters.wasted:.2%}) = "
            f"{counters.step:,} steps x {per_step:,} positions",
        ),
        "batches as asked for": (config.packing == "documents" or counters.padded == 0, batches),
        "training time counted": (counters.fitting_seconds <= (config.fit_seconds or 1e9), time_told(config, counters)),
        "quantisation-aware training": _qat(config, counters),
    }
    return {name: {"ok": bool(ok), "detail": detail} for name, (ok, detail) in found.items()}


def time_told(config: TrainConfig, counters: Counters) -> str:
    """The seconds of training, of how many that were asked for, and what is not in them."""
    budget = "" if config.seconds is None else f" of {human_seconds(config.seconds)}"
    apart = {
        "warm-up": counters.warm_up_seconds,
        "evaluation": counters.evaluation_seconds,
        "checkpoints": counters.checkpoint_seconds,
    }
    fitting = human_seconds(counters.fitting_seconds)
    if config.fit_seconds:
        budget += f", and fitting at the end {fitting} of {human_seconds(config.fit_seconds)} kept for it"
    elif counters.fitting_seconds:
        apart["fitting at the end"] = counters.fitting_seconds
    excluded = ", ".join(f"{name} {human_seconds(seconds)}" for name, seconds in apart.items())
    return f"{human_seconds(counters.seconds)}{budget}; not in it: {excluded}; resumed {counters.n_resumes} times"


def _qat(config: TrainConfig, counters: Counters) -> tuple[bool, str]:
    if config.qat_start >= 1.0:
        return counters.qat_step is None, "not asked for"
    if counters.qat_step is None:
        return False, f"asked for from {config.qat_start:.0%} of the run on, but never active"
    active = f"active from step {counters.qat_step} on"
    if counters.qat_whole_step is None:
        return False, f"{active}, but never whole: the run ended while it was setting in"
    if config.qat_warmup:
        active += f", whole from step {counters.qat_whole_step} on"
    changed = f"changed {counters.qat_changed} of {counters.qat_rounded} rounded tensors"
    return counters.qat_changed > 0, f"{active}; rounding {changed}"
