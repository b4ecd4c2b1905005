"""Check a submission: its files, its sizes, its record, and the artifact scored again.

    check(folder, wanted) -> [Finding]

A folder of ours is checked whole where its data are named.  One of somebody else is checked as far as it goes: nothing
of it is run, imported or unpickled, so its score stays unproven, and that is said.
Errors: WeightlessError where there is no submission at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.base.files import read_json
from weightless.golf.check_files import check_files
from weightless.golf.check_log import check_log
from weightless.golf.check_scores import Again, check_artifact, check_overlap, check_scores
from weightless.golf.findings import FAULT, UNCHECKED, Finding, fault, ok, unchecked
from weightless.golf.names import ARTIFACT, SCRIPT, SUBMISSION
from weightless.golf.schema import UNKNOWN, is_ours, problems

CHECKED_TOKENS = 65_536


@dataclass(frozen=True)
class Asked:
    """`data`: the prepared corpus that was scored; `train`: the training text where it is another one."""

    data: Path | None = None
    train: Path | None = None
    tokens: int = CHECKED_TOKENS
    threads: int = 0


def check(folder: Path, asked: Asked) -> list[Finding]:
    """Everything that can be said about the folder, in the order of reading."""
    if not folder.is_dir():
        raise WeightlessError(f"{folder} is no folder: name one that golf build made, or a submission of somebody else")
    if not any((folder / name).exists() for name in (SUBMISSION, SCRIPT)):
        raise WeightlessError(f"{folder} holds neither {SUBMISSION} nor {SCRIPT}: it is no submission")
    for path in (asked.data, asked.train):
        if path is not None and not os.path.exists(path):
            raise WeightlessError(f"no such file or folder: {path}")
    found, values = _json(folder)
    found += check_files(folder, values)
    found += check_log(folder, values)
    found += _scores(folder, values, asked) if is_ours(values) else _of_others(folder, asked)
    return found


def exit_code(found: Iterable[Finding], ours: bool) -> int:
    """0: nothing wrong; 1: faults; 2: nothing wrong, but a folder of ours was not checked whole."""
    verdicts = [finding.verdict for finding in found]
    if FAULT in verdicts:
        return 1
    return 2 if ours and "scored again" in [f.name for f in found if f.verdict == UNCHECKED] else 0


def _json(folder: Path) -> tuple[list[Finding], dict[str, Any]]:
    path = folder / SUBMISSION
    if not path.exists():
        return [fault("submission.json", str(path), "is missing", "write one: docs/golf.md explains every key")], {}
    try:
        values = read_json(path)
    except WeightlessError as error:
        return [fault("submission.json", str(path), str(error), "write it as JSON")], {}
    if not isinstance(values, dict):
        return [fault("submission.json", str(path), "is no object", "write keys and values: docs/golf.md")], {}
    found = [
        unchecked("submission.json", f"{path}: {key}", what, remedy)
        if what == UNKNOWN and not is_ours(values)
        else fault("submission.json", f"{path}: {key}", what, remedy)
        for key, what, remedy in problems(values)
    ]
    return found or [ok("submission.json", str(path), f"{len(values)} keys, all known and of their kind")], values


def _scores(folder: Path, values: dict[str, Any], asked: Asked) -> Iterator[Finding]:
    found, packed = check_artifact(folder, values)
    yield from found
    if packed is None:
        return
    if asked.data is None:
        yield unchecked("scored again", str(folder / ARTIFACT), "no data", "name the corpus with --data")
        return
    yield from check_scores(packed, folder, values, Again(asked.data, asked.tokens, asked.threads))
    yield from check_overlap(asked.data, asked.train)


def _of_others(folder: Path, asked: Asked) -> Iterator[Finding]:
    """What cannot be known of a folder whose script would have to be run."""
    why = "its script would have to be run to score it, and a script of somebody else is never run here"
    yield unchecked("scored again", str(folder / SCRIPT), why)
    if asked.data is not None and asked.train is not None:
        yield from check_overlap(asked.data, asked.train)
        return
    why = "its training and validation text are not named"
    yield unchecked("validation text in training", str(folder), why, "name them with --data and --train_data")
