"""The picture: bits per byte against bytes touched per next token, one mark per model.

`lay_out` computes every pixel once; `frontier_svg` here and `picture.frontier_png` only draw it.  The x axis is
logarithmic.  The staircase is the Pareto front: the least loss reached with at most so many bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from weightless.base.units import human_bytes
from weightless.lab.report.groups import Group, pareto
from weightless.lab.report.headline import Gain, headline, spelled
from weightless.lab.report.interval import Estimate
from weightless.lab.report.labels import Anchor, Box, Placed, place_labels
from weightless.lab.report.palette import Accent
from weightless.lab.report.svg import Axis, drawing, element, escape, shorten, text, text_width

CORNER = "↙ better"
X_TITLE, Y_TITLE = "bytes touched per next token (log scale)", "bits per byte"
_TWO_LINES_UP_TO, _SMALL = 6, 600
_LEAST_X, _LEAST_Y = math.log(150), 0.08


@dataclass(frozen=True)
class Style:
    """Sizes in pixels; `slack` widens text estimates for faces wider than usual."""

    width: float
    height: float
    font: float = 14.0
    radius: float = 7.0
    slack: float = 1.0


@dataclass(frozen=True)
class Mark:
    """A model's point with its error bars in pixels, and the words beside it."""

    group: Group
    x: float
    y: float
    across: tuple[float, float] | None
    along: tuple[float, float] | None
    lines: tuple[str, ...]
    label: Placed


@dataclass(frozen=True)
class Arrow:
    """From the reference leftwards, at its loss, to where the hero's bytes are; its words above the middle."""

    x0: float
    x1: float
    y: float
    words: str


@dataclass(frozen=True)
class Layout:
    """Everything that is drawn, in pixels."""

    style: Style
    plot: Box
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    front: list[tuple[float, float]]
    marks: list[Mark]
    gain: Arrow | None


def lay_out(groups: Sequence[Group], style: Style) -> Layout:
    """Place axes, marks, bars, front and labels; groups without a finite loss are left out."""
    drawn = [g for g in groups if g.drawable]
    f = style.font
    plot = Box(3.6 * f, 2.2 * f, style.width - 1.2 * f, style.height - 3.9 * f)
    x, y = _axes(drawn, plot, style)
    points = [(x(g.touched.mean), y(g.loss.mean)) for g in drawn]
    across = [_bar(g.touched, x) for g in drawn]
    along = [_bar(g.loss, y) for g in drawn]
    front = _staircase(pareto(drawn), x, y)
    words = [_words(g, len(drawn), style) for g in drawn]
    anchors = [_anchor(point, lines, style) for point, lines in zip(points, words)]
    thin = [Box(px - 2, min(b), px + 2, max(b)) for (px, _), b in zip(points, along) if b]
    steps = [
        Box(min(a[0], b[0]) - 2, min(a[1], b[1]) - 2, max(a[0], b[0]) + 2, max(a[1], b[1]) + 2)
        for a, b in zip(front, front[1:])
    ]
    gain = _arrow(headline(drawn).gain, drawn, points, style)
    taken = _taken(plot, gain, style)
    placed = place_labels(anchors, plot, taken * 20 + thin * 4 + steps)
    marks = [
        Mark(g, px, py, h, v, w, at) for g, (px, py), h, v, w, at in zip(drawn, points, across, along, words, placed)
    ]
    x_ticks = [(x(v), human_bytes(v)) for v in x.ticks(round(style.width / 130))]
    y_values = y.ticks(round(style.height / 90))
    digits = _digits(y_values)
    return Layout(style, plot, x_ticks, [(y(v), f"{v:.{digits}f}") for v in y_values], front, marks, gain)


def _axes(drawn: Sequence[Group], plot: Box, style: Style) -> tuple[Axis, Axis]:
    low_x, high_x = min(g.touched.mean for g in drawn), max(g.touched.mean for g in drawn)
    decades = math.log(high_x / low_x)
    room = max(decades * (0.16 if style.width > _SMALL else 0.24), (_LEAST_X - decades) / 2)
    losses = [g.loss.mean for g in drawn]
    span = max(max(losses) - min(losses), _LEAST_Y, 1e-6 * abs(max(losses)))
    low_y = max(min(g.loss.mean - g.loss.reach for g in drawn), min(losses) - 0.6 * span)
    high_y = min(max(g.loss.mean + g.loss.reach for g in drawn), max(losses) + 0.6 * span)
    pad = max(0.16 * span, (_LEAST_Y - (high_y - low_y)) / 2)
    x = Axis(low_x * math.exp(-room), high_x * math.exp(room), plot.x0, plot.x1, log=True)
    return x, Axis(low_y - pad, high_y + pad, plot.y1, plot.y0)


