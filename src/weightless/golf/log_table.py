"""Logs of several folders as rows, each with what is odd about it.

    rows(paths) -> [Row]       a path is a log, a submission's folder, or a folder that holds such folders

A flag is a reason to look, not a verdict: bytes per token of no known tokenizer, the older validation export,
parameters or scores that submission.json says otherwise, a script without code, a size over the cap.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.base.files import is_number, read_json
from weightless.golf import known
from weightless.golf.log_names import PARAMETERS
from weightless.golf.logs import Facts, read_training_log
from weightless.golf.names import SCRIPT, SUBMISSION
from weightless.golf.sizes import CAP

MOST_LOGS = 10_000
LOG_NAMES = ("train*.log", "train*.txt", "*seed*.log", "*seed*.txt", "run*.log", "*.log")


@dataclass(frozen=True)
class Row:
    facts: Facts
    per_token: float | None
    total: int | None
    flags: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        final = self.facts.final
        return {
            "log": self.facts.path.as_posix(),
            "seed": self.facts.seed,
            "metric": final.name if final else None,
            "val_loss": final.loss if final else None,
            "val_bpb": final.bpb if final else None,
            "bytes_per_token": self.per_token,
            "step": self.facts.step,
            "steps": self.facts.total_steps,
            "parameters": self.facts.n_parameters,
            "bytes_total": self.total,
            "bytes_code": self.facts.code,
            "bytes_weights": self.facts.weights,
            "eval_tokens": self.facts.tokens,
            "eval_bytes": self.facts.n_bytes,
            "metrics": {name: {"val_loss": m.loss, "val_bpb": m.bpb} for name, m in self.facts.metrics.items()},
            "flags": list(self.flags),
        }


def rows(paths: Sequence[Path]) -> list[Row]:
    """A row for every log below the paths, in order."""
    found = [log for path in paths for log in logs_under(path)]
    if not found:
        raise WeightlessError(f"no log in {', '.join(map(str, paths))}: name a log, or a folder with train.log in it")
    return [_row(log) for log in dict.fromkeys(found)]


def logs_under(path: Path) -> Iterator[Path]:
    """The log itself, those of a folder, or those of the folders in it."""
    if not os.path.exists(path):
        raise WeightlessError(f"no such file or folder: {path}")
    if path.is_file():
        yield path
        return
    n = 0
    for log in logs_in(path) or sorted(
        one for folder in sorted(path.rglob("*")) if folder.is_dir() for one in logs_in(folder)
    ):
        n += 1
        if n > MOST_LOGS:
            raise WeightlessError(f"{path} holds more than {MOST_LOGS:,} logs: name fewer folders")
        yield log


def logs_in(folder: Path) -> list[Path]:
    """The logs of one folder, by the first pattern of names that meets one."""
    for pattern in LOG_NAMES:
        if found := sorted(log for log in folder.glob(pattern) if log.is_file()):
            return found
    return []


def _row(log: Path) -> Row:
    facts = read_training_log(log)
    final = facts.final
    per_token = known.bytes_per_token(final.loss, final.bpb) if final else None
    claims = _claims(log.parent)
    claimed_total = claims.get("bytes_total")
    total = facts.total if facts.total is not None else claimed_total if type(claimed_total) is int else None
    return Row(facts, per_token, total, tuple(_flags(facts, per_token, claims, total, log.parent)))


def _claims(folder: Path) -> dict[str, Any]:
    """submission.json beside the log; nothing when there is none that could be read."""
    try:
        found = read_json(folder / SUBMISSION)
    except WeightlessError:
        return {}
    return found if isinstance(found, dict) else {}


def _flags(
    facts: Facts, per_token: float | None, claims: dict[str, Any], total: int | None, folder: Path
) -> Iterator[str]:
    if facts.final is None:
        yield "no loss and no bits per byte in it"
    if known.is_old_export(facts.tokens, facts.n_bytes, per_token):
        yield (
            f"old validation export ({known.OLD_TOKENS:,} tokens, {known.OLD_BYTES:,} bytes; today's has "
            f"{known.NEW_TOKENS:,}, {known.NEW_BYTES:,})"
        )
    elif per_token is not None and claims.get("format") is None and (told := known.doubt(per_token, facts.tokens)):
        yield told
    claimed = next((claims[key] for key in PARAMETERS if type(claims.get(key)) is int), None)
    if None not in (claimed, facts.n_parameters) and claimed != facts.n_parameters:
        yield f"{facts.n_parameters:,} parameters in the log, {claimed:,} claimed"
    if total is not None and total > CAP:
        yield f"{total:,} bytes are {total - CAP:,} over the cap of {CAP:,}"
    if (told := empty_script(folder / SCRIPT)) and (folder / SUBMISSION).exists():
        yield told
    bpb = _claimed_bpb(claims, facts)
    if bpb is not None and facts.final is not None and facts.final.bpb is not None and not agrees(facts, bpb):
        yield f"submission.json says {bpb:.5f} bits per byte, and no score of the log is that"


def _claimed_bpb(claims: dict[str, Any], facts: Facts) -> float | None:
    """What is claimed of the log's seed, else of the submission."""
    seeds = claims.get("seed_results")
    own = seeds.get(str(facts.seed)) if isinstance(seeds, dict) else None
    value = (own if isinstance(own, dict) else claims).get("val_bpb")
    return float(value) if value is not None and is_number(value) else None


def agrees(facts: Facts, bpb: float, room: float = 1e-3) -> bool:
    """Whether any score in the log is that many bits per byte, rounded or one of several seeds."""
    return any(metric.bpb is not None and abs(metric.bpb - bpb) <= room for metric in facts.metrics.values())


def empty_script(path: Path) -> str:
    """Why a script holds no code, in words; empty when it does.  It is read and never run."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    if not text.strip():
        return f"{path.name} is empty"
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{path.name} is no Python ({type(error).__name__})"
    does = [one for one in body if not isinstance(one, ast.Pass | ast.Import | ast.ImportFrom)]
    does = [one for one in does if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    return "" if does else f"{path.name} does nothing: it holds no statement but imports and prose"
