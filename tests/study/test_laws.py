"""Oracles: planted laws, the same objective minimised by torch's L-BFGS, crossings and fronts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from weightless.base.errors import ConfigError
from weightless.study.fronts import crossing, standings
from weightless.study.laws import DELTA, fit

N, D = (grid.ravel() for grid in np.meshgrid([1e5, 3e5, 1e6, 3e6], [1e6, 1e7, 1e8]))
TRUE = 1.2 + 400 / N**0.5 + 30 / D**0.3


def test_a_law_without_noise_is_found():
    """Levenberg-Marquardt ends at rounding where the residuals are zero."""
    law = fit(TRUE, {"parameters": N, "tokens": D})
    found = (law.floor, law.coefficient("parameters"), law.exponent("parameters")[0], law.exponent("tokens")[0])
    assert found == pytest.approx((1.2, 400, 0.5, 0.3), rel=1e-6)
    asked = law.at(parameters=1e7, tokens=1e8)
    assert asked.value == pytest.approx(1.2 + 400 / 1e7**0.5 + 30 / 1e8**0.3, rel=1e-6)
    assert asked.beyond == "beyond the data: 3.33 times the largest parameters"
    assert law.at(parameters=1e6, tokens=2e6).beyond == ""
    assert law.beyond(parameters=5e4, tokens=1e8) == "beyond the data: 2 times below the smallest parameters"


def test_bands_hold_the_truth_and_the_minimum_is_that_of_lbfgs():
    import torch

    losses = TRUE * np.exp(np.random.default_rng(5).normal(0, 0.004, len(TRUE)))
    law = fit(losses, {"parameters": N, "tokens": D})
    assert law.exponent("parameters")[1] < 0.5 < law.exponent("parameters")[2]
    assert law.floor_band()[0] < 1.2 < law.floor_band()[1]
    asked = law.at(parameters=1e6, tokens=1e7)
    assert asked.low < 1.2 + 400 / 1e6**0.5 + 30 / 1e7**0.3 < asked.high
    y, x = torch.tensor(np.log(losses)), torch.tensor(np.stack([np.log(N), np.log(D)], 1) - law.centre)

    def cost(t):
        terms = [t[0].expand(len(y)), t[1] - t[2] * x[:, 0], t[3] - t[4] * x[:, 1]]
        residual = torch.stack(terms, 1).logsumexp(1) - y
        return torch.nn.functional.huber_loss(residual, torch.zeros_like(y), reduction="sum", delta=DELTA)

    begin = torch.tensor(law.parameters + 0.01, requires_grad=True)
    search = torch.optim.LBFGS(
        [begin], max_iter=40, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure():
        search.zero_grad()
        value = cost(begin)
        value.backward()
        return value

    search.step(closure)
    assert cost(torch.tensor(law.parameters)).item() <= cost(begin.detach()).item() * (1 + 1e-6)


def test_one_axis_alone():
    """Noise of one part in a million: the exponent is good to three figures."""
    losses = [(0.8 + 20 / d**0.4) * (1 + 1e-6 * (-1) ** i) for i, d in enumerate([1e3, 1e4, 1e5, 1e6, 1e7])]
    law = fit(losses, {"tokens": [1e3, 1e4, 1e5, 1e6, 1e7]})
    assert (law.floor, law.exponent("tokens")[0]) == pytest.approx((0.8, 0.4), rel=1e-3)


@pytest.mark.parametrize(
    "losses, axes, told",
    [
        (TRUE[:5], {"parameters": N[:5], "tokens": D[:5]}, "5 points are too few.*needs 6"),
        ([2, 1.5, 1.2], {"tokens": [1, 2, 3]}, "needs 4"),
        ([2, 1.5, 1.2, 1.1], {"tokens": [1, 2, 2, 1]}, "2 distinct tokens are too few.*3"),
        ([2, 1.5, math.inf, 1.1], {"tokens": [1, 2, 3, 4]}, "diverged"),
    ],
)
def test_too_little_is_refused_with_what_is_needed(losses, axes, told):
    with pytest.raises(ConfigError, match=told):
        fit(losses, axes)


def test_a_curve_overtakes_a_level():
    """From 3.0 at 1 s to 1.0 at 100 s, straight over log x, meets 2.0 at 10 s; two seeds a factor of 4 apart."""
    table = {0: [(0.5, 2.0)]}
    assert crossing({0: [(1, 3.0), (100, 1.0)]}, table).x == pytest.approx(10)
    both = crossing({0: [(0.5, 3.0), (50, 1.0)], 1: [(2, 3.0), (200, 1.0)]}, table)
    assert both.x == pytest.approx(10) and both.n == both.of == 2
    assert both.high / both.x == pytest.approx(math.exp(12.706204736432095 * math.log(2)), rel=1e-6)
    never = crossing({0: [(1, 3.0), (100, 2.5)]}, table)
    assert (never.x, never.n, never.of, never.until) == (None, 0, 1, 100)
    back = crossing({0: [(1, 1.5), (10, 2.5), (1000, 1.5)]}, table)
    assert back.x == pytest.approx(100), "only from where it stays ahead"


def test_the_front_by_hand():
    losses = {"a": {0: 2.0, 1: 2.1}, "b": {0: 1.0, 1: 1.1}, "c": {0: 1.5, 1: 1.6001}, "d": {0: 1.2, 1: 0.95}}
    found = standings(losses, {"a": 1.0, "b": 10.0, "c": 20.0, "d": 20.0})
    assert {arm: s.word for arm, s in found.items()} == {
        "a": "on the front",
        "b": "on the front",
        "c": "behind b",
        "d": "not told apart from b",
    }
