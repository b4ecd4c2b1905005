"""Learning curves: validation loss in bits per byte against tokens, and against seconds of training.

One line per seed.  A model without a curve was counted, not trained: a dashed horizontal line at its final loss.
A curve breaks where the loss is not finite, and the axis ends a little above where the slowest learner ended, so
that a diverging run leaves the picture through its top.  Where one diverged a cross stands at the top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weightless.base.units import LN2, human_seconds
from weightless.lab.report.groups import Group, Model
from weightless.lab.report.labels import spread
from weightless.lab.report.palette import MUTED, PAPER, RULE, Accent, accents
from weightless.lab.report.summary import number
from weightless.lab.report.svg import Axis, drawing, element, escape, shorten, text, text_width

WIDTH, HEIGHT, FONT, MARGIN = 430.0, 320.0, 13.0, 24.0
_LOG_FROM_RATIO = 25.0
AXES = {"tokens": "training tokens", "step": "training steps", "seconds": "seconds of training"}

_STYLE = (
    f".grid{{stroke:{RULE[0]};opacity:.6}}.axis{{stroke:{MUTED[0]}}}.tick,.axis-title{{fill:{MUTED[0]}}}"
    ".name{font-weight:600}.curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    ".tie{fill:none;opacity:.35}"
)
"""What the page's style sheet says of a panel, for a file that has none."""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A model's lines: several runs of (x, bits per byte), or a level for a counted model."""

    name: str
    runs: tuple[Points, ...]
    level: float | None

    @property
    def last(self) -> float:
        """Where its label belongs: the mean of the last losses of the runs that did not diverge."""
        if self.level is not None:
            return self.level
        ends = [run[-1][1] for run in self.runs if run and math.isfinite(run[-1][1])]
        ends = ends or [loss for run in self.runs for _, loss in run if math.isfinite(loss)][-1:]
        return sum(ends) / len(ends) if ends else math.nan

    @property
    def diverged(self) -> bool:
        """It was trained, and no run ends with a finite loss."""
        return self.level is None and not any(run and math.isfinite(run[-1][1]) for run in self.runs)


def curves_of(groups: Sequence[Group], by: str, bytes_per_token: float) -> list[Curve]:
    """The curves that have anything to draw, `by` tokens, step or seconds."""
    found = []
    for group in groups:
        if group.counted:
            level = group.loss.mean if group.loss.known else None
            curve = Curve(group.name, (), level)
        else:
            curve = Curve(group.name, tuple(_points(m, by, bytes_per_token) for m in group.members), None)
        if curve.level is not None or any(curve.runs):
            found.append(curve)
    return found


def _points(model: Model, by: str, bytes_per_token: float) -> Points:
    """(x, bpb) with NaN losses kept, as breaks; lines without a validation loss are left out."""
    nats, bpb = number(model["nats_per_token"]), number(model["bits_per_byte"])
    scale = bpb / nats if nats > 0 and bpb > 0 else 1 / (LN2 * bytes_per_token) if bytes_per_token > 0 else math.nan
    lines: list[dict[str, Any]] = [line for line in model["curve"] or [] if line["val_loss"] is not None]
    points = [(number(line[by]), number(line["val_loss"]) * scale) for line in lines]
    if model.get("diverged"):
        points.append((number(model["diverged"][by]), math.nan))
    return [p for p in points if math.isfinite(p[0])]


def curve_svg(
    groups: Sequence[Group],
    colours: dict[str, Accent],
    by: str,
    bytes_per_token: float,
    key: str,
    knows_bytes: bool = True,
) -> str:
    """One panel as markup; a sentence where nothing was trained."""
    unit = "bits per byte" if knows_bytes else "bits per token"
    curves = curves_of(groups, by, bytes_per_token)
    if not any(x > 0 and math.isfinite(loss) for c in curves for run in c.runs for x, loss in run):
        lost = [c.name for c in curves if c.diverged]
        told = f" {', '.join(lost)} diverged before a validation loss was taken." if lost else ""
        return element("p", escape(f"No learning curve was recorded.{told}"), class_="empty")
    widest = max(text_width(_label(c), FONT) for c in curves) * 1.25  # bold, in whatever face the reader has
    right = WIDTH - min(widest + 20, 200)
    x, y = _axes(curves, right)
    window = element("rect", x=x.start, y=y.stop - 3, width=right - x.start + 4, height=y.start - y.stop + 6)
    body = [*_frame(x, y, by, unit), element("clipPath", window, id=f"{key}-clip")]
    lines = [part for c in curves for part in _draw(c, x, y, colours[c.name])]
    body.append(element("g", *lines, clip_path=f"url(#{key}-clip)"))
    body += _end_labels(curves, x, y, colours)
    describe = "; ".join(f"{_label(c)} ends at {c.last:.3f} {unit}" for c in curves)
    return drawing(WIDTH, HEIGHT, f"Validation loss against {AXES[by]}", describe, body, key, font_size=FONT)


def curves_file(name: str, family: str, lines: list[dict[str, Any]], bytes_per_token: float | None) -> str | None:
    """The learning curve of one training as an SVG file of its own, tokens beside seconds; None with nothing to draw.

    In bits per byte, or in bits per token where nobody knows the bytes of the text.
    """
    unknown = {"bits_per_byte": None, "nats_per_token": None, "seed": 0, "curve": lines, "name": name}
    group = Group(name, family, (unknown,))
    colours, scale = accents([(name, family)]), bytes_per_token or 1.0
    by = ("tokens", "seconds")
    panels = [curve_svg([group], colours, axis, scale, f"curve-{axis}", bytes_per_token is not None) for axis in by]
    if not all(panel.startswith("<svg") for panel in panels):
        return None
    placed = [
        element("g", panel, transform=f"translate({MARGIN + i * (WIDTH + MARGIN):g} {MARGIN:g})")
        for i, panel in enumerate(panels)
    ]
    size = (2 * WIDTH + 3 * MARGIN, HEIGHT + 2 * MARGIN)
    paper = element("rect", width=size[0], height=size[1], fill=PAPER[0])
    body = [element("style", _STYLE), paper, *placed]
    face = {"xmlns": "http://www.w3.org/2000/svg", "font_size": FONT, "font_family": "system-ui,sans-serif"}
    told = "Validation loss against tokens and against seconds"
    return drawing(*size, f"{name}: how the loss fell", told, body, "curve", **face) + "\n"


def _axes(curves: Sequence[Curve], right: float) -> tuple[Axis, Axis]:
    xs = [x for c in curves for run in c.runs for x, _ in run if x > 0]
    low, high = min(xs), max(xs)
    log = high / low > _LOG_FROM_RATIO
    x = Axis(low if log else 0.0, high * 1.0001, 40.0, right, log)
    losses = [loss for c in curves for run in c.runs for _, loss in run if math.isfinite(loss)]
    levels = [c.level for c in curves if c.level is not None]
    best = [min(found) for c in curves for run in c.runs if (found := [v for _, v in run if math.isfinite(v)])]
    bottom = min([*losses, *levels])
    settled = max([min(best) * 1.5, *levels, *(b for b in best if b < 2 * min(best))])
    top = min(max([*losses, *levels]), bottom + 1.7 * max(settled - bottom, 0.05))
    pad = 0.06 * max(top - bottom, 0.05, 1e-6 * abs(top))
    return x, Axis(bottom - pad, top + pad, HEIGHT - 48, 34)


def _frame(x: Axis, y: Axis, by: str, unit: str) -> list[str]:
    parts = []
    ticks = y.ticks(5)
    digits = 1 if all(abs(round(v, 1) - v) < 1e-9 for v in ticks) else 2
    for value in ticks:
        parts.append(element("line", x1=x.start, x2=x.stop, y1=y(value), y2=y(value), class_="grid"))
        parts.append(text(x.start - 8, y(value) + 4, f"{value:.{digits}f}", text_anchor="end", class_="tick"))
    parts.append(element("line", x1=x.start, x2=x.stop, y1=y.start, y2=y.start, class_="axis"))
    edge = -math.inf
    for value in x.ticks(4):
        label = _tick(value, by)
        half = text_width(label, FONT) / 2
        if x(value) - half > edge + 6:
            parts.append(element("line", x1=x(value), x2=x(value), y1=y.start, y2=y.start + 4, class_="axis"))
            parts.append(text(x(value), y.start + 18, label, text_anchor="middle", class_="tick"))
            edge = x(value) + half
    name = AXES[by] + (" (log scale)" if x.log else "")
    parts.append(text(x.stop, y.start + 40, name, text_anchor="end", class_="axis-title"))
    parts.append(text(0, 14, f"validation loss, {unit}", class_="axis-title"))
    return parts


def _tick(value: float, by: str) -> str:
    if by == "seconds":
        return f"{value:g} s" if value < 120 else human_seconds(value).replace(" 00 s", "")
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:g} {unit}"
    return f"{value:g}"


def _draw(curve: Curve, x: Axis, y: Axis, accent: Accent) -> list[str]:
    paint = f"stroke:{accent.paint}"
    if curve.level is not None:
        at = y(curve.level)
        return [element("line", x1=x.start, x2=x.stop, y1=at, y2=at, class_="curve counted", style=paint)]
    kind = "curve" if len(curve.runs) == 1 else "curve seed"
    tip = f"{_label(curve)}: {curve.last:.3f} bits per byte at the end"
    lost = [run for run in curve.runs if run and not math.isfinite(run[-1][1])]
    cross = "×" if math.isfinite(curve.last) else f"× {_label(curve)}"
    style = {"text_anchor": "middle", "class_": "name", "style": f"fill:{accent.paint}"}
    crosses = [text(x(run[-1][0]), y.stop + 12, cross, data_tip=f"{curve.name} diverged", **style) for run in lost]
    return crosses + [
        element("path", d=_path(run, x, y), class_=kind, style=paint, stroke_dasharray=accent.dash, data_tip=tip)
        for run in curve.runs
        if run
    ]


def _path(run: Points, x: Axis, y: Axis) -> str:
    """Lines through finite points (h0: a lone one is a dot); values above the axis leave through its top."""
    parts, pen = [], "M"
    for value, loss in run:
        if not math.isfinite(loss) or (x.log and value <= 0):
            pen = "M"
            continue
        height = y(loss) if loss <= y.high else y.stop - 40
        parts.append(f"{pen}{x(value):.1f} {height:.1f}{'h0' if pen == 'M' else ''}")
        pen = "L"
    return " ".join(parts)


def _end_labels(curves: Sequence[Curve], x: Axis, y: Axis, colours: dict[str, Accent]) -> list[str]:
    """Names beside the ends, spread apart, each tied to its line."""
    named = [c for c in curves if math.isfinite(c.last)]
    ends = [y(c.last) for c in named]
    parts = []
    for curve, end, at in zip(named, ends, spread(ends, FONT * 1.2, y.stop, y.start)):
        paint = colours[curve.name].paint
        reach = max((run[-1][0] for run in curve.runs if run), default=x.high)
        tie = f"M{x(reach) + 3:.1f} {end:.1f} L{x.stop + 4:.1f} {end:.1f} L{x.stop + 12:.1f} {at:.1f}"
        parts.append(element("path", d=tie, class_="tie", style=f"stroke:{paint}"))
        parts.append(text(x.stop + 16, at + 4, _label(curve), class_="name", style=f"fill:{paint}"))
    return parts


def _label(curve: Curve) -> str:
    state = " (counted)" if curve.level is not None else " (diverged)" if curve.diverged else ""
    return shorten(curve.name, 16) + state
