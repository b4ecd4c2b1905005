"""Oracle: the schedules' formulas, written in steps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.train.config import TrainConfig
from weightless.train.run_state import schedule_factor
from weightless.train.schedules import SCHEDULES, factor


def _cosine_in_steps(t: int, peak: float, low: float, t_warm: int, t_end: int) -> float:
    if t < t_warm:
        return t / t_warm * peak
    if t > t_end:
        return low
    return low + 0.5 * (1 + math.cos((t - t_warm) / (t_end - t_warm) * math.pi)) * (peak - low)


def test_cosine_equals_its_definition_in_steps() -> None:
    for t in range(30):
        ours = 2.0 * factor("cosine", t / 21, warmup=7 / 21, min_ratio=0.05)
        assert ours == pytest.approx(_cosine_in_steps(t, 2.0, 0.1, 7, 21), abs=1e-12)


def test_warm_up_stable_decay_and_linear() -> None:
    shape = [factor("wsd", i / 10, warmup=0.2, min_ratio=0.1, warmdown=0.5) for i in range(12)]
    assert shape == pytest.approx([0, 0.5, 1, 1, 1, 1, 0.82, 0.64, 0.46, 0.28, 0.1, 0.1])
    assert [factor("linear", p, warmup=0.0, min_ratio=0.0) for p in (0, 0.25, 1, 2)] == [1, 0.75, 0, 0]
    assert factor("constant", 0.7, warmup=0.1, min_ratio=0.1) == 1.0


@given(st.sampled_from(sorted(SCHEDULES)), st.floats(0, 1), st.floats(0, 0.4), st.floats(0, 1))
def test_factors_stay_between_zero_and_one_and_end_at_min(name: str, p: float, warmup: float, low: float) -> None:
    assert 0.0 <= factor(name, p, warmup=warmup, min_ratio=low, warmdown=0.3) <= 1.0 + 1e-12
    if name != "constant":
        assert factor(name, 1.0, warmup=warmup, min_ratio=low, warmdown=0.3) == pytest.approx(low, abs=1e-12)


def test_a_fall_of_so_many_steps() -> None:
    """Oracle: max((n - step) / warmdown, 0) in steps; the time that is left over that of so many mean steps."""
    common = {"batch_size": 1, "context": 1, "schedule": "wsd", "warmup": 0.0, "min_lr_ratio": 0.0, "warmdown_steps": 3}
    by_steps, by_clock = TrainConfig(**common, num_steps=8), TrainConfig(**common, seconds=16.0)  # type: ignore[arg-type]
    wanted = [1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3, 0]
    assert [schedule_factor(by_steps, step / 8) for step in range(9)] == pytest.approx(wanted)
    assert [schedule_factor(by_clock, step / 8, 2.0) for step in range(9)] == pytest.approx(wanted)
    assert schedule_factor(by_clock, 0.0, 0.0) == 1.0
    assert schedule_factor(by_clock, 0.5, 4.0) == pytest.approx(8 / 12)


@pytest.mark.parametrize(
    ("given", "change", "said"),
    [
        ("warmdown_steps", {"schedule": "cosine"}, "without schedule wsd"),
        ("warmdown", {"schedule": "wsd", "warmdown_steps": 2}, "beside warmdown_steps"),
        ("muon_momentum_start", {}, "without muon_momentum_warmup"),
        ("muon_momentum_warmup", {"optimizer": "adamw"}, "without optimizer muon"),
        ("muon_momentum", {"optimizer": "sgd"}, "without optimizer muon"),
    ],
)
def test_fields_that_would_do_nothing(given: str, change: dict[str, object], said: str) -> None:
    config = TrainConfig(batch_size=2, context=3, num_steps=9, **change)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"{given} does nothing {said}"):
        config.check_used([given])


def test_unknown_schedule() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cosine'"):
        factor("cosin", 0.5, warmup=0.0, min_ratio=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 3, "seconds": 2.0}, "not both"),
        ({}, "either"),
        ({"num_steps": 0}, "num_steps"),
        ({"num_steps": 3, "optimizer": "adam"}, "adamw"),
        ({"num_steps": 3, "schedule": "cos"}, "cosine"),
        ({"num_steps": 3, "qat_start": 1.5}, "qat_start"),
        ({"num_steps": 3, "warmup": 0.9, "schedule": "wsd"}, "no room"),
        ({"num_steps": 3, "max_lr": float("nan")}, "max_lr"),
        ({"num_steps": 3, "warmdown_steps": -1, "schedule": "wsd"}, "warmdown_steps"),
        ({"num_steps": 3, "warmdown_steps": 4, "schedule": "wsd"}, "no room"),
        ({"num_steps": 3, "muon_momentum": 1.0}, "muon_momentum"),
        ({"num_steps": 3, "muon_momentum_start": -0.5}, "muon_momentum_start"),
        ({"num_steps": 3, "muon_momentum_warmup": -2}, "muon_momentum_warmup"),
    ],
)
def test_configurations_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(batch_size=2, context=3, **change)  # type: ignore[arg-type]
