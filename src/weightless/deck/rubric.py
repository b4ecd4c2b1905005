"""What a person (or a model) reads in a write-up: beside the grade, never in it (floor 9, no PyTorch).

    results/CARD.rubric.json = {"rubric": 1, "card", "reader", "points": [{"asked", "given", "out_of", "remark"}]}

`template` writes one with `given` null wherever there is none; a rubric that somebody has begun is never overwritten.
`given` is 0 to `out_of`; the board shows a sum once every point is given, and until then how many are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.base.files import read_json, write_json


@dataclass(frozen=True)
class Point:
    """One question: what the prompt asks to explain, how much was given, of how much, and why."""

    asked: str
    given: int | None = None
    out_of: int = 1
    remark: str = ""


@dataclass(frozen=True)
class Rubric:
    """All points of one write-up, and who read it (a person's name, or a model's)."""

    card: str
    reader: str
    points: tuple[Point, ...]
    rubric: int = 1

    @property
    def is_read(self) -> bool:
        """Whether every point was given."""
        return bool(self.points) and all(point.given is not None for point in self.points)

    def told(self) -> str:
        """'7 of 10, read by N.N.', '2 of 5 points read', or '' when nobody began."""
        n_read = sum(point.given is not None for point in self.points)
        if self.is_read:
            total = sum(point.given or 0 for point in self.points)
            by = f", read by {self.reader}" if self.reader else ""
            return f"{total} of {sum(point.out_of for point in self.points)}{by}"
        return f"{n_read} of {len(self.points)} points read" if n_read else ""


def rubric_file(attempt: Path, card: str) -> Path:
    """Where the rubric of one card lies in the folder of an attempt."""
    return attempt / "results" / f"{card}.rubric.json"


def template(attempt: Path, card: str, questions: Sequence[tuple[str, int]]) -> Path:
    """Write an empty rubric of (question, points) unless there is one; its path."""
    path = rubric_file(attempt, card)
    if not path.exists():
        write_json(path, asdict(Rubric(card, "", tuple(Point(asked, out_of=n) for asked, n in questions))))
    return path


def read_rubric(attempt: Path, card: str) -> Rubric | None:
    """The rubric of a card, None when there is none.  Raises CorruptFileError for one that was filled in wrongly."""
    path = rubric_file(attempt, card)
    if not path.exists():
        return None
    try:
        found = from_dict(Rubric, read_json(path))
    except ConfigError as error:
        raise CorruptFileError(f"{path}: {error}") from None
    for number, point in enumerate(found.points, 1):
        if point.given is not None and not 0 <= point.given <= point.out_of:
            raise CorruptFileError(f"{path}: point {number} is given {point.given}, it goes from 0 to {point.out_of}")
    if found.card != card:
        raise CorruptFileError(f"{path} is the rubric of {found.card!r}")
    return found
