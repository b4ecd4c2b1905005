"""A training that diverges is a result: recorded once, with step, loss and gradients, and not trained again.

Oracle: the step at which the model was made to diverge, and an uninterrupted sound run for the fresh one.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import ToyModel, toy_tokens

from weightless.base.errors import CorruptFileError
from weightless.train.config import TrainConfig
from weightless.train.divergence import Divergence
from weightless.train.loop import TrainResult, train

TRAIN, VAL = toy_tokens(20_000), toy_tokens(3_000, seed=1)
CONFIG = TrainConfig(batch_size=4, context=9, num_steps=12, log_every=4, eval_every=100, eval_tokens=500, threads=1)


class _Spoilt(ToyModel):
    """The loss of one call is spoilt; calls are counted from 0, with gradients (behind the warm-up) or without."""

    def __init__(self, call: int, spoil: float, training: bool = True) -> None:
        self.call, self.spoil, self.training, self.calls = call, spoil, training, 0

    def losses(self, p: Any, tokens_BT: Any, targets_BT: Any, record: Any = None) -> torch.Tensor:
        nats_BT = super().losses(p, tokens_BT, targets_BT)
        if torch.is_grad_enabled() != self.training:
            return nats_BT
        self.calls += 1
        return nats_BT + p["matrix"].sum() * 0 + self.spoil if self.calls == self.call + 1 + self.training else nats_BT


class _NeverTrained(ToyModel):
    def losses(self, p: Any, tokens_BT: Any, targets_BT: Any, record: Any = None) -> torch.Tensor:
        raise AssertionError("a recorded divergence must not be trained again")


def _run(folder: Path, model: Any, config: TrainConfig = CONFIG, **more: Any) -> TrainResult:
    return train(model, TRAIN, VAL, config, folder, **more)


@pytest.mark.parametrize("spoil", [math.nan, math.inf, 1e3])
@pytest.mark.parametrize("checkpoint_every", [0.0, 1e9])
def test_a_spoilt_step_is_recorded_and_not_done_again(tmp_path: Path, spoil: float, checkpoint_every: float) -> None:
    config = dataclasses.replace(CONFIG, checkpoint_every=checkpoint_every)
    result = _run(tmp_path, _Spoilt(5, spoil), config)
    found = result.diverged
    assert found is not None and (found.step, found.batches, result.steps) == (5, "batch 5", 5)
    assert f"diverged at step 5, batch 5: loss {spoil:.4g}"[:40] in found.detail or spoil == 1e3
    assert found.loss > 100 or math.isnan(found.loss)
    assert [line["step"] for line in result.curve] == [4, 5], "the losses up to there are kept"
    assert all(math.isfinite(line["train_loss"]) for line in result.curve)
    again = _run(tmp_path, _NeverTrained(), config)
    assert repr(again.diverged) == repr(found) and again.curve == result.curve


def test_the_largest_gradients_are_named(tmp_path: Path) -> None:
    class Infinite(ToyModel):
        def losses(self, p: Any, tokens_BT: Any, targets_BT: Any, record: Any = None) -> torch.Tensor:
            return super().losses(p, tokens_BT, targets_BT) + p["matrix"].sum() * math.nan

    found = _run(tmp_path, Infinite()).diverged
    assert found is not None and found.largest[0][0] == "matrix" and math.isnan(found.largest[0][1])
    assert "largest gradients: matrix (nan)" in found.detail and found.step == 0


def test_a_validation_loss_that_is_no_number_is_a_divergence(tmp_path: Path) -> None:
    found = _run(tmp_path, _Spoilt(0, math.nan, training=False), dataclasses.replace(CONFIG, eval_every=6)).diverged
    assert found is not None and (found.what, found.step) == ("validation loss", 6)


def test_a_weight_that_no_text_reads_is_looked_at(tmp_path: Path) -> None:
    class Poisoned(ToyModel):
        R = 1_000_003  # most rows are read by nobody

        def losses(self, p: Any, tokens_BT: Any, targets_BT: Any, record: Any = None) -> torch.Tensor:
            with torch.no_grad():
                p["table"][1_000_002] = math.inf
            return super().losses(p, tokens_BT, targets_BT)

    found = _run(tmp_path, Poisoned()).diverged
    assert found is not None and found.step == 12 and "weights of table" in found.detail


def test_a_fresh_training_begins_anew(tmp_path: Path) -> None:
    assert _run(tmp_path / "cut", _Spoilt(5, math.nan)).diverged is not None
    fresh, whole = _run(tmp_path / "cut", ToyModel(), resume=False), _run(tmp_path / "whole", ToyModel())
    assert fresh.diverged is None and all(torch.equal(fresh.params[n], whole.params[n]) for n in whole.params)


def test_the_record_survives_json_and_damage_is_told() -> None:
    record = Divergence("loss", 3, 100, 0.5, math.inf, math.nan, (("head", math.nan), ("embed", 2.0)), "batch 3")
    plain = json.loads(json.dumps(record.to_plain(), allow_nan=False))
    assert repr(Divergence.from_plain(plain)) == repr(record)
    for damaged in (None, {}, {**plain, "largest": 3}, {**plain, "loss": "much"}):
        with pytest.raises(CorruptFileError):
            Divergence.from_plain(damaged)
