"""How far a figure of some arms can be known from their seeds: paired by seed, else Welch; Holm over many arms.

Whatever is asked of the seeds is a function f of one figure per name: a mean is f = a, a difference f = a - b.

    paired     where all names share two seeds or more: f of each seed by itself, the mean of these n numbers,
               its standard error s / sqrt n, n - 1 degrees of freedom
    unpaired   else, where every name has two values: f of the means, with the error by the first-order rule,
               error^2 = sum_i (df / da_i)^2 s_i^2 / n_i, and Welch's (1947) degrees of freedom: his test, for a - b
    single seed   else: the number alone, which says nothing about chance

Seeds that not all names have are left out of a paired comparison.  Intervals are Student's t, 95 % unless said.  Over
m comparisons p values are adjusted by Holm (1979): the i-th smallest is multiplied by m - i + 1, and none is smaller
than one before it.  Errors: ArgumentError for a value that is no number.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from weightless.base.errors import ArgumentError
from weightless.lab.report.interval import satterthwaite, t_critical, two_sided
from weightless.study.cells import Evidence

ALPHA = 0.05
LOSSES = ("bits_per_byte", "nats_per_token", "val_loss")
"""Losses by which arms are compared, the first that all finished cells have."""

Samples = Mapping[str, Mapping[int, float]]
"""{name: {seed: value}}."""


@dataclass(frozen=True)
class Known:
    """A number with its standard `error` (None for a single seed) at `df` degrees of freedom.

    `pairs` seeds stand behind it where they pair, 0 where they do not; `counts` is how many values each name has.
    """

    value: float
    error: float | None
    df: float
    pairs: int
    counts: tuple[int, ...]

    def half(self, coverage: float = 1 - ALPHA) -> float | None:
        """Half-width of the interval; None for a single seed."""
        if self.error is None:
            return None
        return self.error * t_critical(self.df, coverage) if self.error else 0.0

    def p(self, bar: float = 0.0) -> float | None:
        """Two-sided: the chance of being so far from `bar`, were it the truth; None for a single seed."""
        if self.error is None:
            return None
        if self.error == 0:
            return 1.0 if self.value == bar else 0.0
        return max(0.0, 1.0 - two_sided(abs(self.value - bar) / self.error, self.df))

    @property
    def how(self) -> str:
        """How it is known, in words."""
        if self.error is None:
            return "single seed"
        if self.pairs and len(self.counts) == 1:
            return f"{self.pairs} seeds"
        if self.pairs:
            return f"paired over {self.pairs} seeds"
        return f"unpaired, {' and '.join(map(str, self.counts))} seeds"


def known(f: Callable[[Mapping[str, float]], float], samples: Samples) -> Known:
    """f of the samples, with its error; every name has one value at least, or ArgumentError says which has none."""
    _refuse(samples)
    shared = sorted(set.intersection(*(set(values) for values in samples.values())))
    counts = tuple(len(values) for values in samples.values())
    if len(shared) >= 2:
        found = [f({name: values[seed] for name, values in samples.items()}) for seed in shared]
        return _mean(found, len(shared), counts)
    means = {name: math.fsum(values.values()) / len(values) for name, values in samples.items()}
    if min(counts) < 2:
        if len(shared) == 1:  # the same seed on every side is the fairest number there is
            means = {name: values[shared[0]] for name, values in samples.items()}
        return Known(f(means), None, math.nan, 0, counts)
    parts = []
    for name, values in samples.items():
        variance = statistics.variance(values.values()) / len(values)
        parts.append((_slope(f, means, name) ** 2 * variance, len(values)))
    error, df = satterthwaite(parts)
    return Known(f(means), error, df, 0, counts)


def _refuse(samples: Samples) -> None:
    for name, values in samples.items():
        if not values:
            raise ArgumentError(f"{name} has no value to compare")
        for seed, value in values.items():
            if not math.isfinite(value):
                raise ArgumentError(
                    f"{name}, seed {seed}: {value} is no number to compare; a run that ends so has diverged and "
                    "should be recorded as such"
                )


def _mean(values: Sequence[float], pairs: int, counts: tuple[int, ...]) -> Known:
    error = math.sqrt(statistics.variance(values) / len(values))
    return Known(math.fsum(values) / len(values), error, len(values) - 1, pairs, counts)


def _slope(f: Callable[[Mapping[str, float]], float], at: Mapping[str, float], name: str) -> float:
    """df / d at[name] by central differences; exact but for rounding where f is linear."""
    step = 1e-6 * (abs(at[name]) or 1.0)
    high, low = (f({**at, name: at[name] + sign * step}) for sign in (1, -1))
    return (high - low) / (2 * step)


def mean(values: Mapping[int, float]) -> Known:
    """The mean over seeds."""
    return known(lambda at: at["it"], {"it": values}) if values else Known(math.nan, None, math.nan, 0, (0,))


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> Known:
    """Mean of `one` minus mean of `other`."""
    return known(lambda at: at["one"] - at["other"], {"one": one, "other": other})


def holm(ps: Iterable[float | None]) -> list[float | None]:
    """Adjusted p values in the order given; None (single seed) stays None and does not count among the m."""
    given = list(ps)
    order = sorted((p, i) for i, p in enumerate(given) if p is not None)
    adjusted: list[float | None] = [None] * len(given)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = largest
    return adjusted


@dataclass(frozen=True)
class Beside:
    """One arm beside the base: how far `apart` in `figure`, p adjusted over all arms, and the word for it."""

    arm: str
    base: str
    figure: str
    apart: Known
    adjusted: float | None

    @property
    def word(self) -> str:
        """lower, higher, not told apart, or single seed."""
        if self.adjusted is None:
            return "single seed"
        if self.adjusted >= ALPHA:
            return "not told apart"
        return "lower" if self.apart.value < 0 else "higher"


def beside(evidence: Evidence, bases: Mapping[str, str], figure: str) -> dict[str, Beside]:
    """Every arm of {arm: base} that has finished cells beside its base; Holm's m is all of these comparisons."""
    return _against({arm: evidence.values(arm, figure) for arm in evidence.arms()}, bases, figure)


