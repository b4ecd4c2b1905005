"""Floor 9.  A leaderboard by wall clock: who has the least loss after so many seconds of training?

Runs, trained models and cells of studies (standing.py) stand on one board when they learned from the same text (by its
SHA-256, split alike), are scored on the same targets, in windows of the same length, and timed by the same clock;
anything else is refused by name (text and targets by `lab.comparison`, windows and clocks here).  A model over several
seeds is one line.

    budget   models that took longer (by more than a hundredth) are shown without a place
    front    the best so far: no model that took as few seconds, or fewer, has less loss

Errors: WeightlessError for folders that cannot stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.lab.comparison import Compared, entries_of, named, one_protocol
from weightless.lab.report.groups import Group, gather
from weightless.lab.report.interval import Estimate
from weightless.lab.report.summary import check_summary
from weightless.study.standing import Standing, standings

ROOM = 1.01
"""A budget of seconds ends with a whole step."""


@dataclass(frozen=True)
class Place:
    """One line of the board; `rank` 0 has no place (over the budget, or without a finite loss)."""

    rank: int
    group: Group
    seconds: Estimate
    nats: Estimate
    tokens: Estimate
    on_front: bool
    why: str = ""
    """Why it has no place."""

    @property
    def rate(self) -> float:
        """Training tokens per second."""
        return self.tokens.mean / self.seconds.mean if self.seconds.known and self.seconds.mean > 0 else math.nan


@dataclass(frozen=True)
class Board:
    """All lines, best first, then those without a place; seconds are of `clock`."""

    places: tuple[Place, ...]
    corpus: dict[str, Any]
    protocol: str
    clock: str
    machines: tuple[str, ...]
    budget: float | None = None

    @property
    def front(self) -> list[Place]:
        """The best so far, by seconds."""
        return sorted((place for place in self.places if place.on_front), key=lambda place: place.seconds.mean)


def board_of(paths: Sequence[Path], budget: float | None = None) -> Board:
    """The board of folders (or of their summary.json, study.json); WeightlessError naming what cannot be compared."""
    stands = standings(paths)
    found = [one.compared for one in stands]
    evaluation = one_protocol(found)
    context = _one(stands, "windows", "trained and scored in windows of {} tokens", lambda one: one.contexts)
    clock = _one(stands, "clocks", "timed by the {} clock", lambda one: one.clocks)
    entries = [entries_of(one, evaluation) for one in found]
    summary = _summary(found, named(found, entries))
    targets = f"{evaluation.tokens:,} tokens" if evaluation.tokens else "all tokens"
    stride = f", stride {evaluation.stride}" if evaluation.stride else ""
    protocol = f"{targets} of the held-out text in windows of {context}{stride}"
    machines = tuple(dict.fromkeys(_machine(one) for one in found if _machine(one)))
    places = _placed(gather(summary), budget)
    return Board(tuple(places), found[0].corpus_entry, protocol, clock or "wall", machines, budget)


def _summary(found: Sequence[Compared], models: list[dict[str, Any]]) -> dict[str, Any]:
    """Checked as the summary of a run is, which these entries came from."""
    summary = {"name": "board", "created": "", "command": "", "commit": None, "wall_seconds": None, "machine": {}}
    return check_summary({**summary, "corpus": found[0].corpus_entry, "models": models}, "the board")


def _placed(groups: Sequence[Group], budget: float | None) -> list[Place]:
    """Lines in order: by loss within the budget, then over it, then what has no loss."""
    lines = [(group, group.over_seeds(lambda m: m["train_seconds"])) for group in groups]
    front = _front(lines)
    lines.sort(key=lambda line: (_why(*line, budget) != "", not line[0].loss.known, _finite(line[0].loss)))
    out: list[Place] = []
    for group, seconds in lines:
        why = _why(group, seconds, budget)
        nats, tokens = (group.over_seeds(lambda m, k=key: m[k]) for key in ("nats_per_token", "tokens_seen"))
        out.append(Place(0 if why else len(out) + 1, group, seconds, nats, tokens, group.name in front, why))
    return out


def _why(group: Group, seconds: Estimate, budget: float | None) -> str:
    if not group.loss.known:
        return "diverged" if group.divergence else "no finite loss"
    if not seconds.known:
        return "took unknown seconds"
    return "over the budget" if budget is not None and seconds.mean > ROOM * budget else ""


def _front(lines: Sequence[tuple[Group, Estimate]]) -> set[str]:
    """Names of the groups whose loss nobody reached in as few seconds."""
    known = [(seconds.mean, group.loss.mean, group.name) for group, seconds in lines if not _why(group, seconds, None)]
    best, names = math.inf, set()
    for _, loss, name in sorted(known):
        if loss < best:
            best = loss
            names.add(name)
    return names


def _finite(loss: Estimate) -> float:
    return loss.mean if loss.known else math.inf


def _one(stands: Sequence[Standing], what: str, told: str, of: Any) -> Any:
    """The one value that all models share; WeightlessError naming two that differ."""
    values: dict[Any, str] = {}
    for one in stands:
        for name, value in of(one).items():
            values.setdefault(value, f"{name} of {one.compared.folder.as_posix()} is {told.format(value)}")
    if len(values) > 1:
        raise WeightlessError(
            f"models of different {what} cannot stand on one board ({'; '.join(values.values())}): "
            "name runs that share them"
        )
    return next(iter(values), None)


def _machine(one: Compared) -> str:
    told = (one.summary or {}).get("machine") or {}
    return ", ".join(str(told[key]) for key in ("cpu", "gpu") if told.get(key))
