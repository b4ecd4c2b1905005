"""The arms of a study as rows, for the page and for Markdown; and every cell by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weightless.lab.report.interval import Estimate
from weightless.lab.report.svg import element, escape, shorten
from weightless.lab.report.table import as_count, as_seconds, flat_markdown
from weightless.study.figures import chosen, told
from weightless.study.fronts import Standing, standings
from weightless.study.gathered import Arm, Gathered
from weightless.study.statistics import Known, difference
from weightless.study.verdicts import amount

MOST_ROWS, LONGEST_NAME = 14, 30
SIZES = {"touched": "touched / token", "stored": "stored", "tokens_seen": "tokens", "train_seconds": "trained in"}
DASH = "–"


@dataclass(frozen=True)
class Table:
    """Column names and rows of texts; the first cell of a row is its arm."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def arms_table(g: Gathered, names: Sequence[str], mismatch: bool = False) -> Table:
    """Loss, difference to the base with its verdict, sizes and how the cells ended."""
    front = fronts(g) if g.evidence.study.get("kind") == "frontier" else {}
    alike = same(g)
    sizes = [n for n in SIZES if n not in alike and any(math.isfinite(arm.figure(n).value) for arm in g.arms)]
    bases = set(g.bases.values())
    against = f"against {next(iter(bases))}" if len(bases) == 1 else "against the base"
    heads = ["arm", g.unit, against, "verdict", *(["front"] if front else []), *(SIZES[name] for name in sizes)]
    heads += ["matched within"] if mismatch else []
    rows = []
    for arm in (arm for arm in g.arms if arm.name in names):
        row = [arm.name, loss_told(arm), difference_told(g, arm), verdict_told(g, arm)]
        row += [front[arm.name].word if arm.name in front else DASH] if front else []
        row += [_size(arm.figure(name), name) for name in sizes]
        row += [mismatch_told(g.evidence.mismatch.get(arm.name) or {})] if mismatch else []
        rows.append((*row, states_told(arm)))
    return Table((*heads, "cells"), tuple(rows))


def same(g: Gathered) -> dict[str, str]:
    """{figure: how it is written} of the sizes that are the same for every arm, and are said once."""
    found = {}
    for name in SIZES:
        written = {_size(arm.figure(name), name) for arm in g.arms if arm.has_loss}
        if len(written) == 1 and len(g.arms) > 1 and DASH not in written:
            found[name] = written.pop()
    return found


def same_told(g: Gathered) -> str:
    """The same in a sentence."""
    told = [f"{SIZES[name]} {written}" for name, written in same(g).items()]
    whom = "every arm" if all(arm.has_loss for arm in g.arms) else "every arm with a loss"
    return f"The same for {whom}: {', '.join(told)}. " if told else ""


def fronts(g: Gathered) -> dict[str, Standing]:
    """Who is on the front of loss and bytes touched."""
    sizes = {arm.name: arm.figure("touched").value for arm in g.arms}
    losses = {arm.name: g.evidence.values(arm.name, g.loss) for arm in g.arms}
    return standings(losses, {name: size for name, size in sizes.items() if math.isfinite(size)})


def loss_told(arm: Arm, unit: str = "") -> str:
    """1.9310 ± 0.0041; of one seed, that it is one; else how the arm ended."""
    if not arm.has_loss:
        return "diverged" if arm.states["diverged"] else DASH
    half = arm.loss.half()
    if half is None:
        return f"{arm.loss.value:.4f} {unit}".rstrip() + ", single seed"
    return amount(arm.loss.value, unit, half) if half else f"{arm.loss.value:.4f} {unit}".rstrip()


