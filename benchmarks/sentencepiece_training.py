"""SentencePiece BPE, trained and encoded by us and by the package `sentencepiece`, in interleaved rounds (A B A B ...).

    python benchmarks/sentencepiece_training.py TEXT [--megabytes 100] [--vocab-size 1024 8192] [--rounds 3]

TEXT is a UTF-8 file (.xz is unpacked to a temporary file); the default is books_train.txt.xz in the folder that
WEIGHTLESS_DATA names.  Every training runs in a process of its own on one thread, with the options of Parameter Golf's
models, and reads the file itself; our kernels are warm before the clock starts.  Pieces and ids must be equal.
Wall-clock and processor medians; the ratio is theirs by ours.  The load average is printed.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
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

NAMES = ("ours", "package")


def main() -> None:
    arguments = parse()
    if arguments.child:
        print(json.dumps(train(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        text = cut(arguments.text, int(1e6 * arguments.megabytes), Path(folder) / "text")
        print(
            f"{platform.processor() or platform.machine()}, one thread, load average {os.getloadavg()[0]:.1f}, "
            f"Python {platform.python_version()}, text {text.stat().st_size / 1e6:.1f} MB"
        )
        for vocab_size in arguments.vocab_size:
            report(arguments, text, vocab_size, Path(folder))
        print(f"load average at the end {os.getloadavg()[0]:.1f}")


def parse() -> argparse.Namespace:
    data = os.environ.get("WEIGHTLESS_DATA")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, nargs="?", default=Path(data) / "books_train.txt.xz" if data else None)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--encode-megabytes", type=float, default=10)
    parser.add_argument("--vocab-size", type=int, nargs="+", default=[1024, 8192])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.text is None:
        parser.error("give a text file, or name a folder with books_train.txt.xz in WEIGHTLESS_DATA")
    return arguments


def train(arguments: argparse.Namespace) -> dict[str, float]:
    """One training of this process, written to --out."""
    made: list[bytes] = []
    size = arguments.vocab_size[0]
    work = ours if arguments.child == "ours" else package
    if arguments.child == "ours":
        ours(None, 300)
    took = timed(lambda: made.append(work(arguments.text, size)))
    arguments.out.write_bytes(made[0])
    return {**took, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def cut(path: Path, most: int, out: Path) -> Path:
    """The first bytes of a text, ending with a whole line."""
    with lzma.open(path) if path.suffix == ".xz" else open(path, "rb") as file:
        content = file.read(most)
    out.write_bytes(content[: content.rfind(b"\n") + 1])
    return out


def ours(path: Path | None, vocab_size: int) -> bytes:
    from weightless.tokenizer.piece_train import PieceOptions, train_pieces

    text = path.read_bytes() if path else b"warm the kernels\n" * 9
    return train_pieces([text], PieceOptions(vocab_size)).content


def package(path: Path, vocab_size: int) -> bytes:
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        input=str(path),
        model_writer=out,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        max_sentence_length=1 << 30,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        num_threads=1,
        minloglevel=2,
    )
    return out.getvalue()


def timed(work: Callable[[], Any]) -> dict[str, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}


def report(arguments: argparse.Namespace, text: Path, vocab_size: int, folder: Path) -> None:
    from weightless.tokenizer.piece_file import parse_model

    rounds = [
        {name: child(text, name, vocab_size, folder / f"{name}.model") for name in NAMES}
        for _ in range(arguments.rounds)
    ]
    models = [parse_model((folder / f"{name}.model").read_bytes(), name) for name in NAMES]
    if models[0].pieces != models[1].pieces or (models[0].scores != models[1].scores).any():
        sys.exit(f"vocabulary {vocab_size:,}: the pieces differ")
    told(f"training, vocabulary {vocab_size:,} (pieces equal)", rounds)
    sample = text.read_bytes()[: int(1e6 * arguments.encode_megabytes)].decode("utf-8", "ignore")
    documents = [line.encode() for line in sample.split("\n\n")]
    encoding = [encoded(folder / "ours.model", documents, vocab_size) for _ in range(arguments.rounds)]
    told(f"encoding {len(sample) / 1e6:.0f} MB, no word known before (ids equal)", encoding)


def encoded(model: Path, documents: list[bytes], vocab_size: int) -> dict[str, dict[str, float]]:
    """One round, each with a tokenizer that has met no word."""
    from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

    tokenizer = SentencePieceTokenizer(model.read_bytes())
    processor = tokenizer._processor  # opened before the clock starts
    found: dict[str, list[list[int]]] = {}
    took = {
        "ours": timed(lambda: found.update(ours=[tokenizer.encode(d) for d in documents])),
        "package": timed(lambda: found.update(package=[processor.encode(d.decode()) for d in documents])),
    }
    if found["ours"] != found["package"]:
        sys.exit(f"vocabulary {vocab_size:,}: the ids differ")
    return {name: {**times, "peak": 0.0} for name, times in took.items()}


def child(text: Path, name: str, vocab_size: int, out: Path) -> dict[str, float]:
    words = [sys.executable, __file__, str(text), "--child", name, "--vocab-size", str(vocab_size), "--out", str(out)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def told(what: str, rounds: list[dict[str, dict[str, float]]]) -> None:
    print(f"{what}, medians of {len(rounds)} interleaved rounds")
    for name in NAMES:
        wall, processor, peak = (
            statistics.median(r[name][key] for r in rounds) for key in ("wall", "processor", "peak")
        )
        memory = f" {peak:6.0f} MB peak" if peak else ""
        print(f"  {name:8} {wall:7.2f} s wall {processor:7.2f} s processor{memory}")
    for key in ("wall", "processor"):
        ratio = statistics.median(r["package"][key] / r["ours"][key] for r in rounds)
        print(f"  theirs by ours, {key}: {ratio:.2f}")


if __name__ == "__main__":
    main()
