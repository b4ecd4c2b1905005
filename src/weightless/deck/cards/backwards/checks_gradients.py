"""Contract, the prompt's own tests, and what every right layer norm does on inputs drawn anew."""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.deck.bench import Bench
from weightless.deck.cards.backwards.truth import (
    NAMES,
    backwards,
    both_ways,
    by_jacobian,
    drawn,
    forwards,
    hold_to_truth,
)
from weightless.deck.comparing import array_of, close
from weightless.deck.outcome import Failed

EPS = 1e-5


def answers(bench: Bench) -> None:
    """y and dx as x, dgamma and dbeta as gamma; gradient_check one number; eps may be left out."""
    given = drawn(bench.rng, 2, 3, 8)
    with bench.solution() as worker:
        found = both_ways(worker, *given, EPS)
        worker.make("layer_norm_forward", *given[:3])
        _number(worker.call("gradient_check", *drawn(bench.rng, 1, 1, 3), EPS))
    for name, one, shape in zip(NAMES, found, ((2, 3, 8), (2, 3, 8), (8,), (8,))):
        array_of(one, shape, np.float64, name)


def default_eps(bench: Bench) -> None:
    """Where it is left out, eps is 1e-5."""
    x, gamma, beta, _ = drawn(bench.rng, 1, 2, 6)
    x *= 3e-3  # where eps matters
    with bench.solution() as worker:
        y = worker.read(worker.take(worker.make("layer_norm_forward", x, gamma, beta), 0))
    close(y, by_jacobian(x, gamma, beta, x, EPS)[0], "y without eps given", factor=100.0, terms=6)


