"""What auditing costs: normal decoding, the logging engine, and normal decoding beside it, in interleaved rounds.

    python benchmarks/audit_overhead.py
    python benchmarks/audit_overhead.py --rounds 3 --tokens 64 --models feather
    python benchmarks/audit_overhead.py --artifact runs/demo/models/feather/model.wl

Each round measures A B A B: A = the compiled engine alone; B = the logging engine; then A again, while a logging engine
over the same weights stands beside it.  Both score the same tokens from position 1 on.  Gates: the logging engine takes
at most 10 times the compiled one; the compiled engine is not slower for being audited (it has no audit mode: the log is
another engine's, so the ratio should be 1 within the noise that repeating A shows).
The reduction of the log to bytes, which a ledger needs as well, is measured apart.  One thread; best of all rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from weightless.audit.subjects import Subject, of_artifact, of_configuration
from weightless.export.packed import open_packed
from weightless.models.catalog import family
from weightless.program.cost import Reducer

AT_MOST = 10.0
AT_LEAST_SECONDS = 0.05
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "demo dense": ("dense", {"d_model": 128, "n_layers": 4, "tied": False}),
    "demo feather": ("feather", {"d_model": 120, "n_heads": 2, "d_head": 32, "d_ff": 112}),
    "feather": ("feather", {}),
    "dense 256 int8": ("dense", {"d_model": 256, "n_layers": 6, "weight_format": "int8", "kv_format": "int8"}),
    "ngram": ("ngram", {}),
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


def measure(model: Subject, n_tokens: int, rounds: int) -> dict[str, Any]:
    """Seconds per token, the best of all rounds of each kind."""
    tokens, targets = model.tokens[:n_tokens], model.targets[:n_tokens]
    compiled, logging = model.engine(), model.audit_engine()

    def run(engine: Any) -> Callable[[], object]:
        def work() -> object:
            engine.reset()
            return engine.score_stream(tokens, targets)

        return work

    run(compiled)()
    run(logging)()
    alone, audited, beside = [], [], []
    for _ in range(rounds):
        fresh = model.engine()
        alone += [timed(run(fresh)), timed(run(fresh))][1:]
        audited.append(timed(run(logging)))
        beside.append(timed(run(compiled)))
        audited.append(timed(run(logging)))
    reducer = Reducer(model.program)
    reduced = timed(lambda: reducer.step([accesses for _, accesses, _ in logging.steps]))
    best = {"alone": min(alone), "audited": min(audited), "beside": min(beside)}
    return {
        "microseconds": {name: seconds / len(tokens) * 1e6 for name, seconds in best.items()} | {
            "first reduction of a log": reduced * 1e6},
        "audit_ratio": best["audited"] / best["alone"],
        "overhead": best["beside"] / best["alone"] - 1,
    }  # fmt: skip


def subjects(arguments: argparse.Namespace) -> list[tuple[str, Subject]]:
    if arguments.artifact:
        return [(arguments.artifact, of_artifact(open_packed(arguments.artifact), "artifact"))]
    chosen = arguments.models.split(",") if arguments.models else list(MODELS)
    return [(name, of_configuration(MODELS[name][0], family(MODELS[name][0]).Config(**MODELS[name][1])))
            for name in chosen]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help=f"comma-separated, of: {', '.join(MODELS)}")
    parser.add_argument("--artifact", default="", help="measure this artifact instead")
    parser.add_argument("--tokens", type=int, default=256, help="tokens per measurement")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    machine = {"load_average": os.getloadavg(), "cores": os.cpu_count(), "machine": platform.machine()}
    print(json.dumps({**machine, **versions, "tokens": arguments.tokens}))
    print(f"{'model':<24} {'decode us':>10} {'audit us':>10} {'ratio':>7} {'beside':>8}  gate {AT_MOST:.0f}x")
    for name, model in subjects(arguments):
        row = measure(model, arguments.tokens, arguments.rounds)
        micros, met = row["microseconds"], row["audit_ratio"] <= AT_MOST
        print(f"{name:<24} {micros['alone']:>10.1f} {micros['audited']:>10.1f} {row['audit_ratio']:>6.1f}x "
              f"{row['overhead']:>+8.1%}  {'met' if met else 'missed'}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
