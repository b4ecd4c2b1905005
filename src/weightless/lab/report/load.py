"""How evenly a model's experts are used: per block a picture of their loads, the busiest, and those that lie idle.

The load of one of n experts is its share of all choices times n: 1 is even use, 0 an expert that nobody asks.  Slots of
a memory are too many for a picture: of each block the share ever used, and how many used alike would be as uneven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weightless.lab.report.groups import Group
from weightless.lab.report.palette import Accent
from weightless.lab.report.summary import number
from weightless.lab.report.svg import drawing, element, escape

WIDTH, HEIGHT, GAP_FROM = 280.0, 26.0, 3.0

CAPTION = (
    "Load of each expert between the last two evaluations of training (of a model with several seeds, the first): its "
    "share of all choices, times the number of experts. The line is even use, 1."
)
EXPERT_COLUMNS = ("load of each expert", "busiest", "never used")
SLOT_CAPTION = (
    "Slots used at least once since training began (ever) and between its last two evaluations (lately); so many, used "
    "alike, would have the entropy of what was used lately (of a model with several seeds, the first)."
)
SLOT_COLUMNS = ("slots", "ever used", "used lately", "as many used alike", "busiest")


def loads_of(shares: Sequence[float | None]) -> list[float]:
    """Share times n for each of n experts; what is no number counts as none."""
    found = [number(share) for share in shares]
    return [max(0.0, share) * len(found) if share == share else 0.0 for share in found]


def load_tables(groups: Sequence[Group], colours: Mapping[str, Accent]) -> str:
    """A table for each model whose experts were counted; empty when there is none."""
    shown = []
    for i, group in enumerate(groups):
        used = _used(group, list)
        if used:
            rows = [
                _row(f"load-{i}-{j}", block, loads_of(used[block]), colours[group.name]) for j, block in enumerate(used)
            ]
            shown.append(_table(group.name, EXPERT_COLUMNS, rows, colours[group.name]))
    return "".join(shown) + element("p", escape(CAPTION), class_="note") if shown else ""


def slot_tables(groups: Sequence[Group], colours: Mapping[str, Accent]) -> str:
    """A table for each model with a memory whose slots were counted; empty when there is none."""
    shown = []
    for group in groups:
        used = _used(group, dict)
        if used:
            rows = [_slot_row(block.removeprefix("slots of "), summary) for block, summary in used.items()]
            shown.append(_table(group.name, SLOT_COLUMNS, rows, colours[group.name]))
    return "".join(shown) + element("p", escape(SLOT_CAPTION), class_="note") if shown else ""


def _used(group: Group, kind: type) -> dict[str, Any]:
    """What the first seed that was counted has of one kind: lists of shares, or summaries of slots."""
    used = next((member["used"] for member in group.members if member.get("used")), {})
    return {block: found for block, found in used.items() if isinstance(found, kind)}


def _table(name: str, columns: Sequence[str], rows: Sequence[str], accent: Accent) -> str:
    cells = [element("th", escape(name), scope="col", style=f"color:{accent.paint}")]
    cells += [element("th", told, scope="col") for told in columns]
    whole = element("table", element("thead", element("tr", *cells)), element("tbody", *rows), class_="checks")
    return element("div", whole, class_="scroll")


def _slot_row(block: str, summary: Mapping[str, float | None]) -> str:
    n, ever, lately, alike, busiest = (number(summary[key]) for key in ("n", "ever", "lately", "effective", "busiest"))
    told = f"{n:,.0f}", f"{ever:.1%}", f"{lately:.1%}", f"{alike:,.0f}", f"{busiest:.2f} times even"
    return element("tr", element("td", escape(block)), *(element("td", cell) for cell in told))


def _row(key: str, block: str, loads: Sequence[float], accent: Accent) -> str:
    busiest, idle = max(loads, default=0.0), sum(load == 0 for load in loads)
    told = f"{busiest:.2f} times even", f"{idle} of {len(loads)}"
    picture = _bars(key, f"{block}: busiest {told[0]}, never used {told[1]}", loads, accent)
    return element("tr", element("td", escape(block)), element("td", picture), *(element("td", t) for t in told))


def _bars(key: str, describe: str, loads: Sequence[float], accent: Accent) -> str:
    """One bar for each expert, in their order, and a line at even use."""
    top, step = max([2.0, *loads]), WIDTH / max(1, len(loads))
    wide = step - 1 if step > GAP_FROM else step
    bars = []
    for i, load in enumerate(loads):
        tall, tip = load / top * HEIGHT, f"expert {i}: {load:.2f} times even"
        bars.append(
            element(
                "rect",
                element("title", tip),
                x=i * step,
                y=HEIGHT - tall,
                width=wide,
                height=tall,
                data_tip=tip,
                style=f"fill:{accent.paint}",
            )
        )
    even = HEIGHT - HEIGHT / top
    bars.append(element("line", x1=0.0, x2=WIDTH, y1=even, y2=even, style="stroke:var(--ink,#1c1b19);stroke-width:1"))
    return drawing(WIDTH, HEIGHT, "Load of each expert", describe, bars, key)
