"""Distillation while it happens: the teacher's answers to every batch, and what the run's record says about it.

    lineage = Lineage(start, distil, teacher, folder)      what a training takes from other models, decided before it
    distilling = Distilling(...)                           the loop asks it for a `Lesson` per batch, and tells it KL

The seconds that the teacher takes are none of the student's; they are counted apart, once per training, from what its
answers cost when they were made (an answer that another training left on the disk cost what it cost then).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.base.progress import progress
from weightless.base.units import human_seconds
from weightless.layers.functions.teaching import Kept, Taught
from weightless.layers.layer import Record
from weightless.train.config import TrainConfig
from weightless.train.distil import Distil
from weightless.train.feeding import Feeding
from weightless.train.same_run import fingerprint
from weightless.train.teacher_cache import Teacher, TeacherCache
from weightless.train.working_weights import WorkingWeights

DISTILLATION = "distillation"
START = "initial weights"
"""Their names in the run's record."""
FEEDING = ("batch_size", "packing", "document_mask", "order", "descending", "pacing", "buckets", "seed")
"""Fields that decide which windows batch number i has."""


def check_same_shapes(source: str, ours: Mapping[str, Sequence[int]], theirs: Mapping[str, Sequence[int]]) -> None:
    """ConfigError unless a model to train (`ours`, by tensor name) can begin with the numbers of `source`."""
    for name in sorted({*ours, *theirs}):
        here, there = ours.get(name), theirs.get(name)
        if here is None or there is None:
            which = "it has no" if there is None else "the model to train has no"
            raise ConfigError(f"init_from {source}: {which} tensor {name!r}; the two have to be of one shape")
        if tuple(here) != tuple(there):
            told = f"{list(there)} there, {list(here)} in the model to train"
            raise ConfigError(f"init_from {source}: tensor {name!r} is {told}")


