"""One line of a check: what was looked at, where, what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from weightless.base.files import is_number

OK, FAULT, UNCHECKED = "ok", "FAULT", "not checked"


@dataclass(frozen=True)
class Finding:
    """`detail` is the figure behind an ok, what is wrong in a fault, or why something could not be checked."""

    name: str
    verdict: str
    where: str
    detail: str
    remedy: str = ""

    def to_plain(self) -> dict[str, str]:
        return asdict(self)

    def line(self) -> str:
        """For a reader, in one line."""
        told = f"{self.verdict}: {self.name} ({self.where}): {self.detail}"
        return f"{told}; {self.remedy}" if self.remedy else told


def ok(name: str, where: str, detail: str) -> Finding:
    return Finding(name, OK, where, detail)


def fault(name: str, where: str, detail: str, remedy: str) -> Finding:
    return Finding(name, FAULT, where, detail, remedy)


def unchecked(name: str, where: str, why: str, remedy: str = "") -> Finding:
    return Finding(name, UNCHECKED, where, why, remedy)


def judged(name: str, where: str, wrong: str, remedy: str, detail: str) -> Finding:
    """A fault where something is wrong, else ok with `detail`."""
    return fault(name, where, wrong, remedy) if wrong else ok(name, where, detail)


def faults(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.verdict == FAULT]


def number_of(values: Mapping[str, Any], key: str) -> float | None:
    """A finite number of a record; None for anything else, which the schema has told."""
    value = values.get(key)
    return value if value is not None and is_number(value) else None
