"""Floor 9.  A unit: one arm with one seed, made in a folder of its own; whatever is asked of it, its files answer.

STUDY/cells/ARM-sSEED/        what `lab.stages` leaves of one model (checkpoint/, model.wl, training.json … done.json)
STUDY/cells/ARM-sSEED/work.json    attempts that failed and why, the most memory that a session took
STUDY/leases/                 who works on it (leases.py)
"""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.base.files import read_json, write_json
from weightless.base.folder_lock import InUse, folder_lock
from weightless.data.shards.corpus import Corpus
from weightless.lab.recipe import Recipe, fingerprint
from weightless.lab.stages import DONE, read_done, run_model
from weightless.study.arms import Arm
from weightless.study.cells import Cell, Status
from weightless.study.leases import STALE, holder
from weightless.study.peak import peak_memory, peak_reset
from weightless.study.study_file import Study

CELLS, LEASES, WORK = "cells", "leases", "work.json"
ATTEMPTS = 2
"""A unit that fails is tried again once."""
LAST_LINES = 12


@dataclass(frozen=True)
class Unit:
    """One arm with one seed, and the recipe of its only model."""

    arm: Arm
    seed: int
    recipe: Recipe
    study_folder: Path

    @property
    def name(self) -> str:
        """ARM-sSEED, its folder."""
        return f"{self.arm.name}-s{self.seed}"

    @property
    def folder(self) -> Path:
        return self.study_folder / CELLS / self.name

    @property
    def leases(self) -> Path:
        return self.study_folder / LEASES

    @property
    def asked(self) -> str:
        """What decides its result, but for the text itself."""
        return fingerprint(self.recipe)


def units_of(study: Study, arms: Sequence[Arm], folder: Path) -> list[Unit]:
    """Every arm with the first seed, then with the second: whoever stops early has all arms."""
    return [Unit(arm, seed, arm.recipe(study, seed), folder) for seed in study.seeds for arm in arms]


def is_settled(unit: Unit) -> bool:
    """Whether nothing is left to do: it is done, diverged, or has failed for good."""
    return (unit.folder / DONE).exists() or n_failed(unit) >= ATTEMPTS


def n_failed(unit: Unit) -> int:
    return len(work_of(unit)["failures"])


def work_of(unit: Unit) -> dict[str, Any]:
    """What is known of the work on it; a file that is damaged knows nothing."""
    try:
        found = read_json(unit.folder / WORK)
        failures, memory = found["failures"], found["memory"]
        if isinstance(failures, list) and all(isinstance(one, dict) for one in failures) and type(memory) is int:
            return {"failures": failures, "memory": memory}
    except (WeightlessError, KeyError, TypeError):
        pass
    return {"failures": [], "memory": 0}


def do_unit(unit: Unit, corpus: Corpus) -> None:
    """Make, pack and score it; what goes wrong is written down, and tried again once.  InUse: somebody does it."""
    with folder_lock(unit.folder):
        while not is_settled(unit):
            peak_reset()
            try:
                run_model(unit.recipe, unit.arm.model, unit.seed, corpus, unit.folder)
                _note(unit)
            except InUse:
                raise
            except Exception as error:  # a result of the study, whatever it is: told, recorded, and the others go on
                _note(unit, error)
                n, told = n_failed(unit), reason_of(error)
                then = "tried again" if n < ATTEMPTS else "recorded as failed"
                print(f"{unit.name}: {told}; {then}", file=sys.stderr)


def _note(unit: Unit, error: Exception | None = None) -> None:
    work = work_of(unit)
    work["memory"] = max(work["memory"], peak_memory())
    if error is not None:
        lines = "".join(traceback.format_exception(error)).splitlines()[-LAST_LINES:]
        work["failures"] = [*work["failures"], {"reason": reason_of(error), "traceback": lines}]
    write_json(unit.folder / WORK, work)


def reason_of(error: Exception) -> str:
    """An error in one line, with its kind where it was not foreseen."""
    told = " ".join(str(error).split())[:600]
    return told if isinstance(error, WeightlessError) else f"{type(error).__name__}: {told}"


def forget_failures(unit: Unit) -> None:
    """Let it be tried anew."""
    work = work_of(unit)
    if work["failures"]:
        write_json(unit.folder / WORK, {**work, "failures": []})


def cell_of(unit: Unit, stale: float = STALE) -> Cell:
    """What its files say of it now."""
    work = work_of(unit)
    status, reason, figures, curve = _found(unit, work, stale)
    return Cell(
        unit.arm.name,
        unit.seed,
        status,
        unit.arm.model.family,
        dict(unit.arm.setting),
        figures,
        curve,
        reason,
        f"{CELLS}/{unit.name}",
    )


def _found(
    unit: Unit, work: Mapping[str, Any], stale: float
) -> tuple[Status, str, dict[str, float], list[dict[str, Any]]]:
    if (unit.folder / DONE).exists():
        try:
            entry = read_done(unit.folder)["entry"]
        except CorruptFileError as error:
            return "failed", str(error), {}, []
        status: Status = "diverged" if entry.get("diverged") else "done"
        reason = entry["diverged"]["detail"] if status == "diverged" else ""
        return status, reason, figures_of(entry, work), curve_of(entry)
    if len(work["failures"]) >= ATTEMPTS:
        return "failed", str(work["failures"][-1].get("reason", "")), {}, []
    held = holder(unit.leases, unit.name, stale)
    if held is not None:
        return ("running" if held.is_alive else "lost"), held.told, {}, []
    begun = (unit.folder / "checkpoint").exists()
    return "missing", "begun, and goes on from its checkpoint" if begun else "", {}, []


def figures_of(entry: Mapping[str, Any], work: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a finished model, by the names that predictions and tables use."""
    found = {
        "nats_per_token": entry["nats_per_token"],
        "bits_per_byte": entry["bits_per_byte"],
        "val_loss": next((p["val_loss"] for p in reversed(entry["curve"] or []) if p["val_loss"] is not None), None),
        "touched": entry["touched"]["T"]["mean"],
        "stored": entry["stored"]["file"],
        "parameters": entry["n_parameters"],
        "flops_per_token": entry["flops_per_token"],
        "training_flops": entry.get("training_flops"),
        "tokens_seen": entry["tokens_seen"],
        "train_seconds": entry["train_seconds"],
        "decode_tokens_per_second": entry["decode_tokens_per_second"],
        "memory": work["memory"] or None,
    }
    if entry.get("diverged"):  # the last loss before it was none is not its result; the curve has it
        del found["val_loss"]
    if entry["train_seconds"]:
        found["tokens_per_second"] = (entry["tokens_seen"] or 0) / entry["train_seconds"]
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def curve_of(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of its learning curve, in the columns that pictures draw."""
    names = ("step", "tokens", "seconds", "train_loss", "val_loss")
    return [{name: line.get(name) for name in names} for line in entry["curve"] or []]
