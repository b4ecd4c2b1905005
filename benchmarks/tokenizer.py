"""Speed and memory of the tokenizer beside its peers: training and encoding, in interleaved rounds (A B C A B C ...).

    python benchmarks/tokenizer.py TEXT [--megabytes 100] [--vocab-size 32000] [--rounds 3] [--threads 2]

TEXT is a UTF-8 file whose documents are separated by <|endoftext|> (.xz is unpacked to a temporary file); the default
is books_train.txt.xz in the folder that the environment variable WEIGHTLESS_DATA names.  Every training runs in a
process of its own, so that the peak of resident memory is its own.  Kernels are warm (compiled, loaded from the disk
cache) before a clock starts; what a cold first call costs is measured apart, with an empty cache.  Wall-clock medians,
and processor seconds, which a busy machine disturbs less.  Peers that are not installed are left out.
Training peers: Hugging Face `tokenizers` (reads the file itself, line by line), `rustbpe` (gets the documents), each
with --threads threads; ours as it is by default (one thread), which the gates are about, and with --threads of them,
which is told and not judged: whether threads help depends on the machine and on who else uses it.
Encoding peers, one thread: `tiktoken` (with the same ranks; ids must be equal) and `tokenizers` (our exported file).
Threads: encode_batch with --threads of them beside one.
Each gate is printed as PASS or FAIL, by wall clock; the exit code says whether one failed.  On a machine that others
use, threads cannot be judged: the load average is printed, and should be near zero at the start.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import lzma
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from weightless.base.cores import cores

END_OF_TEXT = "<|endoftext|>"
TRAINERS = ("weightless", "tokenizers", "rustbpe")
ONE_THREAD, SEVERAL = "one thread", "several"
GATES = {"training": {"tokenizers": 8.0, "rustbpe": 3.0}, "encoding": {"tiktoken": 2.5, "tokenizers": 10.0}}
THREADS_GATE = 1.5  # two threads beside one

Rounds = list[dict[str, dict[str, float]]]


def main() -> None:
    arguments = parse()
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments.text = cut(unpacked(arguments.text, Path(folder)), arguments.megabytes, Path(folder))
        print(
            f"{platform.processor() or platform.machine()}, {cores()} cores, {arguments.threads} threads, "
            f"load average {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
            f"text {arguments.text.stat().st_size / 1e6:.1f} MB, vocabulary {arguments.vocab_size:,}"
        )
        if not arguments.skip_cold:
            report_cold(arguments, Path(folder))
        if not arguments.skip_training:
            report_training(arguments)
        if not arguments.skip_encoding:
            report_encoding(arguments)
        print(f"\nload average at the end {os.getloadavg()[0]:.1f}")
    sys.exit(1 if FAILED else 0)


def parse() -> argparse.Namespace:
    data = os.environ.get("WEIGHTLESS_DATA")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, nargs="?", default=Path(data) / "books_train.txt.xz" if data else None)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--encode-megabytes", type=float, default=10)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, cores()))
    for part in ("cold", "training", "encoding"):
        parser.add_argument(f"--skip-{part}", action="store_true")
    parser.add_argument("--child", choices=[*CHILDREN], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.text is None:
        parser.error("give a text file, or name a folder with books_train.txt.xz in WEIGHTLESS_DATA")
    return arguments


def unpacked(path: Path, folder: Path) -> Path:
    if path.suffix != ".xz":
        return path
    with lzma.open(path) as packed, open(folder / "text", "wb") as plain:
        shutil.copyfileobj(packed, plain)
    return folder / "text"


def cut(path: Path, megabytes: float, folder: Path) -> Path:
    """The first megabytes of the text, ending with a whole line."""
    if path.stat().st_size <= megabytes * 1e6:
        return path
    with open(path, "rb") as file:
        content = file.read(int(megabytes * 1e6))
    (folder / "cut").write_bytes(content[: content.rfind(b"\n") + 1])
    return folder / "cut"


def documents(path: Path) -> Iterator[str]:
    yield from path.read_text(encoding="utf-8").split(END_OF_TEXT)


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Wall and processor seconds of one call, and the peak of resident memory (bytes / 10^6) of this process."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"wall": wall, "processor": processor, "peak": peak_megabytes()}


def peak_megabytes() -> float:
    """Largest resident memory of this process since it began; getrusage may tell the parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 976.5625
    except (OSError, StopIteration):
        scale = 1e6 if sys.platform == "darwin" else 1e3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def train_weightless(arguments: argparse.Namespace) -> dict[str, float]:
    from weightless.tokenizer import train_bpe

    n_workers = arguments.threads if arguments.child == SEVERAL else None
    train_bpe([b"warm the kernels " * 100], 260, [END_OF_TEXT])
    return timed(lambda: train_bpe(arguments.text, arguments.vocab_size, [END_OF_TEXT], n_workers=n_workers))


