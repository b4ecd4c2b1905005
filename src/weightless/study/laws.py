"""Scaling laws: a loss that falls to a floor by a power of each thing that is scaled.

Hoffmann et al. (2022), "Training compute-optimal large language models", approach 3, with N parameters and D tokens:

    L(N, D) = E + A / N^alpha + B / D^beta
    minimise  sum_i Huber_delta( LSE(e, a - alpha log N_i, b - beta log D_i) - log L_i ),   delta = 1e-3

E, A, B are exp of e, a, b; LSE is log-sum-exp.  The same with one axis alone is L = E + B / D^beta.  Many starts are
refined at once by Levenberg's and Marquardt's steps with Huber's weights, which end where L-BFGS ends on this
objective (a test holds them together); the best end counts.

Bands are a bootstrap of residuals: losses are the fit's, times exp of residuals drawn anew (widened by
sqrt(n / (n - parameters)) for what fitting took from them), fitted again; a band is the middle 95 % of what these laws
say.  It knows nothing of a law that is wrong beyond the data, so `beyond` says how far a question lies outside.
Units: losses in any unit above zero, axes in any.  Errors: ConfigError for too few points, or too few distinct values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightless.base.errors import ConfigError

DELTA, STEPS, RESAMPLES, RESTARTS = 1e-3, 300, 200, 2
LEAST_DISTINCT = 3
EXPONENTS = (0.1, 0.3, 0.6, 1.2)
FLOORS = (0.2, 0.6, 0.95)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """What a law says at a point, the ends of its band, and how far outside the data that is ("" inside)."""

    value: float
    low: float
    high: float
    beyond: str


@dataclass(frozen=True)
class Law:
    """A fitted law over `axes`; `samples` are the parameters of the resampled laws, one a row, as `parameters` is.

    `parameters` are e and then (log coefficient, exponent) of each axis, counted from the logarithm at its `centre`.
    """

    axes: tuple[str, ...]
    parameters: Array
    samples: Array
    centre: Array
    ends: Mapping[str, tuple[float, float]]
    n: int
    error: float

    @property
    def floor(self) -> float:
        """E."""
        return float(np.exp(self.parameters[0]))

    def exponent(self, axis: str) -> tuple[float, float, float]:
        """The exponent of an axis with the ends of its band."""
        column = 2 + 2 * self.axes.index(axis)
        low, high = np.quantile(self.samples[:, column], (0.025, 0.975))
        return float(self.parameters[column]), float(low), float(high)

    def coefficient(self, axis: str) -> float:
        """A or B."""
        i = self.axes.index(axis)
        a, power = self.parameters[1 + 2 * i : 3 + 2 * i]
        return float(np.exp(a + power * self.centre[i]))

    def floor_band(self) -> tuple[float, float]:
        """The ends of E's band."""
        low, high = np.quantile(np.exp(self.samples[:, 0]), (0.025, 0.975))
        return float(low), float(high)

    def at(self, **where: float) -> Asked:
        """The loss at a point, such as law.at(parameters=1e6, tokens=1e8)."""
        x = np.array([[np.log(where[axis]) for axis in self.axes]]) - self.centre
        told = np.exp(_log_loss(self.parameters[None], x))[0, 0]
        low, high = np.quantile(np.exp(_log_loss(self.samples, x)), (0.025, 0.975))
        return Asked(float(told), float(low), float(high), self.beyond(**where))

    def beyond(self, **where: float) -> str:
        """How many times outside the data a point lies, by axis; empty inside."""
        told = []
        for axis in self.axes:
            low, high = self.ends[axis]
            if where[axis] > high * (1 + 1e-9):
                told.append(f"{where[axis] / high:.3g} times the largest {axis}")
            elif where[axis] < low * (1 - 1e-9):
                told.append(f"{low / where[axis]:.3g} times below the smallest {axis}")
        return "beyond the data: " + ", ".join(told) if told else ""


def fit(losses: Sequence[float], axes: Mapping[str, Sequence[float]], seed: int = 0) -> Law:
    """The law of `losses` over {axis: values}, points in the same order; deterministic for a seed."""
    names = tuple(axes)
    y = np.log(np.asarray(losses, dtype=np.float64))
    raw = np.log(np.asarray([axes[name] for name in names], dtype=np.float64)).T
    _refuse(y, raw, names)
    centre = raw.mean(axis=0)
    x = raw - centre
    starts = _starts(y, x)
    ends, costs = _refined(starts, x, np.broadcast_to(y, (len(starts), len(y))))
    best = ends[np.argmin(costs)]
    predicted = _log_loss(best[None], x)[0]
    residuals = y - predicted
    rng = np.random.default_rng(seed)
    wider = np.sqrt(len(y) / max(len(y) - len(best), 1))
    drawn = predicted + wider * rng.choice(residuals - residuals.mean(), (RESAMPLES, len(y)))
    samples = _resampled(best, ends[np.argsort(costs)[:RESTARTS]], x, drawn)
    limits = {name: (float(min(axes[name])), float(max(axes[name]))) for name in names}
    return Law(names, best, samples, centre, limits, len(y), float(np.sqrt(np.mean(residuals**2))))


