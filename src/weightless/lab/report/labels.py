"""Direct labels that do not overlap: every label tries places around its mark and takes the cheapest.

Deterministic coordinate descent: labels start at their first choice and are re-placed in turn until nothing
moves.  Cost of a place = area shared with marks, other labels and the outside (heavy), with lines (light), plus
a little for distance.  The same layout serves the SVG and the PNG.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_ANGLES = (0, 180, -90, 90, -35, 35, -145, 145, -65, 65, -115, 115)
_RINGS = (0.0, 8.0, 20.0, 36.0, 54.0, 76.0, 100.0)
_HEAVY, _LIGHT, _FAR, _SWEEPS = 10.0, 0.6, 2.0, 8


@dataclass(frozen=True)
class Box:
    """A rectangle from (x0, y0) to (x1, y1)."""

    x0: float
    y0: float
    x1: float
    y1: float

    def shared(self, other: Box) -> float:
        """Area in common."""
        wide = min(self.x1, other.x1) - max(self.x0, other.x0)
        high = min(self.y1, other.y1) - max(self.y0, other.y0)
        return wide * high if wide > 0 and high > 0 else 0.0

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True)
class Anchor:
    """A mark at (x, y) of a radius, whose label is `width` by `height`."""

    x: float
    y: float
    radius: float
    width: float
    height: float


@dataclass(frozen=True)
class Placed:
    """Where a label went: its box, how its text aligns, and the leader line to its mark if it moved away."""

    box: Box
    align: str
    leader: tuple[float, float, float, float] | None

    @property
    def text_x(self) -> float:
        """The x that goes with `align`."""
        return {"start": self.box.x0, "end": self.box.x1}.get(self.align, (self.box.x0 + self.box.x1) / 2)


def place_labels(anchors: Sequence[Anchor], bounds: Box, lines: Sequence[Box] = ()) -> list[Placed]:
    """One place per anchor; `lines` are drawings a label may cross if it must."""
    marks = [Box(a.x - a.radius, a.y - a.radius, a.x + a.radius, a.y + a.radius) for a in anchors]
    choices = [_choices(anchor) for anchor in anchors]
    placed = [options[0][0] for options in choices]
    for _ in range(_SWEEPS):
        before = list(placed)
        for i, options in enumerate(choices):
            others = [p for j, p in enumerate(placed) if j != i]
            placed[i] = min(options, key=lambda o: o[1] + _cost(o[0], i, others, marks, bounds, lines))[0]
        if placed == before:
            break
    return placed


def _choices(a: Anchor) -> list[tuple[Placed, float]]:
    """(place, price of being there), nearest and plainest first."""
    found = []
    for ring, gap in enumerate(_RINGS):
        for rank, angle in enumerate(_ANGLES):
            found.append((_at(a, gap, math.radians(angle), ring > 0), _FAR * gap + 1.5 * rank))
    return found


def _at(a: Anchor, gap: float, angle: float, led: bool) -> Placed:
    reach = a.radius + 5 + gap
    x, y = a.x + reach * math.cos(angle), a.y + reach * math.sin(angle)
    cosine, sine = math.cos(angle), math.sin(angle)
    align = "start" if cosine > 0.3 else "end" if cosine < -0.3 else "middle"
    left = {"start": x, "end": x - a.width}.get(align, x - a.width / 2)
    top = y - a.height / 2 if abs(sine) < 0.9 else (y if sine > 0 else y - a.height)
    box = Box(left, top, left + a.width, top + a.height)
    start = a.radius + 1
    leader = (a.x + start * cosine, a.y + start * sine, x - 2 * cosine, y - 2 * sine) if led else None
    return Placed(box, align, leader)


def _cost(
    place: Placed, own: int, others: Sequence[Placed], marks: Sequence[Box], bounds: Box, lines: Sequence[Box]
) -> float:
    box = place.box
    heavy = box.area - box.shared(bounds)
    heavy += sum(box.shared(mark) for mark in marks)
    heavy += sum(box.shared(other.box) for other in others)
    heavy += 40 * sum(_crosses(other.leader, box) for other in others)
    if place.leader is not None:
        heavy += 40 * sum(_crosses(place.leader, other.box) for other in others)
        heavy += 40 * sum(_crosses(place.leader, mark) for j, mark in enumerate(marks) if j != own)
    return _HEAVY * heavy + _LIGHT * sum(box.shared(line) for line in lines)


def _crosses(leader: tuple[float, float, float, float] | None, box: Box) -> bool:
    """Whether any of nine points along the leader lies in the box."""
    if leader is None:
        return False
    x0, y0, x1, y1 = leader
    points = ((x0 + (x1 - x0) * k / 8, y0 + (y1 - y0) * k / 8) for k in range(9))
    return any(box.x0 < x < box.x1 and box.y0 < y < box.y1 for x, y in points)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions as near as possible to `wanted`, at least `gap` apart, in low..high where they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[float, int]] = []  # (mean of wanted minus rank offsets, size): pooled neighbours
    for i in order:
        mean, size = wanted[i], 1
        while (
            blocks and blocks[-1][0] + (blocks[-1][1] - 1) * gap / 2 + gap / 2 > mean - (size - 1) * gap / 2 - gap / 2
        ):
            before, n = blocks.pop()
            mean, size = (before * n + mean * size) / (n + size), n + size
        blocks.append((mean, size))
    placed = [mean + (k - (size - 1) / 2) * gap for mean, size in blocks for k in range(size)]
    placed = _inside(placed, gap, low, high)
    found = [0.0] * len(wanted)
    for position, i in zip(placed, order):
        found[i] = position
    return found


def _inside(placed: list[float], gap: float, low: float, high: float) -> list[float]:
    for k in reversed(range(len(placed))):
        ceiling = high if k == len(placed) - 1 else placed[k + 1] - gap
        placed[k] = min(placed[k], ceiling)
    for k in range(len(placed)):
        floor = low if k == 0 else placed[k - 1] + gap
        placed[k] = max(placed[k], floor)
    return placed
