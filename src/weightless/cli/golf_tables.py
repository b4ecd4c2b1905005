"""The table of golf logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightless.cli.tables import print_table

if TYPE_CHECKING:
    from weightless.golf.log_table import Row

COLUMNS = ("val_bpb", "val_loss", "bytes/token", "steps", "parameters", "total bytes")


def print_logs(rows: Sequence[Row]) -> None:
    """A line for every log, and its flags under the table."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{len(rows)} logs")
    for name in ("log", "seed", "metric"):
        table.add_column(name)
    for name in COLUMNS:
        table.add_column(name, justify="right")
    table.add_column("flags", justify="right")
    for row in rows:
        final, facts = row.facts.final, row.facts
        table.add_row(
            escape("/".join(facts.path.parts[-2:])),
            "" if facts.seed is None else str(facts.seed),
            escape(final.name) if final else "",
            _number(final.bpb if final else None, 5),
            _number(final.loss if final else None, 5),
            _number(row.per_token, 5),
            _steps(facts.step, facts.total_steps),
            _count(facts.n_parameters),
            _count(row.total),
            str(len(row.flags)) if row.flags else "",
        )
    print_table(table)
    for row in rows:
        for flag in row.flags:
            print(f"{'/'.join(row.facts.path.parts[-2:])}: {flag}")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _steps(step: int | None, total: int | None) -> str:
    return "" if step is None else f"{step:,}" if total is None else f"{step:,}/{total:,}"
