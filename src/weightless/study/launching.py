"""Floor 9.  The units of a study as commands: local processes, Slurm jobs, Ray tasks (lab/launch.py runs them).

A unit is `weightless study STUDY/study.toml --out STUDY --unit ARM/SEED`; it ends with 0 when the unit is settled, also
when it diverged or has failed for good, because both are results and the table says so.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from weightless.base.cores import cores
from weightless.lab.launch import launch
from weightless.lab.launchers import Resources
from weightless.study.arms import Arm
from weightless.study.units import Unit, is_settled
from weightless.study.working import STUDY

LOGS = "logs"


def width_for(arms: Sequence[Arm]) -> int:
    """As many processes as there are cores for the threads of the arm that wants most; 1 where that is not said."""
    wanted = [arm.model.train.get("threads") or (cores() if arm.model.train else 1) for arm in arms]
    return max(1, cores() // max(wanted))


def launched(units: Sequence[Unit], folder: Path, how: str, n_parallel: int, resources: Resources) -> None:
    """Run what is not settled; WeightlessError when a unit's process died for good (its machine, its memory)."""
    left = {unit.name: f"{unit.arm.name}/{unit.seed}" for unit in units if not is_settled(unit)}
    _launched(left, folder, how, n_parallel, resources)


def launched_trials(n_trials: int, folder: Path, how: str, n_parallel: int, resources: Resources) -> None:
    """So many processes, each of which does one trial of the search."""
    _launched({f"search-{i:03d}": f"search/{i}" for i in range(n_trials)}, folder, how, n_parallel, resources)


def _launched(asked: Mapping[str, str], folder: Path, how: str, n_parallel: int, resources: Resources) -> None:
    """One process for each {name of the log: --unit}."""
    if not asked:
        return
    where = [(folder / STUDY).as_posix(), "--out", folder.as_posix()]
    launch(
        [["study", *where, "--unit", unit] for unit in asked.values()],
        folder / LOGS / f"{platform.node()}-{os.getpid()}",
        how,
        names=list(asked),
        n_parallel=n_parallel or None,
        again=True,
        resources=resources,
    )
