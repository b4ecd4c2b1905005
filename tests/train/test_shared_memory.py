"""Tensors that share memory are saved each by itself.  Oracle: the values that went in."""

from __future__ import annotations

import torch

from weightless.train.checkpoint import load_checkpoint, save_checkpoint


def test_tied_and_overlapping_tensors_come_back(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    parameters = {"embed": whole, "head": whole, "rows": whole[1:], "flat": whole.view(-1)}
    expected = {name: tensor.clone() for name, tensor in parameters.items()}
    save_checkpoint(tmp_path, 1, parameters, {"m.embed": whole}, {}, {})
    loaded = load_checkpoint(tmp_path)
    for name, tensor in expected.items():
        assert torch.equal(loaded.parameters[name], tensor)
