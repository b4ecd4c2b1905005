"""Floor 9.  study.json: the evidence of a study as a file, written after every unit and readable without its cells.

Of a tuned arm the variant counts that has the most finished seeds, and among those the least mean validation loss; it
takes the arm's name.  The others are kept under `tried`, with their own names.
Errors: CorruptFileError for a file that is no evidence, naming the key.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from weightless.base.errors import CorruptFileError, NewerFileError, WeightlessError
from weightless.base.files import is_number, read_json, write_json
from weightless.lab.environment import commit, machine
from weightless.study.cells import Cell, Evidence, Status
from weightless.study.leases import STALE
from weightless.study.study_file import Study
from weightless.study.units import Unit, cell_of
from weightless.study.working import patient_lock

EVIDENCE, VERSION = "study.json", 1
CURVE = ("step", "tokens", "seconds", "train_loss", "val_loss")
_TEXTS = ("arm", "family", "reason", "folder")


def evidence_of(
    study: Study,
    units: Sequence[Unit],
    mismatch: Mapping[str, Mapping[str, float]],
    command: str,
    tried: Sequence[Cell] = (),
    stale: float = STALE,
) -> Evidence:
    """What the files of the units say now."""
    cells, others, renamed = chosen([(unit.arm.of, cell_of(unit, stale)) for unit in units])
    arms = {cell.arm for cell in cells}
    named = {renamed.get(arm, arm): dict(shares) for arm, shares in mismatch.items()}
    left = {arm: shares for arm, shares in named.items() if arm in arms}
    return Evidence(study.name, study.values, cells, left, commit(), machine(), command, (*others, *tried))


def as_made(now: Evidence, folder: Path) -> Evidence:
    """`now`, with the commit, machine and command of the folder's evidence if no cell has ended since.

    A page that is written anew was not made anew: its cells are those of that commit and that machine.
    """

    def ended(evidence: Evidence) -> set[tuple[Any, ...]]:
        cells = [cell for cell in (*evidence.cells, *evidence.tried) if cell.status in ("done", "diverged", "failed")]
        return {(c.folder, c.seed, c.status, c.figures.get("train_seconds"), c.figures.get("memory")) for c in cells}

    try:
        before = read_evidence(folder)
    except WeightlessError:  # none yet, or damaged: what is there is told anew
        return now
    if not ended(before) or not ended(now) <= ended(before):
        return now
    return dataclasses.replace(now, commit=before.commit, machine=before.machine, command=before.command)


def chosen(cells: Sequence[tuple[str, Cell]]) -> tuple[list[Cell], list[Cell], dict[str, str]]:
    """(cells of the arms, cells of variants that do not count, {variant that counts: its arm})."""
    variants: dict[str, dict[str, list[Cell]]] = {}
    for of, cell in cells:
        if of:
            variants.setdefault(of, {}).setdefault(cell.arm, []).append(cell)
    best = {min(named, key=lambda name: _rank(named[name])): of for of, named in variants.items()}
    ours = [
        dataclasses.replace(cell, arm=best.get(cell.arm, cell.arm)) for of, cell in cells if not of or cell.arm in best
    ]
    return ours, [cell for of, cell in cells if of and cell.arm not in best], best


def _rank(cells: Sequence[Cell]) -> tuple[int, float]:
    """The less, the better; a variant that is not finished comes behind one that is."""
    losses = [cell.figures.get("val_loss", cell.figures.get("nats_per_token")) for cell in cells if cell.is_done]
    known = [loss for loss in losses if loss is not None]
    return -len(known), fmean(known) if known else 0.0


def write_evidence(evidence_now: Any, folder: Path) -> Evidence:
    """Gather by `evidence_now()` and write, one process at a time: nobody's older view replaces a newer one."""
    with patient_lock(folder, "evidence"):
        evidence = evidence_now()
        write_json(folder / EVIDENCE, plain(evidence))
    return evidence


