"""Read training logs of many dialects: what they end with, how large they say it is, what it was of.

    read_training_log(path) -> Facts

    val_loss:2.0727 val_bpb:1.2275      val_bpb: 1.2275      val_bpb=1.2275      "val_bpb": 1.2275
    step:13780/20000 …                  step: 4550/20000     step 100 | Validation bpb: 1.02
    final_int8_zlib_roundtrip_exact val_loss:2.07269931 val_bpb:1.22756330
    Total submission size int8+zlib: 15863489 bytes

A log is read line by line, of a line the first 4,096 bytes, so that neither a file of any size nor a line without an
end costs memory; no pattern below can take longer than a fixed number of steps per character.
Errors: WeightlessError for a file that cannot be read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from weightless.base.errors import WeightlessError
from weightless.golf import log_names as names

LONGEST_LINE = 4096
_KEY = r"([A-Za-z_][\w+/.\-]{0,63})"
_NUMBER = r"(-?\d[\d,_]{0,24}(?:\.\d{1,24})?(?:[eE][+-]?\d{1,3})?)"
_PAIR = re.compile(_KEY + r"[\"'`]{0,2}[ ]{0,2}[:=][ \"'`]{0,3}" + _NUMBER)
_STEP = re.compile(r"\bstep[ :=]{1,3}(\d{1,9})(?:/(\d{1,9}))?", re.IGNORECASE)
_SIZE = re.compile(
    r"^[ \"'`*\-]{0,6}([A-Za-z][\w +.\-]{0,59}?)[\"'`]{0,2} ?[:=][ \"'`]{0,3}" + _NUMBER + r" {0,2}([kKMG]i?B)?"
)
_SPELT = re.compile(r"\bvalidation (loss|bpb)\b", re.IGNORECASE)
_SUFFIX = re.compile(r"(?:_exact|_s\d{1,5})+$")
_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KB": 10**3, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_TOLD = (b"val", b"bpb", b"tep", b"ize", b"bytes", b"aram", b"seed", b"Seed", b"token", b"vocab")


@dataclass
class Metric:
    """A score by its name: the last values printed, the exact ones where both are."""

    name: str
    kind: str
    loss: float | None = None
    bpb: float | None = None


@dataclass
class Facts:
    """What a log says; None where it does not."""

    path: Path
    seed: int | None = None
    n_parameters: int | None = None
    vocab_size: int | None = None
    step: int | None = None
    total_steps: int | None = None
    metrics: dict[str, Metric] = field(default_factory=dict)
    total: int | None = None
    weights: int | None = None
    code: int | None = None
    tokens: int | None = None
    n_bytes: int | None = None
    n_lines: int = 0

    @property
    def final(self) -> Metric | None:
        """The metric that a submission stands on: the furthest of KINDS, of these the last that was printed."""
        for kind in names.KINDS:
            found = [metric for metric in self.metrics.values() if metric.kind == kind]
            if found:
                return next((one for one in reversed(found) if one.bpb is not None), found[-1])
        return None


def read_training_log(path: Path) -> Facts:
    """The facts of one log."""
    facts = Facts(path)
    for line in _lines(path):
        facts.n_lines += 1
        _take_metrics(facts, line)
        _take_sizes(facts, line)
        _take_counts(facts, line)
    return facts


def _lines(path: Path) -> Iterator[str]:
    """The beginnings of the lines that may say something."""
    try:
        with open(path, "rb") as file:
            begins = True
            while piece := file.readline(LONGEST_LINE):
                if begins and any(word in piece for word in _TOLD):
                    yield piece.decode("utf-8", "replace").strip()
                begins = piece.endswith(b"\n")
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from None


def _take_metrics(facts: Facts, line: str) -> None:
    if "val" not in line and "bpb" not in line:
        return
    line = _SPELT.sub(lambda match: f"val_{match[1].lower()}", line)
    for match in _PAIR.finditer(line):
        if not math.isfinite(_number(match[2])):  # 1e999
            continue
        which = match[1].rpartition("val_")
        key = match[1].lower()
        if key.endswith("loss") and "val" in key:
            _take(facts, line, match, loss=_number(match[2]), before=which[0])
        elif key.endswith("bpb") and "std" not in key and "delta" not in key:
            _take(facts, line, match, bpb=_number(match[2]), before=which[0])


def _take(
    facts: Facts, line: str, match: re.Match[str], before: str, loss: float | None = None, bpb: float | None = None
) -> None:
    """Add a loss or bits per byte to the metric that the line names, in front of it or in its key."""
    if step := _STEP.search(line[: match.start()]):
        name, kind = "step", names.STEP
        facts.step, facts.total_steps = int(step[1]), int(step[2]) if step[2] else facts.total_steps
    else:
        first = _PAIR.search(line)
        front = line[: first.start()] if first else ""
        name = _named(before.rstrip("_")) or _named(front) or "val"
        kind = names.kind_of(name)
    found = facts.metrics.pop(name, None) or Metric(name, kind)
    is_exact = "_exact" in line[: match.start()] or kind == names.STEP
    if loss is not None and (found.loss is None or is_exact or _differs(found.loss, loss)):
        found.loss = loss
    if bpb is not None and (found.bpb is None or is_exact or _differs(found.bpb, bpb)):
        found.bpb = bpb
    facts.metrics[name] = found  # the last printed comes last


def _differs(kept: float, told: float) -> bool:
    """Whether a value with fewer digits is another one, and not the kept one rounded."""
    return abs(kept - told) > 1e-3


def _named(text: str) -> str:
    """The name of a metric as the tables have it."""
    word = text.strip(" \t:|*`\"'{-").lower().removesuffix("_exact").removesuffix(":done")
    word = _SUFFIX.sub("", word).strip(" :|`*")
    return word[-60:]


def _take_sizes(facts: Facts, line: str) -> None:
    match = _SIZE.match(line)
    if match is None:
        return
    told = _number(match[2]) * _UNITS.get(match[3] or "", 1)
    if not math.isfinite(told):
        return
    label, size = match[1].lower().replace("_", " "), round(told)
    if label.startswith(names.TOTALS) and (
        "+" in label or facts.total is None or "size" not in label or size < facts.total
    ):
        facts.total = size  # the compressed one is told last, and is the smaller
    elif label.startswith(names.WEIGHTS):
        facts.weights = size
    elif label.startswith(names.CODES):
        facts.code = size


def _take_counts(facts: Facts, line: str) -> None:
    for match in _PAIR.finditer(line):
        key, value = match[1].lower(), match[2].rstrip(",")
        if "." in value or "e" in value.lower():
            continue
        number = int(value.replace(",", "").replace("_", ""))
        if key in names.PARAMETERS:
            facts.n_parameters = number
        elif key == "seed":
            facts.seed = number
        elif key == "vocab_size":
            facts.vocab_size = number
        elif key in names.TOKENS or (key == "tokens" and line.startswith("val_loader")):
            facts.tokens = number
        elif key in names.BYTES:
            facts.n_bytes = number
    if step := _STEP.match(line):
        facts.step, facts.total_steps = int(step[1]), int(step[2]) if step[2] else facts.total_steps
    if facts.vocab_size is None and "tokenizer" in line and (found := re.search(r"(?:sp|fineweb_)(\d{3,6})", line)):
        facts.vocab_size = int(found[1])


def _number(text: str) -> float:
    return float(text.rstrip(",").replace(",", "").replace("_", ""))
