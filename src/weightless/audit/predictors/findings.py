"""What a probe found: a name, a verdict and the figure behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OK, FAILED, NOT_APPLICABLE = "ok", "FAILED", "not applicable"


@dataclass(frozen=True)
class Finding:
    """One line of an audit's table."""

    name: str
    verdict: str
    detail: str

    def to_plain(self) -> dict[str, Any]:
        return {"name": self.name, "verdict": self.verdict, "detail": self.detail}


def judged(name: str, failure: str, detail: str) -> Finding:
    """FAILED with `failure`, or ok with `detail` when there is none."""
    return Finding(name, FAILED if failure else OK, failure or detail)


def skipped(name: str, why: str) -> Finding:
    """A check for which something is missing; `why` says what."""
    return Finding(name, NOT_APPLICABLE, why)
