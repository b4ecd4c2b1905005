"""Oracle: the stored rows themselves, decode(encode(w)), and gradients applied straight through."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_training import ToyModel, toy_tokens

from weightless.data.batches.packing import Batch
from weightless.quant.formats import decode_rows, encode_rows
from weightless.train import working_weights
from weightless.train.config import TrainConfig
from weightless.train.initialise import initial_parameters
from weightless.train.optimizers.groups import grouped_optimizer
from weightless.train.step import train_step
from weightless.train.working_weights import WorkingWeights


@pytest.mark.parametrize("block", [64, 1 << 22])
def test_rounded_weights_are_the_stored_ones_and_follow_updates(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working_weights, "BLOCK_ELEMENTS", block)  # 64: many blocks of rows, the last one ragged
    model = ToyModel()
    specs = model.tensors()
    masters = initial_parameters(specs, 0)
    weights = WorkingWeights(specs, masters, {"multiplier": torch.tensor([7])})
    assert weights.leaves == masters
    assert weights.round_by(1.0) == (3, 4)  # the table is still all zeros: rounding leaves it as it is
    optimizer = grouped_optimizer(specs, masters, TrainConfig(1, 1, num_steps=1))
    tokens = toy_tokens(200)
    for step in range(3):
        x, y = tokens[step : step + 60].reshape(4, 15), tokens[step + 1 : step + 61].reshape(4, 15)
        train_step(model, weights, optimizer, [Batch(x, y)], step=step, factor=1.0, max_norm=1.0)
        for spec in specs:
            master = masters[spec.name].detach().numpy()
            stored = decode_rows(encode_rows(master, spec.format), spec.format, master.shape[1])
            assert (weights.inputs[spec.name].detach().numpy() == stored).all(), spec.name
    assert masters["table"].abs().sum() > 0 and weights.inputs["scale"] is masters["scale"]


def test_the_gradient_at_the_rounded_weights_moves_the_masters() -> None:
    masters = {"w": torch.tensor([[0.3, -1.0]], requires_grad=True)}
    specs = [ToyModel().tensors()[0].__class__("w", (1, 2), "int4", 0.1, "matrix")]
    weights = WorkingWeights(specs, masters, {})
    weights.round_by(1.0)
    rounded = weights.leaves["w"].detach().clone()
    config = TrainConfig(1, 1, num_steps=1, optimizer="sgd", max_lr=0.5, weight_decay=0.0)

    class Square:
        def losses(self, p, tokens_BT, targets_BT, record=None):
            return p["w"].square().sum() / 2 + 0 * tokens_BT

    optimizer, empty = grouped_optimizer(specs, masters, config), np.zeros((1, 1))
    train_step(Square(), weights, optimizer, [Batch(empty, empty)], step=0, factor=1.0, max_norm=0.0)
    torch.testing.assert_close(masters["w"].detach(), torch.tensor([[0.3, -1.0]]) - 0.5 * rounded)


def test_rounding_sets_in_by_its_strength() -> None:
    """w + strength (w' - w), and at full strength what is stored, to the bit."""
    specs = ToyModel().tensors()
    masters = initial_parameters(specs, 0)
    with torch.no_grad():
        masters["table"].normal_()
    weights = WorkingWeights(specs, masters, {"multiplier": torch.tensor([7])})
    for strength in (0.3, 0.6, 1.0):
        weights.round_by(strength)
        for spec in specs:
            if spec.format == "f32":
                assert weights.inputs[spec.name] is masters[spec.name]
                continue
            w = masters[spec.name].detach()
            stored = torch.from_numpy(decode_rows(encode_rows(w.numpy(), spec.format), spec.format, w.shape[1]))
            tolerance = 0 if strength == 1.0 else 1e-6  # the sums are rounded in float32
            wanted = stored if strength == 1.0 else w + strength * (stored - w)
            torch.testing.assert_close(weights.leaves[spec.name].detach(), wanted, rtol=0, atol=tolerance)