def _bar(value: Estimate, axis: Axis) -> tuple[float, float] | None:
    """Ends of the interval in pixels, where it is long enough to be seen."""
    ends = axis(value.mean - value.reach), axis(value.mean + value.reach)
    return ends if abs(ends[1] - ends[0]) >= 3 else None


def _staircase(front: Sequence[Group], x: Axis, y: Axis) -> list[tuple[float, float]]:
    if not front:
        return []
    corners = [(x(front[0].touched.mean), y.stop)]
    for group in front:
        corners += [(x(group.touched.mean), corners[-1][1]), (x(group.touched.mean), y(group.loss.mean))]
    return [*corners, (x.stop, corners[-1][1])]


def _arrow(
    gain: Gain | None, drawn: Sequence[Group], points: Sequence[tuple[float, float]], style: Style
) -> Arrow | None:
    """Only among few models, where it is long enough to carry its words, and where no other mark is in its way."""
    if gain is None or len(drawn) > _TWO_LINES_UP_TO:
        return None
    at = {g.name: point for g, point in zip(drawn, points)}
    (x1, hero_y), (x0, y) = at[gain.hero], at[gain.reference]
    start, stop = x0 - style.radius - 5, x1 + (5 if abs(hero_y - y) > 2 * style.radius else style.radius + 5)
    if start - stop <= text_width(gain.words, style.font) + 8:
        return None
    arrow, reach = Arrow(start, stop, y, gain.words), style.radius * WIDEST
    others = [point for name, point in at.items() if name not in (gain.hero, gain.reference)]
    marks = [Box(px - reach, py - reach, px + reach, py + reach) for px, py in others]
    crossed = any(mark.shared(box) for mark in marks for box in _boxes(arrow, style))
    return None if crossed else arrow


def _taken(plot: Box, gain: Arrow | None, style: Style) -> list[Box]:
    """The corner note and the arrow: labels keep away from both."""
    f = style.font
    note = Box(plot.x0, plot.y1 - 1.8 * f, plot.x0 + text_width(CORNER, f) * style.slack + f, plot.y1)
    if gain is None:
        return [note]
    return [note, *_boxes(gain, style)]


def _boxes(arrow: Arrow, style: Style) -> list[Box]:
    """What the arrow's words and its line cover."""
    half = text_width(arrow.words, style.font) * style.slack / 2
    middle = (arrow.x0 + arrow.x1) / 2
    words = Box(middle - half, arrow.y - 1.6 * style.font, middle + half, arrow.y)
    return [words, Box(arrow.x1, arrow.y - 4, arrow.x0, arrow.y + 4)]


def _words(group: Group, n: int, style: Style) -> tuple[str, ...]:
    name = shorten(group.name, 28)
    if n > _TWO_LINES_UP_TO:
        return (name,)
    exact = group.loss.half and style.width > _SMALL
    loss = spelled(group.loss, 3) if exact else f"{group.loss.mean:.2f}"
    return name, f"{human_bytes(group.touched.mean)} · {loss}"


def _anchor(point: tuple[float, float], lines: Sequence[str], style: Style) -> Anchor:
    sizes = (style.font, style.font * 0.88)
    width = max(text_width(line, size) for line, size in zip(lines, sizes)) * style.slack * 1.04
    return Anchor(*point, style.radius * WIDEST, width, style.font * (1.25 if len(lines) == 1 else 2.3))


def _digits(values: Sequence[float]) -> int:
    """Fewest decimals that write every tick exactly."""
    return next((d for d in range(1, 6) if all(abs(round(v, d) - v) < 1e-9 for v in values)), 6)


def frontier_svg(groups: Sequence[Group], colours: dict[str, Accent], style: Style, key: str) -> str:
    """The frontier as markup; a short sentence where no model can be drawn."""
    if not any(g.drawable for g in groups):
        return element("p", "No model has a finite loss to draw.", class_="empty")
    layout = lay_out(groups, style)
    describe = "; ".join(tell(m.group) for m in layout.marks)
    body = [*_frame(layout), *_front(layout), *_gain(layout)]
    body += [part for mark in layout.marks for part in _bars(mark, colours)]
    body += [part for mark in layout.marks for part in _label(mark, style, colours)]
    body += [_point(mark, style, colours) for mark in layout.marks]
    title = "Loss in bits per byte against bytes touched per next token"
    return drawing(style.width, style.height, title, describe, body, key, font_size=style.font)