def train_tokenizers(arguments: argparse.Namespace) -> dict[str, float]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=arguments.vocab_size, special_tokens=[END_OF_TEXT], show_progress=False, initial_alphabet=alphabet
    )
    return timed(lambda: tokenizer.train([str(arguments.text)], trainer))


def train_rustbpe(arguments: argparse.Namespace) -> dict[str, float]:
    import rustbpe

    from weightless.tokenizer.patterns import PATTERNS

    tokenizer = rustbpe.Tokenizer()
    return timed(
        lambda: tokenizer.train_from_iterator(
            documents(arguments.text), arguments.vocab_size - 1, pattern=PATTERNS["gpt2"]
        )
    )


def first_calls(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of the first training and the first encoding of a process, on a text too short to matter."""
    from weightless.tokenizer import Tokenizer

    made: list[Tokenizer] = []
    training = timed(lambda: made.append(Tokenizer.train([b"hello there " * 20], 270)))
    encoding = timed(lambda: made[0].encode("hello there"))
    return {"train": training["wall"], "encode": encoding["wall"], "processor": training["processor"]}


CHILDREN = {
    "weightless": train_weightless,
    SEVERAL: train_weightless,
    "tokenizers": train_tokenizers,
    "rustbpe": train_rustbpe,
    "cold": first_calls,
}


def child(arguments: argparse.Namespace, name: str, **environment: str) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    threads = str(arguments.threads)
    command = [
        sys.executable,
        __file__,
        str(arguments.text),
        "--child",
        name,
        "--vocab-size",
        str(arguments.vocab_size),
        "--threads",
        threads,
    ]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "RAYON_NUM_THREADS": threads, **environment},
    )
    return json.loads(done.stdout.splitlines()[-1])


def report_cold(arguments: argparse.Namespace, folder: Path) -> None:
    for state in ("cold (empty cache)", "warm (new process)"):
        first = child(arguments, "cold", NUMBA_CACHE_DIR=str(folder / "cache"))
        print(
            f"first call, {state}: training {first['train']:.1f} s ({first['processor']:.1f} s processor), "
            f"encoding {first['encode']:.2f} s"
        )


def gate(what: str, value: float, wanted: float, at_most: bool = False) -> None:
    """Print whether a gate holds, and remember when it does not."""
    holds = value <= wanted if at_most else value >= wanted
    limit = f"at most {wanted:g}" if at_most else f"at least {wanted:g}"
    print(f"  {'PASS' if holds else 'FAIL'}  {what}: {value:.2f}, wanted {limit}")
    if not holds:
        FAILED.append(what)


def report_training(arguments: argparse.Namespace) -> None:
    names = [name for name in TRAINERS if importlib.util.find_spec(name)]
    names += [SEVERAL] if arguments.threads > 1 else []
    rounds = [{name: child(arguments, name) for name in names} for _ in range(arguments.rounds)]
    print(
        f"\ntraining, ours on one thread (the default), peers and {SEVERAL!r} (ours) on {arguments.threads}, "
        f"medians of {len(rounds)} interleaved rounds"
    )
    for name in names:
        wall, processor, peak = (median(rounds, name, key) for key in ("wall", "processor", "peak"))
        print(
            f"  {name:12} {wall:7.2f} s wall {processor:7.2f} s processor {peak:7.0f} MB peak"
            + ratios(rounds, name, "wall")
            + ratios(rounds, name, "processor")
        )
    report_gates("training", rounds, names)
    if "tokenizers" in names:
        peaks = [median(rounds, name, "peak") for name in TRAINERS[:2]]
        gate("peak memory by that of tokenizers", peaks[0] / peaks[1], 1.0, at_most=True)


def report_gates(job: str, rounds: Rounds, names: list[str]) -> None:
    for name, wanted in GATES[job].items():
        if name in names:
            gate(f"{job}, times as fast as {name}", faster(rounds, name, "wall"), wanted)


def median(rounds: Rounds, name: str, key: str) -> float:
    return statistics.median(each[name][key] for each in rounds)


def faster(rounds: Rounds, name: str, key: str) -> float:
    """Median over rounds of a peer's time by ours."""
    return statistics.median(each[name][key] / each[TRAINERS[0]][key] for each in rounds)


def ratios(rounds: Rounds, name: str, key: str) -> str:
    return "" if name == TRAINERS[0] else f"   {faster(rounds, name, key):.1f}x {key}"


def report_encoding(arguments: argparse.Namespace) -> None:
    from weightless.tokenizer import Tokenizer

    os.environ["RAYON_NUM_THREADS"], os.environ["TOKENIZERS_PARALLELISM"] = "1", "false"
    tokenizer = Tokenizer.train(arguments.text, arguments.vocab_size, [END_OF_TEXT])
    text = arguments.text.read_bytes()[: int(arguments.encode_megabytes * 1e6)].decode("utf-8", "ignore")
    encoders = encoders_of(tokenizer)
    n_tokens = check_ids(tokenizer, text, encoders)
    rounds = [
        {name: timed(lambda work=work: work(text)) for name, work in encoders.items()} for _ in range(arguments.rounds)
    ]
    print_speeds(rounds, text, f"1 thread, {len(text.encode()) / n_tokens:.2f} bytes per token")
    report_gates("encoding", rounds, list(encoders))
    if arguments.threads > 1:
        report_threads(arguments, tokenizer, text)


def check_ids(tokenizer: Any, text: str, encoders: dict[str, Callable[[str], Any]]) -> int:
    """Ids must be those of the peers (of Hugging Face on its pieces); returns how many there are."""
    expected = tokenizer.encode_ordinary_array(text)
    different = 0
    if "tiktoken" in encoders:
        different += encoders["tiktoken"](text) != expected.tolist()
    if "tokenizers" in encoders:
        theirs = [piece.ids for piece in encoders["tokenizers"](text)]
        different += theirs != [tokenizer.encode(piece) for piece in pieces_of(text)]
    print("\nencoding")
    gate("peers with other ids", different, 0, at_most=True)
    return len(expected)


def print_speeds(rounds: Rounds, text: str, how: str) -> None:
    size = len(text.encode()) / 1e6
    print(f"\nencoding {size:.1f} MB, {how}, medians of {len(rounds)} interleaved rounds")
    for name in rounds[0]:
        speeds = [size / median(rounds, name, key) for key in ("wall", "processor")]
        print(
            f"  {name:12} {speeds[0]:7.1f} MB/s wall {speeds[1]:7.1f} MB/s processor"
            + ratios(rounds, name, "wall")
            + ratios(rounds, name, "processor")
        )


def report_threads(arguments: argparse.Namespace, tokenizer: Any, text: str) -> None:
    """encode_batch with threads beside one; tiktoken's batch with as many threads, where it is installed."""
    pieces = pieces_of(text, 20_000)
    encoders: dict[str, Callable[[str], Any]] = {
        TRAINERS[0]: lambda text: tokenizer.encode_batch(pieces, n_workers=arguments.threads),
        ONE_THREAD: lambda text: tokenizer.encode_batch(pieces, n_workers=1),
    }
    if importlib.util.find_spec("tiktoken"):
        peer = tiktoken_of(tokenizer)
        encoders["tiktoken"] = lambda text: peer.encode_ordinary_batch(pieces, num_threads=arguments.threads)
    for work in encoders.values():
        work(text)  # every thread has its own cache of words
    rounds = [
        {name: timed(lambda work=work: work(text)) for name, work in encoders.items()} for _ in range(arguments.rounds)
    ]
    print_speeds(rounds, text, f"{arguments.threads} threads, {len(pieces)} texts")
    gate("encoding, threads beside one", faster(rounds, ONE_THREAD, "wall"), THREADS_GATE)


def pieces_of(text: str, n_characters: int = 100_000) -> list[str]:
    return [text[i : i + n_characters] for i in range(0, len(text), n_characters)]


def tiktoken_of(tokenizer: Any) -> Any:
    import tiktoken

    from weightless.tokenizer.patterns import PATTERNS

    ranks = {token: i for i, token in enumerate(tokenizer.token_bytes) if i != tokenizer.end_of_text}
    return tiktoken.Encoding("ours", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={})


def encoders_of(tokenizer: Any) -> dict[str, Callable[[str], Any]]:
    """Functions from text to ids; peers hold the same vocabulary.  Texts of 100,000 characters for Hugging Face."""
    from weightless.tokenizer import interchange

    found: dict[str, Callable[[str], Any]] = {TRAINERS[0]: tokenizer.encode_ordinary_array}
    if importlib.util.find_spec("tiktoken"):
        found["tiktoken"] = tiktoken_of(tokenizer).encode_ordinary
    if importlib.util.find_spec("tokenizers"):
        from tokenizers import Tokenizer

        theirs = Tokenizer.from_str(json.dumps(interchange.to_hf(tokenizer)))
        found["tokenizers"] = lambda text: theirs.encode_batch_fast(pieces_of(text))
    return found


FAILED: list[str] = []

if __name__ == "__main__":
    main()
