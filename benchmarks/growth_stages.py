"""The jobs that growth.py measures: each is called once, in a process of its own, and says what its clock says.

A job gets a `Place` and returns bytes that it left on the disk; what comes before `measured` is not counted.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

VOCAB_SIZE, TRAINED_VOCABULARY, ORDER = 4096, 32_000, 5
TRAINED_ON = 10_000_000  # bytes of the text from which the tokenizer of all other stages comes
WARM_TOKENS = 20_000
DECODED, CONTEXT = 2_000, 500


@dataclass
class Place:
    """Where a job finds and leaves its files, how many tokens it is about, and what was measured."""

    folder: Path
    n: int
    told: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Wall and processor seconds, and resident memory before and at its peak, of the block."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.told["before_mb"] = peak_megabytes()
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.told["processor"] = round(time.process_time() - processor, 4)
        self.told["wall"] = round(time.perf_counter() - wall, 4)
        self.told["peak_mb"] = peak_megabytes()

    def tokens(self, n: int | None = None) -> np.ndarray:
        """The first n ids: of the text as far as it reaches, else generated ones."""
        n = self.n if n is None else n
        found = np.load(self.folder / "tokens.npy", mmap_mode="r")
        return found[:n] if n <= len(found) else generated(n)

    def text(self) -> Path:
        """A file that holds the text of the first n tokens."""
        out = self.folder / f"text.{self.n}"
        if not out.exists():
            left = int(np.load(self.folder / "bytes.npy", mmap_mode="r")[self.n - 1])
            with open(self.folder / "text", "rb") as file, open(out, "wb") as copy:
                while left:
                    left -= copy.write(file.read(min(left, 1 << 22)))
        return out

    @property
    def model(self) -> Path:
        return self.folder / f"counted.{self.n}.wl"


def peak_megabytes() -> float:
    """Largest resident memory of this process since it began; getrusage may tell the parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 976.5625, 1)
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def generated(n: int) -> np.ndarray:
    """Zipfian draws, half of them copied from earlier phrases of eight, all at once: uint16 [n]."""
    rng = np.random.default_rng(0)
    tokens = np.empty(n, np.uint16)
    for at in range(0, n, 1 << 22):
        part = tokens[at : at + (1 << 22)]
        part[:] = (rng.zipf(1.2, len(part)) - 1) % VOCAB_SIZE
        rows = part[: len(part) // 16 * 16].reshape(-1, 16)
        if len(rows):
            rows[1:, :8] = rows[rng.integers(0, np.arange(1, len(rows))), 8:]
    return tokens


def set_up(text: Path, folder: Path) -> None:
    """The tokenizer of the stages, the ids of the text, and how many bytes the first n of them stand for."""
    from weightless.tokenizer import Tokenizer

    with open(text, "rb") as file:
        tokenizer = Tokenizer.train([file.read(TRAINED_ON)], VOCAB_SIZE)
    tokenizer.save(folder / "tokenizer.json")
    ids = tokenizer.encode_array(text.read_bytes())
    sizes = np.array([len(token) for token in tokenizer.token_bytes], np.int64)
    np.save(folder / "bytes.npy", np.cumsum(sizes[ids]))
    np.save(folder / "tokens.npy", ids)  # last: it says that all of this is here


def train_bpe(place: Place) -> int:
    from weightless.tokenizer import Tokenizer, bpe_train

    bpe_train.load_counting("gpt2")
    bpe_train.load_kernels()
    path, found = place.text(), []
    with place.measured():
        found.append(Tokenizer.train(path, TRAINED_VOCABULARY))
    return len(found[0].to_json())


def encode(place: Place) -> int:
    from weightless.tokenizer import Tokenizer

    tokenizer, path = Tokenizer.load(place.folder / "tokenizer.json"), place.text()
    tokenizer._encoder.encode(b"warm", with_special=True)
    n = 0
    with place.measured(), open(path, "rb") as file:
        blocks = iter(lambda: file.read(1 << 22), b"")
        from weightless.tokenizer.streaming import encode_chunks

        for ids in encode_chunks(tokenizer._encode, tokenizer._encoder.safe_cut, blocks):
            n += len(ids)
    return 2 * n


def write_shards(place: Place) -> int:
    from weightless.data.shards.prepare import SHARD_TOKENS
    from weightless.data.shards.shards import write_shard

    tokens, files = np.array(place.tokens()), []
    with place.measured():
        for at in range(0, place.n, SHARD_TOKENS):
            files.append(place.folder / f"shard.{place.n}.{at}")
            write_shard(files[-1], tokens[at : at + SHARD_TOKENS], VOCAB_SIZE)
    return sum(path.stat().st_size for path in files)


def read_shards(place: Place) -> int:
    from weightless.data.shards.shards import TokenView, read_shard

    paths = sorted(place.folder.glob(f"shard.{place.n}.*"))
    with place.measured():
        view = TokenView([read_shard(path, VOCAB_SIZE) for path in paths])
        assert sum(int(view[at : at + (1 << 20)].max()) > 0 for at in range(0, len(view), 1 << 20))
    return 0


def kneser_ney(place: Place) -> int:
    from weightless.models import ngram

    config, tokens = ngram.Config(vocab_size=VOCAB_SIZE, order=ORDER, context=CONTEXT), np.array(place.tokens())
    ngram.count(config, tokens[:WARM_TOKENS])
    with place.measured():
        counted, arrays = ngram.count(config, tokens)
    from weightless.export.lower import pack

    pack(place.model, "ngram", counted, arrays)
    return place.model.stat().st_size


def suffix_array(place: Place) -> int:
    from weightless.ngram.suffix_array import build

    tokens = np.array(place.tokens())
    build(tokens[:WARM_TOKENS], VOCAB_SIZE)
    made = []
    with place.measured():
        made.append(build(tokens, VOCAB_SIZE))
    return made[0].n_bytes


def open_artifact(place: Place) -> int:
    from weightless.export.packed import open_packed

    with place.measured():
        open_packed(place.model)
    return 0


def decode(place: Place) -> int:
    from weightless.export.packed import open_packed

    engine, draws = open_packed(place.model, verify=False).engine(), np.random.default_rng(0).random((DECODED, 8))

    def sampled(rows: np.ndarray) -> None:
        for k, uniforms in enumerate(rows):
            if k % CONTEXT == 0:
                engine.reset()
                engine.feed(0)
            else:
                engine.feed(engine.sample(uniforms))

    sampled(draws[:2])
    with place.measured():
        sampled(draws)
    return 0


def ledger(place: Place) -> int:
    from weightless.cli.main import main

    arguments = ["count", "dense", "--training", "--tokens", str(place.n), "--flops_per_second", "1e12"]
    for _ in range(2):
        with contextlib.redirect_stdout(io.StringIO()), place.measured():
            assert main(arguments) == 0
    return 0


STAGES: dict[str, Callable[[Place], Any]] = {
    "train BPE": train_bpe,
    "encode": encode,
    "write shards": write_shards,
    "read shards": read_shards,
    "count Kneser-Ney": kneser_ney,
    "suffix array": suffix_array,
    "open an artifact": open_artifact,
    "decode": decode,
    "ledger": ledger,
}
OF_TEXT = ("train BPE", "encode")
NEEDS = {"read shards": "write shards", "open an artifact": "count Kneser-Ney", "decode": "count Kneser-Ney"}
BYTES_PER_TOKEN = {"count Kneser-Ney": 61, "suffix array": 30, "write shards": 12, "read shards": 4}
"""Resident memory to be expected, for the limit of --most-memory."""


def point(name: str, n: int, folder: Path) -> dict[str, Any]:
    """One measured point."""
    place, load = Place(folder, n), os.getloadavg()[0]
    disk = STAGES[name](place)
    real = n <= len(np.load(folder / "tokens.npy", mmap_mode="r"))
    return {
        "stage": name,
        "tokens": n,
        **place.told,
        "disk_bytes": disk,
        "text": "real" if real else "generated",
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
    }
