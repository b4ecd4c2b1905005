"""How fast training steps are, beside a plain PyTorch loop of the same model: d 128, 4 layers, V 4,096, one thread.

    python benchmarks/training.py [--rounds 7 --steps 8 --optimizers adamw muon]
    python benchmarks/training.py --ours [--steps 40]       dense and feather by the loop alone: to compare two
                                                            versions, run it in their checkouts by turns

"ours" is what a number of steps gives, "ours, a long budget" what the default makes of 900 seconds and more.
A step is everything from fetching the batch to the update: for ours what the loop does between two batches (checks,
clock and counters included), for theirs what `training_torch.py` says.  Contenders take turns, round by round, on one
thread; timed are seconds of the processor, which other programs cannot steal (though they slow it down).  Figures are
medians over rounds, and only ratios within a run mean anything.  First all are held to each other: from the same
weights, on the same batch, the first losses agree within the rounding of the dtype.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exactness import held
from training_torch import plain_loss, plain_step

from weightless.base.random import rng_for
from weightless.data.batches.loader import Batches
from weightless.models.catalog import trained
from weightless.train.config import TrainConfig
from weightless.train.distilling import ALONE
from weightless.train.initialise import initial_parameters
from weightless.train.loop import _Run, train

CONFIGS: dict[str, dict[str, Any]] = {
    "dense": {"d_model": 128, "n_layers": 4, "context": 256},
    "feather": {"context": 256, "rows_2": 4096, "rows_3": 4096},
}
CONTEST = {**CONFIGS["dense"], "kv_format": "f32"}  # nobody else rounds keys and values
N_TOKENS, N_VALIDATION, BATCH, CONTEXT = 200_000, 20_000, 4, 256
MANY = 10**6
OURS = {
    "ours": {},
    "ours, a long budget": {"seconds": 1e9},
    "ours, compiled": {"compile": True},
    "ours, bf16": {"autocast": "bf16"},
    "ours, compiled, bf16": {"compile": True, "autocast": "bf16"},
}
BASE = "PyTorch, eager"
THEIRS = {
    BASE: (False, False),
    "PyTorch, compiled": (True, False),
    "PyTorch, bf16": (False, True),
    "PyTorch, compiled, bf16": (True, True),
}
ALLOWED = {False: 1e-6, True: 1e-3}
"""How far the first loss, a mean over 1,024 targets, may be from float64: of float32, and with products in bf16."""

Step = Callable[[], float]


def made_tokens() -> np.ndarray:
    return ((rng_for(0, "benchmark", "tokens").zipf(1.3, N_TOKENS) - 1) % 4096).astype(np.uint16)


def ours_step(tokens: np.ndarray, optimizer: str, folder: Path, fields: dict[str, Any]) -> Step:
    """One call, one step of the loop."""
    family = trained("dense")
    rare = {"eval_every": MANY, "log_every": MANY, "eval_tokens": 512, "checkpoint_every": 1e9}
    length = {"num_steps": MANY} if "seconds" not in fields else {}
    common = {**rare, **length, "optimizer": optimizer, "schedule": "constant", "warmup": 0.0, "threads": 1}
    config = TrainConfig(BATCH, CONTEXT, **common, **fields)
    model = family.Model(family.Config(**CONTEST))
    texts = tokens[:-N_VALIDATION], tokens[-N_VALIDATION:]
    run = _Run(model, *texts, config, folder, None, False, None, None, None, ALONE)
    run.warm_up()
    run.begin("benchmark")

    def one() -> float:
        before = run.counters.window_nats
        run.advance()
        return (run.counters.window_nats - before) / (BATCH * CONTEXT)

    return one


def peer(tokens: np.ndarray) -> tuple[Any, dict[str, torch.Tensor], Batches]:
    """Our configuration, the weights that ours begin with, and the batches that they learn from."""
    family = trained("dense")
    config = family.Config(**CONTEST)
    weights = initial_parameters(family.Model(config).tensors(), 0)
    return config, weights, Batches(tokens[:-N_VALIDATION], CONTEXT, BATCH, 0, "permutation")


def theirs_step(tokens: np.ndarray, optimizer: str, compiled: bool, half: bool) -> Step:
    config, weights, batches = peer(tokens)
    return plain_step(config, weights, lambda i: batches.batch(i)[:2], optimizer, compiled, half)


def contest(optimizer: str, rounds: int, steps: int, names: list[str]) -> None:
    tokens = made_tokens()
    with ExitStack() as stack:
        contenders: dict[str, Step] = {}
        for name in filter(OURS.__contains__, names):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            contenders[name] = ours_step(tokens, optimizer, folder, OURS[name])
        for name in filter(THEIRS.__contains__, names):
            contenders[name] = theirs_step(tokens, optimizer, *THEIRS[name])
        losses = {name: [step() for _ in range(3)] for name, step in contenders.items()}  # also compiles
        check_same(tokens, losses)
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, step in contenders.items():
                began = time.process_time()
                for _ in range(steps):
                    step()
                seconds[name].append((time.process_time() - began) / steps)
    report(optimizer, seconds)


def check_same(tokens: np.ndarray, losses: dict[str, list[float]]) -> None:
    """The first losses, from the same weights on the same batch, against the plain model in float64."""
    config, weights, batches = peer(tokens)
    exact = [plain_loss(config, weights, batches.batch(0)[:2])]
    for half, allowed in ALLOWED.items():
        firsts = {name: [found[0]] for name, found in losses.items() if ("bf16" in name or "long" in name) == half}
        ours, theirs = ({n: f for n, f in firsts.items() if (n in OURS) == is_ours} for is_ours in (True, False))
        held("first loss in bf16" if half else "first loss", exact, ours, theirs, allowed)


def report(optimizer: str, seconds: dict[str, list[float]]) -> None:
    rates = {name: BATCH * CONTEXT / statistics.median(taken) for name, taken in seconds.items()}
    print(f"\n{optimizer}, load {os.getloadavg()[0]:.1f}:")
    for name, rate in rates.items():
        beside = statistics.median(t / o for t, o in zip(seconds[BASE], seconds[name], strict=True))
        print(f"  {name:24} {rate:8,.0f} tokens/s   {beside:5.2f} x PyTorch eager, round by round")
    best = max((name for name in rates if name in THEIRS), key=lambda name: rates[name])
    for name in (name for name in rates if name in OURS):
        ratio = statistics.median(t / o for t, o in zip(seconds[best], seconds[name], strict=True))
        print(f"  {name:24} {ratio:5.2f} x the best of PyTorch ({best})")


def ours_alone(n_steps: int) -> None:
    tokens = made_tokens()
    loop = TrainConfig(256, 4, n_steps, eval_every=MANY, eval_tokens=512, log_every=n_steps, threads=1)
    for name, shape in CONFIGS.items():
        family = trained(name)
        model, began = family.Model(family.Config(**shape)), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = train(model, tokens[:-N_VALIDATION], tokens[-N_VALIDATION:], loop, folder)
        print(f"{name}: {found.seconds:.2f} s for {n_steps} steps, {time.process_time() - began:.2f} s of processor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--without", default="", help="leave out contenders in whose names this stands")
    parser.add_argument("--optimizers", nargs="+", default=["adamw", "muon"], choices=["adamw", "muon"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.ours:
        ours_alone(asked.steps)
        return
    names = [name for name in (*OURS, *THEIRS) if not asked.without or asked.without not in name or name == BASE]
    for optimizer in asked.optimizers:
        contest(optimizer, asked.rounds, asked.steps, names)


if __name__ == "__main__":
    main()