def _refuse(y: Array, raw: Array, names: Sequence[str]) -> None:
    if not (np.isfinite(y).all() and np.isfinite(raw).all()):
        raise ConfigError("a law is fitted to finite losses and sizes above zero: leave out what diverged")
    needed = 2 * len(names) + 2
    if len(y) < needed:
        raise ConfigError(
            f"{len(y)} points are too few for a law over {' and '.join(names)}: it has {needed - 1} parameters and "
            f"needs {needed} points or more"
        )
    for name, column in zip(names, raw.T):
        if (distinct := len(np.unique(column.round(9)))) < LEAST_DISTINCT:
            raise ConfigError(
                f"{distinct} distinct {name} are too few for a power of it and a floor: {LEAST_DISTINCT} are needed"
            )


def _starts(y: Array, x: Array) -> Array:
    """A grid of floors and exponents, coefficients such that the middle of the data is met."""
    found = []
    least, middle = float(y.min()), float(np.exp(y).mean())
    n_axes = x.shape[1]
    for floor in FLOORS:
        e = least + np.log(floor)
        share = np.log(max(middle - np.exp(e), 1e-3 * middle) / n_axes)
        for powers in np.stack(np.meshgrid(*[EXPONENTS] * n_axes), axis=-1).reshape(-1, n_axes):
            found.append([e, *(v for power in powers for v in (share, power))])
    return np.array(found)


def _terms(theta: Array, x: Array) -> Array:
    """Logs of the terms, (laws, points, 1 + axes): e, and a - power * x of each axis."""
    logs = theta[:, None, 1::2] - theta[:, None, 2::2] * x[None]
    return np.concatenate([np.broadcast_to(theta[:, None, :1], (*logs.shape[:2], 1)), logs], axis=2)


def _log_loss(theta: Array, x: Array) -> Array:
    """log L of each law (rows of theta) at each point."""
    return np.logaddexp.reduce(_terms(theta, x), axis=2)


def _cost(residual: Array) -> Array:
    """Huber's loss summed over the points of each law."""
    size = np.abs(residual)
    return np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)).sum(axis=1)


def _refined(theta: Array, x: Array, y: Array, enough: float = 1e-12) -> tuple[Array, Array]:
    """Each law refined against its own row of y until a step lowers its cost by no more than `enough` of it.

    A step that does not lower the cost is damped and tried again.
    """
    theta = theta.copy()
    cost = _cost(_log_loss(theta, x) - y)
    damping = np.full(len(theta), 1e-3)
    live = np.arange(len(theta))
    for _ in range(STEPS):
        tried = theta[live] - _step(theta[live], x, y[live], damping[live])
        lower = _cost(_log_loss(tried, x) - y[live])
        gain = cost[live] - lower
        better = gain > 0
        theta[live[better]], cost[live[better]] = tried[better], lower[better]
        damping[live] = np.clip(np.where(better, damping[live] / 3, damping[live] * 4), 1e-12, 1e12)
        ended = np.where(better, gain <= enough * lower, damping[live] >= 1e9)
        live = live[~ended]
        if not len(live):
            break
    return theta, cost


def _step(theta: Array, x: Array, y: Array, damping: Array) -> Array:
    """(J^T W J + damping diag)^-1 J^T W r with Huber's weights W = min(1, delta / |r|)."""
    terms = _terms(theta, x)
    total = np.logaddexp.reduce(terms, axis=2)
    residual = total - y
    share = np.exp(terms - total[..., None])
    jacobian = np.empty((*total.shape, theta.shape[1]))
    jacobian[..., 0] = share[..., 0]
    jacobian[..., 1::2] = share[..., 1:]
    jacobian[..., 2::2] = -share[..., 1:] * x[None]
    weight = np.minimum(1.0, DELTA / np.maximum(np.abs(residual), 1e-300))
    weighted = jacobian * weight[..., None]
    square = np.swapaxes(weighted, 1, 2) @ jacobian
    diagonal = np.einsum("lii->li", square)
    diagonal += damping[:, None] * (diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300)
    return np.linalg.solve(square, np.einsum("lpk,lp->lk", weighted, residual)[..., None])[..., 0]


def _resampled(best: Array, starts: Array, x: Array, drawn: Array) -> Array:
    """The best refit of each row of drawn losses, from the best law and from some other ends."""
    begin = np.concatenate([best[None], starts[1:]])
    theta = np.tile(begin, (len(drawn), 1))
    ends, costs = _refined(theta, x, np.repeat(drawn, len(begin), axis=0), 1e-5)
    chosen = costs.reshape(len(drawn), -1).argmin(axis=1)
    return ends.reshape(len(drawn), len(begin), -1)[np.arange(len(drawn)), chosen]
