"""What auditing costs: decoding, the same engine compiled with its log, and the readable engine, in interleaved rounds.

    python benchmarks/audit_overhead.py
    python benchmarks/audit_overhead.py --rounds 3 --tokens 64 --models feather
    python benchmarks/audit_overhead.py --artifact runs/demo/models/feather/model.wl

    decode      the compiled engine, which has no audit mode
    logged      the same source compiled with a log: every load and store written down
    touched     logged, and every step reduced to T, U and lines per component (what a ledger needs)
    readable    the NumPy engine with its log, the oracle of the other log
    beside      decode again, while a logged engine over the same weights stands beside it

Each round runs all five (A B C D E A B C D E ...) over the same tokens from position 1 on.  Nothing is timed before it
is right: nats of decoding and of the logged engine must be those of the operators in float64 (exactness.py) at the
first positions, and each other's throughout, within the tolerance of an audit.  Gates: logged and touched at most 10
times decode; beside not slower than decode by more than the spread of decode's own rounds.  One thread, processor time,
medians; ratios are medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from exactness import RED, exact_engine, nats_from, told
from threadpoolctl import threadpool_limits

from weightless.audit.counters.agreement import TOLERANCE_NATS
from weightless.audit.counters.subjects import Subject, of_artifact, of_configuration
from weightless.base.cores import cores
from weightless.export.packed import open_packed
from weightless.models.catalog import family

AT_MOST = 10.0
CHECKED = 8  # positions held to float64
AT_LEAST_SECONDS = 0.05
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "demo dense": ("dense", {"d_model": 128, "n_layers": 4, "tied": False}),
    "demo feather": ("feather", {"d_model": 120, "n_heads": 2, "d_head": 32, "d_ff": 112}),
    "feather": ("feather", {}),
    "dense 256 int8": ("dense", {"d_model": 256, "n_layers": 6, "weight_format": "int8", "kv_format": "int8"}),
    "ngram": ("ngram", {}),
    "infinigram": ("infinigram", {}),
    "mixture": ("mixture", {}),
}


def timed(work: Callable[[], object]) -> float:
    """Processor seconds of one call: one thread does the work, and a busy machine disturbs them less than the clock.

    Repeated until there is something to measure.
    """
    began, n = time.process_time(), 0
    while n == 0 or time.process_time() - began < AT_LEAST_SECONDS:
        work()
        n += 1
    return (time.process_time() - began) / n


def measure(model: Subject, n_tokens: int, rounds: int) -> dict[str, list[float]]:
    """Seconds per token of each kind, by round."""
    tokens, targets = model.tokens[:n_tokens], model.targets[:n_tokens]
    compiled, logged, readable = model.engine(), model.logged_engine(), model.audit_engine()

    def scoring(engine: Any) -> Callable[[], np.ndarray]:
        def work() -> np.ndarray:
            engine.reset()
            return engine.score_stream(tokens, targets)

        return work

    def touching() -> np.ndarray:
        logged.reset()
        return logged.touched(tokens, targets)[0]

    works: dict[str, Callable[[], np.ndarray]] = {
        "decode": scoring(compiled),
        "logged": scoring(logged),
        "touched": touching,
        "readable": scoring(readable),
        "beside": scoring(compiled),
    }
    check_exact(model, compiled, logged)
    right = works["decode"]()
    for name in ("logged", "touched"):
        if not np.allclose(works[name](), right, rtol=TOLERANCE_NATS, atol=TOLERANCE_NATS):
            sys.exit(f"{name}: other nats than decoding; no time is reported on a red check")
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seconds[name].append(timed(work) / len(tokens))
    return seconds


def check_exact(model: Subject, compiled: Any, logged: Any) -> None:
    """Both engines' nats, position by position, against float64 from the memory that the compiled one has."""
    exact, errors = exact_engine(model.program, model.weights), {"decode": 0.0, "logged": 0.0}
    for engine in (compiled, logged):
        engine.reset()
    for token, target in zip(model.tokens[:CHECKED], model.targets[:CHECKED]):
        truth = nats_from(exact, compiled.S, compiled.position, int(token), int(target))
        for name, engine in (("decode", compiled), ("logged", logged)):
            nats = float(engine.score_stream(np.array([token]), np.array([target]))[0])
            errors[name] = max(errors[name], abs(nats - truth) / max(1.0, truth))
    print(f"error of the nats against float64: {told(errors)}")
    if max(errors.values()) > TOLERANCE_NATS:
        sys.exit(f"nats are not those of float64; {RED}")


def subjects(arguments: argparse.Namespace) -> list[tuple[str, Subject]]:
    if arguments.artifact:
        return [(arguments.artifact, of_artifact(open_packed(arguments.artifact), "artifact"))]
    chosen = arguments.models.split(",") if arguments.models else list(MODELS)
    return [
        (name, of_configuration(MODELS[name][0], family(MODELS[name][0]).Config(**MODELS[name][1]))) for name in chosen
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help=f"comma-separated, of: {', '.join(MODELS)}")
    parser.add_argument("--artifact", default="", help="measure this artifact instead")
    parser.add_argument("--tokens", type=int, default=256, help="tokens per measurement")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    machine = {"load_average": os.getloadavg(), "cores": cores(), "machine": platform.machine()}
    print(json.dumps({**machine, **versions, "tokens": arguments.tokens}))
    kinds = " ".join(f"{kind:>15}" for kind in ("logged", "touched", "readable", "beside"))
    print(f"{'model':<16} {'decode':>9} {kinds}   gate {AT_MOST:.0f}x")
    with threadpool_limits(1, "blas"):  # threads of BLAS that wait would be charged to whoever runs next
        met = [report(name, measure(model, arguments.tokens, arguments.rounds)) for name, model in subjects(arguments)]
    print(f"load average at the end {os.getloadavg()[0]:.1f}")
    return 0 if all(met) else 1


def report(name: str, seconds: dict[str, list[float]]) -> bool:
    """One line: microseconds per token, and how many times decode; whether the gates are met."""
    decode = seconds["decode"]
    line, ratios = f"{name:<16} {1e6 * statistics.median(decode):>6.1f} us", {}
    for kind in ("logged", "touched", "readable", "beside"):
        ratios[kind] = statistics.median(a / b for a, b in zip(seconds[kind], decode, strict=True))
        line += f" {1e6 * statistics.median(seconds[kind]):>7.1f} {ratios[kind]:>6.2f}x"
    spread = max(decode) / min(decode) - 1
    met = max(ratios["logged"], ratios["touched"]) <= AT_MOST and ratios["beside"] <= 1 + spread
    print(f"{line} (+-{spread:.0%})  {'PASS' if met else 'FAIL'}", flush=True)
    return met


if __name__ == "__main__":
    sys.exit(main())
