"""Tokens scored per second in blocks beside the compiled engine token after token, in interleaved rounds.

    python benchmarks/scoring.py [--shapes demo,cache,head,17M,134M] [--formats f32,int8,int4] [--rounds 3]

Both score one window of CONTEXT tokens per thread, with BLAS held to one thread; a round runs both once (A B, then
B A).  Figures are medians over rounds; ratios are medians of the rounds' ratios, of wall time and, because a busy
machine disturbs it less, of processor time.  Also given: which share of the speed of one large product in BLAS the
blocks reach, all of their work counted as products.  No blocked path can pass that speed, so where stepping already
runs at a fifth of it or more (a model that lies in the caches), five times is out of reach.

Nothing is timed before it is right: the mean nats of both agree to 1e-5 where the cache is float32; to 1e-4 where it is
int8, because so few tokens do not average the codes out that another order of sums moves (60,416 do:
docs/bytes.md).  The models are dense with random weights; caches are f32 for f32 and int8 for the others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from decode import FORMATS, packed, processor, random_arrays
from threadpoolctl import threadpool_limits

from weightless.base.cores import cores
from weightless.models import dense
from weightless.models.catalog import family
from weightless.program.blocked import Blocked
from weightless.program.decoded import Decoded
from weightless.program.engine import Engine
from weightless.program.program import Program

GATE, AGREEMENT = 5.0, {"f32": 1e-5, "int8": 1e-4}
CONTEXT = 512
SHAPES: dict[str, dict[str, Any]] = {
    "demo": {"vocab_size": 4096, "d_model": 128, "n_layers": 4, "tied": False},
    "cache": {"vocab_size": 4096, "d_model": 256, "n_layers": 6},
    "head": {"vocab_size": 50257, "d_model": 256, "n_layers": 6},
    "17M": {"vocab_size": 8192, "d_model": 384, "n_layers": 8},
    "134M": {"vocab_size": 32768, "d_model": 1024, "n_layers": 8},
}


def main() -> None:
    arguments = parse()
    load = os.getloadavg()
    print(json.dumps({"machine": processor(), "cores": cores(), "load_average": load, "threads": arguments.threads}))
    print(
        f"{'shape':6} {'format':6} {'stepped/s':>10} {'blocked/s':>10} {'wall':>6} {'cpu':>6} {'of peak':>8} {'gap':>9}"
    )
    reached = []
    with threadpool_limits(1, "blas"):
        for name in arguments.shapes.split(","):
            for weights in arguments.formats.split(","):
                reached.append((name, weights, compare(name, weights, arguments)))
    for name, weights, ratio in reached:
        print(f"{'PASS' if ratio >= GATE else 'FAIL'}  {name} {weights}: {ratio:.1f} x stepped (gate {GATE:g})")
    print(f"load average at the end {os.getloadavg()[0]:.1f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--formats", default="f32,int8,int4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def compare(name: str, weights: str, arguments: argparse.Namespace) -> float:
    """Print one line; the ratio of wall time."""
    cache: Any = FORMATS[weights]
    config = dense.Config(**SHAPES[name], context=CONTEXT, weight_format=weights, kv_format=cache)
    program = family("dense").decode_program(config)
    data = packed(program, random_arrays(dense, config))
    stream = np.random.default_rng(0).integers(0, config.vocab_size, (arguments.threads, CONTEXT + 1))
    engines, decoded = [Engine(program, data) for _ in stream], Decoded(program.layout, data)
    blocks = [Blocked(program, data, decoded) for _ in stream]

    def stepped(i: int) -> np.ndarray:
        engines[i].reset()
        return engines[i].score_stream(stream[i, :-1], stream[i, 1:])

    def blocked(i: int) -> np.ndarray:
        blocks[i].reset()
        return blocks[i].score(stream[i, :-1], stream[i, 1:])

    gap = max(abs(float(np.mean(stepped(i) - blocked(i)))) for i in range(len(stream)))
    if not gap <= AGREEMENT[cache]:
        raise SystemExit(f"{name} {weights}: mean nats differ by {gap:.2e}: nothing is timed that is not right")
    seconds: dict[Any, list[tuple[float, float]]] = {stepped: [], blocked: []}
    for round_ in range(arguments.rounds):
        for run in (stepped, blocked) if round_ % 2 == 0 else (blocked, stepped):
            seconds[run].append(timed(run, len(stream)))
    (a_wall, a_cpu), (b_wall, b_cpu) = (
        (np.array([w for w, _ in seconds[run]]), np.array([c for _, c in seconds[run]])) for run in (stepped, blocked)
    )
    ratio, by_cpu = (statistics.median((a / b).tolist()) for a, b in ((a_wall, b_wall), (a_cpu, b_cpu)))
    rates = [len(stream) * CONTEXT / float(np.median(wall)) for wall in (a_wall, b_wall)]
    work = sum(op.flops(program.by_name, CONTEXT // 2) for op in program.operators("score"))
    share = work * len(stream) * CONTEXT / float(np.median(b_cpu)) / peak(program)
    print(
        f"{name:6} {weights:6} {rates[0]:10,.0f} {rates[1]:10,.0f} {ratio:6.2f} {by_cpu:6.2f} {share:8.0%} {gap:9.1e}",
        flush=True,
    )
    return ratio


def timed(run: Any, n_threads: int) -> tuple[float, float]:
    """(wall, processor) seconds of all threads together."""
    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(run, range(n_threads)))
    return time.perf_counter() - wall, time.process_time() - cpu


def peak(program: Program) -> float:
    """FLOPs per second of the best of some products of CONTEXT rows with a matrix of the model's width."""
    rows, cols = max((t.shape for t in program.stored() if t.kind == "weight"), key=lambda shape: shape[0] * shape[1])
    W, x = np.ones((min(rows, 4096), cols), np.float32), np.ones((CONTEXT, cols), np.float32)
    best = float("inf")
    for _ in range(9):
        began = time.process_time()
        np.matmul(x, W.T)
        best = min(best, time.process_time() - began)
    return 2 * W.size * CONTEXT / best


if __name__ == "__main__":
    main()
