"""Is a training step ever waiting for its batch?  Time to build batches beside a step, and what a thread would save.

    python benchmarks/batches.py                                     fables, the demo's dense and feather
    python benchmarks/batches.py --data runs/demo/data --steps 40    a prepared corpus

1. Milliseconds per batch for every packing and order, and their share of one training step of the demo's models
   (median of steps; goal: below 2 %).  A first batch also pays for packing and sorting: the set-up column.
2. Interleaved rounds of training steps without and with --prefetch: the median of the paired differences.
3. Attention under a document mask against plain causal attention, forward and backward: time and peak memory (each in
   a process of its own).
One thread, or OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.config import from_dict
from weightless.lab.recipe import load_recipe
from weightless.models.catalog import family
from weightless.train.config import TrainConfig
from weightless.train.feeding import feeding

GOAL = 0.02
ASKED: dict[str, dict[str, Any]] = {
    "stream": {},
    "stream, uniform": {"order": "uniform"},
    "stream, mask": {"document_mask": True},
    "documents": {"packing": "documents"},
    "documents, mask": {"packing": "documents", "document_mask": True},
    "documents, mask, length": {"packing": "documents", "document_mask": True, "order": "length"},
    "stream, compression": {"order": "compression"},
}


class Source:
    """A stream of documents of about 300 tokens, made on the spot: 256 byte values and an end of text."""

    end_of_text = 256

    def __init__(self, n_tokens: int) -> None:
        rng = np.random.default_rng(0)
        lengths = rng.lognormal(5.4, 0.8, n_tokens // 200).astype(int) + 2
        self.all = (rng.zipf(1.3, int(lengths.sum())) % 256).astype(np.uint16)
        self.all[np.cumsum(lengths) - lengths] = self.end_of_text
        self.vocab_size = 4096
        self.token_bytes = [bytes([i % 256]) for i in range(self.vocab_size)]

    def tokens(self, split: str) -> np.ndarray:
        return self.all if split == "train" else self.all[:100_000]

    def tokenizer(self) -> Source:
        return self


def demo_models(recipe: Path, vocab_size: int) -> dict[str, tuple[Any, TrainConfig]]:
    """{name: (Model, its TrainConfig)} of the trained models of a recipe."""
    found = {}
    for entry in load_recipe(recipe).model:
        room = family(entry.family)
        if hasattr(room, "Model"):
            config = entry.build_config(vocab_size)
            values = {"context": config.context, **entry.train, "seconds": None, "num_steps": 10**6, "threads": 1}
            found[entry.name] = (room.Model(config), from_dict(TrainConfig, values))
    return found


def step_times(model: Any, config: TrainConfig, source: Any, n_steps: int) -> list[float]:
    """Seconds of every step of one run, without evaluation and checkpoints."""
    from weightless.train.loop import train

    stamps: list[float] = []
    config = dataclasses.replace(
        config, num_steps=n_steps, log_every=1, eval_every=10**6, eval_tokens=config.context, checkpoint_every=1e9
    )
    with tempfile.TemporaryDirectory() as folder:
        train(
            model,
            source.tokens("train"),
            source.tokens("val"),
            config,
            folder,
            "steps",
            source=source,
            on_metrics=lambda line: stamps.append(line["seconds"]),
        )
    return np.diff(stamps).tolist()


def construction(config: TrainConfig, source: Any, n_batches: int) -> dict[str, float]:
    """Set-up seconds, and median seconds of a batch."""
    start = time.perf_counter()
    fed = feeding(source.tokens("train"), config, source)
    fed.batches.batch(0)
    set_up, seconds = time.perf_counter() - start, []
    for step in range(1, n_batches + 1):
        start = time.perf_counter()
        fed.batches.batch(step)
        seconds.append(time.perf_counter() - start)
    return {"set_up": set_up, "batch": statistics.median(seconds), "wasted": fed.batches.windows.wasted_share}


def peak_megabytes() -> float:
    """Largest resident set of this program so far; Linux's getrusage would tell that of the parent, if larger."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def attention(masked: bool, rows: int, context: int) -> dict[str, float]:
    """Best seconds of attention forward and backward, and how far the resident memory rose, in MB."""
    import torch

    from weightless.layers import functions as L

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    qkv = torch.randn(rows, context, 3 * 128, requires_grad=True)
    document = torch.sort(torch.randint(0, max(1, context // 100), (rows, context)), dim=1).values
    L.causal_attention(qkv[:1, :64], 2, 2, 64, 10_000.0).sum().backward()
    before, best = peak_megabytes(), float("inf")
    for _ in range(5):
        start = time.perf_counter()
        layout = L.document_layout(document) if masked else None
        L.causal_attention(qkv, 2, 2, 64, 10_000.0, documents=layout).sum().backward()
        best = min(best, time.perf_counter() - start)
    return {"seconds": best, "megabytes": peak_megabytes() - before}


def attention_apart(masked: bool, rows: int, context: int) -> dict[str, float]:
    """`attention` in a process of its own."""
    call = [sys.executable, __file__, "--attention", str(int(masked)), str(rows), str(context)]
    return json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


def report_construction(models: dict[str, tuple[Any, TrainConfig]], source: Any, options: argparse.Namespace) -> bool:
    """Part 1; whether every share is below the goal."""
    steps = {name: statistics.median(step_times(*of, source, options.steps)) for name, of in models.items()}
    print(f"{'batch':<26}{'set-up s':>10}{'ms':>9}{'wasted':>9}" + "".join(f"{'of ' + n + ' step':>18}" for n in steps))
    config, worst = next(iter(models.values()))[1], 0.0
    for name, asked in ASKED.items():
        found = construction(dataclasses.replace(config, **asked), source, options.batches)
        shares = [found["batch"] / seconds for seconds in steps.values()]
        worst = max(worst, *shares)
        print(
            f"{name:<26}{found['set_up']:>10.2f}{1e3 * found['batch']:>9.3f}{found['wasted']:>9.2%}"
            + "".join(f"{share:>18.2%}" for share in shares)
        )
    milliseconds = ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in steps.items())
    print(f"one step: {milliseconds}; the dearest batch takes {worst:.2%} of one (goal: below {GOAL:.0%})")
    return worst < GOAL


def report_prefetch(models: dict[str, tuple[Any, TrainConfig]], source: Any, options: argparse.Namespace) -> None:
    """Part 2."""
    for name, (model, config) in models.items():
        config, ratios = dataclasses.replace(config, **ASKED["documents"]), []
        for turn in range(options.rounds):
            pair = {}
            for ahead in (0, 2) if turn % 2 else (2, 0):
                run = dataclasses.replace(config, prefetch=ahead)
                pair[ahead] = statistics.median(step_times(model, run, source, options.steps))
            ratios.append(pair[0] / pair[2])
        spread = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"{name}: a step without prefetch takes {statistics.median(ratios):.3f} of one with (rounds: {spread})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a prepared corpus; made up when absent")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).parents[1] / "recipes/demo.toml")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--attention", nargs=3, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attention:
        print(json.dumps(attention(bool(options.attention[0]), *options.attention[1:])))
        return 0
    if options.data:
        from weightless.data.shards.corpus import corpus

        source: Any = corpus(options.data)
    else:
        source = Source(2_000_000)
    models = demo_models(options.recipe, source.vocab_size)
    fine = report_construction(models, source, options)
    report_prefetch(models, source, options)
    for rows, context in ((4, 512), (4, 2048)):
        plain, masked = (attention_apart(mask, rows, context) for mask in (False, True))
        print(
            f"attention, {rows} x {context}: causal {1e3 * plain['seconds']:.1f} ms, +{plain['megabytes']:.0f} MB; "
            f"documents {1e3 * masked['seconds']:.1f} ms, +{masked['megabytes']:.0f} MB"
        )
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
