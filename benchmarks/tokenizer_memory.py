"""Memory of the tokenizer on inputs larger than memory should be, and the time of small jobs.

    python benchmarks/tokenizer_memory.py [TEXT] [--megabytes 2000] [--vocab-size 32000] [--parts encode train small]

TEXT (default: books_train.txt.xz in the folder that WEIGHTLESS_DATA names; .xz is unpacked) is repeated up to
--megabytes.  Every part runs in a process of its own, because the peak of resident memory is a process's.

    encode   encode_iterable over a stream of --megabytes in chunks of 64 kB: resident memory is sampled four times a
             second; flat means that the second half's highest is at most 5 % (or 8 MB) above the first half's
    train    train_bpe on a file of --megabytes (written to --folder, removed afterwards) within 2 GB of memory
    small    a corpus of 130 kB at a vocabulary of 500: the first call of a machine (kernels compile, empty cache), the
             first call of a process (kernels load from the disk), and the next ones, which the gate is about

Gates are printed as PASS or FAIL; the exit code says whether one failed.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from weightless.base.cores import cores

END_OF_TEXT = "<|endoftext|>"
CHUNK = 1 << 16
SMALL_BYTES, SMALL_VOCABULARY, SMALL_SECONDS = 130_000, 500, 0.5
TRAINING_LIMIT_MB = 2000.0
PARTS = ("encode", "train", "small")


def main() -> None:
    arguments = parse()
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](arguments)))
        return
    print(f"{cores()} cores, load average {os.getloadavg()[0]:.1f}, {arguments.megabytes:g} MB")
    failed = 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        arguments.text = unpacked(arguments.text, Path(folder))
        for part in arguments.parts:
            failed += not REPORTS[part](arguments, Path(folder))
    sys.exit(1 if failed else 0)


def parse() -> argparse.Namespace:
    data = os.environ.get("WEIGHTLESS_DATA")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, nargs="?", default=Path(data) / "books_train.txt.xz" if data else None)
    parser.add_argument("--megabytes", type=float, default=2000)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--folder", type=Path, help="where the large file goes; default: the temporary folder")
    parser.add_argument("--child", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.text is None:
        parser.error("give a text file, or name a folder with books_train.txt.xz in WEIGHTLESS_DATA")
    return arguments


def unpacked(path: Path, folder: Path) -> Path:
    if path.suffix != ".xz":
        return path
    with lzma.open(path) as packed, open(folder / "text", "wb") as plain:
        while block := packed.read(1 << 22):
            plain.write(block)
    return folder / "text"


def repeated(path: Path, n_bytes: int, size: int) -> Iterator[bytes]:
    """Blocks of the text, begun again whenever it ends, n_bytes in all."""
    left = n_bytes
    while left:
        with open(path, "rb") as file:
            while left and (block := file.read(min(size, left))):
                left -= len(block)
                yield block


class Sampler(threading.Thread):
    """Resident memory (MB) of this process, four times a second; where /proc is missing, the peak so far."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[float] = []
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.25):
            self.samples.append(resident())

    def finish(self) -> list[float]:
        self.done.set()
        self.join()
        return [*self.samples, resident()]


def resident() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak()
    return pages * resource.getpagesize() / 1e6


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def encode(arguments: argparse.Namespace) -> dict[str, float | list[float]]:
    from weightless.tokenizer import Tokenizer

    head = next(repeated(arguments.text, 5_000_000, 5_000_000))
    tokenizer = Tokenizer.train([head], min(arguments.vocab_size, 10_000))
    list(tokenizer.encode_iterable(["warm"]))
    before, sampler, started = resident(), Sampler(), time.perf_counter()
    sampler.start()
    n_tokens = 0
    for _ in tokenizer.encode_iterable(repeated(arguments.text, int(arguments.megabytes * 1e6), CHUNK)):
        n_tokens += 1
    return {
        "before": before,
        "samples": sampler.finish(),
        "seconds": time.perf_counter() - started,
        "tokens": n_tokens,
        "peak": peak(),
    }


