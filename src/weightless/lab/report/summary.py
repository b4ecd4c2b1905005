"""summary.json: what the report needs of it, checked key by key before anything is drawn.

A number may be null or NaN (a counted model trains for no seconds, a diverged one has no loss): `number` then
gives NaN and the page shows a dash.  A key that is absent, or of another kind, is a CorruptFileError naming it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from weightless.base.errors import CorruptFileError
from weightless.base.files import read_json

NUMBER, TEXT, TEXT_OR_NULL, TRUTH, SCALAR, FOLDER = "a number", "text", "text or null", "true or false", "a value", "{}"

MOST = 1e60  # more than was ever measured; sums and products of such numbers are still floats
_SPREAD = {"mean": NUMBER}
_ENTRY: dict[str, Any] = {
    "name": TEXT,
    "family": TEXT,
    "seed": SCALAR,
    "description": TEXT_OR_NULL,
    "train_seconds": NUMBER,
    "tokens_seen": NUMBER,
    "n_parameters": NUMBER,
    "nats_per_token": NUMBER,
    "bits_per_byte": NUMBER,
    "touched": {"T": {"mean": NUMBER, "p99": NUMBER, "max": NUMBER}, "U": _SPREAD, "T64": _SPREAD},
    "components": [{"name": TEXT, "T": NUMBER}],
    "stored": {"file": NUMBER, "weights": NUMBER},
    "optimizer_bytes": NUMBER,
    "flops_per_token": NUMBER,
    "decode_tokens_per_second": NUMBER,
    "curve": [{"tokens": NUMBER, "seconds": NUMBER, "val_loss": NUMBER}],
    "checks": [{"name": TEXT, "ok": TRUTH, "detail": TEXT_OR_NULL}],
}
_MODEL: dict[str, Any] = {**_ENTRY, "commands": FOLDER}
_OPTIONAL: dict[str, Any] = {
    "sample": {"prompt": TEXT, "text": TEXT},
    "diverged": {"detail": TEXT, "tokens": NUMBER, "seconds": NUMBER},
    "artifact": {"file": TEXT, "sha256": TEXT},
    "used": FOLDER,
    "teacher": {"name": TEXT, "sha256": TEXT, "tokens": NUMBER, "seconds": NUMBER, "flops": NUMBER},
    "window": {"positions": NUMBER, "T": NUMBER},
}
USED_SLOTS: dict[str, Any] = dict.fromkeys(("n", "ever", "lately", "effective", "busiest"), NUMBER)
_SUMMARY: dict[str, Any] = {
    "name": TEXT,
    "created": TEXT,
    "command": TEXT,
    "commit": TEXT_OR_NULL,
    "wall_seconds": NUMBER,
    "machine": FOLDER,
    "corpus": {"name": TEXT, "train_bytes": NUMBER, "val_bytes": NUMBER, "bytes_per_token": NUMBER},
    "models": [_MODEL],
}
_NULLABLE = {"curve", "sample", "commands", "artifact"}


def read_summary(run_dir: str | Path) -> dict[str, Any]:
    """Read and check RUN/summary.json; WeightlessError when absent, CorruptFileError when damaged."""
    path = Path(run_dir) / "summary.json"
    return check_summary(read_json(path, finite=True), str(path))


def check_summary(summary: Any, where: str = "summary") -> dict[str, Any]:
    """Return `summary` unchanged, or raise CorruptFileError naming the first wrong key and the remedy."""
    _check(summary, _SUMMARY, "", where)
    if not summary["models"]:
        raise _fault(where, "models is empty")
    _check(summary["corpus"].get("warning"), TEXT_OR_NULL, "corpus.warning", where)
    for i, model in enumerate(summary["models"]):
        _check_optional(model, f"models[{i}]", where)
        for verb, command in (model["commands"] or {}).items():
            _check(command, TEXT_OR_NULL, f"models[{i}].commands.{verb}", where)
    return summary


def check_entry(entry: Any, where: str) -> None:
    """CorruptFileError unless a finished model's record, of which a summary is made, has all that the report reads."""
    _check(entry, {**_ENTRY, "sample": FOLDER, "artifact": FOLDER}, "", where)
    _check_optional(entry, "entry", where)


def number(value: Any) -> float:
    """A JSON number as a float; null, and anything that is not finite, as NaN."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return math.nan


def _check_optional(model: dict[str, Any], key: str, where: str) -> None:
    for name, shape in _OPTIONAL.items():
        if model.get(name) is not None:
            _check(model[name], shape, f"{key}.{name}", where)
    for block, shares in (model.get("used") or {}).items():
        _check(shares, USED_SLOTS if isinstance(shares, dict) else [NUMBER], f"{key}.used.{block}", where)


def _check(value: Any, shape: Any, key: str, where: str) -> None:
    if isinstance(shape, dict) or shape is FOLDER:
        if not isinstance(value, dict):
            raise _fault(where, f"{key or 'the whole file'} should be an object")
        for name, inner in shape.items() if isinstance(shape, dict) else ():
            path = f"{key}.{name}" if key else name
            if name not in value:
                raise _fault(where, f"the key {path} is missing")
            if value[name] is not None or name not in _NULLABLE:
                _check(value[name], inner, path, where)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise _fault(where, f"{key} should be a list")
        for i, item in enumerate(value):
            _check(item, shape[0], f"{key}[{i}]", where)
    elif not _is(value, shape):
        raise _fault(where, f"{key} should be {shape}, not {type(value).__name__}")


def _is(value: Any, kind: str) -> bool:
    if kind is NUMBER:
        return value is None or (type(value) in (int, float) and not MOST < abs(value) < math.inf)
    if kind is TRUTH:
        return isinstance(value, bool)
    if kind is SCALAR:
        return value is None or isinstance(value, int | float | str)
    return isinstance(value, str) or (kind is TEXT_OR_NULL and value is None)


def _fault(where: str, what: str) -> CorruptFileError:
    return CorruptFileError(f"{where}: {what}; run the experiment again so that the lab writes this file anew")
