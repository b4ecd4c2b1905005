"""Do submission.json and the logs say the same: scores, sizes, seed, parameters, and do these hang together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weightless.golf import known
from weightless.golf.findings import Finding, judged, number_of, unchecked
from weightless.golf.log_names import PARAMETERS
from weightless.golf.log_table import logs_in
from weightless.golf.logs import Facts, read_training_log
from weightless.golf.names import LOG, SUBMISSION
from weightless.golf.schema import is_ours

DIGITS = 2e-8
"""Our logs print eight of them."""
ROUNDED = 1e-4
"""Logs of others print four digits, and submissions round once more."""


def check_log(folder: Path, values: dict[str, Any]) -> Iterator[Finding]:
    """Findings of what log and json say."""
    logs = [read_training_log(path) for path in logs_in(folder)]
    if not logs:
        return
    own = next((log for log in logs if log.path.name == LOG), logs[0])
    yield _scores(folder, values, logs, own)
    yield from _numbers(folder, values, logs, own)
    yield from _of_the_text(folder, values, own)


def _scores(folder: Path, values: dict[str, Any], logs: list[Facts], own: Facts) -> Finding:
    room = DIGITS if is_ours(values) else ROUNDED
    wrong, held = [], []
    for key, which in (("val_bpb", "bpb"), ("val_loss", "loss")):
        claimed = number_of(values, key)
        if claimed is None:
            continue
        told = _told(logs, own, which, ours=is_ours(values))
        if not told:
            continue
        nearest = _nearest(told, claimed)
        held.append(f"{key} {claimed:.6f}")
        if abs(nearest - claimed) > room:
            wrong.append(f"{key} is {claimed:.6f} in {SUBMISSION}, {nearest:.6f} in the log")
    if not held:
        return unchecked("log and json", str(own.path), "log and json have no score in common")
    return judged(
        "log and json",
        str(own.path),
        "; ".join(wrong),
        "put the log of this very artifact there, or the scores that it says",
        f"{' and '.join(held)} in both",
    )


def _nearest(values: list[float], wanted: float) -> float:
    return min(values, key=lambda value: abs(value - wanted))


def _told(logs: list[Facts], own: Facts, which: str, ours: bool) -> list[float]:
    """Scores that the logs say: ours in its one log; of others any final one, and the means over their logs."""
    if ours:
        value = getattr(own.final, which) if own.final else None
        return [] if value is None else [value]
    found: list[float] = []
    by_name: dict[str, list[float]] = {}
    for log in logs:
        for metric in log.metrics.values():
            if (value := getattr(metric, which)) is not None:
                found.append(value)
                by_name.setdefault(metric.name, []).append(value)
    return found + [sum(some) / len(some) for some in by_name.values() if len(some) > 1]


def _numbers(folder: Path, values: dict[str, Any], logs: list[Facts], own: Facts) -> Iterator[Finding]:
    """Sizes, seed and parameters, where both say them; of ours the artifact's own log, since seeds differ in size."""
    logs = [own] if is_ours(values) else logs
    said = {
        "bytes_total": [log.total for log in logs if log.total is not None],
        "bytes_code": [log.code for log in logs if log.code is not None],
        "bytes_weights": [log.weights for log in logs if log.weights is not None],
        "seed": [] if own.seed is None else [own.seed],
    }
    said |= {key: [] if own.n_parameters is None else [own.n_parameters] for key in PARAMETERS}
    wrong, held = [], 0
    for key, told in said.items():
        claimed = values.get(key)
        if type(claimed) is int and told:
            held += 1
            if claimed not in told:
                wrong.append(f"{key} is {claimed:,} in {SUBMISSION}, {told[-1]:,} in the log")
    if held:
        where, remedy = str(own.path), "let both say what the files and the artifact have"
        yield judged("log and json, numbers", where, "; ".join(wrong), remedy, f"{held} numbers are the same in both")


def _of_the_text(folder: Path, values: dict[str, Any], own: Facts) -> Iterator[Finding]:
    """Bytes per token by the scores themselves, for folders of the canonical validation set."""
    if is_ours(values):
        return
    per_token = known.bytes_per_token(number_of(values, "val_loss"), number_of(values, "val_bpb"))
    if per_token is None and own.final is not None:
        per_token = known.bytes_per_token(own.final.loss, own.final.bpb)
    where = str(folder / SUBMISSION)
    if per_token is None:
        yield unchecked("bytes per token", where, "loss and bits per byte are not both there")
        return
    wrong = known.doubt(per_token, own.tokens)
    if known.is_old_export(own.tokens, own.n_bytes, per_token):
        wrong = (
            f"it was scored on the older export of the validation text ({known.OLD_TOKENS:,} tokens, "
            f"{known.OLD_BYTES:,} bytes)"
        )
    told = f"loss / (ln 2 bits per byte) = {per_token:.5f}"
    vocabulary = known.vocabulary_of(per_token)
    yield judged(
        "bytes per token",
        where,
        wrong,
        "score it on today's validation text, and count the bytes of the raw text",
        f"{told}, that of sp{vocabulary}" if vocabulary else f"{told}, which makes {known.FULL_BYTES:,} bytes of text",
    )
