"""What a write-up says in sentences: method, result, failures.  Everything comes from the study file and its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weightless.base.errors import ConfigError
from weightless.study.claims import Place
from weightless.study.figures import PRIMARY, varied, varied_number
from weightless.study.gathered import Gathered
from weightless.study.statistics import Ranking
from weightless.study.tables import loss_told
from weightless.study.verdicts import span

MOST_VALUES, MOST_FAILURES, MOST_NAMED = 12, 8, 6
STATES: dict[str, str] = {
    "diverged": "Diverged (the loss left the numbers: a point of the curve)",
    "failed": "Failed (an error that trying again did not mend)",
    "lost": "Lost (its machine died and nobody took it up)",
    "stopped": "Stopped early (a search gave it up)",
    "running": "Still running",
    "missing": "Not begun",
}


def method(g: Gathered) -> list[tuple[str, str]]:
    """(term, description) of how the study was made."""
    study, cells = g.evidence.study, g.evidence.cells
    seeds = sorted({cell.seed for cell in cells})
    grid = "; ".join(f"{key}: {_values(values)}" for key, values in varied(g).items())
    terms = [("base", flat(study.get("base"))), ("varied", grid or "arms by name")]
    terms.append(("seeds", ", ".join(map(str, seeds)) if len(seeds) > 1 else f"{_values(seeds)} (single seed)"))
    terms.append(("controls", flat({k: v for k, v in (study.get("controls") or {}).items() if v not in ("", None)})))
    terms += [("left unmatched", told)] if (told := unmatched(g)) else []
    terms += [(key, flat(study.get(key))) for key in ("data", "eval")]
    terms.append(("runs", f"{len(cells)}: {len(g.arms)} arms, {_states(g)}"))
    families = dict.fromkeys(arm.family for arm in g.arms if arm.family)
    terms += [("families", ", ".join(families))] if len(families) > 1 else []
    return [(term, told) for term, told in terms if told]


def _states(g: Gathered) -> str:
    counts: dict[str, int] = {}
    for cell in g.evidence.cells:
        counts[cell.status] = counts.get(cell.status, 0) + 1
    return ", ".join(f"{n} {state}" for state, n in counts.items())


def unmatched(g: Gathered) -> str:
    """The largest difference that matching has left, by quantity, and whose it is."""
    worst: dict[str, tuple[float, str]] = {}
    for arm, left in g.evidence.mismatch.items():
        for name, share in left.items():
            if name not in worst or abs(share) > abs(worst[name][0]):
                worst[name] = (share, arm)
    return "; ".join(f"{name} at most {100 * share:+.2f} % ({arm})" for name, (share, arm) in worst.items())


def flat(value: Any) -> str:
    """A part of the study file in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {flat(inner)}" for key, inner in value.items() if inner not in (None, "", {}, []))
    if isinstance(value, list | tuple):
        return _values(value)
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(values: Sequence[Any]) -> str:
    told = [flat(value) or "none" for value in values]
    more = f" and {len(told) - MOST_VALUES} more" if len(told) > MOST_VALUES else ""
    return ", ".join(told[:MOST_VALUES]) + more


def result(g: Gathered, laws: Sequence[str]) -> list[str]:
    """What was found, in sentences that the seeds allow."""
    ranked = [f"{text}: {told}" if text else told for text, told in ((t, _ranked(g, r)) for t, r in g.ranks.items())]
    return [*ranked, *_places(g), *laws]


def _ranked(g: Gathered, ranks: Ranking) -> str:
    if not ranks.order:
        return "No arm has a loss yet."
    lowest = next(arm for arm in g.arms if arm.name == ranks.order[0])
    told = f"Lowest loss: {lowest.name}, {loss_told(lowest, g.unit)}"
    if len(ranks.order) == 1:
        return f"{told}, the only arm with a loss."
    if ranks.winner:
        n = len(ranks.order) - 1
        return f"{told}; told apart from {f'all {n} other arms' if n > 1 else 'the other arm'} (Holm, 5 %)."
    if ranks.single:
        return f"{told}. A single seed says nothing about chance, so no arm is called the best."
    tied = ", ".join(ranks.tied[:MOST_NAMED])
    more = f" and {len(ranks.tied) - MOST_NAMED} more" if len(ranks.tied) > MOST_NAMED else ""
    return f"{told}; not told apart from {tied}{more} (Holm, 5 %), so no arm is called the best."


def _places(g: Gathered) -> list[str]:
    """For a study of rates: where the best and the edge lie, for each setting of everything else."""
    key = varied_number(g, PRIMARY["lr"]) if g.evidence.study.get("kind") == "lr" else None
    if key is None:
        return []
    others = [k for k in varied(g) if k != key]
    told = []
    for where in {repr(w): w for w in ({k: str(a.setting.get(k)) for k in others} for a in g.arms)}.values():
        try:
            best, edge = (span("", Place(kind, key, where, 0), g.evidence) for kind in ("best", "edge"))
        except ConfigError:
            continue
        named = ", ".join(f"{k} = {v}" for k, v in where.items())
        ratio = edge.values[0] / best.values[0] if best.values and edge.values and len(best.values) == 1 else None
        factor = f": a factor of {ratio:.3g}{' at least' if edge.open_above else ''}" if ratio else ""
        told.append(f"{named + ': ' if named else ''}{best.reason}; {edge.reason}{factor}.")
    return told[:MOST_NAMED]


def failures(g: Gathered, most: int = MOST_FAILURES) -> list[tuple[str, list[str]]]:
    """(kind of ending, cells with their reasons): these are different facts, so each has its own heading."""
    found = []
    for status, heading in STATES.items():
        by_reason: dict[tuple[str, str], list[int]] = {}
        for cell in g.evidence.cells:
            if cell.status == status:
                by_reason.setdefault((cell.arm, cell.reason), []).append(cell.seed)
        lines = [
            f"{arm}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}{': ' + reason if reason else ''}"
            for (arm, reason), seeds in by_reason.items()
        ]
        if len(lines) > most:
            lines = [*lines[: most - 1], f"and {len(lines) - most + 1} more in all.md"]
        if lines:
            found.append((heading, lines))
    return found