def plain(evidence: Evidence) -> dict[str, Any]:
    """JSON values."""
    return {"version": VERSION, **{f.name: _plain(getattr(evidence, f.name)) for f in dataclasses.fields(evidence)}}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)  # a date of TOML


def read_evidence(folder: Path) -> Evidence:
    """The evidence in a folder; WeightlessError when there is none, CorruptFileError when it is damaged."""
    path = folder / EVIDENCE
    return from_plain(read_json(path, finite=True), str(path))


def from_plain(values: Any, where: str = EVIDENCE) -> Evidence:
    """The inverse of `plain`."""

    def need(of: Any, key: str, kind: type, place: str = "") -> Any:
        if not isinstance(of, dict) or not isinstance(of.get(key), kind):
            raise CorruptFileError(f"{where}: {place}{key} is missing or no {kind.__name__}; run the study again")
        return of[key]

    version = need(values, "version", int)
    if version > VERSION:
        raise NewerFileError(
            f"{where} is of version {version}, and {VERSION} is the newest known here: update weightless"
        )
    lists = {name: need(values, name, list) for name in ("cells", "tried")}
    cells = {name: [_cell(one, f"{name}[{i}].", need) for i, one in enumerate(found)] for name, found in lists.items()}
    mismatch = need(values, "mismatch", dict)
    for arm, shares in mismatch.items():
        if not isinstance(shares, dict) or not all(is_number(share) for share in shares.values()):
            raise CorruptFileError(f"{where}: mismatch.{arm} holds something that is no number; run the study again")
    texts = {name: need(values, name, str) for name in ("name", "commit", "command")}
    tables = {name: need(values, name, dict) for name in ("study", "machine")}
    return Evidence(**texts, **tables, **cells, mismatch=mismatch)  # type: ignore[arg-type]


def _cell(one: Any, place: str, need: Any) -> Cell:
    texts = {name: need(one, name, str, place) for name in _TEXTS}
    figures, curve = need(one, "figures", dict, place), need(one, "curve", list, place)
    status = need(one, "status", str, place)
    wrong = [name for name, value in figures.items() if not is_number(value)]
    lines = [line for line in curve if isinstance(line, dict) and line.keys() >= set(CURVE)]
    numbers = [line[name] for line in lines for name in CURVE]
    if status not in get_args(Status) or wrong or len(lines) < len(curve):
        raise CorruptFileError(f"{place}{wrong[0] if wrong else 'status or curve'} is damaged; run the study again")
    if not all(value is None or is_number(value) for value in numbers):
        raise CorruptFileError(f"{place}curve holds something that is no number; run the study again")
    return Cell(
        seed=need(one, "seed", int, place),
        status=status,  # type: ignore[arg-type]
        setting=need(one, "setting", dict, place),
        figures=figures,
        curve=curve,
        **texts,
    )


def is_evidence(folder: Path) -> bool:
    """Whether a folder holds a study's evidence."""
    return (folder / EVIDENCE).is_file()


def told_of(evidence: Evidence) -> str:
    """12 of 14 cells done, 1 diverged, 1 failed."""
    statuses = [cell.status for cell in evidence.cells]
    others = [f"{statuses.count(s)} {s}" for s in dict.fromkeys(statuses) if s != "done"]
    return ", ".join([f"{statuses.count('done')} of {len(statuses)} cells done", *others])


def same_figures(evidence: Evidence) -> str:
    """What a study that is made anew has to give again, as JSON: everything but clocks and memory."""
    timed = {"train_seconds", "tokens_per_second", "decode_tokens_per_second", "memory"}
    rows = [
        (
            c.arm,
            c.seed,
            c.status,
            {k: v for k, v in c.figures.items() if k not in timed},
            [_untimed(p) for p in c.curve],
        )
        for c in (*evidence.cells, *evidence.tried)
    ]
    return json.dumps(sorted(rows, key=lambda row: row[:2]), sort_keys=True)


def _untimed(point: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in point.items() if key != "seconds"}
