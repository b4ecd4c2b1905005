"""Tokens scored per second by all paths of `weightless eval`, at the size of Parameter Golf, in interleaved rounds.

    python benchmarks/batched_scoring.py [--rounds 3] [--threads 2] [--windows 4] [--stepped 128] [--compile]
                                         [--model MODEL.wl]

The model is the published baseline of 17,059,912 parameters (family golf, int8, context 1,024) with random weights,
packed to a temporary file, or the one that is named.  A round scores, in an order that is turned round from one to the
next: a stretch of a window token after token (stepped, one engine per thread), a window per thread in blocks, and
some windows per thread in batches, in float32 and in bf16.  All with the same number of threads.  Figures are medians
of targets per second of wall time, ratios are medians of the rounds' ratios to stepping; beside them targets per
second of one core's processor time, which a busy machine disturbs less.

Nothing is timed before it is right: what `weightless eval` prints of the engine's sample is printed here, and nats that
are not the engine's end the run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from decode import processor, random_arrays

from weightless.base.cores import cores
from weightless.base.interrupts import Interrupts
from weightless.evals.batched import Batching, _Work
from weightless.evals.bits_per_byte import windows
from weightless.evals.scoring import score_windows
from weightless.export.lower import pack
from weightless.export.packed import Packed, open_packed
from weightless.models import golf
from weightless.program.blocked import Blocked
from weightless.program.decoded import Decoded
from weightless.train.device import threads

GATE = 5_000.0
Run = Callable[[], int]


def main() -> None:
    given = parse()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(given.model or Path(folder) / "golf.wl")
        if not given.model:
            pack(path, "golf", golf.Config(), lively(random_arrays(golf, golf.Config())))
        compare(open_packed(path), given)


def lively(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What begins at zero, which is every way out of a block, made uneven: else no block has a say in the nats."""
    rng = np.random.default_rng(1)
    return {k: a if a.any() else 0.02 * rng.standard_normal(a.shape, np.float32) for k, a in arrays.items()}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--windows", type=int, default=4, help="per thread, of the batches")
    parser.add_argument("--compile", action="store_true", help="batches in bf16 by torch.compile, too (minutes)")
    parser.add_argument("--stepped", type=int, default=128, help="targets of a stepped stretch, per thread")
    return parser.parse_args()


def compare(packed: Packed, given: argparse.Namespace) -> None:
    """Check, then time, then print."""
    machine = {"machine": processor(), "cores": cores(), "load_average": os.getloadavg(), "threads": given.threads}
    print(json.dumps(machine))
    context, program = packed.program.context, packed.program
    n_tokens = given.threads * given.windows * context + 1
    tokens = np.random.default_rng(0).integers(0, program.vocab_size, n_tokens)
    todo = windows(n_tokens, context, context)
    for kind in ("none", "bf16"):
        found = score_windows(packed, tokens, todo, given.threads, "checking", "batched", Batching(autocast=kind))
        print(f"batched, {'float32' if kind == 'none' else kind}: {found.checked}")
    runs = contenders(packed, tokens, todo, given)
    seconds: dict[str, list[tuple[float, float, int]]] = {name: [] for name in runs}
    for round_ in range(given.rounds):
        for name in sorted(runs, reverse=bool(round_ % 2)):
            wall, cpu = time.perf_counter(), time.process_time()
            n = runs[name]()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu, n))
    report(seconds)


def contenders(
    packed: Packed, tokens: np.ndarray, todo: list[tuple[int, int, int]], given: argparse.Namespace
) -> dict[str, Run]:
    """{name: scores some targets and says how many}; what is compiled or decoded once is done."""
    program, decoded = packed.program, Decoded(packed.program.layout, packed.weights)
    engines = [packed.engine() for _ in range(given.threads)]
    blocks = [Blocked(program, packed.weights, decoded) for _ in range(given.threads)]
    fed = [tokens[i * program.context : (i + 1) * program.context + 1] for i in range(given.threads)]

    def on_threads(one: Callable[[int], int]) -> int:
        with ThreadPoolExecutor(given.threads) as pool:
            return sum(pool.map(one, range(given.threads)))

    def stepped(i: int) -> int:
        engines[i].reset()
        return len(engines[i].score_stream(fed[i][: given.stepped], fed[i][1 : given.stepped + 1]))

    def blocked(i: int) -> int:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):
            blocks[i].reset()
            return len(blocks[i].score(fed[i][:-1], fed[i][1:], 0))

    def batched(kind: str, compiled: bool = False) -> Run:
        def run() -> int:
            with Interrupts() as interrupts, threads(1):
                work.done[:] = 0
                work.score(range(len(work.batches)), interrupts, lambda amount=1, note="": None)
            return work.n_targets

        work = _Work(packed, tokens, todo, given.threads, Batching(autocast=kind, compile=compiled))
        with threads(1):
            work.warm_up()
        return run

    runs: dict[str, Run] = {
        "1 stepped": lambda: on_threads(stepped),
        "2 blocked": lambda: on_threads(blocked),
        "3 batched float32": batched("none"),
        "4 batched bf16": batched("bf16"),
    }
    if given.compile:
        runs["5 compiled bf16"] = batched("bf16", compiled=True)
    for run in runs.values():
        run()
    return runs


def report(seconds: dict[str, list[tuple[float, float, int]]]) -> None:
    """A line for every path."""
    print(f"{'path':18} {'targets/s':>10} {'of one core':>12} {'wall ratio':>11} {'cpu ratio':>10}")
    base, best = seconds["1 stepped"], 0.0
    for name, taken in seconds.items():
        rates = [statistics.median(n / part[i] for *part, n in taken) for i in (0, 1)]
        ratios = [
            statistics.median((a[i] / a[2]) / (b[i] / b[2]) for a, b in zip(base, taken, strict=True)) for i in (0, 1)
        ]
        print(f"{name[2:]:18} {rates[0]:10,.0f} {rates[1]:12,.0f} {ratios[0]:11.1f} {ratios[1]:10.1f}")
        best = max(best, rates[0])
    print(f"{'PASS' if best >= GATE else 'FAIL'}  {best:,.0f} targets/s (gate {GATE:,.0f})")
    print(f"load average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
