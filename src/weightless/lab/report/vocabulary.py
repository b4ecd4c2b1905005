"""The picture of a vocabulary sweep: bytes per token against the size of the vocabulary, one line per corpus.

`lay_out` places every stroke once, in a frame of 800 by 450; `vocabulary_svg` and `vocabulary_png` (1600 by 900, on
an opaque light card) only draw them.  The x axis is logarithmic: equal steps are equal factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.base.files import atomic_write, atomic_writer
from weightless.lab.report.canvas import agg_canvas
from weightless.lab.report.labels import spread
from weightless.lab.report.palette import HUES, INK, MUTED, PAPER, RULE
from weightless.lab.report.svg import Axis, drawing, element, shorten, text, text_width, visible

WIDTH, HEIGHT, FONT = 800.0, 450.0, 12.5
LEFT, TOP, BOTTOM, FOOT = 48.0, 104.0, 76.0, 18.0
_FACE = f"font-family:system-ui,sans-serif;background:{PAPER[0]}"
ORDER = (0, 1, 2, 5, 3, 4, 6, 7)

Series = Mapping[str, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class Stroke:
    """A line through points; `dot` is the radius of a disc at each of them."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float
    dot: float = 0.0


@dataclass(frozen=True)
class Words:
    """One line of text with its baseline at y."""

    x: float
    y: float
    content: str
    size: float
    colour: str
    align: str = "start"
    bold: bool = False


Picture = tuple[list[Stroke], list[Words]]


def headline(series: Series) -> str:
    """What the picture shows, in a sentence: the gain of the first and of the last step on the last corpus."""
    name, points = list(series.items())[-1]
    (v0, first), (v1, second) = points[:2]
    (v2, late), (v3, last) = points[-2:]
    begin = f"{v1:,} tokens instead of {v0:,} make a token {_percent(second / first)} longer"
    if len(points) > 2:
        begin += f"; {v3:,} instead of {v2:,}, {_percent(last / late)}"
    return f"{begin} (bytes per token, {name})"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):.{1 if ratio < 1.0995 else 0}f} %"


def lay_out(series: Series, evidence: str) -> Picture:
    """Every stroke and word; WeightlessError when there are fewer than two sizes to join by a line."""
    if not series or any(len(points) < 2 for points in series.values()):
        raise WeightlessError("a picture of a sweep needs at least two sizes")
    sizes = sorted({size for points in series.values() for size, _ in points})
    values = [value for points in series.values() for _, value in points]
    names = [shorten(visible(name), 18) for name in series]
    right = WIDTH - max(text_width(name, FONT) for name in names) * 1.1 - 34
    x = Axis(sizes[0] * 0.93, sizes[-1] * 1.02, LEFT, right, log=True)
    y = Axis(0.0, max(values) * 1.07, HEIGHT - BOTTOM, TOP)
    strokes, words = frame(x, y, sizes, "bytes per token (higher: a text is fewer tokens)")
    words += [Words(12, 30 + 22 * k, line, 17.5, INK[0]) for k, line in enumerate(wrapped(headline(series)))]
    words.append(Words(12, HEIGHT - FOOT, evidence, 10.5, MUTED[0]))
    ends = spread([y(points[-1][1]) for points in series.values()], FONT * 1.25, y.stop, y.start)
    lowest = min(series, key=lambda name: series[name][-1][1])
    for k, (name, points) in enumerate(series.items()):
        colour = HUES[ORDER[k % len(ORDER)]][0]
        placed = tuple((x(size), y(value)) for size, value in points)
        strokes.append(Stroke(placed, colour, 2.2, 3.6))
        words.append(Words(placed[-1][0] + 12, ends[k] + 4, names[k], FONT, colour, bold=True))
        if name == lowest:
            words += [
                Words(a, b + 20, f"{value:.2f}", 11, colour, "middle") for (a, b), (_, value) in zip(placed, points)
            ]
    return strokes, words


