"""Arms one below the other, each a mark on a common scale with the whisker of its interval.

A dashed line stands at the base.  Arms whose every run diverged have a cross at the right end instead of a mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weightless.lab.report.frontier import glyph
from weightless.lab.report.palette import Accent
from weightless.lab.report.svg import Axis, drawing, element, shorten, text, text_width

FONT, ROW, LONGEST_NAME = 13.0, 24.0, 26
TOP, FOOT = 34.0, 46.0


@dataclass(frozen=True)
class Dot:
    """An arm's `value` (None: every run of it diverged) with its half-width (None: single seed)."""

    name: str
    value: float | None
    half: float | None
    accent: Accent
    tip: str


def dots_svg(title: str, unit: str, dots: Sequence[Dot], base: float | None, key: str, width: float) -> str:
    """The drawing; a sentence where no arm has a value."""
    known = [d for d in dots if d.value is not None]
    if not known:
        return element("p", f"No arm has a value to draw for: {title.lower()}.", class_="empty")
    left = max(text_width(shorten(d.name, LONGEST_NAME), FONT) for d in dots) * 1.15 + 14
    height = TOP + ROW * len(dots) + FOOT
    x = _axis(known, base, min(left, 0.5 * width), width - 16)
    bottom = height - FOOT
    body = _frame(x, unit, bottom, title)
    if base is not None:
        body.append(element("line", x1=x(base), x2=x(base), y1=TOP, y2=bottom, class_="axis", stroke_dasharray="2 4"))
    for i, dot in enumerate(dots):
        body += _row(dot, TOP + ROW * (i + 0.5), x)
    describe = "; ".join(d.tip for d in dots)
    return drawing(width, height, title, describe, body, key, font_size=FONT)


def _axis(known: Sequence[Dot], base: float | None, start: float, stop: float) -> Axis:
    values = [d.value for d in known if d.value is not None]
    low, high = min(values), max(values)
    span = max(high - low, 2e-3 * abs(high), 1e-9)
    whiskers = [d.half or 0.0 for d in known]
    low = max(min(v - h for v, h in zip(values, whiskers)), low - span)
    high = min(max(v + h for v, h in zip(values, whiskers)), high + span)
    low, high = (min(low, base), max(high, base)) if base is not None else (low, high)
    pad = 0.06 * max(high - low, span)
    return Axis(low - pad, high + pad, start, stop)


def _frame(x: Axis, unit: str, bottom: float, title: str) -> list[str]:
    parts = []
    ticks = x.ticks(4)
    digits = next((d for d in range(6) if all(abs(round(v, d) - v) < 1e-9 for v in ticks)), 6)
    for value in ticks:
        parts.append(element("line", x1=x(value), x2=x(value), y1=TOP, y2=bottom, class_="grid"))
        parts.append(text(x(value), bottom + 17, f"{value:.{digits}f}", text_anchor="middle", class_="tick"))
    parts.append(text(0, 14, title, class_="axis-title"))
    parts.append(text(x.stop, bottom + 36, unit, text_anchor="end", class_="axis-title"))
    return parts


def _row(dot: Dot, y: float, x: Axis) -> list[str]:
    paint = f"stroke:{dot.accent.paint}"
    name = shorten(dot.name, LONGEST_NAME)
    parts = [text(x.start - 12, y + 4.5, name, text_anchor="end", class_="name", style=f"fill:{dot.accent.paint}")]
    if dot.value is None:
        at = {"text_anchor": "end", "class_": "name", "style": f"fill:{dot.accent.paint}", "data_tip": dot.tip}
        return [*parts, text(x.stop, y + 5, "× diverged", **at)]
    if dot.half:
        ends = x(dot.value - dot.half), x(dot.value + dot.half)
        parts.append(element("line", x1=ends[0], x2=ends[1], y1=y, y2=y, class_="error", style=paint))
    return [*parts, glyph(dot.accent, x(dot.value), y, 5.0, tip=dot.tip)]
