"""What each of several processes takes of a step, so that together they take what one process would.

A step has A = grad_accumulation batches of B = batch_size windows.  Of W processes, process r takes

    whole batches   r A / W to (r + 1) A / W - 1 of the step            where W divides A
    rows            r B / W to (r + 1) B / W - 1 of each of the A       where W divides B and not A

Numbers of batches, and what is in them, do not depend on W.  Of batches that are cut into rows only sums over positions
are what they were: a loss that a layer takes of a whole batch (a balance of experts, an exit) is refused there.
Errors: ConfigError.  Floor 6 (train).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weightless.base.errors import ConfigError
from weightless.data.batches.packing import Batch
from weightless.layers.layer import Record
from weightless.train.config import TrainConfig
from weightless.train.distilling import Lesson


@dataclass(frozen=True)
class Share:
    """Of process `rank` of `world`; ConfigError where `world` divides neither batches nor their rows."""

    rank: int
    world: int
    n_batches: int
    n_rows: int

    def __post_init__(self) -> None:
        if self.n_batches % self.world and self.n_rows % self.world:
            raise ConfigError(
                f"{self.world} processes can share neither grad_accumulation = {self.n_batches} nor batch_size = "
                f"{self.n_rows}: give one that {self.world} divides, or another number of processes"
            )

    @classmethod
    def of(cls, config: TrainConfig, rank: int, world: int) -> Share:
        """The share of a step of this configuration."""
        return cls(rank, world, config.grad_accumulation, config.batch_size)

    @property
    def cuts_rows(self) -> bool:
        """Whether every process takes a part of every batch."""
        return self.n_batches % self.world != 0

    @property
    def per_step(self) -> int:
        """Backward passes of this process per step."""
        return self.n_batches if self.cuts_rows else self.n_batches // self.world

    def indexes(self, step: int) -> range:
        """Which of its own batches, counted from the beginning of the run, this process has in a step."""
        return range(step * self.per_step, (step + 1) * self.per_step)

    def number(self, index: int) -> int:
        """The number among all batches of the index-th of its own."""
        step, i = divmod(index, self.per_step)
        return step * self.n_batches + (0 if self.cuts_rows else self.rank * self.per_step) + i

    def cut(self, batch: Batch) -> Batch:
        """This process's rows of a batch."""
        if not self.cuts_rows:
            return batch
        n = self.n_rows // self.world
        rows = slice(self.rank * n, (self.rank + 1) * n)
        return Batch(*(None if array is None else array[rows] for array in batch))  # type: ignore[arg-type]

    def cut_lesson(self, lesson: Lesson) -> Lesson:
        """This process's positions of what a batch is taught."""
        if not self.cuts_rows:
            return lesson
        n = lesson.kept[0].shape[0] // self.world
        rows = slice(self.rank * n, (self.rank + 1) * n)
        return lesson._replace(kept=lesson.kept._make(t[rows] for t in lesson.kept))

    def check(self, record: Record | None) -> None:
        """ConfigError where batches are cut and a layer has taken a loss of a part of one."""
        if self.cuts_rows and record is not None and record.auxiliary:
            raise ConfigError(
                f"this model takes a loss of whole batches (a balance of experts, or an exit), and {self.world} "
                f"processes would cut each of the {self.n_batches}: give a grad_accumulation that {self.world} divides"
            )

    @property
    def told(self) -> str:
        """In words."""
        if self.cuts_rows:
            return f"{self.n_rows // self.world} of the {self.n_rows} windows of every batch each"
        return f"{self.per_step} of the {self.n_batches} batches of every step each"


def numbers(share: Share, step: int) -> list[int]:
    """The numbers of the batches that a process has something of in a step."""
    return [share.number(index) for index in share.indexes(step)]


def lessons_of(distilling: Any, share: Share, step: int, meet: Any) -> list[Lesson] | None:
    """What this process's batches of a step are taught; the first process asks the teacher, the others read it."""
    if distilling is None:
        return None
    mine = numbers(share, step)
    if share.world > 1:
        every = range(step * share.n_batches, (step + 1) * share.n_batches)
        asked = {i: distilling.lesson(i) for i in every} if share.rank == 0 else {}
        meet()
        if asked:
            return [share.cut_lesson(asked[i]) for i in mine]
    return [share.cut_lesson(distilling.lesson(i)) for i in mine]
