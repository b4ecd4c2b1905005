"""weightless board RUN…: a leaderboard by wall clock, as a table and as a page."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from weightless.base.errors import ConfigError, WeightlessError
from weightless.cli.parse import parse


@dataclass(frozen=True)
class Board:
    """Runs, models and cells of studies by seconds of training: of one text and one protocol, or refused by name."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Folders of runs, of studies, of models as `train` leaves them, or files called summary.json or study.json."""
    budget: str = ""
    """Who took longer is shown without a place: 90s, 30min, 1.5h; empty: no budget."""
    out: str = ""
    """The page (HTML); runs/board.html when empty."""
    markdown: bool = False
    """Print the table as Markdown, with the command that made it."""


def main(verb: str, arguments: list[str]) -> int:
    options = parse(Board, verb, arguments)
    if not options.runs:
        raise ConfigError("name at least one run's folder: weightless board runs/*")
    from weightless.base.files import atomic_write
    from weightless.base.units import parse_seconds
    from weightless.study.board import board_of
    from weightless.study.board_page import markdown, page, told

    budget = parse_seconds(options.budget) if options.budget else None
    out = Path(options.out or "runs/board.html")
    if out.is_dir():
        raise WeightlessError(f"{out} is a folder: give --out a file for the page")
    board = board_of([Path(run) for run in options.runs], budget)
    command = shlex.join(["weightless", verb, *arguments])
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, page(board, command))
    if options.markdown:
        print(markdown(board, command))
        return 0
    _print(board)
    print(f"{told(board)}\npage: {out}")
    return 0


def _print(board) -> None:  # type: ignore[no-untyped-def]
    from rich.table import Table
    from rich.text import Text

    from weightless.cli.tables import print_table
    from weightless.lab.report.svg import visible
    from weightless.study.board_page import HEADS, rows

    table = Table()
    for i, name in enumerate(HEADS):
        table.add_column(name, justify="left" if i in (1, len(HEADS) - 1) else "right")
    for row in rows(board):
        table.add_row(*(Text(visible(cell)) for cell in row))
    print_table(table)
