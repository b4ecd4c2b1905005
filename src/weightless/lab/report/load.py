"""How evenly a model's experts are used: per block a picture of their loads, the busiest, and those that lie idle.

The load of one of n experts is its share of all choices times n: 1 is even use, 0 an expert that nobody asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weightless.lab.report.groups import Group
from weightless.lab.report.palette import Accent
from weightless.lab.report.summary import number
from weightless.lab.report.svg import drawing, element, escape

WIDTH, HEIGHT, GAP_FROM = 280.0, 26.0, 3.0

CAPTION = (
    "Load of each expert between the last two evaluations of training (of a model with several seeds, the first): its "
    "share of all choices, times the number of experts. The line is even use, 1."
)


def loads_of(shares: Sequence[float | None]) -> list[float]:
    """Share times n for each of n experts; what is no number counts as none."""
    found = [number(share) for share in shares]
    return [max(0.0, share) * len(found) if share == share else 0.0 for share in found]


def load_tables(groups: Sequence[Group], colours: Mapping[str, Accent]) -> str:
    """A table for each model whose experts were counted; empty when there is none."""
    shown = []
    for i, group in enumerate(groups):
        used = next((member["used"] for member in group.members if member.get("used")), None)
        if used:
            shown.append(_table(f"load-{i}", group.name, used, colours[group.name]))
    return "".join(shown) + element("p", escape(CAPTION), class_="note") if shown else ""


def _table(key: str, name: str, used: Mapping[str, Sequence[float | None]], accent: Accent) -> str:
    cells = [element("th", escape(name), scope="col", style=f"color:{accent.paint}")]
    cells += [element("th", told, scope="col") for told in ("load of each expert", "busiest", "never used")]
    rows = [_row(f"{key}-{i}", block, loads_of(used[block]), accent) for i, block in enumerate(used)]
    whole = element("table", element("thead", element("tr", *cells)), element("tbody", *rows), class_="checks")
    return element("div", whole, class_="scroll")


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
