"""How seconds with an interval are written: digits enough that a short time is not 0."""

from __future__ import annotations

import pytest

from weightless.lab.report.interval import Estimate
from weightless.lab.report.table import as_seconds


@pytest.mark.parametrize(
    ("mean", "half", "written"),
    [(200.4, 12.2, "200 ± 12 s"), (9.96, 0.4, "10 ± <1 s"), (2.51, 0.31, "2.5 ± 0.3 s"), (0.306, 0.021, "0.31 ± 0.02 s")],
)
def test_short_times_keep_their_digits(mean, half, written):
    assert as_seconds(Estimate(mean, half, 3)) == written
