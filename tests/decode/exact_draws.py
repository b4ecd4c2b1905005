"""Exact distributions of code that draws: every uniform number is followed into all branches that it decides.

    distribution(outcome) -> {what outcome(rng) returns: its probability}

`outcome` gets an `rng` whose random() is a number that nobody knows yet, only that it lies in an interval.  Comparing
it with a bound inside the interval splits it; the run takes one side, and the other is replayed later.  So the code
itself is enumerated, not a formula beside it.  It must do nothing with the number but scale and compare it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any


class Unknown:
    """A uniform number in [low, high)."""

    def __init__(self, branches: Branches, low: float, high: float) -> None:
        self.branches, self.low, self.high = branches, low, high

    def __mul__(self, factor: float) -> Unknown:
        return Unknown(self.branches, self.low * float(factor), self.high * float(factor))

    def __lt__(self, bound: Any) -> bool:
        if bound is self:  # NumPy asks whether a key follows the one before
            return False
        share = min(1.0, max(0.0, (float(bound) - self.low) / (self.high - self.low)))
        below = self.branches.take(share)
        if 0 < share < 1:
            self.low, self.high = (self.low, float(bound)) if below else (float(bound), self.high)
        return below

    __le__ = __lt__

    def __gt__(self, bound: Any) -> bool:
        return bound is not self and not self < bound

    __ge__ = __gt__


class Branches:
    """One run: the decisions that it replays, those it takes, and where others would have gone on."""

    def __init__(self, replayed: tuple[bool, ...]) -> None:
        self.replayed, self.taken, self.probability = replayed, (), 1.0
        self.others: list[tuple[bool, ...]] = []

    def random(self) -> Any:
        return Unknown(self, 0.0, 1.0)

    def take(self, share: float) -> bool:
        """Whether something of probability `share` happens in this run."""
        at = len(self.taken)
        choice = self.replayed[at] if at < len(self.replayed) else share > 0
        if at >= len(self.replayed) and 0 < share < 1:
            self.others.append((*self.taken, not choice))
        self.taken = (*self.taken, choice)
        self.probability *= share if choice else 1 - share
        return choice


def distribution(outcome: Callable[[Any], Hashable]) -> dict[Hashable, float]:
    """Probabilities of all that `outcome` can return."""
    found: dict[Hashable, float] = defaultdict(float)
    waiting: list[tuple[bool, ...]] = [()]
    while waiting:
        run = Branches(waiting.pop())
        found[outcome(run)] += run.probability
        waiting += run.others
    return dict(found)
