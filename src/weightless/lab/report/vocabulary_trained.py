"""The picture of a trained vocabulary study: bits per byte against the size of the vocabulary, one line per kind.

Bars are half-widths of 95 % intervals over seeds.  Drawn by vocabulary.py; the y axis shows the range of the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightless.base.errors import WeightlessError
from weightless.lab.report.labels import spread
from weightless.lab.report.palette import HUES, INK, MUTED
from weightless.lab.report.svg import Axis, text_width
from weightless.lab.report.vocabulary import (
    BOTTOM,
    FONT,
    FOOT,
    HEIGHT,
    LEFT,
    ORDER,
    TOP,
    WIDTH,
    Picture,
    Stroke,
    Words,
    frame,
    wrapped,
    write_png,
    write_svg,
)


@dataclass(frozen=True)
class Point:
    """Bits per byte of one vocabulary, with the half-width of its interval (0: none)."""

    size: int
    mean: float
    half: float


Lines = Mapping[str, Sequence[Point]]


def lay_out(lines: Lines, claim: str, evidence: str) -> Picture:
    """Every stroke and word; WeightlessError when a line has fewer than two sizes."""
    if not lines or any(len(points) < 2 for points in lines.values()):
        raise WeightlessError("a picture of a study needs at least two sizes of each kind")
    points = [p for line in lines.values() for p in line]
    sizes = sorted({p.size for p in points})
    low, high = min(p.mean - p.half for p in points), max(p.mean + p.half for p in points)
    room = 0.08 * (high - low) or 0.01
    right = WIDTH - max(text_width(name, FONT) for name in lines) * 1.1 - 34
    x = Axis(sizes[0] * 0.93, sizes[-1] * 1.02, LEFT, right, log=True)
    y = Axis(low - room, high + room, HEIGHT - BOTTOM, TOP)
    strokes, words = frame(x, y, sizes, "bits per byte of held-out text (lower is better), same stored bytes")
    words += [Words(12, 30 + 22 * k, line, 17.5, INK[0]) for k, line in enumerate(wrapped(claim))]
    words += [Words(12, HEIGHT - FOOT + 12 * k, line, 8.5, MUTED[0]) for k, line in enumerate(_two(evidence))]
    ends = spread([y(line[-1].mean) for line in lines.values()], FONT * 1.25, y.stop, y.start)
    for k, (name, line) in enumerate(lines.items()):
        colour, aside = HUES[ORDER[k % len(ORDER)]][0], 5.0 * (k - (len(lines) - 1) / 2)
        placed = [(x(p.size) + aside, p) for p in line]
        strokes.append(Stroke(tuple((at, y(p.mean)) for at, p in placed), colour, 2.2, 3.6))
        strokes += [
            Stroke(((at, y(p.mean - p.half)), (at, y(p.mean + p.half))), colour, 1.2) for at, p in placed if p.half
        ]
        words += [Words(at + 7, y(p.mean) - 7, f"{p.mean:.3f}", 11, colour) for at, p in placed]
        words.append(Words(placed[-1][0] + 12, ends[k] + 12, name, FONT, colour, bold=True))
    return strokes, words


def _two(content: str) -> list[str]:
    first, _, rest = content.partition(". ")
    return [f"{first}.", rest] if rest else [content]


def trained_svg(lines: Lines, path: str | Path, claim: str, evidence: str = "") -> Path:
    """Write the picture as SVG with `claim` above and `evidence` below; returns the path."""
    told = "; ".join(
        f"{name}: " + ", ".join(f"{p.size} gives {p.mean:.3f}" for p in line) for name, line in lines.items()
    )
    return write_svg(lay_out(lines, claim, evidence), claim, told, path)


def trained_png(lines: Lines, path: str | Path, claim: str, evidence: str = "") -> Path:
    """Write the picture as PNG; returns the path."""
    return write_png(lay_out(lines, claim, evidence), path)
