"""Tables in a terminal of any width: names are folded, a number is never cut.

rich makes all columns narrower alike, and cuts in the middle of a number or of a unit.  So every column is held to its
longest figure; where even folded names do not leave that much room, the table is printed wider than the terminal, which
breaks its lines but loses nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

LEAST_NAME = 8
"""Characters of a name in one line, at least."""
_FIGURE = re.compile(r"[-+±×]?\d[\d,.]*(?:e[-+]?\d+)?%?")


def print_table(table: Table) -> None:
    """Print a table of rich on standard output; columns set to the right are figures, kept whole with their units."""
    from rich.console import Console

    console = Console()
    widths = [_hold(column) for column in table.columns]
    edges = 3 * len(widths) + 1  # a line and two blanks beside every column
    if sum(widths) + edges > console.width:
        console = Console(width=sum(widths) + edges)
    console.print(table, crop=False)


def _hold(column: Any) -> int:
    """Keep a column from becoming narrower than its figures; the width that it needs."""
    cells = [line for cell in column.cells for line in _plain(cell).split("\n")]
    column.overflow = "fold"
    if column.justify == "right":
        needed = max((len(cell) for cell in cells), default=0)
        head = max((len(word) for word in _plain(column.header).split()), default=0)  # a heading is parted at blanks
        column.min_width = max(needed, head)
    else:
        figures = [figure for cell in cells for figure in _FIGURE.findall(cell)]
        longest = max((len(cell) for cell in (*cells, _plain(column.header))), default=0)
        column.min_width = max([min(LEAST_NAME, longest), *map(len, figures)])
    return column.min_width


def _plain(cell: Any) -> str:
    from rich.text import Text

    return (Text.from_markup(cell) if isinstance(cell, str) else cell).plain