def central_differences(bench: Bench) -> None:
    """Differences of the definition, h = 1e-5 in float64, in every entry: they err by about 1e-10, 1e-7 is asked."""
    x, gamma, beta, dy = drawn(bench.rng, 2, 3, 5)
    with bench.solution() as worker:
        found = both_ways(worker, x, gamma, beta, dy, EPS)[1:]
    for which, (name, one) in enumerate(zip(NAMES[1:], found)):
        wanted = np.empty_like((x, gamma, beta)[which])
        for at in np.ndindex(wanted.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [value.copy() for value in (x, gamma, beta)]
                moved[which][at] += step
                ends.append(float((_defined(*moved) * dy).sum()))
            wanted[at] = (ends[0] - ends[1]) / 2e-5
        array_of(one, wanted.shape, np.float64, name)
        if not (error := np.abs(one - wanted).max() / np.abs(wanted).max()) <= 1e-7:
            raise Failed("WRONG_NUMERIC", f"{name}: off by {error:.2g} from central differences, allowed 1e-07")


def _defined(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS) + beta


def its_check_accepts(bench: Bench) -> None:
    """The solution's gradient check finds its own gradients right, and ours."""
    x, gamma, beta, dy = drawn(bench.rng, 1, 2, 5)
    with bench.solution() as worker:
        found = {
            "its own gradients": worker.call("gradient_check", x, gamma, beta, dy, EPS),
            "right ones": worker.call("gradient_check", x, gamma, beta, dy, EPS, _forward, _backward_with("nothing")),
        }
    for whose, error in found.items():
        if not 0 <= _number(error) <= 1e-6:
            raise Failed("WRONG_NUMERIC", f"gradient_check of {whose}: {error:.2g}, and it should be below 1e-06")


def its_check_refuses(bench: Bench) -> None:
    """It sees a missing mean term, a missing xhat term, half of dgamma, dbeta of one row short."""
    x, gamma, beta, dy = drawn(bench.rng, 1, 3, 5)
    with bench.solution() as worker:
        for mistake in ("no mean term", "no xhat term", "half of dgamma", "dbeta without a row"):
            given = (x, gamma, beta, dy, EPS, _forward, _backward_with(mistake))
            if not _number(error := worker.call("gradient_check", *given)) >= 1e-3:
                told = f"gradient_check says {error:.2g} of a backward pass with {mistake}"
                raise Failed("WRONG_NUMERIC", f"{told}; it should see more than 0.001")


def _number(found: Any) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise Failed("WRONG_SHAPE", f"gradient_check returned a {type(found).__name__}, not one number")
    return found


def _forward(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float) -> tuple[Any, Any]:
    centred = x - x.mean(-1, keepdims=True)
    r = 1 / np.sqrt(np.square(centred).mean(-1, keepdims=True) + eps)
    return gamma * centred * r + beta, [centred * r, r, gamma]


def _backward_with(mistake: str) -> Any:
    def backward(dy: np.ndarray, cache: Any) -> tuple[Any, Any, Any]:
        xhat, r, gamma = cache
        g = dy * gamma
        mean = 0 if mistake == "no mean term" else g.mean(-1, keepdims=True)
        along = 0 if mistake == "no xhat term" else xhat * (g * xhat).mean(-1, keepdims=True)
        rows = dy[:, 1:] if mistake == "dbeta without a row" else dy
        half = 0.5 if mistake == "half of dgamma" else 1.0
        return r * (g - mean - along), half * (dy * xhat).sum((0, 1)), rows.sum((0, 1))

    return backward


def truth_in_double(bench: Bench) -> None:
    """Odd shapes, float64, against the full Jacobian."""
    with bench.solution() as worker:
        for shape in ((3, 5, 77), (1, 7, 33), (int(bench.rng.integers(1, 5)), 2, int(bench.rng.integers(4, 40)))):
            hold_to_truth(worker, drawn(bench.rng, *shape), EPS, f"of {shape}")


def truth_in_single(bench: Bench) -> None:
    """float32 in, float32 out."""
    with bench.solution() as worker:
        for shape in ((3, 5, 77), (2, 3, 130)):
            hold_to_truth(worker, drawn(bench.rng, *shape, dtype=np.float32), EPS, f"of {shape} in float32")


def large_eps(bench: Bench) -> None:
    """eps = 0.3 beside a variance near 1: where it stands shows in the first digit."""
    with bench.solution() as worker:
        hold_to_truth(worker, drawn(bench.rng, 2, 3, 21), 0.3, "with eps = 0.3")


def linear(bench: Bench) -> None:
    """2 f(a) - 3 f(b) = f(2 a - 3 b), all from one cache."""
    x, gamma, beta, a = drawn(bench.rng, 2, 5, 33)
    b = bench.rng.standard_normal(x.shape)
    with bench.solution() as worker:
        _, cache = forwards(worker, x, gamma, beta, EPS)
        one, two, both = (backwards(worker, dy, cache) for dy in (a, b, 2 * a - 3 * b))
    for name, p, q, r in zip(NAMES[1:], one, two, both):
        shape = x.shape if name == "dx" else gamma.shape
        p, q = (array_of(part, shape, np.float64, name) for part in (p, q))
        close(r, 2 * p - 3 * q, f"{name} of 2 a - 3 b", factor=100.0, terms=33)


def rows_of_dx_sum_to_zero(bench: Bench) -> None:
    """Moving a whole row changes nothing, so no gradient lies along (1, ..., 1)."""
    given = drawn(bench.rng, 2, 5, 33)
    with bench.solution() as worker:
        dx = array_of(both_ways(worker, *given, EPS)[1], (2, 5, 33), np.float64, "dx")
    size = np.abs(dx).max()
    if not size > 0 or not np.abs(dx.sum(-1)).max() <= 1e-12 * size:
        raise Failed("WRONG_NUMERIC", f"rows of dx add up to as much as {np.abs(dx.sum(-1)).max():.2g}, not to zero")


def caches_keep_apart(bench: Bench) -> None:
    """Two forward passes, then the backward pass of the first: what is kept belongs to its cache."""
    first, second = drawn(bench.rng, 2, 3, 9), drawn(bench.rng, 2, 3, 9)
    with bench.solution() as worker:
        _, cache = forwards(worker, *first[:3], EPS)
        forwards(worker, *second[:3], EPS)
        found = backwards(worker, first[3], cache)
    for name, one, right in zip(NAMES[1:], found, by_jacobian(*first, EPS)[1:]):
        close(one, right, f"{name} after another forward pass", factor=100.0, terms=9)
