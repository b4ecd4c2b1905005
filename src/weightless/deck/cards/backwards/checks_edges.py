"""Widths of one, rows without variance, rows far from zero, inputs that must survive, and what it costs."""

from __future__ import annotations

import numpy as np

from weightless.deck.bench import Bench, Worker
from weightless.deck.cards.backwards.truth import (
    NAMES,
    Given,
    backwards,
    both_ways,
    by_jacobian,
    drawn,
    forwards,
    hold_to_truth,
)
from weightless.deck.comparing import array_of, close
from weightless.deck.costs import Ask, memory_beside, seconds_beside
from weightless.deck.outcome import Failed

EPS = 1e-5


def sizes_of_one(bench: Bench) -> None:
    """B, T or D of one; with D = 1 every row is its own mean: y = beta and dx = 0."""
    with bench.solution() as worker:
        for shape in ((1, 1, 7), (4, 1, 3), (1, 6, 2), (3, 2, 1)):
            hold_to_truth(worker, drawn(bench.rng, *shape), EPS, f"of {shape}", factor=1000.0)


def constant_rows(bench: Bench) -> None:
    """Variance zero beside ordinary rows: y = beta there, and nothing is NaN."""
    x, gamma, beta, dy = drawn(bench.rng, 2, 3, 16)
    x[0, 1], x[1, 2] = 7.25, 0.0
    with bench.solution() as worker:
        hold_to_truth(worker, (x, gamma, beta, dy), EPS, "with constant rows")


def gamma_of_zeros(bench: Bench) -> None:
    """No gradient passes to x, and dgamma is what it is."""
    x, gamma, beta, dy = drawn(bench.rng, 2, 3, 9)
    with bench.solution() as worker:
        hold_to_truth(worker, (x, gamma * 0, beta, dy), EPS, "with gamma = 0")


def far_from_zero(bench: Bench) -> None:
    """float64 rows around 1e6: E[x^2] - E[x]^2 has lost twelve of its sixteen digits there, two passes have not."""
    x, gamma, beta, dy = drawn(bench.rng, 2, 3, 64)
    with bench.solution() as worker:
        hold_to_truth(worker, (x + 1e6, gamma, beta, dy), EPS, "around 1e6", offset=1e6, factor=1000.0)


def far_from_zero_in_single(bench: Bench) -> None:
    """float32 rows around 1e4, where the difference of squares is noise, or negative and NaN under the root."""
    x, gamma, beta, dy = drawn(bench.rng, 2, 3, 64)
    given = (x + 1e4).astype(np.float32), gamma.astype(np.float32), beta.astype(np.float32), dy.astype(np.float32)
    with bench.solution() as worker:
        hold_to_truth(worker, given, EPS, "around 1e4 in float32", offset=1e4, factor=30.0)


def tiny_rows(bench: Bench) -> None:
    """x of 1e-20: eps wins, y - beta is x / sqrt(eps) to all digits."""
    x, gamma, beta, dy = drawn(bench.rng, 2, 3, 32)
    with bench.solution() as worker:
        hold_to_truth(worker, (x * 1e-20, gamma, beta * 0, dy), EPS, "of size 1e-20")


def huge_rows(bench: Bench) -> None:
    """x of 1e150: squares still fit, fourth powers do not; dx is of size 1e-150 and not zero."""
    x, gamma, beta, dy = drawn(bench.rng, 2, 3, 32)
    with bench.solution() as worker:
        hold_to_truth(worker, (x * 1e150, gamma, beta, dy), EPS, "of size 1e150")


def strided(bench: Bench) -> None:
    """Arrays that are every second element of larger ones give what contiguous ones give."""
    given = drawn(bench.rng, 3, 4, 11)
    with bench.solution() as worker:
        x, gamma, beta, dy = (worker.hold(part, strided=True) for part in given)
        found = both_ways(worker, x, gamma, beta, dy, EPS)
    for name, one, right in zip(NAMES, found, by_jacobian(*given, EPS)):
        close(one, right, f"{name} of strided arrays", factor=100.0, terms=12)


def inputs_survive(bench: Bench) -> None:
    """Nothing that is handed over is written to."""
    given = drawn(bench.rng, 2, 3, 9)
    with bench.solution() as worker:
        held = x, gamma, beta, dy = tuple(worker.hold(part) for part in given)
        both_ways(worker, x, gamma, beta, dy, EPS)
        after = [worker.read(handle) for handle in held]
    for name, before, now in zip(("x", "gamma", "beta", "dy"), given, after):
        if not np.array_equal(array_of(now, before.shape, before.dtype, name), before):
            raise Failed("WRONG_NUMERIC", f"{name} was written to: it is another array after the call")


def a_cache_lasts(bench: Bench) -> None:
    """The backward pass may be taken twice from one cache, and says the same."""
    x, gamma, beta, dy = drawn(bench.rng, 2, 3, 9)
    with bench.solution() as worker:
        _, cache = forwards(worker, x, gamma, beta, EPS)
        backwards(worker, dy, cache)
        found = backwards(worker, dy, cache)
    for name, one, right in zip(NAMES[1:], found, by_jacobian(x, gamma, beta, dy, EPS)[1:]):
        close(one, right, f"{name} taken a second time", factor=100.0, terms=9)


def memory(bench: Bench) -> None:
    """A few arrays of the size of x at once, no D x D matrix for every row."""
    small, large = drawn(bench.rng, 2, 2, 8), drawn(bench.rng, 4, 16, 512)

    def ask(given: Given) -> Ask:
        return lambda worker: both_ways(worker, *given, EPS)

    memory_beside(bench, "4 x 16 rows of 512", ask(small), ask(large), 12 * large[0].nbytes + 4_000_000)


def speed(bench: Bench) -> None:
    """No loop over elements: within ten times our processor time, and a quarter of a second."""
    given = drawn(bench.rng, 8, 64, 256)

    def ask(worker: Worker) -> None:
        _, cache = forwards(worker, *given[:3], EPS)
        backwards(worker, given[3], cache)

    seconds_beside(bench, "8 x 64 rows of 256", ask, 10, 0.25, warm=ask)
