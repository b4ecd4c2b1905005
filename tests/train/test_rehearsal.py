"""The step before the first leaves nothing behind.  Oracle: copies of everything, compared bit by bit; and the same
training without it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import ToyModel, toy_tokens

from weightless.base.errors import ConfigError
from weightless.program.tensor import Parameter
from weightless.train import clock, loop
from weightless.train.config import TrainConfig
from weightless.train.gradients import RowGradient
from weightless.train.initialise import initial_parameters
from weightless.train.loop import train
from weightless.train.optimizers.groups import GroupedOptimizer, grouped_optimizer
from weightless.train.rehearsal import Rehearsal
from weightless.train.run_state import Counters, schedule_factor, time_told
from weightless.train.working_weights import WorkingWeights

TRAIN, VAL = toy_tokens(20_000), toy_tokens(3_000, seed=1)
CONFIG = TrainConfig(batch_size=4, context=9, num_steps=5, log_every=100, eval_tokens=500, threads=1)


def parts(optimizer: str, steps: int = 0) -> tuple[WorkingWeights, GroupedOptimizer, dict[str, torch.Tensor]]:
    """Weights of every group that are trained through their rounding, an optimizer that has made some steps, and
    gradients."""
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    specs = [
        Parameter("m", (7, 12), "int4", 0.1, "matrix", "x"),
        Parameter("e", (5, 12), "f32", 0.1, "embedding", "x"),
        Parameter("v", (1, 12), "f32", "ones", "vector", "x"),
        Parameter("t", (9, 3), "f32", 0.1, "table", "x"),
    ]
    masters = initial_parameters(specs, 0)
    weights, made = WorkingWeights(specs, masters, {}), grouped_optimizer(specs, masters, config)
    weights.round_by(1.0)
    generator = torch.Generator().manual_seed(1)
    gradients = {name: torch.randn(p.shape, generator=generator) for name, p in masters.items()}
    for t in range(steps):
        made.update(gradients, 1.0, t + 1)
    weights.follow(gradients)
    return weights, made, gradients


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_an_update_is_undone_to_the_bit(optimizer: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, made, gradients = parts(optimizer, steps)
    everything = {**weights.masters, **{f"leaf {k}": v for k, v in weights.leaves.items()}, **made.state()}
    before, updated = {name: t.detach().clone() for name, t in everything.items()}, []
    for part in made.parts:
        original = part.optimizer.update

        def update(g: Any, lr: float, t: int, part: Any = part, original: Any = original) -> None:
            original(g, lr, t)
            updated.append((part.group, any(not torch.equal(p, before[n]) for n, p in part.optimizer.params.items())))

        monkeypatch.setattr(part.optimizer, "update", update)
    rehearsal = Rehearsal(None, weights, made, None, CONFIG)  # type: ignore[arg-type]
    rehearsal.gradients = {name: g.clone() for name, g in gradients.items()}
    rehearsal.one_update()
    assert updated == [(group, True) for group in ("matrix", "embedding", "vector", "table")], "each one really moved"
    for name, tensor in everything.items():
        assert torch.equal(tensor, before[name]), name
    assert not rehearsal.gradients, "they would lie in memory through the training"


def test_tables_of_which_rows_are_looked_up_are_not_copied() -> None:
    weights, made, gradients = parts("muon")
    rows = torch.tensor([1, 4])
    rehearsal = Rehearsal(None, weights, made, None, CONFIG)  # type: ignore[arg-type]
    rehearsal.gradients = {**gradients, "t": RowGradient(rows, gradients["t"][rows], 9)}
    before = {name: t.detach().clone() for name, t in weights.masters.items()}
    rehearsal.one_update()
    assert all(torch.equal(t, before[name]) for name, t in weights.masters.items())


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_training_ends_with_the_same_bits_without_it(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, the curve, and so the batches; also of one that is stopped and resumed, and so warmed up twice."""
    config = dataclasses.replace(CONFIG, optimizer=optimizer, qat_start=0.4)
    warmed = train(ToyModel(), TRAIN, VAL, config, tmp_path / "warmed")
    monkeypatch.setattr(loop.Rehearsal, "one_update", lambda self: None)
    bare = train(ToyModel(), TRAIN, VAL, config, tmp_path / "bare")
    assert all(torch.equal(warmed.params[name], bare.params[name]) for name in bare.params)
    assert [line["train_loss"] for line in warmed.curve] == [line["train_loss"] for line in bare.curve]


def test_the_first_step_is_expected_to_take_its_passes_and_one_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: hands of a clock: 3 s a pass, 2 s an update, four passes a step."""
    now = [0.0]

    def after(seconds: float) -> Any:
        return lambda: now.__setitem__(0, now[0] + seconds)

    monkeypatch.setattr(clock, "CLOCKS", {"wall": lambda: now[0]})
    for budget, fits in ((14.0, True), (13.9, False)):
        made = clock.StepClock(dataclasses.replace(CONFIG, num_steps=None, seconds=budget))
        assert made.warm_up(after(3.0), 4, 0.0, after(2.0)) is fits and max(made.recent) == 14.0


def test_seconds_for_what_is_fitted_at_the_end_are_kept_from_the_steps() -> None:
    config = dataclasses.replace(
        CONFIG, num_steps=None, seconds=20.0, fit_seconds=5.0, schedule="wsd", warmup=0.0, warmdown_steps=3
    )
    counters = Counters(step=10, seconds=12.0)
    assert counters.progress(config) == 12 / 15 and clock.StepClock(config).budget == 15.0
    assert schedule_factor(config, 1 - 1.5 * 1.2 / 15, 1.2) == pytest.approx(0.5 * 1.1), "by the time that steps have"
    hands = iter([100.0, 104.0])
    assert counters.fitted(lambda: next(hands), lambda: "found") == "found"
    assert "12.0 s of 20.0 s, and fitting at the end 4.0 s of 5.0 s kept for it; not in it" in time_told(
        config, counters
    )
    without = dataclasses.replace(config, fit_seconds=0.0)
    assert "fitting at the end 4.0 s; resumed" in time_told(without, counters)


@pytest.mark.parametrize(
    "fields, told",
    [
        ({"num_steps": None, "seconds": 5.0, "fit_seconds": 5.0}, "leave no step of the 5 seconds"),
        ({"fit_seconds": -1.0}, "should be a number, 0 or more"),
    ],
)
def test_a_budget_without_steps_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        dataclasses.replace(CONFIG, **fields)


def test_kept_seconds_without_a_budget_are_refused() -> None:
    with pytest.raises(ConfigError, match="fit_seconds does nothing without seconds"):
        dataclasses.replace(CONFIG, fit_seconds=1.0).check_used(["fit_seconds"])
