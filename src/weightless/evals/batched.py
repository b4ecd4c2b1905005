"""Score windows in batches, by the PyTorch face of an artifact: the numbers of its codes, many windows per product.

A batch is some windows one below the other, padded at their ends; only the targets that a window scores go through the
head.  Batches are cut by the windows alone, and each is computed by one thread (or one GPU), so that their nats do not
depend on how many work at once.  The KV cache is rounded as the engine rounds it, since training does that already.

    compile  what the layers make of the stream is compiled for this machine, for batches that all have one shape
    judged   the batches of some windows come first; the engine steps stretches of them (`scoring.py`), and when the
             nats are not the same nothing else is scored
    resume   nats are kept in a file while the work goes on (`base/saved_work.py`), with the hashes of the artifact and
             of the tokens and all settings; a killed scoring goes on at the batches that it lacks and ends with the
             same nats, bit for bit

Never counted: none of this says what a token touches.
Errors: ConfigError for a model that has no such face or whose cost the text decides, for a device that is not there,
and for a file of other work; WeightlessError when the nats are not the engine's.
"""

from __future__ import annotations

import copy
import hashlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightless.base.errors import ConfigError, CorruptFileError, nearest
from weightless.base.files import sha256_file
from weightless.base.interrupts import Interrupts
from weightless.base.memory import keep_freed_memory, memory
from weightless.base.progress import Ticker, progress, told_if_slow
from weightless.base.saved_work import LARGEST_CHUNK, SavedWork
from weightless.data.batches.packing import IGNORED
from weightless.evals.batched_products import ScoringProducts, in_bf16
from weightless.export.as_torch import as_torch, why_not_torch
from weightless.export.packed import Packed
from weightless.layers.stack import StackModel
from weightless.program.blocked import why_not
from weightless.program.decoded import Decoded
from weightless.train.device import check_device, threads
from weightless.train.passes import check_compilable, refusal

AUTOCASTS = ("none", "bf16")
POSITIONS = {"cpu": 1024, "cuda": 65_536, "mps": 8192}
"""Of a batch, where nobody says how many windows it has: on a CPU few enough for what lies between products to stay in
the caches."""
SHARE = 0.25
"""Of the machine's memory, what all batches that are computed at once may take."""
SAVE_EVERY = 20.0
Window = tuple[int, int, int]
Judge = Callable[[Decoded, Sequence[Window], np.ndarray], Any]
"""Given windows and the nats at every token: what the engine says of them, or WeightlessError."""


@dataclass(frozen=True)
class Batching:
    """How to score in batches; 0 windows: as many as POSITIONS and the memory allow."""

    windows: int = 0
    device: str = "cpu"
    autocast: str = "none"
    compile: bool = False
    resume: str = ""

    def check(self) -> None:
        """ConfigError for what cannot be, before anything is opened."""
        if self.autocast not in AUTOCASTS:
            raise ConfigError(f"autocast {self.autocast!r}: {nearest(self.autocast, AUTOCASTS)}")
        if self.device.partition(":")[0] not in POSITIONS:
            raise ConfigError(f"device {self.device!r}: {nearest(self.device, POSITIONS)}")
        check_device(self.device)
        if self.resume and not Path(self.resume).parent.is_dir():
            raise ConfigError(f"--resume {self.resume}: there is no folder {Path(self.resume).parent}")


def check_batched(packed: Packed) -> None:
    """ConfigError saying why a model cannot be scored in batches, where it cannot."""
    if told := why_not_torch(packed) or why_not(packed.program, scoring=True, exactly=False):
        raise ConfigError(f"path batched: {packed.family} cannot be scored in batches, because {told}; use stepped")


def score_batched(
    packed: Packed,
    tokens: np.ndarray,
    todo: list[Window],
    checked: list[Window],
    judge: Judge,
    n_threads: int,
    label: str,
    batching: Batching,
) -> tuple[np.ndarray, Any, float]:
    """(nats at every token, what the judge says of `checked`, targets scored per second in this session)."""
    check_batched(packed)
    batching.check()
    _check_ids(packed, tokens)
    work = _Work(packed, tokens, todo, n_threads, batching)
    with Interrupts() as interrupts, threads(1):
        first = [i for i, batch in enumerate(work.batches) if any(window in batch for window in checked)]
        work.warm_up()
        with progress(label, work.n_targets, "tokens", start=work.n_done) as tick:
            work.score(first, interrupts, tick)
            verdict = judge(work.decoded, checked, work.nats_by_token())
            work.score(range(len(work.batches)), interrupts, tick)
    work.forget()
    return work.nats_by_token(), verdict, work.rate


