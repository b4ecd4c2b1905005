"""Tokens per second of packed models, scoring a text and drawing one, side by side in interleaved rounds.

    python benchmarks/artifacts.py MODEL.wl [MODEL.wl ...] --data FOLDER [--rounds 7]

Scoring: windows of the model's context from the validation tokens of a prepared corpus, `score_stream`.  Drawing:
`feed` and `sample` in turn, from Python, as `generate` does.  One thread; a round runs every model once (A B C …).
Figures are medians over rounds of processor time, which a busy machine disturbs less than wall time; ratios to the
first model are medians of the rounds' ratios.  Nothing is timed before both engines agree on the first tokens.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from decode import processor

from weightless.audit.counters.agreement import TOLERANCE_NATS
from weightless.data.shards.corpus import corpus
from weightless.export.packed import Packed, open_packed
from weightless.program.engine import AuditEngine

CHECKED, LEAST = 24, 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    tokens = np.asarray(corpus(Path(arguments.data)).tokens("val")[:], np.int64)
    models = {path: open_packed(Path(path)) for path in arguments.models}
    for path, packed in models.items():
        check(path, packed, tokens[: CHECKED + 1])
    print(f"{processor()}, load {os.getloadavg()[0]:.1f}, {arguments.rounds} rounds")
    report("scoring", {path: scoring(packed, tokens) for path, packed in models.items()}, arguments.rounds)
    report("drawing", {path: drawing(packed) for path, packed in models.items()}, arguments.rounds)


def check(path: str, packed: Packed, tokens: np.ndarray) -> None:
    """The compiled engine says what the readable one says."""
    found = packed.engine().score_stream(tokens[:-1], tokens[1:])
    engine, said = AuditEngine(packed.program, np.array(packed.weights)), []
    for token, target in zip(tokens[:-1], tokens[1:], strict=True):
        engine.feed(int(token))
        said.append(engine.score(int(target)))
    if np.abs(found - said).max() > TOLERANCE_NATS:
        raise SystemExit(f"{path}: the engines differ by {np.abs(found - said).max():.2g} nats")


def scoring(packed: Packed, tokens: np.ndarray) -> Callable[[int], int]:
    """Score as many windows as have LEAST tokens; how many tokens."""
    engine, context = packed.engine(), packed.program.context
    n_windows = max(1, (len(tokens) - 1) // context)

    def work(number: int) -> int:
        n = 0
        for i in range(-(-LEAST // context)):
            first = (number * 7919 + i) % n_windows * context
            window = tokens[first : first + context + 1]
            engine.reset()
            n += len(engine.score_stream(window[:-1], window[1:]))
        return n

    return work


def drawing(packed: Packed) -> Callable[[int], int]:
    """Draw a window of tokens, the first LEAST of a longer one; how many."""
    engine, n = packed.engine(), min(LEAST, packed.program.context)

    def work(number: int) -> int:
        draws, token = np.random.default_rng(number).random((n, packed.program.n_uniforms)), 0
        engine.reset()
        for i in range(n):
            engine.feed(token)
            token = int(engine.sample(draws[i]))
        return n

    return work


def report(what: str, works: dict[str, Callable[[int], int]], rounds: int) -> None:
    """Tokens per second of all, and how many times the first that is."""
    for work in works.values():
        work(0)
    rates: dict[str, list[float]] = {path: [] for path in works}
    for number in range(rounds):
        for path, work in works.items():
            started = time.process_time()
            n = work(number)
            rates[path].append(n / max(time.process_time() - started, 1e-9))
    first = next(iter(rates.values()))
    for path, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, first, strict=True))
        print(f"{what:<8} {statistics.median(found):>12,.0f} tokens/s  {ratio:5.2f}x  {path}")


if __name__ == "__main__":
    main()
