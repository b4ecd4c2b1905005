"""A teacher's answers on disk, for the batches of a training: of every position its k likeliest tokens and the rest.

    FOLDER/about.json                what the answers are of; a folder of other answers is refused
    FOLDER/chunk_000012.safetensors  ids u16 or u32 [N, k], log_p f16 [N, k], rest f32 [N] for the N positions of some
                                     batches in a row; in its header, how many, the SHA-256 of what was asked and of
                                     what was answered, and the tokens and seconds that the teacher took

log_p are natural logarithms at the temperature, rounded to 16 bits; rest is the mass of all other tokens.  What is read
is renormalised, so that the k + 1 outcomes sum to 1.  What is asked of the teacher is written before it is used, so
that a training that goes on later reads the same bits.  A chunk is whole or absent; one that is shorter than asked for
is made anew, one that is damaged is refused.
Errors: CorruptFileError naming the file and what to do; WeightlessError when it cannot be written.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.base.files import atomic_write, read_json, write_json
from weightless.data.batches.packing import Batch
from weightless.layers.functions.teaching import Kept, kept_of, renormalised

CHUNK_POSITIONS = 8192
"""Positions of a chunk, about."""
ABOUT = "about.json"
AGAIN = "delete it, and the teacher is asked again"


class Teacher(Protocol):
    """A model that knows the student's tokens: `name` for people, `sha256` of what it is, FLOPs of a forward pass."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def flops_per_token(self) -> float: ...

    def log_probs(self, tokens_BT: np.ndarray, document_BT: np.ndarray | None) -> torch.Tensor:
        """Log-probabilities float32 [B, T, V] of what follows, up to a constant per position."""
        ...


class Cost(NamedTuple):
    """What the teacher's passes took."""

    tokens: int = 0
    seconds: float = 0.0


class Chunk(NamedTuple):
    """The answers of some batches in a row [batches, positions, …], and what they cost when they were made."""

    kept: Kept
    n_batches: int
    cost: Cost


