"""What a study is made of and what it leaves: one cell for each arm and seed.

An arm is one setting of everything that is varied; its cells differ in nothing but the seed, so two arms that share
seeds are compared pair by pair.  Four ways to end are told apart, because they are different facts: a cell is `done`;
it `diverged` (its loss left the numbers, which is a point on a curve of learning rates); it `failed` (an error, told
in `reason`, that trying again did not mend); or its machine was `lost` and nobody has taken it up again.  What nobody
has begun is `missing`, what somebody works on is `running`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["done", "diverged", "failed", "lost", "missing", "running", "stopped"]


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    `setting` maps dotted keys to what this arm has there ("train.max_lr": 0.003, "config.norm": "none").  `figures`
    holds numbers by the names that predictions and tables use: nats_per_token, bits_per_byte, val_loss, touched
    (bytes per next token), stored (bytes), parameters, flops_per_token, tokens_seen, train_seconds, tokens_per_second,
    memory (peak bytes); a cell that is not done may hold some of them.  `curve` is what training wrote: dicts with
    step, tokens, seconds, train_loss, val_loss (None where it was not measured).
    """

    arm: str
    seed: int
    status: Status
    family: str = ""
    setting: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[Mapping[str, Any]] = ()
    reason: str = ""
    folder: str = ""

    @property
    def is_done(self) -> bool:
        return self.status == "done"


@dataclass(frozen=True)
class Evidence:
    """A whole study as its write-up needs it: read from files, with nothing typed in by hand.

    `study` is the study file as it was read (question, recipe, grid, controls); `mismatch` says per arm and matched
    quantity what is left of the difference to the base arm, as a share; `commit`, `machine`, `command` say where it
    was made and how to make it again.
    """

    name: str
    study: Mapping[str, Any]
    cells: Sequence[Cell]
    mismatch: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    commit: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    tried: Sequence[Cell] = ()

    def arms(self) -> list[str]:
        """In the order of the study."""
        return list(dict.fromkeys(cell.arm for cell in self.cells))

    def values(self, arm: str, figure: str) -> dict[int, float]:
        """{seed: value} of the cells of an arm that are done and have this figure."""
        of_arm = [cell for cell in self.cells if cell.arm == arm and cell.is_done and figure in cell.figures]
        return {cell.seed: cell.figures[figure] for cell in of_arm}
