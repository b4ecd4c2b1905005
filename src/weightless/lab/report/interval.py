"""Mean over seeds with the half-width of its 95 % Student t interval, in closed form (no scipy).

Two samples without pairs, x and y: Welch's (1947) interval of the difference of their means.  With
a = var(x) / n_x and b = var(y) / n_y it is mean x - mean y ± t(df) sqrt(a + b), where
df = (a + b)^2 / (a^2 / (n_x - 1) + b^2 / (n_y - 1)), which is at least the smaller of n_x - 1 and n_y - 1.

The same numbers as a test: `welch` gives the chance of such a lead, had one side gained no more than a bar.

For n degrees of freedom and theta = atan(t / sqrt n), A(t | n) = P(|T| < t) is a finite sum of powers of
cos theta (Abramowitz and Stegun 26.7.3 and 26.7.4); the quantile is found by bisection.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weightless.base.errors import ArgumentError, WeightlessError

SIMPSON_STEPS = 4096


@dataclass(frozen=True)
class Estimate:
    """`mean` over the `n` finite values (NaN when none); `half` is None with fewer than two of them."""

    mean: float
    half: float | None
    n: int

    @property
    def known(self) -> bool:
        """At least one finite value stands behind the mean."""
        return self.n > 0

    @property
    def reach(self) -> float:
        """The half-width, 0 when there is none."""
        return self.half or 0.0


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and 95 % half-width of the finite values."""
    kept = [float(v) for v in values if math.isfinite(v)]
    if not kept:
        return Estimate(math.nan, None, 0)
    n = len(kept)
    mean = math.fsum(kept) / n
    if n == 1:
        return Estimate(mean, None, 1)
    variance = math.fsum((v - mean) ** 2 for v in kept) / (n - 1)
    return Estimate(mean, t_critical(n - 1) * math.sqrt(variance / n), n)


def unpaired(one: Iterable[float], other: Iterable[float]) -> Estimate:
    """Mean of `one` minus mean of `other` with Welch's half-width; None for it with fewer than two values in either.

    `n` counts the finite values of both.
    """
    samples = [[float(v) for v in values if math.isfinite(v)] for values in (one, other)]
    x, y = (estimate(sample) for sample in samples)
    mean, n = x.mean - y.mean, x.n + y.n
    if min(x.n, y.n) < 2:
        return Estimate(mean, None, n)
    error, df = satterthwaite([(statistics.variance(sample) / len(sample), len(sample)) for sample in samples])
    return Estimate(mean, t_critical(df) * error if error else 0.0, n)


def satterthwaite(parts: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Standard error of a sum of independent parts (variance of its mean, how many values), and Welch's df for it.

    df = (sum v)^2 / sum(v^2 / (n - 1)), which is at least the least n - 1; NaN where nothing varies.
    """
    total = math.fsum(v for v, _ in parts)
    if total == 0:
        return 0.0, math.nan
    df = 1 / math.fsum((v / total) ** 2 / (n - 1) for v, n in parts)
    return math.sqrt(total), max(df, min(n for v, n in parts if v > 0) - 1)


@dataclass(frozen=True)
class Welch:
    """`t`, `df` and one-sided `p` of "A is lower than B by more than the bar"."""

    difference: float
    error: float
    t: float
    df: float
    p: float


def welch(x: Sequence[float], y: Sequence[float], bar: float = 0.0) -> Welch:
    """The test of mean(y) - mean(x) > bar; WeightlessError with fewer than two values on a side."""
    if min(len(x), len(y)) < 2:
        raise WeightlessError(
            f"{len(x)} and {len(y)} scores: each side needs two seeds or more, because one has no spread to test by"
        )
    error, df = satterthwaite([(statistics.variance(values) / len(values), len(values)) for values in (x, y)])
    difference = statistics.fmean(y) - statistics.fmean(x)
    if error == 0:
        gain = difference - bar
        return Welch(
            difference, 0.0, math.copysign(math.inf, gain) if gain else 0.0, math.nan, 0.0 if gain > 0 else 1.0
        )
    t = (difference - bar) / error
    tail = (1 - two_sided(abs(t), df)) / 2
    return Welch(difference, error, t, df, tail if t >= 0 else 1 - tail)


def t_critical(df: float, coverage: float = 0.95) -> float:
    """The t with P(|T| < t) = coverage at `df` degrees of freedom."""
    low, high = 0.0, 1.0
    while two_sided(high, df) < coverage:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, df) < coverage else (low, middle)
    return (low + high) / 2


def two_sided(t: float, df: float) -> float:
    """A(t | df) = P(|T| < t) for Student's T; t at least 0, df at least 1 and perhaps no whole number (Welch's)."""
    if not (t >= 0 and df >= 1):
        raise ArgumentError(f"t = {t} should be at least 0, and df = {df} at least 1")
    if df != int(df):
        return _by_quadrature(t, df)
    df = int(df)
    theta = math.atan(t / math.sqrt(df))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = df % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(2 if odd else 1, df, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (theta + sine * total) if odd else sine * total


def _by_quadrature(t: float, df: float) -> float:
    """The same for a fractional df: t = sqrt(df) tan(a) makes the density a power of cos a on [0, atan(t / sqrt(df))].

    Simpson's rule; the integrand is smooth except at pi / 2, where it vanishes like a power of df - 1 > 0.
    """
    end = math.atan(t / math.sqrt(df))
    h = end / SIMPSON_STEPS
    values = [max(0.0, math.cos(i * h)) ** (df - 1) for i in range(SIMPSON_STEPS + 1)]
    area = h / 3 * (values[0] + values[-1] + 4 * math.fsum(values[1:-1:2]) + 2 * math.fsum(values[2:-1:2]))
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) * 2 / math.sqrt(math.pi)
    return min(1.0, scale * area)
