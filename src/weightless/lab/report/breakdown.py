"""Where the bytes are: each model's bytes touched per token, split by component.

Two panels.  Above, every bar is stretched to the same length, so that a model of 500 bytes reads as well as one of
5 MB; its total stands beside it.  Below, the totals to one true scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weightless.base.units import human_bytes
from weightless.lab.report.palette import Accent, accents
from weightless.lab.report.summary import number
from weightless.lab.report.svg import drawing, element, escape, shorten, text, text_width

FONT, BAR, TRUE_BAR, MARGIN = 14.0, 30.0, 16.0, 24.0
_TINTS = (1.0, 0.72, 0.5, 0.34, 0.23, 0.15)
_WHITE_TEXT_FROM = 0.7

Parts = Sequence[tuple[str, float]]


def byte_breakdown_svg(
    components: Mapping[str, Sequence[Mapping[str, Any]]],
    colours: Mapping[str, Accent] | None = None,
    width: float = 880,
    key: str = "bytes",
    what: str = "T",
    standalone: bool = True,
) -> str:
    """Draw {model: ledger components [{"name", "T", "U", "T64"}]} as stacked bars.

    `what` is the figure that is drawn; `standalone` adds the namespace and styles a file of its own needs.
    """
    rows = {model: parts_of(found, what) for model, found in components.items()}
    rows = {model: parts for model, parts in rows.items() if parts}
    if not rows:
        return element("p", "No bytes were recorded by component.", class_="empty")
    paints = colours or accents([(name, name) for name in rows])
    body: list[str] = []
    y = FONT * 1.2
    for model, parts in rows.items():
        drawn, y = _stretched(model, parts, paints[model], y, width)
        body += drawn
    drawn, height = _to_scale(rows, paints, y, width)
    describe = "; ".join(tell(model, parts) for model, parts in rows.items())
    extra = {"xmlns": "http://www.w3.org/2000/svg", "style": _FACE, "margin": MARGIN} if standalone else {}
    return drawing(
        width, height, "Bytes touched per token by component", describe, body + drawn, key, font_size=FONT, **extra
    )


_FACE = "font-family:system-ui,sans-serif;background:#fdfcfa"


def parts_of(components: Sequence[Mapping[str, Any]], what: str = "T") -> list[tuple[str, float]]:
    """(component, bytes) of the components that have any, largest first."""
    found = [(str(c["name"]), number(c.get(what))) for c in components]
    return sorted(((n, b) for n, b in found if b > 0), key=lambda pair: -pair[1])


def tint_of(rank: int) -> float:
    """How strongly the component of this rank is painted: the largest most."""
    return _TINTS[min(rank, len(_TINTS) - 1)]


def tell(model: str, parts: Parts) -> str:
    """A model's split in words."""
    split = ", ".join(f"{name} {human_bytes(size)}" for name, size in parts)
    return f"{model}: {split}"


def _stretched(model: str, parts: Parts, accent: Accent, y: float, width: float) -> tuple[list[str], float]:
    """Heading, bar and list of one model; returns the y below them."""
    total = sum(size for _, size in parts)
    drawn = [text(0, y, shorten(model, 40), class_="name", font_weight="600", style=f"fill:{accent.paint}")]
    drawn.append(text(width, y, f"{human_bytes(total)} per token", text_anchor="end", class_="detail"))
    y += 9
    x = 0.0
    for rank, (name, size) in enumerate(parts):
        wide = size / total * width
        drawn += _segment(x, y, wide, name, size, total, accent, tint_of(rank))
        x += wide
    drawn_list, y = _listed(parts, accent, y + BAR + FONT * 1.3, width)
    return drawn + drawn_list, y + FONT * 2.1


def _segment(
    x: float, y: float, wide: float, name: str, size: float, total: float, accent: Accent, tint: float
) -> list[str]:
    tip = f"{name}: {human_bytes(size)}, {size / total:.1%}"
    gap = 1.5 if wide > 4 else 0.0
    title = element("title", escape(tip))
    box = element(
        "rect",
        title,
        x=x,
        y=y,
        width=max(wide - gap, 0.4),
        height=BAR,
        data_tip=tip,
        style=f"fill:{accent.paint};fill-opacity:{tint}",
    )
    label = next((s for s in (f"{name} {size / total:.0%}", name) if text_width(s, FONT * 0.93) + 16 < wide), None)
    if label is None:
        return [box]
    ink = "var(--on-accent,#fff)" if tint >= _WHITE_TEXT_FROM else "var(--ink,#1c1b19)"
    size_px = round(FONT * 0.93, 2)
    return [box, text(x + 8, y + BAR / 2 + 4.8, label, style=f"fill:{ink}", font_size=size_px, pointer_events="none")]


def _listed(parts: Parts, accent: Accent, y: float, width: float) -> tuple[list[str], float]:
    """Every component with its bytes, in wrapped lines; returns the y of the last line."""
    drawn, x, size_px = [], 0.0, FONT * 0.88
    for rank, (name, size) in enumerate(parts):
        label = f"{shorten(name, 40)} {human_bytes(size)}"
        wide = text_width(label, size_px) + 30
        if x > 0 and x + wide - 14 > width:
            x, y = 0.0, y + FONT * 1.35
        tint = tint_of(rank)
        swatch = f"fill:{accent.paint};fill-opacity:{tint}"
        drawn.append(element("rect", x=x, y=y - 9, width=9, height=9, style=swatch))
        drawn.append(text(x + 14, y, label, class_="detail", font_size=round(size_px, 2)))
        x += wide
    return drawn, y


def _to_scale(
    rows: Mapping[str, Parts], paints: Mapping[str, Accent], y: float, width: float
) -> tuple[list[str], float]:
    """Totals as bars of one linear scale; returns the height of the whole drawing."""
    if len(rows) < 2:
        return [], y - FONT
    totals = {model: sum(size for _, size in parts) for model, parts in rows.items()}
    left = min(max(text_width(shorten(m, 20), FONT) for m in rows) * 1.2 + 10, width * 0.34)
    room = max(text_width(human_bytes(t), FONT) for t in totals.values()) + 16
    scale = (width - left - room) / max(totals.values())
    drawn = [text(0, y + 6, "The same totals, to one scale", class_="axis-title")]
    y += FONT * 1.4
    for model, total in totals.items():
        paint = f"fill:{paints[model].paint}"
        wide = max(total * scale, 0.6)
        drawn.append(text(0, y + 13, shorten(model, 20), class_="name", style=paint))
        drawn.append(element("rect", x=left, y=y, width=wide, height=TRUE_BAR, style=paint))
        drawn.append(text(left + wide + 8, y + 13, human_bytes(total), class_="detail"))
        y += TRUE_BAR + 10
    return drawn, y
