"""A drawing of measured points: a figure against what was varied, with intervals, and crosses where runs diverged.

Lines join the points of one series.  A run that diverged has no loss, so its cross stands on the top edge, above the
value at which it happened.  Colours, axes and labels are those of the report's drawings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weightless.lab.report.frontier import glyph
from weightless.lab.report.labels import spread
from weightless.lab.report.palette import Accent
from weightless.lab.report.svg import Axis, drawing, element, shorten, text, text_width

FONT, LONGEST_NAME, CROSSES_APART = 13.0, 20, 9.0


@dataclass(frozen=True)
class Size:
    """Width and height in pixels."""

    width: float = 430.0
    height: float = 300.0


@dataclass(frozen=True)
class Point:
    """A measured y at x with its half-width (None for a single seed), and what a hover says."""

    x: float
    y: float
    half: float | None
    tip: str


@dataclass(frozen=True)
class Series:
    """Points of one line, the x at which runs diverged, and a fitted line, dashed."""

    name: str
    points: tuple[Point, ...]
    accent: Accent
    diverged: tuple[float, ...] = ()
    fitted: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Panel:
    """What the axes are called and how their ticks are written; `marked` are x with a word, such as the edge."""

    title: str
    x_title: str
    y_title: str
    write_x: Callable[[float], str]
    write_y: Callable[[float], str]
    log_x: bool = True
    log_y: bool = False
    marked: tuple[tuple[float, str], ...] = ()


def panel_svg(panel: Panel, series: Sequence[Series], key: str, size: Size) -> str:
    """One panel as markup; a sentence where there is nothing to draw."""
    drawn = [s for s in series if s.points or s.diverged]
    if not any(s.points for s in drawn):
        return element("p", f"No point to draw for: {panel.title.lower()}.", class_="empty")
    named = [s for s in drawn if s.points and len(drawn) > 1]
    right = (
        size.width - 14 - max((text_width(shorten(s.name, LONGEST_NAME), FONT) * 1.2 + 12 for s in named), default=0)
    )
    x, y = _axes(panel, drawn, right, size.height)
    body = [*_frame(panel, x, y)]
    for i, s in enumerate(drawn):
        body += _series(s, x, y, panel, CROSSES_APART * (i - (len(drawn) - 1) / 2))
    body += _names(named, x, y)
    describe = "; ".join(f"{s.name}: " + ", ".join(p.tip for p in s.points) for s in drawn)
    return drawing(size.width, size.height, panel.title, describe, body, key, font_size=FONT)


def _axes(panel: Panel, series: Sequence[Series], right: float, height: float) -> tuple[Axis, Axis]:
    xs = [p.x for s in series for p in s.points] + [x for s in series for x in s.diverged]
    low, high = min(xs), max(xs)
    log = panel.log_x and low > 0
    if log:
        room = max(math.log(high / low) * 0.06, 0.1)
        x = Axis(low * math.exp(-room), high * math.exp(room), 52.0, right, True)
    else:
        room = (high - low) * 0.06 or max(abs(low) * 0.1, 1e-9)
        x = Axis(low - room, high + room, 52.0, right)
    values = [p.y for s in series for p in s.points]
    bottom, top = min(values), max(values)
    span = max(top - bottom, 1e-3 * abs(top), 1e-12)
    bottom = min(bottom, max(min(p.y - (p.half or 0) for s in series for p in s.points), bottom - 0.5 * span))
    top = max(top, min(max(p.y + (p.half or 0) for s in series for p in s.points), top + 0.5 * span))
    if panel.log_y and min(values) > 0:
        return x, Axis(min(values) / 1.25, max(values) * 1.25, height - 50, 46, True)
    pad = 0.08 * max(top - bottom, span)
    return x, Axis(bottom - pad, top + pad, height - 50, 46)


def _frame(panel: Panel, x: Axis, y: Axis) -> list[str]:
    parts = []
    for value in y.ticks(5):
        parts.append(element("line", x1=x.start, x2=x.stop, y1=y(value), y2=y(value), class_="grid"))
        parts.append(text(x.start - 8, y(value) + 4, panel.write_y(value), text_anchor="end", class_="tick"))
    parts.append(element("line", x1=x.start, x2=x.stop, y1=y.start, y2=y.start, class_="axis"))
    edge = -math.inf
    for value in x.ticks(4):
        label = panel.write_x(value)
        half = text_width(label, FONT) / 2
        if x(value) - half > edge + 6:
            parts.append(element("line", x1=x(value), x2=x(value), y1=y.start, y2=y.start + 4, class_="axis"))
            parts.append(text(x(value), y.start + 18, label, text_anchor="middle", class_="tick"))
            edge = x(value) + half
    for value, word in panel.marked:
        at = x(value)
        anchor = "start" if at < x.start + 40 else "end" if at > x.stop - 40 else "middle"
        parts.append(element("line", x1=at, x2=at, y1=y.stop - 8, y2=y.start, class_="axis", stroke_dasharray="2 4"))
        parts.append(text(at, y.stop - 14, word, text_anchor=anchor, class_="tick"))
    name = panel.x_title + (" (log scale)" if x.log else "")
    parts.append(text(max(x.stop, 200), y.start + 40, name, text_anchor="end", class_="axis-title"))
    parts.append(text(0, 14, panel.y_title + (" (log scale)" if y.log else ""), class_="axis-title"))
    return parts


def _series(s: Series, x: Axis, y: Axis, panel: Panel, aside: float) -> list[str]:
    paint = f"stroke:{s.accent.paint}"
    points = sorted(s.points, key=lambda p: p.x)
    parts = []
    line = s.fitted or tuple((p.x, p.y) for p in points)
    if len(line) > 1:
        d = "M" + " L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in line)
        dash = "5 4" if s.fitted else s.accent.dash
        parts.append(element("path", d=d, class_="curve seed", style=paint, stroke_dasharray=dash))
    for p in points:
        if p.half:
            ends = y(p.y - p.half), y(p.y + p.half)
            parts.append(element("line", x1=x(p.x), x2=x(p.x), y1=ends[0], y2=ends[1], class_="error", style=paint))
    parts += [glyph(s.accent, x(p.x), y(p.y), 4.5, tip=p.tip) for p in points]
    for value in s.diverged:
        tip = f"{s.name}: diverged at {panel.write_x(value)}"
        cross = {"text_anchor": "middle", "class_": "name", "style": f"fill:{s.accent.paint}", "data_tip": tip}
        parts.append(text(x(value) + aside, y.stop + 4, "×", font_size=18, **cross))
    return parts


def _names(named: Sequence[Series], x: Axis, y: Axis) -> list[str]:
    """Names beside the right ends of the lines, spread apart."""
    ends = [y(max(s.points, key=lambda p: p.x).y) for s in named]
    parts = []
    for s, end, at in zip(named, ends, spread(ends, FONT * 1.2, y.stop, y.start)):
        last = x(max(s.points, key=lambda p: p.x).x)
        tie = f"M{last + 6:.1f} {end:.1f} L{x.stop + 2:.1f} {end:.1f} L{x.stop + 8:.1f} {at:.1f}"
        parts.append(element("path", d=tie, class_="tie", style=f"stroke:{s.accent.paint}"))
        name = shorten(s.name, LONGEST_NAME)
        parts.append(text(x.stop + 11, at + 4, name, class_="name", style=f"fill:{s.accent.paint}"))
    return parts
