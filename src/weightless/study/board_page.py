"""Floor 9.  The board written down: rows for the terminal, Markdown, and a page with a picture of loss against seconds.

In the picture every model is a mark at its training seconds and bits per byte, with its interval; the stepped line is
the best so far, the dashed one the budget.  Figures of all three come from the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from weightless.base.units import human_seconds
from weightless.lab.report.curves import curve_svg
from weightless.lab.report.frontier import glyph
from weightless.lab.report.labels import spread
from weightless.lab.report.page import document
from weightless.lab.report.palette import Accent, accents
from weightless.lab.report.sections import commands
from weightless.lab.report.summary import number
from weightless.lab.report.svg import Axis, drawing, element, escape, shorten, text, text_width, visible
from weightless.lab.report.table import as_bytes, as_count, as_loss, as_seconds
from weightless.study.board import Board, Place

HEADS = ("", "model", "bits per byte", "nats per token", "seconds", "tokens", "tokens/s", "touched", "")
WIDTH, HEIGHT, FONT = 880.0, 420.0, 14.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 700.0, 30.0, 360.0


def rows(board: Board) -> list[tuple[str, ...]]:
    """The cells of every line under HEADS; the last says what is special about it."""
    return [_row(place) for place in board.places]


def _row(place: Place) -> tuple[str, ...]:
    group = place.group
    rate = f"{place.rate:,.0f}" if math.isfinite(place.rate) else "–"
    special = place.why or ("best so far" if place.on_front else "")
    if place.group.loss.known and place.group.loss.n == 1:
        special += ", single seed" if special else "single seed"
    return (
        str(place.rank) if place.rank else "",
        group.name,
        as_loss(group.loss),
        as_loss(place.nats),
        as_seconds(place.seconds),
        as_count(place.tokens),
        rate,
        as_bytes(group.touched),
        special,
    )


def told(board: Board) -> str:
    """Under what conditions the figures compare."""
    clock = "processor time" if board.clock == "cpu" else "wall clock"
    budget = f"; budget {human_seconds(board.budget)}" if board.budget is not None else ""
    machines = f" on {' and on '.join(board.machines)}" if board.machines else ""
    return (
        f"{board.corpus['name']}, {board.protocol}; seconds of training by {clock}{machines}{budget}. "
        "Intervals are 95 % over seeds. A counted model has read its text once, outside any budget of steps."
    )


def markdown(board: Board, command: str) -> str:
    """The table as Markdown, the conditions, and the command."""
    heads = "| " + " | ".join(HEADS) + " |\n|---:|---|" + "---:|" * (len(HEADS) - 3) + "---|"
    lines = ["| " + " | ".join(visible(cell).replace("|", "\\|") for cell in row) + " |" for row in rows(board)]
    return "\n".join([heads, *lines, "", told(board), "", f"`{visible(command)}`", ""])


def page(board: Board, command: str) -> str:
    """The whole page."""
    groups = [place.group for place in board.places]
    colours = accents([(group.name, group.family) for group in groups])
    cells = [
        element("tr", *(_cell(cell, i, colours[place.group.name]) for i, cell in enumerate(_row(place))))
        for place in board.places
    ]
    head = element("tr", *(element("th", escape(name), scope="col") for name in HEADS))
    table = element("table", element("thead", head), element("tbody", *cells), class_="checks")
    caption = "The line steps down along the best so far: no model that took as few seconds has less loss."
    curves = curve_svg(groups, colours, "seconds", number(board.corpus.get("bytes_per_token")), "curves")
    main = element(
        "main",
        element(
            "header", element("h1", escape(_headline(board))), element("p", escape(told(board)), class_="standfirst")
        ),
        element("figure", element("div", picture(board, colours)), element("figcaption", caption), commands([command])),
        element("section", element("h2", "The board"), element("div", table, class_="scroll")),
        element("section", element("h2", "How the loss fell"), element("div", element("div", curves), class_="panels")),
    )
    return document("weightless board", main, list(colours.values()), "\n.checks td{white-space:nowrap}")


def _cell(cell: str, column: int, accent: Accent) -> str:
    return element("td", escape(cell), style=f"color:{accent.paint};font-weight:600" if column == 1 else None)


def _headline(board: Board) -> str:
    first = next((place for place in board.places if place.rank == 1), None)
    if first is None:
        return "No model of this board has a place"
    within = f" within {human_seconds(board.budget)}" if board.budget is not None else ""
    second = next((place for place in board.places if place.rank == 2), None)
    noise = ""
    if second is not None and _overlap(first, second):
        noise = f", {second.group.name} within its interval or unknown" if first.group.loss.half else ", single seed"
    return f"{first.group.name} has the least loss{within}: {as_loss(first.group.loss)} bits per byte{noise}"


def _overlap(one: Place, other: Place) -> bool:
    """Whether the order of two places may be noise: their intervals touch, or there are none."""
    halves = (one.group.loss.half, other.group.loss.half)
    return None in halves or other.group.loss.mean - one.group.loss.mean <= sum(half or 0.0 for half in halves)


def picture(board: Board, colours: dict[str, Accent]) -> str:
    """Loss against seconds; a sentence where no model has both."""
    drawn = [place for place in board.places if place.group.loss.known and place.seconds.known]
    if not drawn:
        return element("p", "No model has both a loss and its seconds.", class_="empty")
    x, y = _axes(drawn, board.budget)
    body = [*_frame(x, y), *_budget(board.budget, x, y), *_steps(board.front, x, y)]
    heights = [y(place.group.loss.mean) for place in drawn]
    for place, at, label in zip(drawn, heights, spread(heights, FONT * 1.25, y.stop, y.start), strict=True):
        accent, paint = colours[place.group.name], f"fill:{colours[place.group.name].paint}"
        reach, middle = place.group.loss.reach, x(_seconds(place))
        tip = f"{place.group.name}: {as_loss(place.group.loss)} bits per byte after {as_seconds(place.seconds)}"
        ends = y(place.group.loss.mean - reach), y(place.group.loss.mean + reach)
        stroke = f"stroke:{accent.paint}"
        body.append(element("line", x1=middle, x2=middle, y1=ends[0], y2=ends[1], class_="curve", style=stroke))
        body.append(glyph(accent, middle, at, 6.0, tip))
        tie = f"M{middle + 8:.1f} {at:.1f} L{RIGHT + 8:.1f} {label:.1f}"
        body.append(element("path", d=tie, class_="tie", style=f"{stroke};fill:none;opacity:.25"))
        body.append(text(RIGHT + 12, label + 4, shorten(place.group.name, 18), class_="name", style=paint))
    describe = "; ".join(f"{place.group.name} {place.group.loss.mean:.3f}" for place in drawn)
    return drawing(WIDTH, HEIGHT, "Loss against seconds of training", describe, body, "board", font_size=FONT)


def _seconds(place: Place) -> float:
    return max(place.seconds.mean, 1e-3)


def _axes(drawn: Sequence[Place], budget: float | None) -> tuple[Axis, Axis]:
    seconds = [_seconds(place) for place in drawn] + ([budget] if budget is not None else [])
    reach = [(p.group.loss.mean - p.group.loss.reach, p.group.loss.mean + p.group.loss.reach) for p in drawn]
    low, high = min(one for one, _ in reach), max(other for _, other in reach)
    pad = 0.08 * max(high - low, 0.05)
    x = Axis(min(seconds) / 1.3, max(seconds) * 1.3, LEFT, RIGHT, True)
    return x, Axis(low - pad, high + pad, BOTTOM, TOP)


def _frame(x: Axis, y: Axis) -> list[str]:
    parts, edge = [], -math.inf
    for value in y.ticks(5):
        parts.append(element("line", x1=x.start, x2=x.stop, y1=y(value), y2=y(value), class_="grid"))
        parts.append(text(x.start - 8, y(value) + 4, f"{value:.2f}", text_anchor="end", class_="tick"))
    parts.append(element("line", x1=x.start, x2=x.stop, y1=y.start, y2=y.start, class_="axis"))
    for value in x.ticks(6):
        label = f"{value:g} s" if value < 120 else human_seconds(value).replace(" 00 s", "").replace(" 00 min", "")
        half = text_width(label, FONT) / 2
        if x(value) - half > edge + 6:
            parts.append(text(x(value), y.start + 20, label, text_anchor="middle", class_="tick"))
            edge = x(value) + half
    parts.append(text(x.stop, y.start + 42, "seconds of training (log scale)", text_anchor="end", class_="axis-title"))
    return [*parts, text(0, 14, "bits per byte", class_="axis-title")]


def _budget(budget: float | None, x: Axis, y: Axis) -> list[str]:
    if budget is None:
        return []
    at = x(budget)
    line = element("line", x1=at, x2=at, y1=y.start, y2=y.stop, class_="axis", stroke_dasharray="5 4")
    return [line, text(at - 6, y.stop + 10, f"budget {human_seconds(budget)}", text_anchor="end", class_="tick")]


def _steps(front: Sequence[Place], x: Axis, y: Axis) -> list[str]:
    """Down along the best so far, and on to the right edge."""
    if not front:
        return []
    parts = [f"M{x(_seconds(front[0])):.1f} {y(front[0].group.loss.mean):.1f}"]
    parts += [f"H{x(_seconds(place)):.1f} V{y(place.group.loss.mean):.1f}" for place in front[1:]]
    return [element("path", d=" ".join([*parts, f"H{x.stop:.1f}"]), class_="axis", style="fill:none;stroke-width:1.5")]
