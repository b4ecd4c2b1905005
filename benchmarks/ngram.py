"""Time and memory of counted models: build an order-5 Kneser-Ney model, then score held-out tokens in batch.

    python benchmarks/ngram.py --tokens corpus.npy --vocab-size 32000 --sizes 1,4,17
    python benchmarks/ngram.py                                        (Zipfian text made on the spot)

`--tokens` is a .npy array of ids or a .bin shard of a prepared corpus; the last 100,000 tokens are held out.  Every
size runs in a process of its own, so that the peak of resident memory is its own; the kernels are warm (compiled and
loaded) before the clock starts; one thread.  The best of `--repeats` builds is reported beside all of them, and the
best processor time, which a busy machine disturbs less.  Held-out nats per token stand beside the speed, so that a
fast wrong answer shows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.cores import cores

HELD_OUT = 100_000
GATE_SECONDS = 5.0  # 17 M tokens, order 5; one thread, so processor time is what an idle machine would take


def zipfian_text(n_tokens: int, vocab_size: int, seed: int = 0) -> np.ndarray:
    """Tokens whose n-grams repeat like those of text: Zipfian draws, half of them copied from an earlier phrase."""
    rng = np.random.default_rng(seed)
    tokens = ((rng.zipf(1.2, n_tokens) - 1) % vocab_size).astype(np.uint16 if vocab_size <= 65536 else np.uint32)
    phrase = 8
    for start in range(2 * phrase, n_tokens - phrase, 2 * phrase):
        earlier = int(start * rng.random() ** 2) // phrase * phrase
        tokens[start : start + phrase] = tokens[earlier : earlier + phrase]
    return tokens


def load_tokens(path: Path | None, n_tokens: int, vocab_size: int) -> np.ndarray:
    """The first n_tokens of the file, or made ones."""
    if path is None:
        return zipfian_text(n_tokens, vocab_size)
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")[:n_tokens].copy()
    from weightless.data.shards.shards import read_shard

    return np.array(read_shard(path)[:n_tokens])


def peak_megabytes() -> float:
    """Largest resident set of this process so far (Linux counts kilobytes, macOS bytes)."""
    scale = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def measure(tokens: np.ndarray, vocab_size: int, order: int, repeats: int) -> dict[str, Any]:
    """Build and score once warm; everything a row of the table says."""
    from weightless.ngram.kneser_ney import build_with_report
    from weightless.ngram.score import log_probs

    train, held_out = tokens[:-HELD_OUT], tokens[-HELD_OUT:]
    model = build_with_report(train[:4000], vocab_size, order)
    log_probs(model.arrays, held_out[:4000], order)
    before, seconds, cpu_seconds = peak_megabytes(), [], []
    for _ in range(repeats):
        del model  # two models at once would count twice in the peak
        began, cpu_began = time.perf_counter(), time.process_time()
        model = build_with_report(train, vocab_size, order)
        seconds.append(round(time.perf_counter() - began, 3))
        cpu_seconds.append(round(time.process_time() - cpu_began, 3))
    peak, began = peak_megabytes(), time.perf_counter()
    nats = -log_probs(model.arrays, held_out, order).mean()
    scoring = time.perf_counter() - began
    return {
        "tokens": train.size,
        "build_seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": round(peak),
        "before_mb": round(before),
        "model_mb": round(model.n_bytes / 1e6, 1),
        "scored_per_second": round(HELD_OUT / scoring),
        "held_out_nats": round(float(nats), 4),
    }


def in_own_process(arguments: argparse.Namespace, millions: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", millions, "--order", str(arguments.order)]
    command += ["--vocab-size", str(arguments.vocab_size), "--repeats", str(arguments.repeats)]
    command += ["--tokens", str(arguments.tokens)] if arguments.tokens else []
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=Path, help=".npy or .bin of ids")
    parser.add_argument("--vocab-size", type=int, default=32000)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--sizes", default="1,4,17", help="millions of tokens")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        wanted = int(float(arguments.one) * 1e6) + HELD_OUT
        tokens = load_tokens(arguments.tokens, wanted, arguments.vocab_size)
        if tokens.size < wanted:
            parser.error(f"{arguments.tokens} holds {tokens.size:,} tokens, but {wanted:,} are needed")
        print(json.dumps(measure(tokens, arguments.vocab_size, arguments.order, arguments.repeats)))
        return
    environment = {
        "load_average": os.getloadavg(),
        "cores": cores(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": 1,
        "jit": "warm",
        "source": arguments.tokens.name if arguments.tokens else "Zipfian",
        "order": arguments.order,
    }
    print(json.dumps(environment))
    titles = f"{'tokens':>12} {'best s':>7} {'cpu s':>7} {'peak MB':>8} {'model MB':>9} {'scored/s':>10} {'nats':>7}"
    print(f"{titles}  all builds")
    for millions in arguments.sizes.split(","):
        row = in_own_process(arguments, millions)
        best, cpu = min(row["build_seconds"]), min(row["cpu_seconds"])
        note = " ".join(f"{seconds:.2f}" for seconds in row["build_seconds"])
        if row["tokens"] == 17_000_000:
            note += f"  gate {GATE_SECONDS:.0f} s of processor time: {'met' if cpu <= GATE_SECONDS else 'missed'}"
        print(
            f"{row['tokens']:>12,} {best:>7.2f} {cpu:>7.2f} {row['peak_mb']:>8,} "
            f"{row['model_mb']:>9,} {row['scored_per_second']:>10,} {row['held_out_nats']:>7.4f}  {note}",
            flush=True,
        )


if __name__ == "__main__":
    main()
