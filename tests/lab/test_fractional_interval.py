"""Student's t with a fractional number of degrees of freedom.

Oracle: the density integrated by hand with small steps of t, and the closed form on both sides of a whole number.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from weightless.base.errors import ArgumentError
from weightless.lab.report.interval import two_sided


@pytest.mark.parametrize("t, df", [(11.834, 3.306), (0.5, 1.5), (2.0, 17.25), (0.0, 2.5)])
def test_it_is_the_integral_of_the_density(t, df):
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
    x = (np.arange(2_000_000) + 0.5) * (t / 2_000_000)  # midpoints: an error of order step squared
    expected = 2 * scale * float(((1 + x * x / df) ** (-(df + 1) / 2)).sum()) * (t / 2_000_000)
    assert two_sided(t, df) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 30])
def test_it_meets_the_closed_form_at_whole_numbers(df):
    for t in (0.1, 1.0, 4.3, 12.7):
        assert two_sided(t, df + 1e-9) == pytest.approx(two_sided(t, df), abs=1e-6)


@pytest.mark.parametrize("t, df", [(-1.0, 3), (math.nan, 3), (1.0, 0), (1.0, 0.5), (1.0, math.nan)])
def test_what_has_no_meaning_is_refused(t, df):
    with pytest.raises(ArgumentError, match="df"):
        two_sided(t, df)
