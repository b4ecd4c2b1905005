"""Who stands where: attempts grouped by model and wording, with what can be said of a share from so few (floor 9).

An attempt at a card is a trial that passes or not.  For k of n the 95 % interval is Wilson's (1927),

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n),     p = k/n, z = 1.96,

which stays within 0 … 1 and is not empty for 0 of 1.  The share over all cards pools cards of unequal difficulty: it is
an order of merit among those who answered the same deck, and no estimate of anything else.  A card that was deployed
and not graded counts as no trial and is shown as such.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from weightless.deck.copying import copy_submission, hash_of
from weightless.deck.given import Given, read_given
from weightless.deck.interview import Spent, spent
from weightless.deck.outcome import Failed
from weightless.deck.results import Result, read_result
from weightless.deck.rubric import Rubric, read_rubric

Z = 1.959964
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Attempt:
    """One folder: what was given, what was graded, what was read, what it took."""

    folder: Path
    given: Given
    results: dict[str, Result]
    rubrics: dict[str, Rubric]
    spent: Spent | None
    changed: tuple[str, ...]
    stale: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One card of one model: all graded attempts, in the order of the folders."""

    results: tuple[Result, ...]

    @property
    def n(self) -> int:
        return len(self.results)

    @property
    def passes(self) -> int:
        return sum(result.status == "PASS" for result in self.results)

    @property
    def decisive(self) -> Result | None:
        """The attempt that got furthest and failed, None when all passed."""
        failed = [result for result in self.results if result.status != "PASS"]
        return max(failed, key=lambda result: result.reached) if failed else None

    def share(self, number: int) -> float | None:
        """Share of the attempts that reached level `number` (1 …), None without attempts."""
        return sum(result.reached >= number for result in self.results) / self.n if self.n else None


@dataclass(frozen=True)
class Row:
    """One model in one wording."""

    model: str
    variant: str
    attempts: tuple[Attempt, ...]
    cells: dict[str, Cell]
    rank: int = 0

    @property
    def passes(self) -> int:
        return sum(cell.passes for cell in self.cells.values())

    @property
    def n(self) -> int:
        return sum(cell.n for cell in self.cells.values())

    @property
    def levels(self) -> float:
        """Levels reached, as a mean over cards of the mean over attempts; what orders equals."""
        known = [sum(r.reached for r in cell.results) / cell.n for cell in self.cells.values() if cell.n]
        return math.fsum(known) / len(known) if known else 0.0

    def taken(self) -> Spent | None:
        """What all attempts together took, None when none was asked through an endpoint."""
        parts = [attempt.spent for attempt in self.attempts if attempt.spent]
        if not parts:
            return None
        return Spent(
            sum(part.questions for part in parts),
            _sum([part.tokens_in for part in parts]),
            _sum([part.tokens_out for part in parts]),
            math.fsum(part.seconds for part in parts),
            _sum([part.cost for part in parts]),
        )


def wilson(passes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, passes of n; (0, 1) for none."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = passes / n, Z * Z
    middle = p + z2 / (2 * n)
    reach = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low, high = ((middle + sign * reach) / (1 + z2 / n) for sign in (-1, 1))
    return (0.0 if passes == 0 else low), (1.0 if passes == n else high)


def read_attempt(folder: Path, cards: Sequence[str]) -> Attempt:
    """Everything of one folder.  Raises WeightlessError naming the file that cannot be read."""
    given = read_given(folder)
    results = {card: result for card in cards if (result := read_result(folder, card))}
    rubrics = {card: rubric for card in cards if (rubric := read_rubric(folder, card))}
    stale = tuple(
        card for card, result in results.items() if result.hashes.get("submission") != _handed_in(folder / card)
    )
    return Attempt(folder, given, results, rubrics, spent(folder), tuple(given.changed(folder)), stale)


def _handed_in(folder: Path) -> str | None:
    """The hash of what a grading would take from a card's folder; None where it takes nothing."""
    with tempfile.TemporaryDirectory(prefix="deck-") as name:
        try:
            files = copy_submission(folder, Path(name))
        except Failed:
            return None
    return hash_of(files) if files else None


def standings(attempts: Sequence[Attempt], cards: Sequence[str]) -> list[Row]:
    """Rows by wording, share passed, levels reached, name; ranks are within a wording, and equals share one."""
    grouped: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        grouped.setdefault((attempt.given.variant, attempt.given.model), []).append(attempt)
    rows = [
        Row(
            model,
            variant,
            tuple(members),
            {card: Cell(tuple(a.results[card] for a in members if card in a.results)) for card in cards},
        )
        for (variant, model), members in grouped.items()
    ]
    rows.sort(key=lambda row: (row.variant, *(-x for x in _merit(row)), row.model))
    return [
        replace(row, rank=1 + sum(o.variant == row.variant and _merit(o) > _merit(row) for o in rows)) for row in rows
    ]


def level_with(rows: Sequence[Row]) -> list[Row]:
    """Those behind the first rank of their wording whose interval reaches into that of its first row."""
    best = {row.variant: wilson(row.passes, row.n)[0] for row in reversed(rows) if row.rank == 1}
    return [row for row in rows if row.rank > 1 and row.n and wilson(row.passes, row.n)[1] >= best[row.variant]]


def _merit(row: Row) -> tuple[float, float]:
    return (row.passes / row.n if row.n else -1.0), round(row.levels, 9)


def doubts(rows: Sequence[Row]) -> list[str]:
    """Why these grades should not be believed or compared, as sentences; usually none."""
    attempts = [attempt for row in rows for attempt in row.attempts]
    results = [result for attempt in attempts for result in attempt.results.values()]
    told = []
    if loose := sorted({r.path.parent.parent.name for r in results if not r.isolated}):
        told.append(f"Graded without a sandbox, so a solution could have changed its grade: {', '.join(loose)}.")
    if changed := [f"{a.folder.name}/{name}" for a in attempts for name in a.changed]:
        told.append(f"Not what was given any more: {', '.join(changed[:6])}{' …' if len(changed) > 6 else ''}.")
    if stale := [f"{a.folder.name}/{card}" for a in attempts for card in a.stale]:
        told.append(
            f"Not what was graded any more: {', '.join(stale[:6])}{' …' if len(stale) > 6 else ''}. Grade again."
        )
    for card in sorted({result.card for result in results}):
        if len({result.hashes.get("grader") for result in results if result.card == card}) > 1:
            told.append(f"{card} was graded by different graders: grade all attempts with one version.")
    return told


def missing(row: Row, cards: Sequence[str]) -> int:
    """Cards that were given and not graded, over all attempts."""
    return sum(card in a.given.cards and card not in a.results for a in row.attempts for card in cards)


def _sum(values: Sequence[Number | None]) -> Number | None:
    """None as soon as one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(values) else None
