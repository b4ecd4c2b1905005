"""Which operators a step runs: a body in which tests choose between the two stretches that follow them.

    exit_test     F operators, run where it does not exit     L operators, run where it does     whatever comes behind

Stretches nest and a step goes through a body from its beginning to its end, so that it ends whatever the data say.  A
path is the sum of 2^j over the tests j, in the order of the body, that exited: 0 where none did.

    route int64 [n, 3]     for every operator: the one behind it, the one behind it where it exits, 2^j if it is a test
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightless.base.errors import CorruptFileError

MOST_EXITS = 62  # a path is an int64, and stretches nest no deeper
NEXT, EXITED, BIT = 0, 1, 2


@dataclass(frozen=True)
class Flow:
    """The ways through a body: its `route`, where its tests stand, and where what each of them decides is over."""

    route: np.ndarray
    tests: tuple[int, ...]
    ends: tuple[int, ...]

    @staticmethod
    def of(body: Sequence[Any]) -> Flow:
        """CorruptFileError when a stretch is empty where it must not be, or leaves the one that it lies in."""
        ahead = np.arange(1, len(body) + 1)
        route, ends = np.stack([ahead, ahead, np.zeros_like(ahead)], axis=1), dict[int, int]()
        _lay(body, 0, len(body), route, ends)
        for j, at in enumerate(ends):
            route[at, BIT] = 1 << j
        return Flow(route, tuple(ends), tuple(ends.values()))

    def taken(self, path: int) -> tuple[int, ...]:
        """The operators that run on a path, in order."""
        if not self.tests:
            return tuple(range(len(self.route)))
        found, at = list[int](), 0
        while at < len(self.route):
            found.append(at)
            at = int(self.route[at, EXITED if path & int(self.route[at, BIT]) else NEXT])
        return tuple(found)

    def exits(self, path: int) -> list[int]:
        """The numbers of the tests that exited on a path."""
        return [j for j in range(len(self.tests)) if path >> j & 1]

    def costliest(self, cost_of: Callable[[int], int]) -> int:
        """The path on which the costs of what runs add up to most; of equal ones, the one of fewer exits."""
        return _dearest(self, 0, len(self.route), cost_of)[1] if self.tests else 0


def _lay(body: Sequence[Any], first: int, end: int, route: np.ndarray, ends: dict[int, int]) -> None:
    """Lay the ways through operators first..end-1; `ends` takes {test: where what it decides is over}."""
    at = first
    while at < end:
        full, lite = body[at].stretches()
        middle, after = at + 1 + full, at + 1 + full + lite
        if not full and not lite:
            at += 1
            continue
        if full < 1 or lite < 0 or after > end:
            raise CorruptFileError(
                f"operator {body[at].name!r}: stretches of {full!s:.20} and {lite!s:.20} operators do not fit into the "
                f"{end - at - 1} behind it; the program does not fit its body"
            )
        if len(ends) == MOST_EXITS:
            raise CorruptFileError(f"the program has more than {MOST_EXITS} tests to exit by")
        ends[at] = after
        route[at, EXITED] = middle
        _lay(body, at + 1, middle, route, ends)
        _lay(body, middle, after, route, ends)
        inside = route[at + 1 : middle, :BIT]
        inside[inside == middle] = after
        at = after


def _dearest(flow: Flow, first: int, end: int, cost_of: Callable[[int], int]) -> tuple[int, int]:
    """(cost, path) of the dearest way from operator `first` to `end`."""
    total, path, at = 0, 0, first
    while at < end:
        total += cost_of(at)
        bit = int(flow.route[at, BIT])
        if not bit:
            at = int(flow.route[at, NEXT])
            continue
        middle = int(flow.route[at, EXITED])
        after = flow.ends[bit.bit_length() - 1]
        stays, leaves = _dearest(flow, at + 1, middle, cost_of), _dearest(flow, middle, after, cost_of)
        cost, way = (leaves[0], leaves[1] | bit) if leaves[0] > stays[0] else stays
        total, path, at = total + cost, path | way, after
    return total, path
