"""A budget of seconds is kept to the last whole step that fits.  Oracle: a clock that a model turns by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import ToyModel, toy_tokens

from weightless.base.errors import ConfigError
from weightless.train import clock
from weightless.train.config import TrainConfig
from weightless.train.loop import TrainResult, train

TRAIN, VAL = toy_tokens(20_000), toy_tokens(3_000, seed=1)
CONFIG = TrainConfig(batch_size=4, context=9, seconds=20.0, log_every=100, eval_tokens=500, threads=1)


class _Slow(ToyModel):
    """A step takes 3 seconds, the first pass 100 (it compiles), an evaluation 50."""

    def __init__(self, step: float = 3.0, compiling: float = 97.0) -> None:
        self.now, self.step, self.compiling = 0.0, step, compiling

    def losses(self, p: Any, tokens_BT: Any, targets_BT: Any, record: Any = None) -> torch.Tensor:
        self.now += self.step + self.compiling if torch.is_grad_enabled() else 50.0
        self.compiling = 0.0
        return super().losses(p, tokens_BT, targets_BT)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def trained(model: _Slow, config: TrainConfig = CONFIG, **more: Any) -> TrainResult:
        monkeypatch.setattr(clock, "CLOCKS", {"wall": lambda: model.now})
        return train(model, TRAIN, VAL, config, tmp_path / "run", **more)

    return trained


def test_no_step_is_begun_that_would_end_beyond_the_budget(run: Any) -> None:
    """Six steps of 3 s fit into 20 s; neither the compilation nor any evaluation counts."""
    result = run(_Slow())
    assert (result.steps, result.seconds) == (6, 18.0)
    assert result.curve[-1]["val_loss"] is not None and result.curve[-1]["step"] == 6
    assert all(check["ok"] for check in result.observed.values()), result.observed
    assert "18.0 s of 20.0 s; not in it: warm-up" in result.observed["training time counted"]["detail"]
    assert all(abs(line["tokens_per_second"] - 36 / 3) < 0.01 for line in result.curve), "compiling is in no rate"


def test_a_step_that_is_exactly_left_is_done(run: Any) -> None:
    assert run(_Slow(step=5.0)).seconds == 20.0


def test_a_budget_without_room_for_one_step_is_refused(run: Any) -> None:
    with pytest.raises(ConfigError, match=r"one step takes about 21.0 s, the budget is 20 s"):
        run(_Slow(step=21.0))


def test_a_slower_step_is_looked_back_at(run: Any) -> None:
    """Steps of 3 s, from the third on of 6: 3 + 3 + 6 + 6 = 18, and no other 6 fit."""

    class Slowing(_Slow):
        n = 0

        def losses(self, p: Any, tokens_BT: Any, targets_BT: Any, record: Any = None) -> torch.Tensor:
            self.n += torch.is_grad_enabled()
            self.step = 6.0 if self.n > 4 else 3.0  # two passes warm up
            return super().losses(p, tokens_BT, targets_BT)

    assert (run(Slowing()).steps, run(Slowing(), resume=False).seconds) == (4, 18.0)


def test_what_is_over_stays_over(run: Any) -> None:
    """The same call again does nothing, although its own warm-up would be quicker."""
    first = run(_Slow())
    again = run(_Slow(step=0.5))
    assert (again.steps, again.seconds, again.curve) == (6, 18.0, first.curve)


def test_an_interrupted_run_that_has_no_step_left_is_evaluated(run: Any) -> None:
    def interrupt(line: dict[str, Any]) -> None:
        import os
        import signal

        if line["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    config = dataclasses.replace(CONFIG, log_every=1, eval_every=100)
    with pytest.raises(KeyboardInterrupt):
        run(_Slow(), config, on_metrics=interrupt)
    result = run(_Slow(step=15.0), config)
    assert (result.steps, result.seconds) == (2, 6.0)
    assert result.curve[-1]["step"] == 2 and result.curve[-1]["val_loss"] > 0
