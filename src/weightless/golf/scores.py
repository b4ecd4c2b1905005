"""What two submissions are compared by: their scores per seed, and what these are scores of.

    scores_of(folder) -> Scores

A folder of ours has them in submission.json; one of others in seed_results there, or in the last lines of its logs.
Errors: WeightlessError where there are none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.base.files import is_number, read_json
from weightless.golf import known
from weightless.golf.log_table import logs_in
from weightless.golf.logs import Facts, read_training_log
from weightless.golf.names import SUBMISSION
from weightless.golf.schema import is_ours

SAME = 3e-4
"""Relative: bytes per token of one tokenizer, by logs of four digits."""


@dataclass(frozen=True)
class Scores:
    """Losses in nats per token and bits per byte, one of each per seed where they are known; and their text.

    `per_token` are bytes per token; None where something is unknown.
    """

    folder: Path
    losses: tuple[float, ...]
    bits: tuple[float, ...]
    per_token: float | None
    val_sha256: str | None = None
    tokenizer_sha256: str | None = None
    tokens: int | None = None
    n_bytes: int | None = None
    source: str = ""

    @property
    def text_bytes(self) -> float | None:
        """Bytes of the scored text, as said or as tokens times bytes per token."""
        if self.n_bytes:
            return float(self.n_bytes)
        return None if self.tokens is None or self.per_token is None else self.tokens * self.per_token


def scores_of(folder: Path) -> Scores:
    """The scores of a folder, or of one log."""
    if folder.is_file():
        return _of_logs(folder, [read_training_log(folder)])
    if not folder.is_dir():
        raise WeightlessError(f"no such file or folder: {folder}")
    values = _json(folder)
    if is_ours(values):
        return _of_ours(folder, values)
    results = list(_results(values.get("seed_results")))
    logs = [read_training_log(path) for path in logs_in(folder)]
    if not logs or (len(results) > 1 and (_numbers(results, "val_loss") or len(logs) < 2)):
        return _of_results(folder, results or [values], logs)
    return _of_logs(folder, logs)


def _json(folder: Path) -> dict[str, Any]:
    if not (folder / SUBMISSION).exists():
        return {}
    found = read_json(folder / SUBMISSION)
    return found if isinstance(found, dict) else {}


def _results(given: Any) -> Iterable[dict[str, Any]]:
    values = given.values() if isinstance(given, dict) else given if isinstance(given, list) else ()
    return (value for value in values if isinstance(value, dict))


def _of_ours(folder: Path, values: dict[str, Any]) -> Scores:
    results = list(_results(values.get("seed_results"))) or [values]
    losses, bits = _numbers(results, "val_loss"), _numbers(results, "val_bpb")
    if not losses:
        raise WeightlessError(f"{folder / SUBMISSION} has no val_loss: build the folder anew")
    tokens, n_bytes = values.get("eval_tokens"), values.get("eval_bytes") or None
    per_token = n_bytes / tokens if n_bytes and tokens else None
    return Scores(
        folder,
        losses,
        bits,
        per_token,
        values.get("val_sha256"),
        values.get("tokenizer_sha256"),
        tokens,
        n_bytes,
        SUBMISSION,
    )


def _of_results(folder: Path, results: list[dict[str, Any]], logs: list[Facts]) -> Scores:
    losses, bits = _numbers(results, "val_loss"), _numbers(results, "val_bpb")
    if not losses and not bits:
        raise WeightlessError(f"{folder} holds no score: neither {SUBMISSION} nor a log says val_loss or val_bpb")
    per_token = known.bytes_per_token(losses[0], bits[0]) if losses and bits else None
    tokens = next((log.tokens for log in logs if log.tokens is not None), None)
    return Scores(folder, losses, bits, per_token, tokens=tokens, source=SUBMISSION)


def _of_logs(folder: Path, logs: list[Facts]) -> Scores:
    """The furthest metric that all logs have."""
    finals = [log.final for log in logs]
    names = [set(log.metrics) for log in logs]
    shared = set.intersection(*names) if names else set()
    wanted = next((f.name for f in finals if f is not None and f.name in shared), None)
    if wanted is None:
        raise WeightlessError(f"the logs of {folder} have no score in common: name the folder of one submission")
    metrics = [log.metrics[wanted] for log in logs]
    losses = tuple(m.loss for m in metrics if m.loss is not None)
    bits = tuple(m.bpb for m in metrics if m.bpb is not None)
    per_token = known.bytes_per_token(losses[0], bits[0]) if losses and bits else None
    tokens = next((log.tokens for log in logs if log.tokens is not None), None)
    return Scores(folder, losses, bits, per_token, tokens=tokens, source=f"{wanted} of {len(logs)} logs")


def _numbers(results: Iterable[dict[str, Any]], key: str) -> tuple[float, ...]:
    """All of them or none, so that a mean is never of some of the seeds."""
    found = [result.get(key) for result in results]
    return tuple(float(value) for value in found) if found and all(map(is_number, found)) else ()  # type: ignore[arg-type]