def report_encode(arguments: argparse.Namespace, folder: Path) -> bool:
    found = child(arguments, "encode")
    samples = found["samples"]
    first, second = max(samples[: len(samples) // 2 or 1]), max(samples[len(samples) // 2 :])
    print(
        f"\nencode_iterable: {found['tokens']:,} tokens one by one in {found['seconds']:.1f} s "
        f"({arguments.megabytes / found['seconds']:.1f} MB/s); resident {found['before']:.0f} MB before, highest "
        f"{first:.0f} MB in the first half, {second:.0f} MB in the second ({len(samples)} samples)"
    )
    return gate("resident memory is flat, second half above first", second - first, max(8.0, 0.05 * first), "MB")


def train(arguments: argparse.Namespace) -> dict[str, float]:
    from weightless.tokenizer import train_bpe

    train_bpe([b"warm the kernels " * 100], 260, [END_OF_TEXT])
    before, started, processor = resident(), time.perf_counter(), time.process_time()
    _, merges = train_bpe(arguments.text, arguments.vocab_size, [END_OF_TEXT])
    return {
        "before": before,
        "seconds": time.perf_counter() - started,
        "processor": time.process_time() - processor,
        "merges": len(merges),
        "peak": peak(),
    }


def report_train(arguments: argparse.Namespace, folder: Path) -> bool:
    large = folder / "large"
    with open(large, "wb") as file:
        for block in repeated(arguments.text, int(arguments.megabytes * 1e6), 1 << 22):
            file.write(block)
    found = child(arguments, "train", large)
    large.unlink()
    print(
        f"\ntrain_bpe, file of {arguments.megabytes:g} MB, vocabulary {arguments.vocab_size:,}: {found['merges']:,} "
        f"merges in {found['seconds']:.1f} s ({found['processor']:.1f} s processor), resident "
        f"{found['before']:.0f} MB before"
    )
    return gate("peak of resident memory while training", found["peak"], TRAINING_LIMIT_MB, "MB")


def small(arguments: argparse.Namespace) -> dict[str, list[float]]:
    from weightless.tokenizer import train_bpe

    corpus = next(repeated(arguments.text, SMALL_BYTES, SMALL_BYTES))
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        train_bpe([corpus], SMALL_VOCABULARY, [END_OF_TEXT])
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds}


def report_small(arguments: argparse.Namespace, folder: Path) -> bool:
    cold, warm = (child(arguments, "small", NUMBA_CACHE_DIR=str(folder / "cache"))["seconds"] for _ in range(2))
    following = statistics.median(warm[1:])
    print(
        f"\n{SMALL_BYTES:,} bytes at a vocabulary of {SMALL_VOCABULARY}: first call of a machine {cold[0]:.1f} s "
        f"(compiles), first call of a process {warm[0]:.2f} s (loads), then {following:.3f} s"
    )
    return gate("small corpus once compiled", following, SMALL_SECONDS, "s")


def gate(what: str, value: float, limit: float, unit: str) -> bool:
    holds = value <= limit
    print(f"  {'PASS' if holds else 'FAIL'}  {what}: {value:.2f} {unit}, wanted at most {limit:.2f}")
    return holds


def child(arguments: argparse.Namespace, part: str, text: Path | None = None, **environment: str) -> dict:
    """Run one part in a process of its own."""
    command = [
        sys.executable,
        __file__,
        str(text or arguments.text),
        "--child",
        part,
        "--megabytes",
        str(arguments.megabytes),
        "--vocab-size",
        str(arguments.vocab_size),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    return json.loads(done.stdout.splitlines()[-1])


CHILDREN = {"encode": encode, "train": train, "small": small}
REPORTS = {"encode": report_encode, "train": report_train, "small": report_small}


if __name__ == "__main__":
    main()
