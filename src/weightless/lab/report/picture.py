"""The frontier as a PNG for the README: 1600 by 900, an opaque light card that reads on any background.

It draws the very layout of `frontier.lay_out`, in pixels, with matplotlib's Agg canvas and its bundled face.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.base.files import atomic_writer
from weightless.lab.report.canvas import agg_canvas
from weightless.lab.report.frontier import CORNER, OUTLINES, X_TITLE, Y_TITLE, Layout, Mark, Style, lay_out
from weightless.lab.report.groups import gather
from weightless.lab.report.headline import evidence, headline
from weightless.lab.report.palette import INK, MUTED, PAPER, RULE, Accent, accents
from weightless.lab.report.sections import checks_told, failures, warning
from weightless.lab.report.summary import check_summary, read_summary
from weightless.lab.report.svg import text_width, visible

WIDTH, HEIGHT = 1600, 900
_ALARM = "#b3261e"
_LEFT, _TOP, _BOTTOM, _POINT = 70, 175, 55, 0.72
_STYLE = Style(WIDTH - 2 * _LEFT, HEIGHT - _TOP - _BOTTOM, font=23, radius=12, slack=1.12)


def frontier_png(source: str | Path | dict[str, Any], path: str | Path) -> Path:
    """Draw the frontier of a run folder, or of a summary, into `path` (PNG); returns the path."""
    summary = check_summary(source) if isinstance(source, dict) else read_summary(source)
    groups = gather(summary)
    if not any(g.drawable for g in groups):
        raise WeightlessError(f"{summary['name']}: no model has a finite loss, so there is no frontier to draw")
    canvas = agg_canvas(WIDTH / 100, HEIGHT / 100, 100, facecolor=PAPER[0])
    axes = canvas.figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(-_LEFT, WIDTH - _LEFT)
    axes.set_ylim(HEIGHT - _TOP, -_TOP)
    colours = accents([(g.name, g.family) for g in groups])
    layout = lay_out(groups, _STYLE)
    _words(axes, _wrapped(str(headline(groups)), 30, WIDTH - 2 * _LEFT))
    doubt = warning(summary).partition(":")[0]  # the whole of it is longer than the picture is wide
    told = " ".join([*([f"{doubt}."] if doubt else []), evidence(groups), checks_told(summary)])
    _say(axes, 0, HEIGHT - _TOP - 26, told, 18, _ALARM if doubt or failures(summary) else MUTED[0])
    _frame(axes, layout)
    _gain(axes, layout)
    for mark in layout.marks:
        _mark(axes, mark, colours[mark.group.name])
    path = Path(path)
    with atomic_writer(path) as file:
        canvas.print_png(file, metadata={"Software": "weightless"})
    return path


def _say(
    axes: Any, x: float, y: float, content: str, size: float, colour: str, align: str = "left", **more: Any
) -> None:
    """Text with its baseline at y; never read as TeX."""
    from matplotlib.patheffects import withStroke

    plain = visible(content).replace("\n", " ")
    halo = [withStroke(linewidth=5, foreground=PAPER[0])]
    axes.text(
        x,
        y,
        plain,
        fontsize=size * _POINT,
        color=colour,
        ha=align,
        va="baseline",
        parse_math=False,
        path_effects=halo,
        **more,
    )


def _words(axes: Any, lines: list[str]) -> None:
    for i, line in enumerate(lines[:3]):
        _say(axes, 0, -_TOP + 64 + 42 * i, line, 30, INK[0])


def _wrapped(content: str, size: float, width: float) -> list[str]:
    """As few lines as fit, then as even as that many lines allow."""
    lines = _filled(content, size, width)
    narrower = width
    while narrower > width / 2 and len(_filled(content, size, narrower - 20)) == len(lines):
        narrower -= 20
    return _filled(content, size, narrower)


def _filled(content: str, size: float, width: float) -> list[str]:
    lines = [""]
    for word in content.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) * 1.04 > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _frame(axes: Any, layout: Layout) -> None:
    plot, f = layout.plot, layout.style.font
    for y, label in layout.y_ticks:
        axes.plot([plot.x0, plot.x1], [y, y], color=RULE[0], lw=1)
        _say(axes, plot.x0 - 0.6 * f, y + 0.35 * f, label, f, MUTED[0], "right")
    axes.plot([plot.x0, plot.x1], [plot.y1, plot.y1], color=MUTED[0], lw=1.2)
    for x, label in layout.x_ticks:
        axes.plot([x, x], [plot.y1, plot.y1 + 7], color=MUTED[0], lw=1.2)
        _say(axes, x, plot.y1 + 1.6 * f, label, f, MUTED[0], "center")
    _say(axes, plot.x1, plot.y1 + 3.1 * f, X_TITLE, f, MUTED[0], "right")
    _say(axes, 0, 1.1 * f, f"{Y_TITLE} (lower is better)", f, MUTED[0])
    if len(layout.marks) > 1:
        xs, ys = zip(*layout.front)
        axes.fill([*xs, plot.x1, plot.x0, plot.x0], [*ys, plot.y1, plot.y1, plot.y0], color=INK[0], alpha=0.035, lw=0)
        axes.plot(xs, ys, color=MUTED[0], lw=1.8, alpha=0.8)
        _say(axes, plot.x0 + 0.7 * f, plot.y1 - 0.7 * f, CORNER, f, MUTED[0])


def _gain(axes: Any, layout: Layout) -> None:
    gain, f = layout.gain, layout.style.font
    if gain is not None:
        axes.plot([gain.x0, gain.x1], [gain.y, gain.y], color=INK[0], lw=1.8)
        axes.plot([gain.x1 + 12, gain.x1, gain.x1 + 12], [gain.y - 7, gain.y, gain.y + 7], color=INK[0], lw=1.8)
        _say(axes, (gain.x0 + gain.x1) / 2, gain.y - 0.55 * f, gain.words, f, INK[0], "center")


def _mark(axes: Any, mark: Mark, accent: Accent) -> None:
    r, f = _STYLE.radius, _STYLE.font
    if mark.along:
        axes.plot([mark.x, mark.x], mark.along, color=accent.light, lw=3, alpha=0.6)
    if mark.across:
        axes.plot(mark.across, [mark.y, mark.y], color=accent.light, lw=3, alpha=0.6)
    if mark.label.leader:
        x1, y1, x2, y2 = mark.label.leader
        axes.plot([x1, x2], [y1, y2], color=accent.light, lw=1.4, alpha=0.6)
    _shape(axes, mark.x, mark.y, r, accent)
    align = {"start": "left", "end": "right"}.get(mark.label.align, "center")
    y = mark.label.box.y0 + f
    _say(axes, mark.label.text_x, y, mark.lines[0], f, accent.light, align, weight="bold")
    for line in mark.lines[1:]:
        _say(axes, mark.label.text_x, y + 1.12 * f, line, f * 0.88, MUTED[0], align)


def _shape(axes: Any, x: float, y: float, r: float, accent: Accent) -> None:
    from matplotlib.patches import Circle, Polygon

    look = {"facecolor": accent.light, "edgecolor": PAPER[0], "linewidth": 2.5, "zorder": 5}
    if accent.shape == "circle":
        axes.add_patch(Circle((x, y), r, **look))
    else:
        axes.add_patch(Polygon([(x + r * dx, y + r * dy) for dx, dy in OUTLINES[accent.shape]], closed=True, **look))
