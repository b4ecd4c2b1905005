"""The board as Markdown, for a README or an issue: the same rows, cells in words (floor 9, no PyTorch)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from weightless.deck.board import link_to
from weightless.deck.card import Card
from weightless.deck.standing import Cell, Row, doubts, wilson
from weightless.lab.report.svg import visible


def markdown(rows: Sequence[Row], cards: Sequence[Card], title: str, at: Path) -> str:
    """A table, what should not be believed, what failed with links relative to `at`, and how it was graded."""
    heads = ["", "model", "wording", "passed", "95 % interval", *(card.name for card in cards)]
    lines = [f"# {plain(title)}", "", "| " + " | ".join(heads) + " |"]
    lines += ["|---:|---|---|---:|---:|" + "---|" * len(cards)]
    for row in rows:
        low, high = wilson(row.passes, row.n)
        cells = [str(row.rank) if row.n else "", plain(row.model), row.variant, f"{row.passes}/{row.n}"]
        cells += [f"{low:.0%} to {high:.0%}" if row.n else "", *(_cell(row.cells[card.name]) for card in cards)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [line for told in doubts(rows) for line in ("", f"**{plain(told)}**")]
    lines += ["", "## What failed", *_failures(rows, cards, at)]
    stamps = {
        stamp for row in rows for a in row.attempts for r in a.results.values() for stamp in (r.backend, *r.stamps)
    }
    lines += ["", "Sandbox: " + plain("; ".join(sorted(stamps)) or "nothing was graded") + "."]
    return "\n".join([*lines, ""])


def _cell(cell: Cell) -> str:
    if not cell.n:
        return "not graded"
    share = f" {cell.passes}/{cell.n}" if cell.n > 1 else ""
    failed = cell.decisive
    if failed is None or cell.passes:
        return f"PASS{share}"
    return f"{failed.status}{f' ({failed.failed_level})' if failed.failed_level else ''}{share}".replace("_", "\\_")


def _failures(rows: Sequence[Row], cards: Sequence[Card], at: Path) -> list[str]:
    lines = []
    for row in rows:
        shown = []
        for attempt in row.attempts:
            for card in cards:
                result = attempt.results.get(card.name)
                if result and result.status not in ("PASS", "NO_SUBMISSION"):
                    told = f"{card.name}, {result.status} at {result.failed_level}: {result.told}"
                    shown.append(f"- {plain(told)} ([result]({link_to(result.path, at)}))")
                rubric = attempt.rubrics.get(card.name)
                if rubric and rubric.told():
                    shown.append(f"- {plain(f'{card.name}, write-up: {rubric.told()}')} (no part of the grade)")
        if shown:
            lines += ["", f"### {plain(row.model)}, {row.variant}", "", *shown]
    return lines or ["", "Nothing."]


def plain(content: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    flat = " ".join(visible(content).split()).replace("\\", "\\\\")
    for mark in "|`*_<[":
        flat = flat.replace(mark, "\\" + mark)
    return flat