@dataclass(frozen=True)
class Start:
    """Numbers to begin from: `name` for people, the hash of where they are from, parameters and constants by name."""

    name: str
    sha256: str
    parameters: Mapping[str, torch.Tensor]
    constants: Mapping[str, np.ndarray]

    def check(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """ConfigError naming the first tensor that is not in both, or has another shape."""
        check_same_shapes(self.name, shapes, {name: there.shape for name, there in self.parameters.items()})

    @torch.no_grad()
    def put_into(self, masters: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Begin with these numbers, which `check` has seen; the run's assertion that the masters hold them."""
        self.check({name: here.shape for name, here in masters.items()})
        for name, here in masters.items():
            here.copy_(self.parameters[name])
        same = all(torch.equal(masters[name].cpu(), there.float().cpu()) for name, there in self.parameters.items())
        told = f"{len(masters)} tensors, as they are in {self.name} ({self.sha256[:12]})"
        return {"ok": same, "detail": told}


@dataclass(frozen=True)
class Lineage:
    """What a training takes from other models: initial weights, a teacher; `folder` takes the teacher's answers."""

    start: Start | None = None
    distil: Distil | None = None
    teacher: Teacher | None = None
    folder: Path = Path()
    init_from: str = ""
    """Where `start` was read, for whoever has to read it again; it decides nothing."""

    def to_plain(self) -> dict[str, Any]:
        """All that decides the result, for the checkpoint; empty for a training that takes nothing."""
        found: dict[str, Any] = {}
        if self.start is not None:
            found["init_from"] = self.start.sha256
        if self.distil is not None and self.teacher is not None:
            asked = dataclasses.asdict(self.distil)
            found |= {f"distil.{key}": value for key, value in asked.items() if key != "teacher"}
            found["distil.teacher"] = self.teacher.sha256
        return found


ALONE = Lineage()
"""A training that takes nothing."""


class Lesson(NamedTuple):
    """What a batch is taught: the teacher's answers at its positions, alpha and tau."""

    kept: Kept
    weight: float
    temperature: float


def taught_by(
    lesson: Lesson, model: Any, weights: WorkingWeights, arrays: list[torch.Tensor], record: Record, device: str
) -> Taught:
    """What is minimised, nats and KL [B, T] of a batch (inputs, targets and perhaps documents) under a lesson."""
    tokens_BT, targets_BT, *documents = arrays
    kept = lesson.kept._make(t.to(device) for t in lesson.kept)
    document_BT = documents[0] if documents else None
    how = (lesson.weight, lesson.temperature)
    return model.taught(weights.inputs, tokens_BT, targets_BT, document_BT, kept, *how, record=record)


@dataclass
class Seen:
    """What has been seen of it, for the checkpoint; `n_chunks` whose cost is counted, KL of the first and last step."""

    steps: int = 0
    first_step: int = -1
    positions: int = 0
    n_chunks: int = 0
    tokens: int = 0
    seconds: float = 0.0
    first_kl: float = 0.0
    last_kl: float = 0.0

    @classmethod
    def from_plain(cls, values: Any) -> Seen:
        try:
            return cls() if values is None else from_dict(cls, values, DISTILLATION)
        except ConfigError as error:
            raise CorruptFileError(f"the checkpoint's state is damaged: {error}; start the run anew") from error


@dataclass
class Distilling:
    """One training's teacher."""

    distil: Distil
    teacher: Teacher
    cache: TeacherCache
    seen: Seen = field(default_factory=Seen)

    @classmethod
    def of(
        cls, lineage: Lineage, feeding: Feeding, tokens: Any, config: TrainConfig, saved: Any = None
    ) -> Distilling | None:
        """The teacher of a training, None where it has none; `saved` is what a checkpoint kept."""
        if lineage.distil is None or lineage.teacher is None:
            return None
        distil, teacher = lineage.distil, lineage.teacher
        about = {
            "teacher_sha256": teacher.sha256,
            "data": fingerprint(tokens, feeding.scores_sha256),
            "context": config.context,
            "top_k": distil.top_k,
            "temperature": distil.temperature,
            **{name: getattr(config, name) for name in FEEDING},
            **({"n_draws": config.n_draws} if config.is_sorted else {}),
        }
        n_batches = None if config.num_steps is None else config.num_steps * config.grad_accumulation
        decides = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        cache = TeacherCache(
            lineage.folder / decides[:16],
            teacher,
            feeding.batches.batch,
            n_batches,
            distil.top_k,
            distil.temperature,
            about,
            config.batch_size * config.context,
        )
        return cls(distil, teacher, cache, Seen.from_plain(saved))

    def prepare(self, label: str, first: int) -> None:
        """Ask the teacher all that the batches from number `first` on will need, where it is known how many come."""
        chunks = range(self.cache.place(first)[0], self.cache.n_chunks)
        if missing := [c for c in chunks if not self.cache.is_there(c)]:
            with progress(f"{label}: asking {self.teacher.name}", len(missing), "chunks") as tick:
                for c in missing:
                    self.cache.chunk(c)
                    tick(1)

    def lesson(self, i: int) -> Lesson:
        """What batch number i is taught; what its chunk cost is counted when it is met for the first time."""
        c, rows = self.cache.place(i)
        chunk = self.cache.chunk(c)
        if c >= self.seen.n_chunks:
            self.seen.n_chunks = c + 1
            self.seen.tokens += chunk.cost.tokens
            self.seen.seconds += chunk.cost.seconds
        return Lesson(Kept(*(t[rows] for t in chunk.kept)), self.distil.weight, self.distil.temperature)

    def count(self, step: int, kl: float, n_targets: int) -> None:
        """A step has learned from it."""
        seen = self.seen
        if seen.steps == 0:
            seen.first_step, seen.first_kl = step, kl
        seen.steps, seen.last_kl, seen.positions = seen.steps + 1, kl, seen.positions + n_targets

    @property
    def flops(self) -> float:
        """Of the teacher's passes."""
        return self.seen.tokens * self.teacher.flops_per_token

    def told(self, n_steps: int) -> dict[str, Any]:
        """The assertion of the run's record: the teacher had a say in every step."""
        seen, asked = self.seen, self.distil
        what = (
            f"KL to {self.teacher.name} ({self.teacher.sha256[:12]}) over its {asked.top_k} likeliest tokens and the "
            f"rest, weight {asked.weight:g}, temperature {asked.temperature:g}"
        )
        cost = (
            f"the teacher read {seen.tokens:,} tokens in {human_seconds(seen.seconds)}, {self.flops:.3g} FLOPs, which "
            "are in no other figure"
        )
        active = (
            f"active from step {seen.first_step} on, in {seen.steps:,} of {n_steps:,} steps and {seen.positions:,} "
            f"targets, KL {seen.first_kl:.4f} at first and {seen.last_kl:.4f} at last"
        )
        if not seen.steps:
            active = "never active"
        return {"ok": 0 < seen.steps == n_steps, "detail": f"{what}; {active}; {cost}"}

    def to_plain(self) -> dict[str, Any]:
        """For the run's record: who taught, and what it cost."""
        return {
            "name": self.teacher.name,
            "sha256": self.teacher.sha256,
            "tokens": self.seen.tokens,
            "seconds": self.seen.seconds,
            "flops": self.flops,
        }
