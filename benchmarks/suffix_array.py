"""Suffix arrays: build one beside pydivsufsort and infini-gram, then look patterns up beside infini-gram's engine.

    python benchmarks/suffix_array.py --tokens corpus.npy --vocab-size 4096 --millions 10
    python benchmarks/suffix_array.py                                              (Zipfian text made on the spot)

`--tokens` is a .npy array of ids or a .bin shard of a prepared corpus.  The peers (pydivsufsort and infini-gram
of PyPI) are left out when they are missing.  Rounds are interleaved, so that a busy machine slows all alike; ratios are
medians
of the rounds, one thread each, kernels warm.  pydivsufsort sorts the same tokens and must give the same array.
infini-gram sorts the bytes of the tokens and leaves an index on disk (its indexing program, one job); its engine then
counts one pattern per call from Python, which is what its interface offers, and must count the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.cores import cores
from weightless.ngram.suffix_array import SuffixArray, build

GATE_RATIO = 1.0  # of infini-gram's indexer
GATE_LOOKUPS = 20.0
N_PATTERNS = 20_000


def made_text(n: int, vocab_size: int) -> np.ndarray:
    """Zipfian draws; every second phrase of eight words is copied from an earlier one."""
    rng = np.random.default_rng(0)
    tokens = ((rng.zipf(1.2, n) - 1) % vocab_size).astype(np.uint16 if vocab_size <= 65536 else np.uint32)
    for start in range(16, n - 8, 16):
        earlier = int(start * rng.random() ** 2) // 8 * 8
        tokens[start : start + 8] = tokens[earlier : earlier + 8]
    return tokens


def load_tokens(path: Path | None, n: int, vocab_size: int) -> np.ndarray:
    if path is None:
        return made_text(n, vocab_size)
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")[:n].copy()
    from weightless.data.shards.shards import read_shard

    return np.array(read_shard(path)[:n])


def infini_gram_index(tokens: np.ndarray, folder: Path) -> None:
    """Run its indexing program over one shard of one document; the engine wants the three files."""
    program = Path(importlib.util.find_spec("infini_gram").submodule_search_locations[0]) / "rust_indexing"
    data = folder / "tokenized.0"
    tokens.astype("<u2").tofile(data)
    np.zeros(1, np.uint64).tofile(folder / "offset.0")
    ratio = int(np.ceil(np.log2(2 * tokens.size) / 8))
    parts, merged = folder / "parts", folder / "merged"
    parts.mkdir(exist_ok=True)
    merged.mkdir(exist_ok=True)
    common = ["--data-file", data, "--ratio", str(ratio), "--token-width", "2"]
    threads = ["--num-threads", "1"]
    for command in (
        ["make-part", "--parts-dir", parts, "--start-byte", "0", "--end-byte", str(2 * tokens.size)],
        ["merge", "--parts-dir", parts, "--merged-dir", merged, "--hacksize", "100000", *threads],
        ["concat", "--merged-dir", merged, "--merged-file", folder / "table.0", *threads],
    ):
        subprocess.run([program, *command, *common], check=True, capture_output=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def patterns_from(tokens: np.ndarray, n: int) -> list[np.ndarray]:
    """Half of them stand in the text, half end in another word; two to six words."""
    rng, found = np.random.default_rng(1), []
    for i in range(n):
        at, length = int(rng.integers(0, tokens.size - 6)), int(rng.integers(2, 7))
        pattern = tokens[at : at + length].copy()
        if i % 2:
            pattern[-1] = tokens[int(rng.integers(0, tokens.size))]
        found.append(pattern)
    return found


def build_rounds(tokens: np.ndarray, vocab_size: int, rounds: int, folder: Path) -> tuple[dict[str, Any], SuffixArray]:
    jobs: dict[str, Callable[[], Any]] = {"weightless": lambda: build(tokens, vocab_size)}
    if importlib.util.find_spec("pydivsufsort"):
        import pydivsufsort

        jobs["pydivsufsort"] = lambda: pydivsufsort.divsufsort(tokens)
    if importlib.util.find_spec("infini_gram") and vocab_size <= 65535:
        jobs["infini-gram indexer"] = lambda: infini_gram_index(tokens, folder)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    made: dict[str, Any] = {}
    for _ in range(rounds):
        for name, job in jobs.items():
            taken, made[name] = timed(job)
            seconds[name].append(round(taken, 3))
    array = made["weightless"]
    if "pydivsufsort" in made:
        assert np.array_equal(made["pydivsufsort"], array.suffixes), "pydivsufsort sorts otherwise"
    ratios = {
        name: round(statistics.median(a / b for a, b in zip(times, seconds["weightless"], strict=True)), 2)
        for name, times in seconds.items()
        if name != "weightless"
    }
    return {"build_seconds": seconds, "times_faster_than": ratios, "index_mb": round(array.n_bytes / 1e6, 1)}, array


def lookup_rounds(array: SuffixArray, rounds: int, folder: Path) -> dict[str, Any]:
    patterns = patterns_from(array.text, N_PATTERNS)
    array.count(patterns[:100])
    contexts = [array.text[i : i + 16] for i in range(0, 16 * 5000, 16)]
    array.longest_suffix(contexts[:10])
    times: dict[str, list[float]] = {"weightless": [], "longest suffix": []}
    engine, asked = None, [[int(word) for word in pattern] for pattern in patterns]
    if (folder / "table.0").exists():
        from infini_gram.engine import InfiniGramEngine

        engine = InfiniGramEngine(
            index_dir=str(folder), eos_token_id=0, vocab_size=65535, token_dtype="u16", load_to_ram=True
        )
        times["infini-gram engine"] = []
    for _ in range(rounds):
        taken, counted = timed(lambda: array.count(patterns))
        times["weightless"].append(round(1e6 * taken / N_PATTERNS, 3))
        taken, _ = timed(lambda: array.longest_suffix(contexts))
        times["longest suffix"].append(round(1e6 * taken / len(contexts), 3))
        if engine is not None:
            taken, theirs = timed(lambda: [engine.count(input_ids=ids)["count"] for ids in asked])
            times["infini-gram engine"].append(round(1e6 * taken / N_PATTERNS, 3))
            assert theirs == counted.tolist(), "infini-gram counts otherwise"
    out: dict[str, Any] = {"lookup_microseconds": times}
    if engine is not None:
        pairs = zip(times["infini-gram engine"], times["weightless"], strict=True)
        out["lookups_times_faster"] = round(statistics.median(a / b for a, b in pairs), 1)
    return out


def repetitive_seconds(tokens: np.ndarray, vocab_size: int) -> dict[str, float]:
    """The same number of tokens without anything new in them."""
    n = tokens.size
    texts = {
        "one word": np.zeros_like(tokens),
        "period of 1,000": np.tile(tokens[:1000], n // 1000 + 1)[:n],
        "everything twice": np.tile(tokens[: n // 2], 2),
    }
    return {name: round(timed(lambda text=text: build(text, vocab_size))[0], 2) for name, text in texts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=Path, help=".npy or .bin of ids")
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--millions", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repetitive", action="store_true", help="also build from text that repeats itself")
    options = parser.parse_args()
    n = int(options.millions * 1e6)
    tokens = load_tokens(options.tokens, n, options.vocab_size)
    if tokens.size < n:
        parser.error(f"{options.tokens} holds {tokens.size:,} tokens, but {n:,} are needed")
    build(tokens[:200_000], options.vocab_size)
    environment = {
        "load_average": os.getloadavg(),
        "cores": cores(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": 1,
        "jit": "warm",
        "source": options.tokens.name if options.tokens else "Zipfian",
        "tokens": n,
    }
    print(json.dumps(environment))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    build(tokens, options.vocab_size)
    scale = 1e6 if sys.platform == "darwin" else 1e3
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / scale
    with tempfile.TemporaryDirectory() as name:
        result, array = build_rounds(tokens, options.vocab_size, options.rounds, Path(name))
        result["peak_bytes_per_token"] = round(1e6 * peak / n, 1)
        result |= lookup_rounds(array, options.rounds, Path(name))
    if options.repetitive:
        result["repetitive_seconds"] = repetitive_seconds(tokens, options.vocab_size)
    for key, value in result.items():
        print(f"{key:<24} {json.dumps(value)}")
    faster = result["times_faster_than"].get("infini-gram indexer")
    if faster is not None:
        gates = {"build": faster >= GATE_RATIO, "lookups": result["lookups_times_faster"] >= GATE_LOOKUPS}
        print("gates", {name: "met" if met else "missed" for name, met in gates.items()})


if __name__ == "__main__":
    main()
