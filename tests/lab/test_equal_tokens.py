"""benchmarks/equal_tokens.py against a run that was made by its own law: nats = base (1 + a / 100 + b / 100 ln r)."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/equal_tokens.py"
ABOVE, SLOPE = {"two": 3.0, "three": 0.5}, -8.0
SHARES = {"two": (1.2, 0.8, 1.0), "three": (0.7, 1.1, 1.3)}


def summary(noise: float = 0.0) -> dict:
    models = []
    for seed, nats in enumerate((5.0, 5.1, 4.9)):
        models.append({"name": f"whole-s{seed}", "seed": seed, "nats_per_token": nats, "tokens_seen": 1000})
        for name, a in ABOVE.items():
            tokens = round(1000 * SHARES[name][seed])
            d = a + SLOPE * math.log(tokens / 1000) + noise * (-1, 2, -1)[seed]
            more = {"nats_per_token": nats * (1 + d / 100), "tokens_seen": tokens}
            models.append({"name": f"{name}-s{seed}", "seed": seed, **more})
    return {"models": models}


def test_the_law_is_found_and_noise_widens_it() -> None:
    script = runpy.run_path(str(SCRIPT))
    exact, slope = script["at_equal_tokens"](script["pairs"](summary(), "whole"))
    assert slope == pytest.approx(SLOPE)
    for name, a in ABOVE.items():
        assert exact[name] == (pytest.approx(a), pytest.approx(0, abs=1e-9))
    noisy, _ = script["at_equal_tokens"](script["pairs"](summary(0.1), "whole"))
    assert all(abs(noisy[name][0] - a) < noisy[name][1] for name, a in ABOVE.items())


def test_a_base_that_is_not_there_is_named() -> None:
    script = runpy.run_path(str(SCRIPT))
    with pytest.raises(SystemExit, match="no model 'hole'; there are three, two, whole"):
        script["pairs"](summary(), "hole")
