"""Learning-rate schedules: pure functions from progress in [0, 1] to a factor of the peak learning rate.

Progress is steps / num_steps or training seconds / budget, so that one schedule serves both budgets.
All rise linearly from 0 over the first `warmup` of the run (factor = progress / warmup), then

    cosine   min + (1 - min) * (1 + cos(pi * q)) / 2        q = (progress - warmup) / (1 - warmup)
    linear   1 - (1 - min) * q
    wsd      1 until progress = 1 - warmdown, then linear to min   (warm-up, stable, decay)
    constant 1

and stay at min beyond the end.  With T_w = warmup * T_c steps, `cosine` is the usual schedule over T_c steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from weightless.base.errors import ConfigError, nearest


def cosine(progress: float, min_ratio: float) -> float:
    """Half a cosine from 1 to min_ratio."""
    return min_ratio + (1.0 - min_ratio) * 0.5 * (1.0 + math.cos(math.pi * progress))


def linear(progress: float, min_ratio: float) -> float:
    """A straight line from 1 to min_ratio."""
    return 1.0 - (1.0 - min_ratio) * progress


def constant(progress: float, min_ratio: float) -> float:
    """The peak throughout."""
    return 1.0


SCHEDULES: Mapping[str, Callable[[float, float], float] | None] = MappingProxyType(
    {"cosine": cosine, "linear": linear, "constant": constant, "wsd": None}
)


def factor(name: str, progress: float, *, warmup: float, min_ratio: float, warmdown: float = 0.2) -> float:
    """Share of the peak learning rate at `progress`; ConfigError for an unknown schedule."""
    if name not in SCHEDULES:
        raise ConfigError(f"unknown schedule {name!r}: {nearest(name, SCHEDULES)}")
    if progress < warmup:
        return progress / warmup
    shape = SCHEDULES[name]
    if shape is None:
        return _stable_then_linear(progress, min_ratio, warmdown)
    if progress >= 1.0:
        return shape(1.0, min_ratio)
    return shape((progress - warmup) / (1.0 - warmup), min_ratio)


def _stable_then_linear(progress: float, min_ratio: float, warmdown: float) -> float:
    left = max(0.0, 1.0 - progress)
    return 1.0 if left >= warmdown else min_ratio + (1.0 - min_ratio) * left / warmdown


def qat_strength(progress: float, start: float, warmup: float) -> float:
    """How much of the rounding of weights is applied at this share of the run: 0, from `start` on in tenths over the
    share `warmup`, then 1."""
    if start >= 1.0 or progress < start:
        return 0.0
    return min(10, int(10 * (progress - start) / warmup) + 1) / 10 if warmup else 1.0
