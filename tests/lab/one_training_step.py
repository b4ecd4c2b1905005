"""Run as a program: two training steps of a model, and by how many bytes they raised this process's memory.

    python one_training_step.py VOCAB D_MODEL N_LAYERS BATCH OPTIMIZER [FAMILY FIELD=TEXT …]
        ->  {"measured": …, "predicted": …}

The high-water mark of the resident set (VmHWM) is reset after a tiny step has loaded everything that is loaded once.
The caller sets MALLOC_MMAP_THRESHOLD_, so that freed blocks go back to the system instead of leaving holes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightless.lab.accounting import family_model
from weightless.layers.stack import StackModel
from weightless.ledger.memory import training_memory
from weightless.models.catalog import trained
from weightless.train.config import TrainConfig
from weightless.train.gradients import clip, collect, global_norm
from weightless.train.optimizers.groups import GroupedOptimizer, grouped_optimizer


def resident(key: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def steps(name: str, config: Any, batch_size: int, optimizer: str) -> None:
    model, rng = trained(name).Model(config), np.random.default_rng(0)
    specs = model.tensors()
    weights = {spec.name: torch.zeros(spec.shape).normal_(0, 0.02).requires_grad_() for spec in specs}
    rule = grouped_optimizer(specs, weights, TrainConfig(1, 4, 1, optimizer=optimizer))
    for t in (1, 2):
        tokens = torch.from_numpy(rng.integers(0, config.vocab_size, (batch_size, config.context + 1)))
        step(model, weights, rule, tokens, t)


def step(model: StackModel, weights: dict[str, torch.Tensor], rule: GroupedOptimizer, tokens, t: int) -> None:
    """A function of its own, so that the gradients of one step are gone before the next."""
    model.losses(weights, tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()).mean().backward()
    gradients = collect(weights)
    clip(gradients, global_norm(gradients), 1.0)
    rule.update(gradients, 0.1, t)


def main() -> None:
    vocab_size, d_model, n_layers, batch_size = (int(word) for word in sys.argv[1:5])
    torch.set_num_threads(1)
    name, fields = (sys.argv[6:7] or ["dense"])[0], dict(pair.split("=") for pair in sys.argv[7:])
    make = trained(name).Config
    steps(name, make(vocab_size=64, d_model=64, n_layers=1, context=16, **fields), 1, sys.argv[5])
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    config = make(vocab_size=vocab_size, d_model=d_model, n_layers=n_layers, context=256, **fields)
    steps(name, config, batch_size, sys.argv[5])
    model = family_model(name, config)
    memory = training_memory(model.weights, sys.argv[5], model.activations(256))
    print(json.dumps({"measured": resident("VmHWM") - before, "predicted": memory.peak(batch_size)}))


if __name__ == "__main__":
    main()
