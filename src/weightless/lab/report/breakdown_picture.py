"""The byte breakdown as a PNG: each model's bytes per token as a stacked bar, all bars of one length, totals beside.

The twin of `breakdown.byte_breakdown_svg`, in pixels, with matplotlib's Agg canvas and its bundled face.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.base.files import atomic_writer
from weightless.base.units import human_bytes
from weightless.lab.report.breakdown import Parts, parts_of, tint_of
from weightless.lab.report.canvas import agg_canvas
from weightless.lab.report.palette import INK, MUTED, PAPER, Accent, accents
from weightless.lab.report.svg import shorten, text_width, visible

WIDTH, MARGIN = 1600, 60
_NAME, _BAR, _LIST, _GAP, _POINT = 46, 64, 34, 44, 0.72
_FONT, _SMALL = 26.0, 21.0
_SCALE_HEAD, _SCALE_ROW = 52, 44


def byte_breakdown_png(
    components: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path, what: str = "T"
) -> Path:
    """Draw {model: ledger components} into `path`; `what` is the figure: T, U or T64.  Returns the path."""
    rows = {model: parts for model, found in components.items() if (parts := parts_of(found, what))}
    if not rows:
        raise WeightlessError("no component has any bytes, so there is nothing to draw")
    height = _height(rows)
    canvas = agg_canvas(WIDTH / 100, height / 100, 100, facecolor=PAPER[0])
    axes = canvas.figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    paints, y = accents([(name, name) for name in rows]), float(MARGIN)
    for model, parts in rows.items():
        y = _model(axes, model, parts, paints[model], y)
    if len(rows) > 1:
        _to_scale(axes, rows, paints, y)
    path = Path(path)
    with atomic_writer(path) as file:
        canvas.print_png(file, metadata={"Software": "weightless"})
    return path


def _height(rows: Mapping[str, Parts]) -> int:
    lists = sum(len(_wrapped(parts)) for parts in rows.values())
    scale = _SCALE_HEAD + _SCALE_ROW * len(rows) if len(rows) > 1 else 0
    return int(2 * MARGIN + len(rows) * (_NAME + _BAR + _GAP) + lists * _LIST + scale)


def _model(axes: Any, model: str, parts: Parts, accent: Accent, y: float) -> float:
    """Heading, bar and list; returns the y below them."""
    total = sum(size for _, size in parts)
    _say(axes, MARGIN, y + 26, shorten(model, 60), _FONT, accent.light, weight="bold")
    _say(axes, WIDTH - MARGIN, y + 26, f"{human_bytes(total)} per token", _SMALL, MUTED[0], "right")
    y, x = y + _NAME, float(MARGIN)
    for rank, (name, size) in enumerate(parts):
        wide = size / total * (WIDTH - 2 * MARGIN)
        _box(axes, x, y, max(wide - 3, 0.8), _BAR, accent, tint_of(rank))
        label = next((s for s in (f"{name} {size / total:.0%}", name) if text_width(s, _SMALL) + 24 < wide), None)
        if label:
            _say(axes, x + 12, y + _BAR / 2 + 8, label, _SMALL, "#ffffff" if tint_of(rank) >= 0.7 else INK[0])
        x += wide
    y += _BAR
    for line in _wrapped(parts):
        y += _LIST
        for x, rank, words in line:
            _box(axes, x, y - 16, 16, 16, accent, tint_of(rank))
            _say(axes, x + 26, y, words, _SMALL, MUTED[0])
    return y + _GAP


def _wrapped(parts: Parts) -> list[list[tuple[float, int, str]]]:
    """Lines of (x, rank, words) of the list below a bar."""
    lines: list[list[tuple[float, int, str]]] = [[]]
    x = float(MARGIN)
    for rank, (name, size) in enumerate(parts):
        words = f"{shorten(name, 40)} {human_bytes(size)}"
        wide = text_width(words, _SMALL) + 60
        if lines[-1] and x + wide > WIDTH - MARGIN:
            lines.append([])
            x = float(MARGIN)
        lines[-1].append((x, rank, words))
        x += wide
    return lines


def _to_scale(axes: Any, rows: Mapping[str, Parts], paints: Mapping[str, Accent], y: float) -> None:
    totals = {model: sum(size for _, size in parts) for model, parts in rows.items()}
    left = MARGIN + min(max(text_width(shorten(m, 28), _SMALL) for m in rows) * 1.15 + 20, WIDTH * 0.36)
    room = max(text_width(human_bytes(total), _SMALL) for total in totals.values()) + 40
    scale = (WIDTH - MARGIN - left - room) / max(totals.values())
    _say(axes, MARGIN, y + 20, "The same totals, to one scale", _SMALL, MUTED[0])
    y += _SCALE_HEAD
    for model, total in totals.items():
        _say(axes, MARGIN, y + 22, shorten(model, 28), _SMALL, paints[model].light)
        _box(axes, left, y, max(total * scale, 1.0), 28, paints[model], 1.0)
        _say(axes, left + total * scale + 14, y + 22, human_bytes(total), _SMALL, MUTED[0])
        y += _SCALE_ROW


def _box(axes: Any, x: float, y: float, wide: float, high: float, accent: Accent, tint: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), wide, high, facecolor=accent.light, alpha=tint, linewidth=0))


def _say(
    axes: Any, x: float, y: float, content: str, size: float, colour: str, align: str = "left", **more: Any
) -> None:
    """Text with its baseline at y; never read as TeX."""
    plain = visible(content).replace("\n", " ")
    axes.text(x, y, plain, fontsize=size * _POINT, color=colour, ha=align, va="baseline", parse_math=False, **more)
