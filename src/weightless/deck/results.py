"""What a grading wrote, read again: results/CARD.json of an attempt (floor 9, no PyTorch).

Read by whoever shows grades; a file that is no result is an error that names it, never a blank cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from weightless.base.errors import CorruptFileError
from weightless.base.files import read_json
from weightless.deck.outcome import LEVELS, STATUSES, Checked, Level, Status


@dataclass(frozen=True)
class Result:
    """One graded card of one attempt; `told` is the line of the check that decided.

    `own_tests` says how many of our mutants the solution's own tests caught; it decides nothing.
    """

    card: str
    status: Status
    told: str
    checks: tuple[Checked, ...]
    own_tests: str
    backend: str
    stamps: tuple[str, ...]
    isolated: bool
    hashes: dict[str, str]
    seconds: float
    graded: str
    path: Path

    def level(self, level: Level) -> bool | None:
        """Whether all checks of a level passed; None when none was made."""
        states = [check.status == "PASS" for check in self.checks if check.level == level]
        return all(states) if states else None

    @property
    def reached(self) -> int:
        """How many levels were passed one after another, from the first; a level without checks goes with the last."""
        n = 0
        for number, level in enumerate(LEVELS, 1):
            if (passed := self.level(level)) is False:
                break
            n = number if passed else n
        return n

    @property
    def failed_level(self) -> str:
        """The level of the check that decided; '' for PASS and where nothing was asked."""
        return next((c.level for level in LEVELS for c in self.checks if c.level == level and c.status != "PASS"), "")


def result_file(attempt: Path, card: str) -> Path:
    """Where the result of a card lies: outside the card's folder, where a model's own files cannot stand in for it."""
    return attempt / "results" / f"{card}.json"


def read_result(attempt: Path, card: str) -> Result | None:
    """The result of a card, None when it was not graded.  Raises CorruptFileError for a file that is no result."""
    path = result_file(attempt, card)
    if not path.exists():
        return None
    try:
        found = _made(read_json(path), path)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise CorruptFileError(f"{path} is no result of a grading: grade again") from None
    if found.card != card:
        raise CorruptFileError(f"{path} is the result of {found.card!r}: grade again")
    return found


def _made(found: dict[str, Any], path: Path) -> Result:
    checks = tuple(_checked(check) for check in found["checks"])
    sandbox = found["sandbox"]
    if found["status"] not in STATUSES:
        raise ValueError(found["status"])
    return Result(
        str(found["card"]),
        found["status"],
        str(found["told"] or ""),
        checks,
        _tests_told(found.get("tests")),
        str(sandbox["backend"]),
        tuple(filter(None, str(sandbox["stamp"]).split("; "))),
        bool(sandbox["sandboxed"]),
        {str(name): str(digest) for name, digest in found["hashes"].items() if isinstance(digest, str)},
        float(found["seconds"]),
        str(found["graded"]),
        path,
    )


def _checked(check: dict[str, Any]) -> Checked:
    if check["level"] not in get_args(Level) or check["status"] not in STATUSES:
        raise ValueError(check)
    return Checked(
        check["level"], str(check["name"]), check["status"], str(check["told"] or ""), float(check["seconds"])
    )


def _tests_told(tests: Any) -> str:
    """'16/17' mutants caught by its own tests, '' where it brought none that our solution passes."""
    if not isinstance(tests, dict) or not tests["sound"]:
        return ""
    caught, missed = len(list(tests["caught"])), len(list(tests["missed"]))
    return f"{caught}/{caught + missed}"