def frame(x: Axis, y: Axis, sizes: Sequence[int], caption: str) -> Picture:
    """Rules, ticks of either axis, and what the y axis shows."""
    strokes = [Stroke(((x.start, y(v)), (x.stop, y(v))), RULE[0], 1) for v in y.ticks(5)]
    words = [Words(x.start - 8, y(v) + 4, f"{v:g}", FONT, MUTED[0], "end") for v in y.ticks(5)]
    strokes.append(Stroke(((x.start, y.start), (x.stop, y.start)), MUTED[0], 1.2))
    edge = 0.0
    for size in sizes:
        label, half = f"{size:,}", text_width(f"{size:,}", FONT) / 2
        strokes.append(Stroke(((x(size), y.start), (x(size), y.start + 4)), MUTED[0], 1.2))
        if x(size) - half > edge + 4:
            words.append(Words(x(size), y.start + 19, label, FONT, MUTED[0], "middle"))
            edge = x(size) + half
    words.append(Words(x.stop, y.start + 37, "vocabulary (log scale)", FONT, MUTED[0], "end"))
    words.append(Words(12, TOP - 14, caption, FONT, MUTED[0]))
    return strokes, words


def wrapped(content: str) -> list[str]:
    """One line, or two of about equal length."""
    widest = WIDTH - 40
    if text_width(content, 17.5) <= widest:
        return [content]
    words = content.split(" ")
    cuts = [(" ".join(words[:k]), " ".join(words[k:])) for k in range(1, len(words))]
    return list(min(cuts, key=lambda lines: max(text_width(line, 17.5) for line in lines)))


def vocabulary_svg(series: Series, path: str | Path, evidence: str = "") -> Path:
    """Write the picture as SVG; returns the path."""
    told = "; ".join(f"{name}: " + ", ".join(f"{v} gives {b:.3f}" for v, b in line) for name, line in series.items())
    return write_svg(lay_out(series, evidence), headline(series), told, path)


def write_svg(picture: Picture, title: str, told: str, path: str | Path) -> Path:
    """Draw strokes and words as SVG; `told` says for a reader who does not see what is drawn."""
    strokes, words = picture
    body = [part for stroke in strokes for part in _stroke_svg(stroke)]
    body += [
        text(
            w.x,
            w.y,
            w.content,
            font_size=w.size,
            fill=w.colour,
            text_anchor=w.align,
            font_weight="bold" if w.bold else None,
        )
        for w in words
    ]
    markup = drawing(WIDTH, HEIGHT, title, told, body, "sweep", xmlns="http://www.w3.org/2000/svg", style=_FACE)
    atomic_write(path, markup + "\n")
    return Path(path)


def _stroke_svg(stroke: Stroke) -> list[str]:
    d = "M" + " L".join(f"{a:.1f} {b:.1f}" for a, b in stroke.points)
    line = element("path", d=d, fill="none", stroke=stroke.colour, stroke_width=stroke.width)
    dots = [
        element("circle", cx=a, cy=b, r=stroke.dot, fill=stroke.colour, stroke=PAPER[0])
        for a, b in stroke.points
        if stroke.dot
    ]
    return [line, *dots]


def vocabulary_png(series: Series, path: str | Path, evidence: str = "") -> Path:
    """Write the picture as PNG, 1600 by 900; returns the path."""
    return write_png(lay_out(series, evidence), path)


def write_png(picture: Picture, path: str | Path) -> Path:
    """Draw strokes and words as PNG, 1600 by 900."""
    strokes, words = picture
    canvas = agg_canvas(WIDTH / 100, HEIGHT / 100, 200, facecolor=PAPER[0])
    from matplotlib.patheffects import withStroke

    axes = canvas.figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(HEIGHT, 0)
    for stroke in strokes:
        _stroke_png(axes, stroke)
    halo = [withStroke(linewidth=3, foreground=PAPER[0])]
    for w in words:
        align = {"start": "left", "end": "right"}.get(w.align, "center")
        axes.text(
            w.x,
            w.y,
            visible(w.content),
            fontsize=w.size * 0.68,
            color=w.colour,
            ha=align,
            va="baseline",
            parse_math=False,
            path_effects=halo,
            weight="bold" if w.bold else "normal",
        )
    with atomic_writer(path) as file:
        canvas.print_png(file, metadata={"Software": "weightless"})
    return Path(path)


def _stroke_png(axes: Any, stroke: Stroke) -> None:
    xs, ys = zip(*stroke.points)
    marks = {"marker": "o", "markersize": 2 * stroke.dot * 0.72, "markeredgecolor": PAPER[0]} if stroke.dot else {}
    axes.plot(xs, ys, color=stroke.colour, lw=stroke.width * 0.72, **marks)
