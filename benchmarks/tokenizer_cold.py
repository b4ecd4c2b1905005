"""What the tokenizer costs in a process that has nothing compiled, beside one that finds everything compiled.

    python benchmarks/tokenizer_cold.py [TEXT] [--megabytes 100] [--vocab-size 32000] [--runs 3] [--parts small large]

TEXT (default: books_train.txt.xz in the folder that WEIGHTLESS_DATA names; .xz is unpacked) is cut to --megabytes.

    small   130 kB at a vocabulary of 500, by `weightless tokenizer train` and by the function, and `tokenizer encode`
            of 10 kB: each a process of its own, and none of them should need anything compiled
    large   the whole text: training, then encoding it in the same process

Cold is an empty folder of compiled kernels, warm the same folder afterwards; the two take turns.  A second process
helps to compile where another core seems idle (its time is counted); told is also what `alone` takes, without that
help.  Figures are medians over the runs of processor time with children, imports included, which a busy machine
disturbs less than wall time; wall time in parentheses.
Gates: small cold at most 1.5 s; large: training and encoding cold at most 6 s above warm each; both together are told.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tokenizer import cut, unpacked  # pyright: ignore[reportAttributeAccessIssue]  # the benchmark beside this one

from weightless.base.cores import cores

SMALL_BYTES, SMALL_VOCABULARY, ENCODED_BYTES = 130_000, 500, 10_000
SMALL_GATE, LARGE_GATE = 1.5, 6.0
STATES = ("cold", "warm", "alone")
FUNCTION = """
import sys
from weightless.tokenizer import train_bpe
train_bpe(sys.argv[1], int(sys.argv[2]))
"""
COMMAND = "from weightless.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
LARGE = """
import json, os, sys, time
from weightless.tokenizer import Tokenizer, compiling
began = time.perf_counter()
if sys.argv[3] == "alone":
    compiling.is_one_idle = lambda: False
def now():
    return sum(os.times()[:4]), time.perf_counter() - began
tokenizer = Tokenizer.train(sys.argv[1], int(sys.argv[2]))
trained, text = now(), open(sys.argv[1], "rb").read()
before, n = now(), len(tokenizer.encode_array(text))
after = now()
compiling.helper().end()
helper = sum(os.times()[2:4])
encoding = [b - a for a, b in zip(before, after)]
print(json.dumps([trained[0] + helper, trained[1], encoding[0], encoding[1], helper]))
"""


def main() -> None:
    arguments = parse()
    print(
        f"{platform.processor() or platform.machine()}, {cores()} cores, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = cut(unpacked(arguments.text, folder), arguments.megabytes, folder)
        passed = [REPORTS[part](text, arguments, folder) for part in arguments.parts]
    print(f"load average at the end {os.getloadavg()[0]:.1f}")
    sys.exit(0 if all(passed) else 1)


def parse() -> argparse.Namespace:
    data = os.environ.get("WEIGHTLESS_DATA")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, nargs="?", default=Path(data) / "books_train.txt.xz" if data else None)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=[*REPORTS], default=[*REPORTS])
    arguments = parser.parse_args()
    if arguments.text is None:
        parser.error("give a text file, or name a folder with books_train.txt.xz in WEIGHTLESS_DATA")
    return arguments


def report_small(text: Path, arguments: argparse.Namespace, folder: Path) -> bool:
    small, encoded, out = folder / "small", folder / "encoded", str(folder / "tokenizer.json")
    with open(text, "rb") as file:
        small.write_bytes(file.read(SMALL_BYTES))
    encoded.write_bytes(small.read_bytes()[:ENCODED_BYTES])
    size = str(SMALL_VOCABULARY)
    jobs = {
        "weightless tokenizer train": (COMMAND, "tokenizer", "train", str(small), "--vocab_size", size, "--out", out),
        "train_bpe": (FUNCTION, str(small), size),
        "weightless tokenizer encode": (COMMAND, "tokenizer", "encode", out),
    }
    print(f"\n{SMALL_BYTES:,} bytes at a vocabulary of {SMALL_VOCABULARY}, and {ENCODED_BYTES:,} bytes encoded:")
    runs: dict[str, list[dict[str, tuple[float, float]]]] = {name: [] for name in jobs}
    for _ in range(arguments.runs):
        for name, (program, *given) in jobs.items():
            with tempfile.TemporaryDirectory() as cache:
                found = {state: timed(program, given, cache, encoded) for state in ("cold", "warm")}
            runs[name].append(found)
    passed = True
    for name, found in runs.items():
        cold, warm = (middle([run[state] for run in found]) for state in ("cold", "warm"))
        passed &= cold[0] <= SMALL_GATE
        print(f"  {name:28s} cold {told(cold)}, warm {told(warm)}   {verdict(cold[0] <= SMALL_GATE)}")
    return passed


def timed(program: str, given: list[str], cache: str, standard_input: Path) -> tuple[float, float]:
    """(processor seconds, wall seconds) of a process with that folder of compiled kernels."""
    before, began = os.times(), time.perf_counter()
    with open(standard_input, "rb") as file:
        subprocess.run(
            [sys.executable, "-c", program, *given],
            env=variables(cache),
            stdin=file,
            capture_output=True,
            check=True,
        )
    after = os.times()
    return after[2] + after[3] - before[2] - before[3], time.perf_counter() - began


def variables(cache: str) -> dict[str, str]:
    return {**os.environ, "NUMBA_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}


def report_large(text: Path, arguments: argparse.Namespace, folder: Path) -> bool:
    print(f"\n{text.stat().st_size / 1e6:.1f} MB at a vocabulary of {arguments.vocab_size:,}:")
    runs = []
    for _ in range(arguments.runs):
        with tempfile.TemporaryDirectory() as shared, tempfile.TemporaryDirectory() as own:
            caches = {"cold": shared, "warm": shared, "alone": own}
            runs.append({state: large(text, arguments.vocab_size, state, caches[state]) for state in STATES})
    training, encoding, both = {}, {}, {}
    for state in STATES:
        found = [run[state] for run in runs]
        training[state], encoding[state] = (middle([(run[i], run[i + 1]) for run in found]) for i in (0, 2))
        both[state] = middle([(run[0] + run[2], run[1] + run[3]) for run in found])
        helper = statistics.median(run[4] for run in found)
        print(f"  {state:6s} training {told(training[state])}, encoding {told(encoding[state])}; helper {helper:.2f} s")
    passed = True
    for what, found in {"training": training, "encoding": encoding, "both": both}.items():
        for state in ("cold", "alone"):
            more = found[state][0] - found["warm"][0], found[state][1] - found["warm"][1]
            holds = more[0] <= LARGE_GATE
            passed &= holds or what == "both"
            judged = "" if what == "both" else f"   {verdict(holds)}"
            print(f"  {what}, {state}: {told(more)} above warm, {found[state][0] / found['warm'][0]:.1f} times{judged}")
    return passed


def large(text: Path, vocab_size: int, state: str, cache: str) -> list[float]:
    command = [sys.executable, "-c", LARGE, str(text), str(vocab_size), state]
    done = subprocess.run(command, env=variables(cache), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def middle(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Medians of processor and of wall seconds."""
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def told(seconds: tuple[float, float]) -> str:
    return f"{seconds[0]:5.2f} s ({seconds[1]:.2f} s)"


def verdict(holds: bool) -> str:
    return "PASS" if holds else "FAIL"


REPORTS = {"small": report_small, "large": report_large}


if __name__ == "__main__":
    main()
