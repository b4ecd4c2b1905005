"""Training in several processes beside one with as many threads: tokens per second of the wall clock, by turns.

    python benchmarks/processes.py [--rounds 5 --steps 12 --optimizer muon]

The model is that of benchmarks/training.py (dense, d 128, 4 layers, V 4,096, windows of 256), the step 8 windows in two
batches of 4.  Contenders start anew in every round and take turns; counted are the seconds that the loop counts, so
neither the start nor the first pass.  Figures are medians over rounds, with the least and the most: other programs on
the machine slow all of them.  First all are held to each other: their last losses agree within 1e-3 nats, which is what
other sums in Muon's iteration make of twelve steps.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from weightless.base.random import rng_for
from weightless.models.catalog import trained
from weightless.train.config import TrainConfig
from weightless.train.loop import train
from weightless.train.processes import ALONE, joined

CONTENDERS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes, 1 thread": (2, 1)}
N_TOKENS, N_VALIDATION, V, CONTEXT, ALLOWED = 200_000, 1_000, 4096, 256, 1e-3


def work(folder: Path, steps: int, threads: int, optimizer: str) -> None:
    """One contender's process; the first prints what it took."""
    room = trained("dense")
    model = room.Model(room.Config(vocab_size=V, d_model=128, n_layers=4, context=CONTEXT, kv_format="f32"))
    tokens = rng_for(0, "benchmark").zipf(1.3, N_TOKENS).clip(1, V).astype(np.int64) - 1
    config = TrainConfig(
        batch_size=4,
        grad_accumulation=2,
        context=CONTEXT,
        num_steps=steps,
        eval_every=10**6,
        eval_tokens=CONTEXT,
        threads=threads,
        optimizer=optimizer,
    )
    with joined() if "RANK" in os.environ else nullcontext(ALONE) as together:
        result = train(model, tokens[:-N_VALIDATION], tokens[-N_VALIDATION:], config, folder)
        if together.is_first:
            loss = result.curve[-1]["train_loss"]
            print(json.dumps({"rate": result.tokens_seen / result.seconds, "loss": loss}))


def measured(n: int, threads: int, steps: int, optimizer: str) -> dict[str, float]:
    """What one contender reports."""
    with socket.socket() as found, tempfile.TemporaryDirectory() as folder:
        found.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(found.getsockname()[1])}
        found.close()
        command = [sys.executable, __file__, "--work", folder, "--steps", str(steps), "--threads", str(threads)]
        command += ["--optimizer", optimizer]
        started = []
        for rank in range(n):
            own = {**place, "RANK": str(rank), "LOCAL_RANK": str(rank)} if n > 1 else {}
            env = {**os.environ, "OMP_NUM_THREADS": str(threads), **own}
            started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        said = [process.communicate()[0] for process in started]
        return json.loads(said[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--optimizer", default="muon")
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--work", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(Path(options.work), options.steps, options.threads, options.optimizer)
        return
    found: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(options.rounds):
        losses = []
        for name, (n, threads) in CONTENDERS.items():
            told = measured(n, threads, options.steps, options.optimizer)
            found[name].append(told["rate"])
            losses.append(told["loss"])
        if max(losses) - min(losses) > ALLOWED:
            raise SystemExit(f"the contenders do not train the same model: last losses {losses}")
    base = statistics.median(found["1 process, 1 thread"])
    for name, rates in found.items():
        middle = statistics.median(rates)
        print(f"{name:<24}{middle:>8,.0f} tokens/s ({min(rates):,.0f} to {max(rates):,.0f}), {middle / base:.2f} times")


if __name__ == "__main__":
    main()
