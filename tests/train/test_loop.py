"""Oracles: an uninterrupted run for resumed ones (bit for bit), and the promises of the loop, one by one."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import ToyModel, toy_tokens

from weightless.base.errors import ConfigError
from weightless.train.config import TrainConfig
from weightless.train.loop import TrainResult, train

TRAIN, VAL = toy_tokens(20_000), toy_tokens(3_000, seed=1)
SMALL = TrainConfig(
    batch_size=4,
    context=9,
    num_steps=30,
    log_every=1,
    eval_every=10,
    eval_tokens=500,
    qat_start=0.5,
    checkpoint_every=1e9,
    threads=1,
)


def _run(folder: Path, config: TrainConfig = SMALL, model: Any = None, **more: Any) -> TrainResult:
    return train(model or ToyModel(), TRAIN, VAL, config, folder, **more)


def _same_bits(one: TrainResult, other: TrainResult) -> None:
    assert all(torch.equal(one.params[name], other.params[name]) for name in one.params)
    exact = ("step", "tokens", "train_loss", "val_loss", "lr")
    assert [[line[k] for k in exact] for line in one.curve] == [[line[k] for k in exact] for line in other.curve]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_it_learns_and_records(tmp_path: Path, optimizer: str) -> None:
    config = dataclasses.replace(SMALL, batch_size=16, context=32, num_steps=150, optimizer=optimizer, log_every=30)
    if optimizer == "adamw":  # max_lr is then the rate of tables and matrices, too
        config = dataclasses.replace(config, max_lr=0.02)
    result = _run(tmp_path, config)
    # Nine of ten steps are +3: the entropy is 0.32 + 0.1 ln 61 + small = 0.73 nats; untrained it is ln 61 = 4.1.
    assert result.curve[-1]["val_loss"] < 2.0
    assert all(check["ok"] for check in result.observed.values()), result.observed
    assert "active from step 75" in result.observed["quantisation-aware training"]["detail"]
    assert "changed 4 of 4" in result.observed["quantisation-aware training"]["detail"]
    assert result.tokens_seen == 150 * 16 * 32 == result.curve[-1]["tokens"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == result.curve and [line["step"] for line in lines] == sorted({line["step"] for line in lines})
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [float(row["train_loss"]) for row in rows] == [line["train_loss"] for line in lines]
    assert rows[0].keys() == lines[0].keys()


def test_a_finished_run_is_returned_not_repeated(tmp_path: Path) -> None:
    first = _run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again = _run(tmp_path, model=_Forbidden())
    _same_bits(first, again)
    assert again.constants["multiplier"].tolist() == [7] and (tmp_path / "metrics.jsonl").read_bytes() == before
    assert again.observed.keys() == first.observed.keys() and all(c["ok"] for c in again.observed.values())


class _Forbidden(ToyModel):
    def losses(self, p: Any, tokens_BT: Any, targets_BT: Any, record: Any = None) -> torch.Tensor:
        raise AssertionError("a finished run must not be trained again")

    def prepare(self, train_tokens: Any, seed: int) -> Any:
        raise AssertionError("constants come from the checkpoint")


@pytest.mark.parametrize("kill_at", [7, 22])
def test_resume_after_ctrl_c_is_bit_exact(tmp_path: Path, kill_at: int) -> None:
    """Before and after rounding begins (step 15)."""

    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] == kill_at:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # a job in the background of a shell may have it ignored
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "cut", on_metrics=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    resumed = _run(tmp_path / "cut")
    _same_bits(_run(tmp_path / "whole"), resumed)
    assert "resumed 1 times" in resumed.observed["training time counted"]["detail"]


def test_rounding_that_sets_in_is_recorded_and_resumes_bit_exactly(tmp_path: Path) -> None:
    """Ten steps of strength over half of the run, interrupted among them."""
    config = dataclasses.replace(SMALL, qat_start=0.2, qat_warmup=0.5)

    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] == 13:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "cut", config, on_metrics=interrupt)
    whole = _run(tmp_path / "whole", config)
    _same_bits(whole, _run(tmp_path / "cut", config))
    said = whole.observed["quantisation-aware training"]
    assert said["ok"] and "active from step 6 on, whole from step 20 on" in said["detail"]
    at_once = _run(tmp_path / "at_once", dataclasses.replace(config, qat_warmup=0.0))
    assert not torch.equal(whole.params["matrix"], at_once.params["matrix"])
    with pytest.raises(ConfigError, match="leave no time in which weights are rounded whole"):
        dataclasses.replace(SMALL, qat_start=0.5, qat_warmup=0.5)


def test_a_training_that_is_only_saved_at_its_end(tmp_path: Path) -> None:
    """Infinity is no JSON: what decides nothing stays out of the checkpoint."""
    endless = dataclasses.replace(SMALL, checkpoint_every=math.inf)
    _same_bits(_run(tmp_path / "a", config=endless), _run(tmp_path / "b"))


def test_sigterm_saves_and_exits(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        _run(tmp_path, on_metrics=lambda line: os.kill(os.getpid(), signal.SIGTERM) if line["step"] == 3 else None)
    assert stopped.value.code == 143
    assert json.loads((tmp_path / "checkpoint/latest.json").read_text()) == {"generation": "step_000000003"}


def test_resume_after_sigkill_is_bit_exact(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, num_steps=150, eval_every=50)
    frequent = dataclasses.asdict(dataclasses.replace(config, checkpoint_every=0.02))
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from toy_training import ToyModel, toy_tokens\n"
        "from weightless.train.config import TrainConfig\n"
        "from weightless.train.loop import train\n"
        f"train(ToyModel(), toy_tokens(20_000), toy_tokens(3_000, seed=1), TrainConfig(**{frequent!r}), sys.argv[2])\n"
    )
    folder = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parents[1]), str(folder)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not _steps(folder) > 30:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    cut_at = json.loads((folder / "checkpoint/latest.json").read_text())["generation"]
    assert 0 < int(cut_at[5:]) < 150
    resumed = _run(folder, config)
    _same_bits(_run(tmp_path / "whole", config), resumed)


def _steps(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def test_wall_clock_budget(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, num_steps=None, seconds=0.4, eval_every=None)
    result = _run(tmp_path, config)
    assert 0.2 <= result.seconds < 0.8  # 0.4, unless the last step takes much longer than those before it
    assert result.curve[-1]["val_loss"] is not None and result.steps == result.curve[-1]["step"]
    evaluations = [line for line in result.curve if line["val_loss"] is not None]
    assert 1 <= len(evaluations) <= 11
    assert all(check["ok"] for check in result.observed.values()), result.observed
    assert result.curve[-1]["lr"] < 0.5 * max(line["lr"] for line in result.curve)


class _NoDropout(ToyModel):
    def losses(self, p: Any, tokens_BT: Any, targets_BT: Any, record: Any = None) -> torch.Tensor:
        grad = torch.is_grad_enabled()
        with torch.no_grad():
            rows_BT = (tokens_BT * p["multiplier"]) % self.R
        with torch.set_grad_enabled(grad):
            x = torch.nn.functional.embedding(rows_BT, p["table"], sparse=True) + p["embed"][tokens_BT]
            logits = (x * p["scale"]) @ p["matrix"].T @ p["head"].T
            picked = torch.log_softmax(logits, -1).gather(-1, targets_BT[..., None])
            return -picked[..., 0]


def test_accumulated_micro_batches_equal_one_large_batch(tmp_path: Path) -> None:
    """Same positions, so the same gradient up to float32 summation order, rounding on from the start."""
    from weightless.data.batches.loader import Batches

    config = dataclasses.replace(SMALL, num_steps=1, qat_start=0.0, warmup=0.0, optimizer="sgd", max_lr=1.0)
    parts = [Batches(TRAIN, 9, 4, 0).batch(k) for k in (0, 1)]
    result = _run(tmp_path, dataclasses.replace(config, grad_accumulation=2), model=_NoDropout())
    whole = _run_on_one_batch(tmp_path / "whole", dataclasses.replace(config, batch_size=8), parts)
    for name, p in result.params.items():
        torch.testing.assert_close(p, whole[name], rtol=0, atol=1e-6)


def _run_on_one_batch(folder: Path, config: TrainConfig, parts: list[Any]) -> dict[str, torch.Tensor]:
    import numpy as np

    from weightless.data.batches.packing import Batch
    from weightless.train import loop

    class _Fixed:
        description, scores_sha256 = "one batch", ""

        def __init__(self, *args: Any) -> None:
            self.batches = self

        def batch(self, step: int) -> Batch:
            return Batch(*(np.concatenate([part[i] for part in parts]) for i in range(2)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "feeding", _Fixed)
        return _run(folder, config, model=_NoDropout()).params


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"seed 0 \(now 1\)"),
        ({"max_lr": 0.1, "context": 10}, r"context .* \(now 10\), max_lr .* \(now 0.1\)"),
    ],
)
def test_another_configuration_does_not_resume(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    _run(tmp_path)
    with pytest.raises(ConfigError, match=message):
        _run(tmp_path, dataclasses.replace(SMALL, **change))
    fresh = _run(tmp_path, dataclasses.replace(SMALL, **change), resume=False)
    assert fresh.steps == 30 and len(fresh.curve) == 30


def test_other_data_or_parameters_do_not_resume(tmp_path: Path) -> None:
    _run(tmp_path)
    with pytest.raises(ConfigError, match="other tokens"):
        train(ToyModel(), TRAIN[:-1], VAL, SMALL, tmp_path)

    class Wider(ToyModel):
        D = 18

    with pytest.raises(ConfigError, match="other parameters"):
        _run(tmp_path, model=Wider())


def test_too_little_validation_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="validation tokens"):
        train(ToyModel(), TRAIN, VAL[:9], SMALL, tmp_path)


@pytest.mark.gpu
def test_it_trains_on_a_gpu_and_resumes_there(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, device="cuda", batch_size=16, context=32, num_steps=150, log_every=30)
    result = _run(tmp_path, config)
    assert result.curve[-1]["val_loss"] < 2.0 and result.params["matrix"].is_cuda
    assert torch.equal(_run(tmp_path, config).params["matrix"], result.params["matrix"])
