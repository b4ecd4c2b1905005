"""What the figures have in common: colours, style, boxes and words."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from weightless.lab.report import palette

VERMILION, BLUE, GREEN, VIOLET, OCHRE = (light for light, _ in palette.HUES[:5])
INK, MUTED, RULE, PAPER = palette.INK[0], palette.MUTED[0], palette.RULE[0], palette.PAPER[0]
PALE_BLUE, PALE_GREEN, PALE_RED, PALE_OCHRE = "#c9dbef", "#c5e3d8", "#f6d3c4", "#eddfbd"
STYLE: dict[str, Any] = {
    "svg.hashsalt": "weightless",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


def box(ax: Axes, x: float, y: float, width: float, height: float, colour: str, edge: str = PAPER, **how: Any) -> None:
    """A filled rectangle whose lower left corner is (x, y)."""
    line = how.pop("line", 0.6)
    ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=edge, linewidth=line, **how))


def boxes(ax: Axes, rectangles: list[tuple[float, float, float, float]], colour: str, line: float = 0.4) -> None:
    """Many rectangles (x, y, width, height) of one colour as one path, which keeps the file small."""
    if rectangles:
        corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)] for x, y, w, h in rectangles]
        outline = Path.make_compound_path(*(Path(corner, closed=True) for corner in corners))
        ax.add_patch(PathPatch(outline, facecolor=colour, edgecolor=PAPER, linewidth=line))


def word(ax: Axes, x: float, y: float, text: str, **how: Any) -> None:
    """A text centred at (x, y) unless told otherwise."""
    ax.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 8, **how})


def bare(ax: Axes, width: float, height: float, title: str = "") -> None:
    """A drawing area of that size without axes."""
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    if title:
        ax.set_title(title, loc="left")
