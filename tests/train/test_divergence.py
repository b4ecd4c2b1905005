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

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.train.config import TrainConfig
from weightless.train.divergence import Divergence, fits
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


@pytest.mark.parametrize(("fmt", "weight"), [("f16", 65_520.0), ("int4", 7 * 65_520.0), ("bf16", 1e16), ("f32", 1e16)])
def test_a_weight_that_can_be_neither_stored_nor_computed_with_is_a_divergence(
    tmp_path: Path, fmt: str, weight: float
) -> None:
    """65,504 is the largest fp16 number, scales are fp16; the square of 10^16 is near the end of float32."""

    class Large(ToyModel):
        def tensors(self) -> Any:
            return [dataclasses.replace(s, format=fmt) if s.name == "matrix" else s for s in super().tensors()]

        def losses(self, p: Any, tokens_BT: Any, targets_BT: Any, record: Any = None) -> torch.Tensor:
            return super().losses({**p, "matrix": p["matrix"] * 0 + 1e-3}, tokens_BT, targets_BT)

    config = dataclasses.replace(CONFIG, optimizer="sgd", num_steps=1)
    assert _run(tmp_path / "sound", Large(), config).diverged is None
    assert fits(torch.tensor([-weight / 2, 0.0]), fmt) == (weight < 1e15)
    assert not fits(torch.tensor([-weight, 0.0]), fmt)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weightless.train.divergence.fits", lambda w, f: fits(w * 0 + weight, f) if f == fmt else True)
        found = _run(tmp_path / "large", Large(), config).diverged
    assert found is not None and found.step == 1 and "too large to be stored or computed with" in found.detail


@pytest.mark.parametrize(
    "fields",
    [
        {"max_lr": 1e38},
        {"max_lr": 1e20, "embedding_lr_scale": 1e20},
        {"muon_lr": 1e38},
        {"table_lr": 1e38},
        {"weight_decay": 1e38},
        {"beta1": 1 - 1e-16},
        {"beta2": 1 - 1e-12},
    ],
)
def test_rates_that_no_float32_holds_are_refused(fields: dict[str, float]) -> None:
    """An update by such a rate ended the program, and with it every model behind it."""
    with pytest.raises(ConfigError, match=f"{next(iter(fields))}.* = .*should be"):
        dataclasses.replace(CONFIG, **fields)


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