class _Work:
    """Batches to score, and what has been scored of them."""

    def __init__(
        self, packed: Packed, tokens: np.ndarray, todo: list[Window], n_threads: int, batching: Batching
    ) -> None:
        keep_freed_memory()
        self.tokens, self.device = tokens, batching.device
        self.n_threads = n_threads if batching.device == "cpu" else 1
        self.decoded = Decoded(packed.program.layout, packed.weights)
        self.model, p = as_torch(packed, self.decoded, batching.device)
        self.bf16, self.compile = batching.autocast == "bf16", batching.compile
        self.context = packed.program.context
        size = self.size = batching.windows or windows_per_batch(packed, batching.device, n_threads)
        self.batches = [todo[i : i + size] for i in range(0, len(todo), size)]
        self.targets = np.concatenate([np.arange(scored, end) for _, scored, end in todo])
        self.n_targets = len(self.targets)
        ends = np.cumsum([sum(end - scored for _, scored, end in batch) for batch in self.batches]).tolist()
        self.places = [slice(begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
        self.nats, self.done = np.zeros(self.n_targets, np.float32), np.zeros(len(self.batches), np.uint8)
        self.saved = SavedWork(Path(batching.resume), SAVE_EVERY, named=True) if batching.resume else None
        if self.saved is not None:
            self.saved.begin(_identity(packed, tokens, todo, size, batching), self._restore)
        self.p = in_bf16(self.model, p) if self.bf16 else p
        if batching.compile:
            check_compilable(self.model, batching.device)
            self.model = _compiled(self.model)
        self.lock, self.seconds, self.n_scored = threading.Lock(), 0.0, 0

    @property
    def n_done(self) -> int:
        """Targets scored, in earlier sessions too."""
        return int(self._scored(self.done).sum())

    @property
    def rate(self) -> float:
        return self.n_scored / max(self.seconds, 1e-9) if self.n_scored else 0.0

    def warm_up(self) -> None:
        """What is loaded, compiled or allocated once, outside the clock; ConfigError for what does not compile."""
        first, scored, end = self.batches[0][0]
        window = (first, max(first + 1, scored), min(end, max(first + 1, scored) + 16))
        said = "torch.compile: minutes for a large model, outside the clock"
        if not self.compile:
            self._losses([window])
            return
        try:
            with told_if_slow(said), warnings.catch_warnings(action="ignore"):
                self._losses([window])
        except Exception as error:
            raise refusal(error) from None

    def score(self, numbers: Sequence[int], interrupts: Interrupts, tick: Ticker) -> None:
        """Those of the batches that are not scored yet; after an interrupt what there is is saved, and it is raised."""
        left = iter([i for i in numbers if not self.done[i]])
        stopped = threading.Event()

        def work() -> None:
            while not stopped.is_set() and interrupts.requested is None:
                with self.lock:
                    i = next(left, None)
                if i is None:
                    return
                self._keep(i, self._losses(self.batches[i]))
                tick(self.places[i].stop - self.places[i].start)

        began = time.perf_counter()
        with ThreadPoolExecutor(self.n_threads) as pool:
            try:
                for finished in [pool.submit(work) for _ in range(self.n_threads)]:
                    finished.result()
            finally:
                stopped.set()
        self.seconds += time.perf_counter() - began
        if interrupts.requested is not None:
            self._save()
            interrupts.stop_if_requested()

    def nats_by_token(self) -> np.ndarray:
        """float64 at every token of the stream, 0 where nothing is scored (yet)."""
        found = np.zeros(len(self.tokens))
        found[self.targets] = self.nats
        return found

    def forget(self) -> None:
        """Take the saved nats away: the work is done."""
        if self.saved is not None:
            self.saved.forget()

    def _losses(self, batch: list[Window]) -> np.ndarray:
        """Nats of the targets of a batch, window after window."""
        fed_BT, targets_BT = padded(self.tokens, batch, *((self.size, self.context) if self.compile else ()))
        with torch.no_grad(), ScoringProducts(self.bf16):
            x_BT, y_BT = (torch.from_numpy(ids).to(self.device) for ids in (fed_BT, targets_BT))
            nats_BT = self.model.losses(self.p, x_BT, y_BT)
        return nats_BT.float().cpu().numpy()[targets_BT != IGNORED]

    def _keep(self, i: int, nats: np.ndarray) -> None:
        with self.lock:
            self.nats[self.places[i]] = nats
            self.done[i] = 1
            self.n_scored += len(nats)
            if self.saved is not None and self.saved.is_due():
                self._save()

    def _save(self) -> None:
        """The done batches, then their nats in order."""
        if self.saved is None:
            return
        nats = self.nats[self._scored(self.done)].tobytes()
        parts = [nats[at : at + LARGEST_CHUNK] for at in range(0, len(nats), LARGEST_CHUNK)]
        self.saved.save({"n_done": self.n_done}, iter([self.done.tobytes(), *parts]), len(nats) + len(self.done))

    def _scored(self, done: np.ndarray) -> np.ndarray:
        """Of every target, whether its batch is done."""
        return np.repeat(done.astype(bool), [place.stop - place.start for place in self.places])

    def _restore(self, state: dict[str, Any], chunks: Iterator[bytes]) -> None:
        done = np.frombuffer(next(chunks, b""), np.uint8)
        told = "the saved nats are not those of these windows"
        if done.shape != self.done.shape or done.max(initial=0) > 1:
            raise CorruptFileError(told)
        scored, kept = self._scored(done), bytearray()
        with suppress(StopIteration):
            while len(kept) < 4 * scored.sum():
                kept += next(chunks)
        if len(kept) != 4 * scored.sum() or state.get("n_done") != scored.sum():
            raise CorruptFileError(told)
        self.done[:] = done
        self.nats[scored] = np.frombuffer(kept, "<f4")


def _compiled(model: StackModel) -> StackModel:
    """The same with its layers compiled, for batches of one shape."""
    made = copy.copy(model)
    with warnings.catch_warnings(action="ignore"):  # torch's own, about parts of itself
        torch.compiler.reset()  # after eight models in one process it would compile no more, without a word
        made._stream = torch.compile(model._stream, dynamic=False)  # type: ignore[method-assign]
    return made


def padded(
    tokens: np.ndarray, batch: list[Window], n_rows: int | None = None, length: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(tokens fed, targets) int64 [B, T]: IGNORED where nothing is scored; what is short is padded at its end, and to
    `n_rows` of `length` where these are given."""
    shape = n_rows or len(batch), length or max(end - 1 - first for first, _, end in batch)
    fed_BT, targets_BT = np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
    for row, (first, scored, end) in enumerate(batch):
        fed_BT[row, : end - 1 - first] = tokens[first : end - 1]
        targets_BT[row, scored - 1 - first : end - 1 - first] = tokens[scored:end]
    return fed_BT, targets_BT


def windows_per_batch(packed: Packed, device: str, n_threads: int) -> int:
    """By what a window takes at most beside the weights, and by the memory of the machine, not what is free of it: the
    same machine cuts the same batches again."""
    kind, context = device.partition(":")[0], packed.program.context
    widest = max(t.shape[1] for t in packed.program.stored() if not t.by_row)
    has = torch.cuda.mem_get_info(device)[1] if kind == "cuda" else memory()
    n = POSITIONS[kind] // context
    if has is not None:
        n = min(n, int(SHARE * has / (64 * widest * context * (n_threads if kind == "cpu" else 1))))
    return max(1, n)


def _check_ids(packed: Packed, tokens: np.ndarray) -> None:
    vocab_size = packed.program.vocab_size
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size:
        worst = int(tokens.max() if tokens.max() >= vocab_size else tokens.min())
        raise ConfigError(
            f"token id {worst} is outside the model's vocabulary of {vocab_size}: the text was encoded with another "
            "tokenizer"
        )


def _identity(packed: Packed, tokens: np.ndarray, todo: list[Window], size: int, batching: Batching) -> dict[str, Any]:
    """All that decides the nats of every target, to the bit."""
    settings = {name: value for name, value in asdict(batching).items() if name not in ("windows", "resume")}
    hashes = {"tokens": tokens.astype("<i8"), "windows": np.array(todo, "<i8")}
    found = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in hashes.items()}
    found |= {"artifact": sha256_file(packed.artifact.path), "windows per batch": size, "torch": torch.__version__}
    return {"kind": "scoring in batches", **found, **settings}