class TeacherCache:
    """The answers of one teacher to the batches of one training, made when they are first asked for.

    `batch(i)` is a pure function of its number; `n_batches` how many there are, None when only the clock knows;
    `about` says in plain values everything that decides the answers.
    """

    def __init__(
        self,
        folder: Path,
        teacher: Teacher,
        batch: Callable[[int], Batch],
        n_batches: int | None,
        k: int,
        temperature: float,
        about: Mapping[str, Any],
        positions_per_batch: int,
    ) -> None:
        self.folder, self.teacher, self.batch, self.n_batches = folder, teacher, batch, n_batches
        self.k, self.temperature, self.about = k, temperature, dict(about)
        self.positions = positions_per_batch
        self.per_chunk = max(1, CHUNK_POSITIONS // positions_per_batch)
        self._last: tuple[int, Chunk] | None = None
        self._is_ours = False

    @property
    def n_chunks(self) -> int:
        """Chunks of the whole training, 0 when only the clock knows."""
        return -(-(self.n_batches or 0) // self.per_chunk)

    def place(self, i: int) -> tuple[int, slice]:
        """(chunk, its positions) of batch number i."""
        chunk, within = divmod(i, self.per_chunk)
        return chunk, slice(within * self.positions, (within + 1) * self.positions)

    def is_there(self, c: int) -> bool:
        """Whether the teacher was asked for chunk number c before, as far as its name says."""
        return self._path(c).exists()

    def chunk(self, c: int) -> Chunk:
        """Chunk number c, from the disk or from the teacher."""
        if self._last is None or self._last[0] != c:
            path, numbers = self._path(c), self._numbers(c)
            told, tensors = _loaded(path) if path.exists() else ({"batches": "0"}, {})
            if int(told["batches"]) < len(numbers):  # a training of fewer steps may have left a shorter one
                self._ask(path, numbers)
                told, tensors = _loaded(path)
            self._last = c, self._checked(path, numbers[0], told, tensors)
        return self._last[1]

    def _path(self, c: int) -> Path:
        return self.folder / f"chunk_{c:06d}.safetensors"

    def _numbers(self, c: int) -> range:
        end = (c + 1) * self.per_chunk
        return range(c * self.per_chunk, end if self.n_batches is None else min(end, self.n_batches))

    def _claim(self) -> None:
        """The folder is for these answers; CorruptFileError when it holds others."""
        if not self._is_ours:
            path = self.folder / ABOUT
            if not path.exists():
                write_json(path, self.about)
            elif read_json(path) != self.about:
                raise CorruptFileError(f"{path} is of other answers than {self.folder.name} should hold: {AGAIN}")
            self._is_ours = True

    @torch.no_grad()
    def _ask(self, path: Path, numbers: Sequence[int]) -> None:
        self._claim()
        began, parts = time.perf_counter(), []
        for i in numbers:
            batch = self.batch(i)
            log_p_BTV = self.teacher.log_probs(batch.inputs_BT, batch.document_BT)
            parts.append(kept_of(log_p_BTV.flatten(0, 1), self.k, self.temperature))
        ids, log_p, rest = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        width = "<u2" if log_p_BTV.shape[-1] <= 1 << 16 else "<u4"
        tensors = {"ids": ids.astype(width), "log_p": log_p.astype("<f2"), "rest": rest.astype("<f4")}
        told = {
            "batches": str(len(numbers)),
            "asked_sha256": _asked(self.batch, numbers),
            "sha256": _answered(tensors),
            "tokens": str(len(rest)),
            "seconds": repr(time.perf_counter() - began),
        }
        atomic_write(path, save(tensors, told))

    def _checked(self, path: Path, first: int, told: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> Chunk:
        n = int(told["batches"])
        rows, kinds = n * self.positions, {"ids": "uint16 uint32", "log_p": "float16", "rest": "float32"}
        for name, kind in kinds.items():
            array, shape = tensors.get(name), (rows,) if name == "rest" else (rows, self.k)
            if array is None or array.shape != shape or array.dtype.name not in kind.split():
                found = "missing" if array is None else f"{array.dtype} {list(array.shape)}"
                raise CorruptFileError(f"{path}: {name} is {found} and should be {kind} {list(shape)}: {AGAIN}")
        if _answered(tensors) != told["sha256"]:
            raise CorruptFileError(f"{path} is damaged, its SHA-256 differs: {AGAIN}")
        if _asked(self.batch, range(first, first + n)) != told["asked_sha256"]:
            raise CorruptFileError(f"{path} answers other windows of text than this training has: {AGAIN}")
        ids, log_p, rest = (torch.from_numpy(tensors[name].astype(to)) for name, to in zip(kinds, ("i8", "f4", "f4")))
        return Chunk(renormalised(ids, log_p, rest), n, Cost(int(told["tokens"]), float(told["seconds"])))


def _asked(batch: Callable[[int], Batch], numbers: Sequence[int]) -> str:
    """SHA-256 of the windows that a teacher sees: tokens, and documents where they are told apart."""
    digest = hashlib.sha256()
    for i in numbers:
        found = batch(i)
        for array in (found.inputs_BT, found.document_BT):
            digest.update(b"none" if array is None else np.ascontiguousarray(array, "<i8").tobytes())
    return digest.hexdigest()


def _answered(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in ("ids", "log_p", "rest"):
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def _loaded(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """What the header tells (every key that is needed, numbers that are some), and the tensors."""
    try:
        content = path.read_bytes()
        tensors = load(content)  # sizes and offsets are checked there
        told = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} is damaged ({error}): {AGAIN}") from None
    try:
        sound = int(told["batches"]) > 0 and int(told["tokens"]) > 0 and float(told["seconds"]) >= 0
    except (KeyError, TypeError, ValueError):
        sound = False
    if not (sound and {"asked_sha256", "sha256"} <= told.keys()):
        raise CorruptFileError(f"{path} does not say what it answers: {AGAIN}")
    return told, tensors
