"""Balance of experts while training.

Oracles: an uninterrupted run for a resumed one, bit for bit; the even load; nats computed apart from the step.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_training import toy_tokens

from weightless.data.batches.packing import Batch
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.layers import functions as L
from weightless.layers.layer import Record, Window
from weightless.models import experts
from weightless.quant.formats import decode_rows
from weightless.train.config import TrainConfig
from weightless.train.initialise import initial_parameters
from weightless.train.loop import train
from weightless.train.optimizers.groups import grouped_optimizer
from weightless.train.step import train_step
from weightless.train.working_weights import WorkingWeights

CONFIG = experts.Config(61, 16, 1, 1, 1, 4, 1, 8, balance="bias", context=9, weight_format="f32", kv_format="f32")
SMALL = TrainConfig(
    batch_size=4, context=9, num_steps=16, log_every=1, eval_every=8, eval_tokens=200, checkpoint_every=1e9, threads=1
)
BIAS = "block.0.router_bias"


def test_the_bias_moves_towards_even_load():
    """A router that prefers the first expert by far: after some hundred steps all four are used alike."""
    layer = experts.stack(CONFIG).layers[2]
    p = initial_parameters(layer.parameters(), seed=0) | {BIAS: torch.zeros(1, 4)}
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 256, 16, generator=generator)
    x[..., 0] = 3.0
    with torch.no_grad():
        p["block.0.router"][0, 0] += 0.2
        loads = []
        for _ in range(400):
            record = Record()
            layer.forward(p, x, Window(torch.zeros(1, 256, dtype=torch.int64), None, record))
            loads.append(record.counts["block 0"].tolist())
            layer.after_step(p, record)
    assert max(loads[0]) > 200 and sum(loads[-1]) == 256
    assert max(loads[-1]) < 96 and min(loads[-1]) > 32  # even: 64


def test_the_bias_is_kept_by_checkpoint_and_artifact(tmp_path: Path):
    model, tokens, val = experts.FAMILY.Model(CONFIG), toy_tokens(4_000), toy_tokens(1_000, seed=1)

    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, tokens, val, SMALL, tmp_path / "cut", on_metrics=interrupt)
    resumed = train(model, tokens, val, SMALL, tmp_path / "cut")
    whole = train(model, tokens, val, SMALL, tmp_path / "whole")
    assert all(torch.equal(whole.params[name], resumed.params[name]) for name in whole.params)
    assert np.array_equal(whole.constants[BIAS], resumed.constants[BIAS]) and np.any(whole.constants[BIAS])
    assert [line["train_loss"] for line in whole.curve] == [line["train_loss"] for line in resumed.curve]
    arrays = {name: t.detach().numpy() for name, t in whole.params.items()} | whole.constants
    pack(tmp_path / "m.wl", "experts", CONFIG, arrays)
    packed = open_packed(tmp_path / "m.wl")
    offset, tensor = packed.program.layout.places[BIAS]
    stored = decode_rows(
        packed.weights[offset : offset + tensor.nbytes].reshape(1, -1)[:, : tensor.row_bytes], "f32", 4
    )
    assert np.array_equal(stored, whole.constants[BIAS])


@pytest.mark.parametrize("weight", [0.0, 1000.0])
def test_the_balance_loss_is_beside_the_nats_never_in_them(weight):
    """The loss of a step is the mean of nats computed without a record, however heavy the balance is."""
    config = dataclasses.replace(CONFIG, balance="loss", balance_weight=weight, n_layers=2, top_k=2)
    model = experts.FAMILY.Model(config)
    masters = initial_parameters(model.tensors(), seed=0)
    rng = np.random.default_rng(0)
    batches = [Batch(*np.split(rng.integers(0, 61, (4, 2 * n)), 2, axis=1)) for n in (9, 9)]
    batches[1].targets_BT[:, 4:] = -1
    nats, balance = 0.0, 0.0
    with torch.no_grad():
        for batch in batches:
            record = Record()
            given = torch.from_numpy(batch.inputs_BT), torch.from_numpy(batch.targets_BT)
            nats += model.losses(masters, *given).double().sum().item()
            model.losses(masters, *given, record=record)
            balance += sum(float(a) for a in record.auxiliary) / len(batches)
    optimizer = grouped_optimizer(model.tensors(), masters, SMALL)
    weights = WorkingWeights(model.tensors(), masters, {})
    report = train_step(model, weights, optimizer, batches, step=0, factor=1.0, max_norm=1.0)
    assert report.loss == pytest.approx(nats / (4 * 13), rel=1e-6)
    assert report.auxiliary == pytest.approx(balance, rel=1e-6)
    assert weight == 0 or report.auxiliary >= 2 * weight * 0.9  # at least about 1 per layer
    assert [float(report.counts[f"block {i}"].sum()) for i in (0, 1)] == [2 * 72, 2 * 72]


def test_a_balance_loss_evens_the_load():
    """Minimised alone, it takes tokens from the expert that has all; 100 of the last 200 steps are about even."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(512, 8, generator=generator) + 0.5
    router = 0.01 * torch.randn(4, 8, generator=generator)
    router[0] += 0.3
    router.requires_grad_()
    loads = []
    for _ in range(400):
        chosen, _, p = L.choose_experts(h @ router.T, None, 1, "softmax")
        (gradient,) = torch.autograd.grad(L.balance_loss(p, chosen), router)
        router = (router - 0.1 * gradient).detach().requires_grad_()
        loads.append(chosen.flatten().bincount(minlength=4))
    late = torch.stack(loads[200:]).float().mean(0)
    assert loads[0].max() > 400 and late.max() < 200 and late.min() > 64  # even: 128
