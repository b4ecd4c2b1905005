"""A layer that scans beside a layer of attention, forwards and backwards, in interleaved rounds (A B C D A B C D ...).

    python benchmarks/scan.py [--rounds 9] [--context 512] [--batch 4] [--threads 1]

Layers of equal width as a model has them, projections and norm included; attention has as many heads of keys as of
queries.  First every scan is held to its slow twin in NumPy, in float64 (`ops`), and no time is printed where it is
off.  Processor seconds of one forward and backward pass, medians over rounds, and their ratio to attention's.
Gate: at most 1.5 x attention's time at 512 positions.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from exactness import held

from weightless.base.cores import cores
from weightless.lab.environment import machine
from weightless.layers import functions as L
from weightless.layers.attention import Attention
from weightless.layers.layer import Layer, Window
from weightless.layers.linear_attention import LinearAttention
from weightless.layers.residual import Residual
from weightless.layers.scan import Scan
from weightless.ops import linear_attention as matrix
from weightless.ops import scan as diagonal
from weightless.train.initialise import initial_parameters

D, HEADS, CHUNK, SLOWEST = 256, 4, 64, 1.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 9), ("context", 512), ("batch", 4), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{machine()['cpu']}, {cores()} cores, {options.threads} threads, load average {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
    check(options.context)
    contenders = {name: Contender(layer, options) for name, layer in layers(options.context).items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, contender in contenders.items():
            seconds[name].append(contender.turn())
    return report(seconds, options)


def layers(context: int) -> dict[str, Layer]:
    join, width = Residual("", D, 1e-5), D // HEADS
    heads = (HEADS, width, False, 0, CHUNK, context, "bf16", "f32", 0.06, 0.02)
    return {
        "attention": Attention(0, join, HEADS, HEADS, width, context, 1e4, "bf16", "f32", 0.06, 0.02),
        "diagonal": Scan(0, join, D, 0, context, "bf16", 0.06, 0.02),
        "diagonal, convolution": Scan(0, join, D, 4, context, "bf16", 0.06, 0.02),
        "gated": LinearAttention(0, join, *heads),
        "delta": LinearAttention(0, join, *heads[:2], True, *heads[3:]),
    }


class Contender:
    """One layer with its parameters and a batch."""

    def __init__(self, layer: Layer, options: argparse.Namespace) -> None:
        self.layer, self.p = layer, initial_parameters(layer.parameters(), 0)
        self.x_BTD = torch.randn(options.batch, options.context, D, requires_grad=True)
        self.window = Window(torch.zeros(options.batch, options.context, dtype=torch.int64))
        self.turn()

    def turn(self) -> float:
        """Processor seconds of a forward and a backward pass: median of three, after one that does not count."""
        found = []
        for _ in range(4):
            began = time.process_time()
            self.layer.forward(self.p, self.x_BTD, self.window).sum().backward()
            found.append(time.process_time() - began)
        return statistics.median(found[1:])


def check(T: int) -> None:
    """The compiled recurrences beside NumPy, position by position, in float64."""
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return rng.standard_normal(shape)

    u, g, o, q, k, v = (drawn(T, D) for _ in range(6))
    wanted = diagonal.scan(u, g) * o / (1 + np.exp(-o))
    held("diagonal", [wanted], {"ours": [_window(L.gated_scan, u, g, o, np.zeros(D)[None])]}, {}, 1e-5)
    q, k, v = (z.reshape(T, HEADS, -1) for z in (q, k, v))
    z, beta = drawn(T, HEADS), rng.random((T, HEADS))
    decays = diagonal.decays(z)[0]
    for name, given, unit in (("gated", (), lambda x: x), ("delta", (beta,), matrix.unit)):
        wanted = matrix.linear_attention(unit(q), unit(k), v, decays, *given)
        have = _window(L.gated_linear_attention, unit(q), unit(k), v, z, *given)
        held(name, [wanted], {"ours": [have]}, {}, 1e-5)


def _window(function: Any, *arrays: np.ndarray) -> np.ndarray:
    return function(*(torch.from_numpy(x).float()[None] for x in arrays))[0].numpy()  # type: ignore[no-any-return]


def report(seconds: dict[str, list[float]], options: argparse.Namespace) -> int:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    failed = False
    for name, median in medians.items():
        ratio = median / medians["attention"]
        failed |= ratio > SLOWEST
        spread = f"{1000 * min(seconds[name]):.1f} to {1000 * max(seconds[name]):.1f}"
        print(f"{name:22s} {1000 * median:7.1f} ms ({spread})   {ratio:.2f} x attention")
    print(f"{'FAIL' if failed else 'PASS'}: at most {SLOWEST} x attention at {options.context} positions")
    print(f"load average at the end {os.getloadavg()[0]:.1f}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