def difference_told(g: Gathered, arm: Arm) -> str:
    """In bits per byte and in nats per token, where both are known and tokens are the same."""
    base = g.bases[arm.name]
    if arm.name == base:
        return "base"
    if arm.beside is None:
        return DASH
    parts, same_tokens = [], g.have_same_tokens(arm.name, base)
    for figure, unit in (("bits_per_byte", "bits"), ("nats_per_token", "nats"), ("val_loss", "nats")):
        one, other = (g.evidence.values(name, figure) for name in (arm.name, base))
        if one and other and not (figure == "val_loss" and parts) and (same_tokens or unit == "bits"):
            apart = difference(one, other)
            parts.append(_signed(apart, unit))
    return "\n".join(parts) or DASH


def _signed(apart: Known, unit: str) -> str:
    half = apart.half()
    written = amount(apart.value, unit, half) if half else f"{apart.value:.4f} {unit}"
    return written if apart.value < 0 else f"+{written}"


def verdict_told(g: Gathered, arm: Arm) -> str:
    """lower, higher, not told apart or single seed, with Holm's adjusted p."""
    if arm.beside is None:
        return DASH
    p = arm.beside.adjusted
    return arm.beside.word if p is None else f"{arm.beside.word}\np {'< 0.001' if p < 1e-3 else f'= {p:.2g}'}"


def _size(known: Known, name: str) -> str:
    if not math.isfinite(known.value):
        return DASH
    if name == "tokens_seen":
        return as_count(Estimate(known.value, known.half(), 1))
    if name == "train_seconds":
        return as_seconds(Estimate(known.value, known.half(), 1))
    return told(known.value, known.half(), name)


def states_told(arm: Arm) -> str:
    """3 done, 1 diverged."""
    return ", ".join(f"{n} {state}" for state, n in arm.states.items())


def mismatch_told(left: Mapping[str, float]) -> str:
    """What matching has left: parameters +0.21 %."""
    return ", ".join(f"{name} {100 * share:+.2f} %" for name, share in left.items()) or DASH


def cells_table(g: Gathered) -> Table:
    """Every cell: what the means are made of."""
    names = list(dict.fromkeys(name for cell in g.evidence.cells for name in cell.figures))
    rows = []
    for cell in g.evidence.cells:
        figures = [f"{cell.figures[name]:.6g}" if name in cell.figures else DASH for name in names]
        rows.append((cell.arm, str(cell.seed), cell.status, *figures, cell.reason or DASH, cell.folder or DASH))
    return Table(("arm", "seed", "status", *names, "reason", "folder"), tuple(rows))


def html_table(g: Gathered, table: Table, label: str) -> str:
    """A table of the page; names in the colours of the drawings."""
    heads = [element("th", escape(head), scope="col") for head in table.heads]
    lines = []
    for row in table.rows:
        paint = f"color:{g.colours[row[0]].paint}" if row[0] in g.colours else None
        first = element("th", escape(shorten(row[0], LONGEST_NAME)), scope="row", style=paint, title=row[0])
        cells = [_cell(cell) for cell in row[1:]]
        lines.append(element("tr", first, *cells, class_="base" if row[0] in g.bases.values() else None))
    whole = element("table", element("thead", element("tr", *heads)), element("tbody", *lines), class_="arms")
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=label)


def _cell(cell: str) -> str:
    """A cell of a table; what stands behind a line feed is smaller, below."""
    first, _, second = cell.partition("\n")
    below = element("small", escape(second)) if second else ""
    return element("td", escape(first), below, class_=_class(cell))


def _class(cell: str) -> str | None:
    return "quiet" if cell.startswith(("not told apart", "single seed", DASH)) else None


def markdown_table(table: Table) -> list[str]:
    """The same as lines of Markdown."""
    lines = ["| " + " | ".join(map(flat_markdown, table.heads)) + " |", "|---|" + "---:|" * (len(table.heads) - 1)]
    return lines + [
        "| " + " | ".join(flat_markdown(cell.replace("\n", ", ")) for cell in row) + " |" for row in table.rows
    ]


def shown(g: Gathered) -> list[str]:
    """The arms of the page's table: all, or the base and the lowest of many."""
    return chosen(g, MOST_ROWS)
