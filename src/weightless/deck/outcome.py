"""How a check, a level and an attempt end.

An attempt has one status: that of its first check, in the order of the levels, that did not pass.  Levels:

    contract     the pinned names exist and answer a plain call with the pinned shapes and dtypes
    prompt       what the prompt itself names as tests
    hidden       properties that every right solution has, on inputs drawn anew for each grading
    adversarial  the edges: sizes of one, ties, masks that hide everything, huge offsets, garbage in unused memory
    efficiency   growth of memory, processor time beside our reference, reads and forward passes counted

`tests`, the solution's own tests run against our mutants, is reported beside them and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Status = Literal[
    "PASS",
    "NO_SUBMISSION",
    "CONTRACT",
    "IMPORT",
    "CRASH",
    "TIMEOUT",
    "OOM",
    "WRONG_SHAPE",
    "WRONG_DTYPE",
    "WRONG_NUMERIC",
    "SLOW",
    "TAMPER",
]
Level = Literal["contract", "prompt", "hidden", "adversarial", "efficiency"]

STATUSES: tuple[Status, ...] = get_args(Status)
LEVELS: tuple[Level, ...] = get_args(Level)


class Failed(Exception):
    """A check did not pass: a status that is not PASS, and one line that says what was asked, found and wanted."""

    def __init__(self, status: Status, told: str) -> None:
        if status not in STATUSES or status == "PASS":
            raise ValueError(f"{status!r} is no way to fail")
        super().__init__(f"{status}: {told}")
        self.status: Status = status
        self.told = told


@dataclass(frozen=True)
class Checked:
    """One check that was made: its level and name, its status, what was told, and wall seconds."""

    level: Level
    name: str
    status: Status
    told: str
    seconds: float
