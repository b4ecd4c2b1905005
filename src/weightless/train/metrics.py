"""The curve of a run: metrics.jsonl, one line appended and synced per report, and metrics.csv made from it.

`step` counts finished steps, `tokens` targets (padding is none), `seconds` training seconds, `wasted` is the share of
padding since the last line.  `lr` is max_lr at this point of the schedule, `lr_GROUP` the rate of each group of
parameters (`optimizers/groups.py`).  val_loss is null between evaluations.
A resumed run first cuts the lines of steps it will do again, and lines that a kill left unfinished.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from weightless.base.files import append_line, atomic_write, is_number, read_log

COLUMNS: tuple[str, ...] = ("step", "tokens", "seconds", "train_loss", "val_loss", "lr", "tokens_per_second", "wasted")
RATE = "lr_"
"""Begins the columns that say at which rate a group of parameters learned; older logs have none."""
AUXILIARY = "auxiliary"
"""The last step's loss beside the nats, of models that have one (a balance of experts)."""
TEACHER_KL = "teacher_kl"
"""The last step's KL to the teacher, nats per target, of trainings that have one."""
MAYBE_NULL = ("val_loss", "train_loss", "tokens_per_second")


class MetricsLog:
    """The lines so far, in memory and, unless somebody else `writes` them, on the disk."""

    def __init__(self, folder: Path, upto_step: int, writes: bool = True) -> None:
        self.writes = writes
        self.path, self.csv_path = folder / "metrics.jsonl", folder / "metrics.csv"
        self.lines = [line for line in read_metrics(self.path) if line["step"] <= upto_step]
        self._write()

    def append(self, line: dict[str, Any]) -> None:
        """Add one report."""
        self.lines.append(line)
        if self.writes:
            append_line(self.path, json.dumps(line, allow_nan=False))

    def amend(self, val_loss: float) -> None:
        """Give the last report a validation loss that was taken after it."""
        self.lines[-1] = {**self.lines[-1], "val_loss": val_loss}
        self._write()

    def _write(self) -> None:
        if not self.writes:
            return
        atomic_write(self.path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in self.lines))

    def write_csv(self) -> None:
        """metrics.csv as a whole, atomically."""
        text = io.StringIO()
        rates = dict.fromkeys(name for line in self.lines for name in line if _is_own(name))
        writer = csv.DictWriter(text, (*COLUMNS, *rates), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.lines)
        atomic_write(self.csv_path, text.getvalue())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics.jsonl, if there is one."""
    return read_log(path, _is_whole)


def _is_whole(line: dict[str, Any]) -> bool:
    numbers = [value for name, value in line.items() if name not in MAYBE_NULL or value is not None]
    named = set(line) - {name for name in line if _is_own(name)} == set(COLUMNS)
    return named and type(line["step"]) is int and all(map(is_number, numbers))


def _is_own(name: str) -> bool:
    """Whether only some models have this column."""
    return name.startswith(RATE) or name in (AUXILIARY, TEACHER_KL)
