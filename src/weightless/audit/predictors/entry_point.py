"""A predictor in somebody else's code: `module:attribute` or `path.py:attribute`, run in a process of its own.

The code is what is being judged, so it is never imported here.  entry_worker.py loads it; prefixes go over a pipe as
int64, distributions come back as float64, and nothing else does: no pickle, and every length is checked before it is
believed.  Memory and processor time are limited by the system (`resource`), every answer has a deadline, and `fresh`
ends the process group and starts another.

This protects the audit from accidents and from state that outlives a call.  It is no sandbox: the code can read and
write what the user can, so code of unknown people belongs in a container or on a machine that holds nothing else.
Errors: WeightlessError, one line, for code that fails, answers in the wrong shape, or takes too long.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weightless.audit.predictors.entry_worker import HEADER, LONGEST_TEXT
from weightless.audit.predictors.entry_worker import SURFACES as REQUESTS
from weightless.audit.predictors.predictor import SURFACES
from weightless.base.errors import ConfigError, WeightlessError

LARGEST_VOCABULARY = 1 << 21
LARGEST_RANGES = 1 << 24
_KINDS = {name: kind for kind, name in REQUESTS.items()}


@dataclass(frozen=True)
class Limits:
    """Wall seconds for loading and for one answer; processor seconds and bytes of address space for the process."""

    load_seconds: float = 300.0
    answer_seconds: float = 120.0
    cpu_seconds: int = 4 * 3600
    memory_bytes: int = 16 * 10**9


def is_entry_point(what: str) -> bool:
    """Whether a word names code: NAME:ATTRIBUTE with a Python name, or a file that ends in .py, before the colon."""
    where, colon, attribute = what.rpartition(":")
    named = all(part.isidentifier() for part in attribute.split("."))
    return bool(colon) and named and (where.endswith(".py") or all(part.isidentifier() for part in where.split(".")))


class EntryPoint:
    """The Predictor protocol over a pipe.  Close it, or use it in a `with` block."""

    def __init__(self, entry: str, limits: Limits | None = None) -> None:
        if not is_entry_point(entry):
            raise ConfigError(f"{entry!r} names no code: write module:attribute or path.py:attribute")
        path = Path(entry.rpartition(":")[0])
        if path.suffix == ".py" and not path.is_file():
            raise WeightlessError(f"no such file: {path}")
        self.entry, self.limits = entry, limits or Limits()
        self.vocab_size, self.context = 0, None
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False
        self.fresh()

    def __enter__(self) -> EntryPoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fresh(self) -> None:
        """End the process, and start another that has seen nothing (one that was asked nothing yet will do)."""
        if self._process is not None and not self._asked:
            return
        self.close()
        self._asked = False
        worker = Path(__file__).with_name("entry_worker.py")
        numbers = (str(self.limits.memory_bytes), str(self.limits.cpu_seconds))
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(worker), self.entry, *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._sink, self._source = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._sink, False)
        vocab_size, context, bits = np.frombuffer(
            self._receive(b"INFO", lambda n: n == 24, "loading", self.limits.load_seconds), dtype="<i8"
        ).tolist()
        if not -1 <= vocab_size <= LARGEST_VOCABULARY or vocab_size == 0 or context == 0:
            raise self._failed("loading", f"vocab_size {vocab_size}, context {context} cannot be")
        self.vocab_size, self.context = max(vocab_size, 0) or self.vocab_size, context if context > 0 else None
        self.offers = frozenset(name for i, name in enumerate(REQUESTS.values()) if bits >> i & 1) & frozenset(SURFACES)

    def close(self) -> None:
        """End the process and whatever it started in its group."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, self._said):
            if stream:
                stream.close()

    def log_probs(self, prefix: np.ndarray) -> np.ndarray:
        """float64 [V]; without a declared vocab_size the first answer says what V is."""
        found = self._ask("log_probs", prefix, np.dtype("<f8"), self._vocabulary_fits)
        self.vocab_size = self.vocab_size or len(found)
        return found

    def score(self, tokens: np.ndarray) -> np.ndarray:
        return self._ask("score", tokens, np.dtype("<f8"), lambda n: n == 8 * (len(tokens) - 1))

    def byte_counts(self, tokens: np.ndarray) -> np.ndarray:
        return self._ask("byte_counts", tokens, np.dtype("<i8"), lambda n: n == 8 * (len(tokens) - 1))

    def scored_ranges(self, n_tokens: int) -> np.ndarray:
        size = np.array([n_tokens])
        found = self._ask("scored_ranges", size, np.dtype("<i8"), lambda n: n % 16 == 0 and n <= 16 * LARGEST_RANGES)
        return found.reshape(-1, 2)

    def _vocabulary_fits(self, length: int) -> bool:
        if self.vocab_size:
            return length == 8 * self.vocab_size
        return length % 8 == 0 and 0 < length <= 8 * LARGEST_VOCABULARY

    def _ask(self, what: str, given: np.ndarray, dtype: np.dtype, fits: Callable[[int], bool]) -> np.ndarray:
        payload, self._asked = np.ascontiguousarray(given, dtype="<i8").tobytes(), True
        self._send(HEADER.pack(_KINDS[what], len(payload)) + payload, what)
        kind = b"REAL" if dtype.kind == "f" else b"WHOL"
        return np.frombuffer(self._receive(kind, fits, what, self.limits.answer_seconds), dtype=dtype).copy()

    def _send(self, message: bytes, what: str) -> None:
        if self._process is None:
            raise WeightlessError(f"{self.entry}: the process has ended; start it again with fresh()")
        left, deadline = memoryview(message), time.monotonic() + self.limits.answer_seconds
        while left:
            self._wait([], [self._sink], deadline, what)
            try:
                left = left[os.write(self._sink, left) :]
            except (BrokenPipeError, BlockingIOError):
                raise self._ended(what) from None

    def _receive(self, wanted: bytes, fits: Callable[[int], bool], what: str, seconds: float) -> bytes:
        """The payload of the next message, which should be of this kind and of a length that `fits`."""
        deadline = time.monotonic() + seconds
        kind, length = HEADER.unpack(self._read(HEADER.size, deadline, what))
        if kind == b"FAIL" and length <= LONGEST_TEXT:
            raise self._failed(what, self._read(length, deadline, what).decode("utf-8", "replace"))
        if kind != wanted or not fits(length):
            expected = (
                f", where the vocabulary has {self.vocab_size}" if what == "log_probs" and self.vocab_size else ""
            )
            raise self._failed(what, f"an answer of {length // 8:,} numbers does not fit the question{expected}")
        return self._read(length, deadline, what)

    def _read(self, length: int, deadline: float, what: str) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            self._wait([self._source], [], deadline, what)
            part = os.read(self._source, min(length - len(parts), 1 << 20))
            if not part:
                raise self._ended(what)
            parts += part
        return bytes(parts)

    def _wait(self, sources: list[int], sinks: list[int], deadline: float, what: str) -> None:
        ready = select.select(sources, sinks, [], max(0.0, deadline - time.monotonic()))
        if not (ready[0] or ready[1]):
            raise self._failed(what, "no answer in time; the limits are in audit.entry_point.Limits")

    def _ended(self, what: str) -> WeightlessError:
        """The process died: with its code, and the last line that it printed."""
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - LONGEST_TEXT))
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        last = f" ({lines[-1]})" if lines else ""
        return self._failed(what, f"its process ended with code {self._process.returncode}{last}")

    def _failed(self, what: str, why: str) -> WeightlessError:
        self.close()
        line = "".join(letter if letter.isprintable() else " " for letter in why)[:400]
        return WeightlessError(f"{self.entry}, {what}: {line}")