def _against(samples: Samples, bases: Mapping[str, str], figure: str) -> dict[str, Beside]:
    apart = {
        arm: difference(values, samples[bases[arm]])
        for arm, values in samples.items()
        if values and arm in bases and arm != bases[arm] and samples[bases[arm]]
    }
    adjusted = holm(told.p() for told in apart.values())
    return {arm: Beside(arm, bases[arm], figure, told, p) for (arm, told), p in zip(apart.items(), adjusted)}


@dataclass(frozen=True)
class Ranking:
    """Arms by mean loss; `tied` are those that the first is not told apart from, `single` that it has one seed."""

    order: tuple[str, ...]
    tied: tuple[str, ...]
    single: bool

    @property
    def winner(self) -> str | None:
        """The one arm that is told apart from all others, or None."""
        return self.order[0] if len(self.order) > 1 and not self.tied and not self.single else None


def ranking(samples: Samples) -> Ranking:
    """Who is lowest, and who might be: arms that Holm's adjusted test does not tell apart from the lowest mean."""
    means = {arm: math.fsum(values.values()) / len(values) for arm, values in samples.items() if values}
    order = tuple(sorted(means, key=lambda arm: means[arm]))
    if not order:
        return Ranking((), (), True)
    others = _against(samples, dict.fromkeys(samples, order[0]), "").values()
    tied = tuple(b.arm for b in sorted(others, key=lambda b: means[b.arm]) if b.adjusted is None or b.adjusted >= ALPHA)
    return Ranking(order, tied, len(samples[order[0]]) < 2)


def loss_figure(evidence: Evidence) -> str:
    """The first of LOSSES that all finished cells have; bits_per_byte where there is none."""
    done = [cell for cell in evidence.cells if cell.is_done]
    return next((name for name in LOSSES if done and all(name in cell.figures for cell in done)), LOSSES[0])
