"""Drawing costs what scoring does: to the byte on what the model writes, elsewhere but for chance or two per cent."""

from __future__ import annotations

import numpy as np
import pytest
from contract.cases import bench

from weightless.lab import measure

WINDOW = np.arange(5)


@pytest.mark.parametrize(
    ("elsewhere", "own", "ok"),
    [
        ((1000.0, 1000.0, 0.0), (1000.0, 1000.0), True),
        ((1009.5, 1016.0, 0.7), (999.2, 999.2), True),  # sure of itself, and wrong about the text
        ((1000.0, 1019.0, 0.0), (1000.0, 1000.0), True),
        ((1000.0, 1021.0, 1.0), (1000.0, 1000.0), False),
        ((1000.0, 1030.0, 10.0), (1000.0, 1000.0), True),  # chance
        ((1000.0, 1000.0, 9.0), (1000.0, 1000.5), False),  # the same tokens cost the same
    ],
)
def test_what_drawing_may_cost(elsewhere, own, ok, monkeypatch):
    costs = {
        "text": dict(zip(("score", "sample", "error"), elsewhere)),
        "samples": {"score": own[0], "sample": own[1], "error": 0.0},
    }
    monkeypatch.setattr(measure, "mode_s_costs", lambda packed, window, feed: costs[feed])
    found = measure._sampling_check(bench("ngram", "order_3"), WINDOW)
    assert found["ok"] == ok and f"{elsewhere[1]:,.1f} bytes" in found["detail"]
