"""Models of a summary gathered over their seeds, lightest first, and the Pareto front of loss and bytes.

Two entries are seeds of one model when they have the same name and family once a suffix that repeats their own
seed ("feather-seed2", "feather_s2") is taken off.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weightless.lab.report.interval import Estimate, estimate, unpaired
from weightless.lab.report.summary import number

Model = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """One model, trained or counted with one seed or several."""

    name: str
    family: str
    members: tuple[Model, ...]

    def over_seeds(self, value: Callable[[Model], Any]) -> Estimate:
        """Mean and interval of one figure over the seeds."""
        return estimate(number(value(m)) for m in self.members)

    @cached_property
    def loss(self) -> Estimate:
        """Bits per byte of the validation text."""
        return self.over_seeds(lambda m: m["bits_per_byte"])

    @cached_property
    def touched(self) -> Estimate:
        """T: mean bytes touched per next token."""
        return self.over_seeds(lambda m: m["touched"]["T"]["mean"])

    @property
    def n_diverged(self) -> int:
        """Seeds that ended without a finite loss."""
        return len(self.members) - self.loss.n

    @property
    def drawable(self) -> bool:
        """Has a place on the frontier: a finite loss and a positive number of bytes."""
        return self.loss.known and self.touched.known and self.touched.mean > 0

    @property
    def counted(self) -> bool:
        """No seed has a learning curve: its parameters were counted from the text, not trained."""
        return not any(m["curve"] or m.get("diverged") for m in self.members)

    @property
    def divergence(self) -> str:
        """Where the first seed that diverged did, and with what; empty when none is known to have."""
        return next((m["diverged"]["detail"] for m in self.members if m.get("diverged")), "")

    @property
    def description(self) -> str:
        """What the recipe says of it."""
        return self.members[0]["description"] or ""

    def components(self, key: str = "T") -> list[tuple[str, float]]:
        """(component, mean bytes over seeds), largest first."""
        names = dict.fromkeys(c["name"] for m in self.members for c in m["components"])
        sums = {
            n: sum(number(c.get(key)) for m in self.members for c in m["components"] if c["name"] == n) for n in names
        }
        measured = sum(bool(m["components"]) for m in self.members)
        found = [(name, total / measured) for name, total in sums.items() if total > 0]
        return sorted(found, key=lambda pair: -pair[1])


def gather(summary: dict[str, Any]) -> list[Group]:
    """The models of a checked summary as groups over seeds, fewest bytes first, unknown bytes last."""
    found: dict[tuple[str, str], list[Model]] = {}
    for model in summary["models"]:
        found.setdefault((_without_seed(model), model["family"]), []).append(model)
    names = [name for name, _ in found]
    groups = [
        Group(name if names.count(name) == 1 else f"{name} ({family})", family, tuple(members))
        for (name, family), members in found.items()
    ]
    return sorted(groups, key=lambda g: g.touched.mean if g.touched.known else math.inf)


def pareto(groups: Sequence[Group]) -> list[Group]:
    """The groups that no other beats in loss with as few bytes, by increasing bytes."""
    front: list[Group] = []
    for group in sorted((g for g in groups if g.drawable), key=lambda g: (g.touched.mean, g.loss.mean)):
        if not front or group.loss.mean < front[-1].loss.mean:
            front.append(group)
    return front


@dataclass(frozen=True)
class Difference:
    """How far two losses are `apart`, over how many `pairs` of seeds; 0 where the seeds do not pair."""

    apart: Estimate
    pairs: int
    n_seeds: tuple[int, int]


def difference(one: Group, other: Group) -> Difference:
    """Loss of `one` minus loss of `other`: paired by seed when they share two seeds, else Welch's of the means."""
    losses = [{str(m["seed"]): number(m["bits_per_byte"]) for m in group.members} for group in (one, other)]
    paired = estimate(losses[0][s] - losses[1][s] for s in losses[0] if s in losses[1])
    n_seeds = (one.loss.n, other.loss.n)
    if paired.n >= 2:
        return Difference(paired, paired.n, n_seeds)
    return Difference(unpaired(*(losses[i].values() for i in (0, 1))), 0, n_seeds)


def _without_seed(model: Model) -> str:
    seed = re.escape(str(model["seed"]))
    return re.sub(rf"[-_./ ]+(?:seed|s)?[-_]?{seed}$", "", model["name"]) or model["name"]
