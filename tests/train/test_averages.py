"""Oracle: torch.optim.swa_utils.AveragedModel over the masters of every step, and the run that was not interrupted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn
from toy_training import ToyModel, toy_tokens

from weightless.base.errors import ConfigError
from weightless.layers.exits import THRESHOLD
from weightless.models import dense
from weightless.models.catalog import trained
from weightless.program.tensor import Parameter
from weightless.quant.formats import decode_rows, encode_rows
from weightless.train import loop
from weightless.train.averages import doubt_of
from weightless.train.checkpoint import load_checkpoint
from weightless.train.config import TrainConfig
from weightless.train.loop import train
from weightless.train.result import TrainResult
from weightless.train.settling import divided
from weightless.train.step import constant_tensor
from weightless.train.validation import Validation

TRAIN, VAL = toy_tokens(20_000), toy_tokens(3_000, seed=1)
SMALL = TrainConfig(4, 9, num_steps=23, log_every=1, eval_every=10, eval_tokens=500, checkpoint_every=1e9, threads=1)
KINDS = {
    "ema": dataclasses.replace(SMALL, average="ema", ema_decay=0.8, average_start=0.0),
    "swa": dataclasses.replace(SMALL, average="swa", average_start=0.4, qat_start=0.6, qat_warmup=0.2),
}
EXITS = dense.Config(61, 24, 3, n_heads=2, d_ff=30, context=9, kv_format="f32", exit_after=(1, 2), exit_loss=0.05)
FROM = {"ema": 0, "swa": 10}  # 9 / 23 is less than 0.4, 10 / 23 more


def _followed(config: TrainConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[TrainResult, list[Any]]:
    """A run, and copies of its masters behind every step."""
    seen, step = [], loop.train_step

    def spied(model: Any, weights: Any, *rest: Any, **more: Any) -> Any:
        report = step(model, weights, *rest, **more)
        seen.append({name: w.detach().clone() for name, w in weights.masters.items()})
        return report

    monkeypatch.setattr(loop, "train_step", spied)
    return train(ToyModel(), TRAIN, VAL, config, folder), seen


def _averaged(kind: str, masters: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    held = torch.nn.ParameterDict({name: torch.nn.Parameter(w.clone()) for name, w in masters[0].items()})
    rule = get_ema_multi_avg_fn(0.8) if kind == "ema" else get_swa_multi_avg_fn()
    averaged = AveragedModel(held, multi_avg_fn=rule)
    for step in masters:
        with torch.no_grad():
            for name, w in step.items():
                held[name].copy_(w)
        averaged.update_parameters(held)
    return {name: w.detach() for name, w in averaged.module.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_average_of_torch(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit: both are one lerp per step."""
    config = KINDS[kind]
    result, seen = _followed(config, tmp_path, monkeypatch)
    wanted = _averaged(kind, seen[FROM[kind] :])
    assert all(torch.equal(result.params[name], wanted[name]) for name in wanted)
    assert not any(torch.equal(seen[-1][name], wanted[name]) for name in wanted)

    saved = load_checkpoint(tmp_path / "checkpoint")
    assert saved is not None and all(torch.equal(saved.parameters[name], wanted[name]) for name in wanted)
    record = result.observed["average of the weights"]
    n = 23 - FROM[kind]
    assert record["ok"] and f"over {n} steps, from step {FROM[kind]} on; validated and packed" in record["detail"]
    n_bytes = sum(4 * w.numel() for w in wanted.values())
    assert result.optimizer_bytes_by_group["average"] == n_bytes
    assert result.optimizer_bytes == sum(result.optimizer_bytes_by_group.values())

    formats = {spec.name: spec.format for spec in ToyModel().tensors() if kind == "swa" and spec.format != "f32"}
    inputs = {name: constant_tensor(value, "cpu") for name, value in result.constants.items()} | wanted
    for name, fmt in formats.items():  # rounded after averaging
        rows = decode_rows(encode_rows(wanted[name].numpy(), fmt), fmt, wanted[name].shape[1])
        inputs[name] = torch.from_numpy(rows)
    assert result.curve[-1]["val_loss"] == Validation(VAL, 9, 4, 500).loss(ToyModel(), inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_with_the_same_bits(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(ToyModel(), TRAIN, VAL, KINDS[kind], tmp_path / "whole")
    for stop in (5, 14):

        def stopped(*rest: Any, at: int = stop, true: Any = loop.train_step, **more: Any) -> Any:
            if more["step"] == at:
                raise KeyboardInterrupt
            return true(*rest, **more)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(loop, "train_step", stopped)
            hasty = dataclasses.replace(KINDS[kind], checkpoint_every=0)
            train(ToyModel(), TRAIN, VAL, hasty, tmp_path / "parts")
    parts = train(ToyModel(), TRAIN, VAL, KINDS[kind], tmp_path / "parts")
    again = train(ToyModel(), TRAIN, VAL, KINDS[kind], tmp_path / "parts")  # a finished one is not averaged twice
    for other in (parts, again):
        assert all(torch.equal(whole.params[name], other.params[name]) for name in whole.params)
        assert [line["val_loss"] for line in whole.curve] == [line["val_loss"] for line in other.curve]
        assert other.observed["average of the weights"] == whole.observed["average of the weights"]


def test_without_an_average_nothing_is_kept_or_said(tmp_path: Path) -> None:
    result = train(ToyModel(), TRAIN, VAL, SMALL, tmp_path)
    assert "average" not in result.optimizer_bytes_by_group and "average of the weights" not in result.observed
    saved = load_checkpoint(tmp_path / "checkpoint")
    assert saved is not None and not [name for name in saved.optimizer if name.endswith("/average")]


def test_one_that_never_begins_fails_its_check(tmp_path: Path) -> None:
    result = train(ToyModel(), TRAIN, VAL, dataclasses.replace(KINDS["swa"], average_start=0.99), tmp_path)
    record = result.observed["average of the weights"]
    assert not record["ok"] and "never begun" in record["detail"]


def test_what_is_fitted_at_the_end_is_fitted_for_the_average_and_saved(tmp_path: Path) -> None:
    """Also where a checkpoint is due behind the last step, before anything is fitted."""
    config = dataclasses.replace(SMALL, average="swa", average_start=0.5, checkpoint_every=0)
    model = trained("dense").Model(EXITS)
    learned, settling = divided(model, TRAIN)
    result = train(model, learned, VAL, config, tmp_path, settling=settling)
    saved = load_checkpoint(tmp_path / "checkpoint")
    assert saved is not None
    assert np.array_equal(saved.constants[THRESHOLD].numpy(), result.constants[THRESHOLD])
    assert all(torch.equal(saved.parameters[name], w) for name, w in result.params.items())
    state = json.loads(next((tmp_path / "checkpoint").glob("step_*/state.json")).read_text())
    assert state["counters"]["averaged"] == 11


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"average": "emma"}, "'ema'"),
        ({"average": "ema", "ema_decay": 1.0}, "below 1"),
        ({"average": "swa", "average_start": 1.0}, "below 1"),
        ({"average": "swa", "average_start": -0.1}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        dataclasses.replace(SMALL, **fields)


def test_fields_that_would_do_nothing_are_refused() -> None:
    for config, given in ((SMALL, {"ema_decay"}), (SMALL, {"average_start"}), (KINDS["swa"], {"ema_decay"})):
        with pytest.raises(ConfigError, match="does nothing"):
            config.check_used(given)


@pytest.mark.parametrize(
    "fmt, few", [("t2", True), ("t5_g128", True), ("binary", True), ("int2", False), ("f32", False)]
)
def test_ema_of_ternary_weights_is_warned_of(fmt: str, few: bool) -> None:
    """Three values and two; whole numbers and what is not trained through its rounding are left in peace."""
    specs = [Parameter("w", (4, 128), fmt, 0.1, "matrix", "x"), Parameter("v", (1, 4), "f32", "ones", "vector", "x")]
    ema = dataclasses.replace(SMALL, average="ema", qat_start=0.5)
    assert bool(doubt_of(ema, specs)) is few
    assert f"trained through {fmt} do not go together" in doubt_of(ema, specs) or not few
    for other in (dataclasses.replace(ema, average="swa"), dataclasses.replace(ema, qat_start=1.0)):
        assert not doubt_of(other, specs)


def test_the_warning_is_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Ternary(ToyModel):
        def tensors(self) -> list[Parameter]:
            return [dataclasses.replace(s, format="t2") if s.group == "matrix" else s for s in super().tensors()]

    config = dataclasses.replace(SMALL, average="ema", average_start=0.0, qat_start=0.5)
    result = train(Ternary(), TRAIN, VAL, config, tmp_path / "run")
    assert "WARNING: average = 'ema' and 1 tensors trained through t2" in capsys.readouterr().err
    assert "WARNING: average = 'ema'" in result.observed["average of the weights"]["detail"]