def tell(group: Group) -> str:
    """A model's place on the frontier in words."""
    loss, touched = spelled(group.loss, 3), human_bytes(group.touched.mean)
    return f"{group.name}: {loss} bits per byte, {touched} touched per token"


def _frame(layout: Layout) -> list[str]:
    plot, f = layout.plot, layout.style.font
    parts = []
    for y, label in layout.y_ticks:
        parts.append(element("line", x1=plot.x0, x2=plot.x1, y1=y, y2=y, class_="grid"))
        parts.append(text(plot.x0 - 0.6 * f, y + 0.35 * f, label, text_anchor="end", class_="tick"))
    parts.append(element("line", x1=plot.x0, x2=plot.x1, y1=plot.y1, y2=plot.y1, class_="axis"))
    for x, label in layout.x_ticks:
        parts.append(element("line", x1=x, x2=x, y1=plot.y1, y2=plot.y1 + 5, class_="axis"))
        parts.append(text(x, plot.y1 + 1.6 * f, label, text_anchor="middle", class_="tick"))
    parts.append(text(plot.x1, plot.y1 + 3.3 * f, X_TITLE, text_anchor="end", class_="axis-title"))
    parts.append(text(0, 1.1 * f, f"{Y_TITLE} (lower is better)", class_="axis-title"))
    return parts


def _front(layout: Layout) -> list[str]:
    if len(layout.marks) < 2:
        return []
    plot = layout.plot
    path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in layout.front)
    round_the_corner = ((plot.x1, plot.y1), (plot.x0, plot.y1), (plot.x0, plot.y0))
    below = path + "".join(f" L{x:.1f} {y:.1f}" for x, y in round_the_corner) + " Z"
    return [element("path", d=below, class_="unreached"), element("path", d=path, class_="front")]


def _gain(layout: Layout) -> list[str]:
    plot, f, gain = layout.plot, layout.style.font, layout.gain
    note = [text(plot.x0 + 0.7 * f, plot.y1 - 0.7 * f, CORNER, class_="tick")] if len(layout.marks) > 1 else []
    if gain is None:
        return note
    path = f"M{gain.x0:.1f} {gain.y:.1f} H{gain.x1:.1f} m7 -4 l-7 4 l7 4"
    words = text((gain.x0 + gain.x1) / 2, gain.y - 0.55 * f, gain.words, text_anchor="middle", class_="gain-words halo")
    return [*note, element("path", d=path, class_="gain"), words]


def _bars(mark: Mark, colours: dict[str, Accent]) -> list[str]:
    ends = [(mark.x, mark.along[0], mark.x, mark.along[1])] if mark.along else []
    ends += [(mark.across[0], mark.y, mark.across[1], mark.y)] if mark.across else []
    paint = f"stroke:{colours[mark.group.name].paint}"
    return [element("line", x1=a, y1=b, x2=c, y2=d, class_="error", style=paint) for a, b, c, d in ends]


def _label(mark: Mark, style: Style, colours: dict[str, Accent]) -> list[str]:
    at, paint = mark.label, colours[mark.group.name].paint
    parts = []
    if at.leader:
        x1, y1, x2, y2 = at.leader
        parts.append(element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="leader", style=f"stroke:{paint}"))
    y = at.box.y0 + style.font
    parts.append(text(at.text_x, y, mark.lines[0], text_anchor=at.align, class_="name halo", style=f"fill:{paint}"))
    for line in mark.lines[1:]:
        y += style.font * 1.12
        size = round(style.font * 0.88, 2)
        parts.append(text(at.text_x, y, line, text_anchor=at.align, class_="detail halo", font_size=size))
    return parts


def _point(mark: Mark, style: Style, colours: dict[str, Accent]) -> str:
    accent = colours[mark.group.name]
    return glyph(accent, mark.x, mark.y, style.radius, tip=tell(mark.group))


def glyph(accent: Accent, x: float, y: float, r: float, tip: str | None = None) -> str:
    """A model's mark centred on (x, y); equal areas for all shapes."""
    title = [element("title", escape(tip))] if tip else []
    more = {"class_": "mark", "style": f"fill:{accent.paint}", "data_tip": tip}
    if accent.shape == "circle":
        return element("circle", *title, cx=float(x), cy=float(y), r=float(r), **more)
    points = " ".join(f"{x + r * dx:.1f},{y + r * dy:.1f}" for dx, dy in OUTLINES[accent.shape])
    return element("polygon", *title, points=points, **more)


WIDEST = 1.3
"""How far a mark reaches, in radii of the circle of its area."""
OUTLINES = {
    "square": ((-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89)),
    "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    "triangle": ((0, -1.3), (1.28, 0.92), (-1.28, 0.92)),
}
