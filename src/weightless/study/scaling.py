"""What a scaling study says in words: the law of each family, what it says of points asked for, who overtakes whom.

Points asked for stand in the study file: [scaling] at = [{family = "dense", parameters = 1e8, tokens = 1e10}].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from weightless.base.errors import ConfigError
from weightless.base.units import human_seconds
from weightless.study.fronts import crossing
from weightless.study.gathered import Gathered
from weightless.study.laws import Law, fit
from weightless.study.study_file import SCALED


@dataclass(frozen=True)
class Fitted:
    """The law of a family, or why there is none."""

    family: str
    law: Law | None
    reason: str = ""


def laws(g: Gathered) -> list[Fitted]:
    """One law per family over parameters and tokens, over tokens alone where there are not enough sizes."""
    return [_fitted(g, family) for family in dict.fromkeys(arm.family for arm in g.arms)]


def _fitted(g: Gathered, family: str) -> Fitted:
    cells = [
        cell.figures
        for arm in g.arms
        for cell in arm.cells
        if arm.family == family and cell.is_done and {g.loss, "parameters", "tokens_seen"} <= set(cell.figures)
    ]
    losses = [figures[g.loss] for figures in cells]
    sizes = {axis: [f[name] for f in cells] for axis, name in (("parameters", "parameters"), ("tokens", "tokens_seen"))}
    reason = ""
    for axes in (("parameters", "tokens"), ("tokens",)):
        if len(axes) == 1 and len(set(sizes["parameters"])) > 1:
            break  # sizes that are no axis would be noise
        try:
            return Fitted(family, fit(losses, {axis: sizes[axis] for axis in axes}))
        except ConfigError as error:
            reason = str(error)
    return Fitted(family, None, reason)


def laws_told(g: Gathered, fitted: list[Fitted]) -> list[str]:
    """A sentence per family, one per point asked for, one per pair of families of which one overtakes the other."""
    told = []
    for one in fitted:
        told.append(_law_told(one, g) if one.law else f"{one.family}: no law fitted, {one.reason}.")
        told += _asked(one, g)
    return [*told, *overtaking(g)]


def _law_told(one: Fitted, g: Gathered) -> str:
    law = one.law
    assert law is not None
    low, high = law.floor_band()
    terms, powers = [], []
    for axis, symbol, greek in (("parameters", "N", "α"), ("tokens", "D", "β")):
        if axis in law.axes:
            power, least, most = law.exponent(axis)
            terms.append(f"{law.coefficient(axis):.3g} / {symbol}^{power:.3f}")
            powers.append(f"{greek} {least:.3f} to {most:.3f}")
    return (
        f"{one.family}: L = {law.floor:.3f} + {' + '.join(terms)} {g.unit}, fitted to {law.n} runs; 95 % bands: "
        f"E {low:.3f} to {high:.3f}, {', '.join(powers)}; typical error {100 * law.error:.2f} %."
    )


def _asked(one: Fitted, g: Gathered) -> list[str]:
    section = g.evidence.study.get("scaling")
    points = section.get("at") if isinstance(section, Mapping) else None
    told = []
    for point in points or []:
        if one.law is None or point.get("family", "") not in ("", one.family):
            continue
        where = ", ".join(f"{point[axis]:.3g} {axis}" for axis in SCALED if _is_size(point.get(axis)))
        if lacking := [axis for axis in one.law.axes if not _is_size(point.get(axis))]:
            told.append(f"{one.family} at {where}: not asked, the point names no {' and no '.join(lacking)}.")
            continue
        asked = one.law.at(**{axis: float(point[axis]) for axis in one.law.axes})
        beyond = f"; {asked.beyond}, where nothing was measured" if asked.beyond else "; within the data"
        told.append(f"{one.family} at {where}: {asked.value:.3f} ({asked.low:.3f} to {asked.high:.3f}){beyond}.")
    return told


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def overtaking(g: Gathered) -> list[str]:
    """In seconds of training: where the best run of one family so far falls below that of another."""
    best = {family: _best_so_far(g, family) for family in dict.fromkeys(arm.family for arm in g.arms)}
    told = []
    for one, curves in best.items():
        for other, rivals in best.items():
            if one == other or not curves or not rivals:
                continue
            found = crossing(curves, rivals)
            begins = max(min(x for c in k.values() for x, _ in c) for k in (curves, rivals))
            if found.x is None or found.x <= begins * (1 + 1e-9):
                continue
            between = (
                f"between {human_seconds(found.low)} and {human_seconds(found.high)}"
                if found.low is not None and found.high is not None
                else "single seed"
            )
            seeds = "" if found.n == found.of else f", in {found.n} of {found.of} seeds"
            told.append(f"{one} overtakes {other} after {human_seconds(found.x)} of training ({between}{seeds}).")
    return told


def _best_so_far(g: Gathered, family: str) -> dict[int, list[tuple[float, float]]]:
    """{seed: (seconds, least loss of a run that took no longer)}."""
    runs: dict[int, list[tuple[float, float]]] = {}
    for arm in g.arms:
        for cell in arm.cells:
            seconds, loss = cell.figures.get("train_seconds", 0.0), cell.figures.get(g.loss)
            if arm.family == family and cell.is_done and loss is not None and seconds > 0:
                runs.setdefault(cell.seed, []).append((seconds, loss))
    found = {}
    for seed, points in runs.items():
        least, kept = math.inf, []
        for seconds, loss in sorted(points):
            least = min(least, loss)
            kept.append((seconds, least))
        found[seed] = kept
    return found
