"""Where one curve overtakes another, and which arms nothing beats in loss with as few bytes; both with their chance.

A crossing is the x from which on `one` lies at or below `other` at every later measurement, found between two points
by a straight line over log x; a curve of one point is a level from there on, which is what a model counted in one pass
is.  Over seeds: the mean and t interval of log x.  Seeds that never cross are counted and not averaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weightless.lab.report.interval import estimate
from weightless.study.statistics import ALPHA, Samples, difference, holm

Curve = Sequence[tuple[float, float]]
"""(x, loss), x above zero."""


@dataclass(frozen=True)
class Crossing:
    """At `x`, between `low` and `high` (None for a single seed): `n` seeds of `of` cross, measured up to `until`."""

    x: float | None
    low: float | None
    high: float | None
    n: int
    of: int
    until: float


def crossing(one: Mapping[int, Curve], other: Mapping[int, Curve]) -> Crossing:
    """Where `one` overtakes `other`, seed by seed; a seed that `other` lacks is held to its first."""
    found, until = [], []
    for seed, curve in one.items():
        rival = other.get(seed) or next(iter(other.values()), ())
        if curve and rival:
            found.append(_overtakes(sorted(curve), sorted(rival)))
            until.append(max(x for x, _ in curve))
    logs = [math.log(x) for x in found if x is not None]
    end = max(until, default=math.nan)
    if not logs:
        return Crossing(None, None, None, 0, len(found), end)
    mean = estimate(logs)
    if mean.half is None:
        return Crossing(math.exp(mean.mean), None, None, 1, len(found), end)
    low, high = (math.exp(mean.mean + sign * mean.half) for sign in (-1, 1))
    return Crossing(math.exp(mean.mean), low, high, len(logs), len(found), end)


def _overtakes(one: Curve, other: Curve) -> float | None:
    xs = sorted({x for x, _ in (*one, *other) if x >= max(one[0][0], other[0][0]) and x <= one[-1][0]})
    if not xs:
        return None
    gaps = [_height(one, x) - _height(other, x) for x in xs]
    above = [i for i, gap in enumerate(gaps) if not gap <= 0]
    if not above:
        return xs[0]
    i = above[-1]
    if i == len(xs) - 1 or not math.isfinite(gaps[i]):
        return None if i == len(xs) - 1 else xs[i + 1]
    share = gaps[i] / (gaps[i] - gaps[i + 1])
    return math.exp(math.log(xs[i]) + share * (math.log(xs[i + 1]) - math.log(xs[i])))


def _height(curve: Curve, x: float) -> float:
    """The loss at x: straight over log x, the last one beyond the end."""
    return float(np.interp(math.log(x), [math.log(a) for a, _ in curve], [b for _, b in curve]))


@dataclass(frozen=True)
class Standing:
    """Whether an arm is on the front; `rival` is who is in front of it, `told_apart` whether the seeds say so."""

    rival: str | None
    told_apart: bool

    @property
    def word(self) -> str:
        """on the front, behind X, or not told apart from X."""
        if self.rival is None:
            return "on the front"
        return f"behind {self.rival}" if self.told_apart else f"not told apart from {self.rival}"


def standings(losses: Samples, sizes: Mapping[str, float]) -> dict[str, Standing]:
    """Of every arm that has losses and a size: who has a lower mean loss with no more bytes, beyond chance (Holm)."""
    known = {arm: values for arm, values in losses.items() if values and arm in sizes}
    means = {arm: math.fsum(values.values()) / len(values) for arm, values in known.items()}
    rivals = {}
    for arm in known:
        ahead = [
            other
            for other in known
            if (sizes[other], means[other]) != (sizes[arm], means[arm])
            and sizes[other] <= sizes[arm]
            and means[other] <= means[arm]
        ]
        rivals[arm] = min(ahead, key=lambda other: means[other]) if ahead else None
    pairs = [(arm, rival) for arm, rival in rivals.items() if rival is not None]
    adjusted = holm(difference(known[arm], known[rival]).p() for arm, rival in pairs)
    apart = {arm for (arm, _), p in zip(pairs, adjusted) if p is not None and p < ALPHA}
    return {arm: Standing(rival, arm in apart) for arm, rival in rivals.items()}
