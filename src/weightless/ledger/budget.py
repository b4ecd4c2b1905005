"""The largest configuration within several budgets: one dial after the other, each turned as far as it goes.

A search space is an ordered list of dials.  Dial i takes the values 0, 1, 2 … (up to its bound, which may depend on
the dials before it); 0 is what the earlier dials alone would give.  Among all points that satisfy every budget the
lexicographically greatest is chosen: the first dial as far as possible with the others at 0, then the second, and so
on.  Costs must not fall when a dial is turned up (every family promises that of its size); then each dial is found by
doubling and bisection, and no greater point of the space fits (a test holds the search to brute force).

A dial that moves no cost for which there is a budget stays at 0: nothing would ever stop it.
Errors: `Impossible` names the budget, its amount and the largest component of the smallest point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from weightless.base.errors import ConfigError

Costs = Mapping[str, Mapping[str, float]]
"""{budget: {component: amount}} of one point."""

LARGEST = 1 << 40


class Impossible(ConfigError):
    """Not even the smallest point fits."""

    def __init__(self, budget: str, limit: float, parts: Mapping[str, float]) -> None:
        self.budget, self.limit, self.parts = budget, limit, dict(parts)
        self.component = max(parts, key=lambda name: parts[name])
        super().__init__(
            f"{budget} {limit:,.0f}: the smallest configuration takes {sum(parts.values()):,.0f}, "
            f"{parts[self.component]:,.0f} of it for {self.component}"
        )


class Dial(NamedTuple):
    """`bound(point)` is its last value given the dials before it, or None for no bound."""

    name: str
    bound: Callable[[tuple[int, ...]], int | None]


class Turned(NamedTuple):
    """One dial of the result: where it stands, and which budgets the next value would exceed (empty: its bound)."""

    name: str
    value: int
    stopped_by: tuple[str, ...]


def exceeded(costs: Costs, limits: Mapping[str, float]) -> tuple[str, ...]:
    """The budgets that are not kept."""
    return tuple(name for name, limit in limits.items() if sum(costs[name].values()) > limit)


def last_true(holds: Callable[[int], bool], bound: int | None = None) -> int:
    """The largest n >= 0 with holds(n), for a predicate that holds at 0 and never again once it failed."""
    high = 1
    while (bound is None or high <= bound) and holds(high):
        high *= 2
        if high > LARGEST:
            raise ConfigError("no budget limits this search: give one that grows with the model")
    low, high = high // 2, high if bound is None else min(high, bound + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def largest(
    dials: Sequence[Dial], costs: Callable[[tuple[int, ...]], Costs], limits: Mapping[str, float]
) -> list[Turned]:
    """Where every dial stands in the greatest point within `limits`; raises Impossible."""
    if not limits:
        raise ConfigError("give at least one budget, for example --touched 1MB")
    point = [0] * len(dials)
    smallest = costs(tuple(point))
    for name in exceeded(smallest, limits):
        raise Impossible(name, limits[name], smallest[name])
    found = []
    for i, dial in enumerate(dials):

        def at(value: int, i: int = i) -> Costs:
            return costs((*point[:i], value, *point[i + 1 :]))

        bound = dial.bound(tuple(point[:i]))
        if bound != 0 and not _moves(at(0), at(1), limits):
            bound = 0
        point[i] = last_true(lambda value: not exceeded(at(value), limits), bound)
        stopped = () if point[i] == bound else exceeded(at(point[i] + 1), limits)
        found.append(Turned(dial.name, point[i], stopped))
    return found


def _moves(before: Costs, after: Costs, limits: Mapping[str, float]) -> bool:
    return any(sum(before[name].values()) != sum(after[name].values()) for name in limits)
