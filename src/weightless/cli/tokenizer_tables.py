"""Tables of the experiments with tokenizers: on a terminal (rich) or as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from weightless.base.units import human_bytes
from weightless.cli.tables import print_table

if TYPE_CHECKING:
    from weightless.lab.tokenizer_study import Measurement, Sample
    from weightless.lab.tokenizer_sweep import Sweep

LONGEST_TEXT, SPACE = 28, "␣"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first `n_names` columns are names, the rest numbers (to the right)."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_names: int
    tail_is_text: bool = False


def cross_domain(cells: Sequence[Measurement]) -> Table:
    """Bytes per token: a row per tokenizer, a column per corpus."""
    corpora = list(dict.fromkeys(cell.corpus for cell in cells))
    rows: dict[str, list[str]] = {}
    for cell in cells:
        rows.setdefault(cell.tokenizer, [cell.tokenizer, f"{cell.vocab_size:,}"]).append(f"{cell.bytes_per_token:.3f}")
    title = "Bytes per token (more: fewer tokens for a text)"
    return Table(title, ["tokenizer", "vocabulary", *corpora], list(rows.values()), 1)


def details(cells: Sequence[Measurement]) -> Table:
    """A row per tokenizer and corpus."""
    header = ["tokenizer", "corpus", "tokens", "per word", "single bytes", "used", "MB/s"]
    rows = [
        [
            cell.tokenizer,
            cell.corpus,
            f"{cell.n_tokens:,}",
            f"{cell.tokens_per_word:.3f}",
            f"{100 * cell.single_byte_share:.1f} %",
            f"{100 * cell.n_used / cell.vocab_size:.0f} %",
            f"{cell.megabytes_per_second:.1f}",
        ]
        for cell in cells
    ]
    return Table("Tokens per word; tokens that are single bytes; vocabulary used; speed of one thread", header, rows, 2)


def longest(cells: Sequence[Measurement]) -> Table:
    """The longest tokens that occurred, with their bytes."""
    rows = [[cell.tokenizer, cell.corpus, ",  ".join(map(_token, cell.longest))] for cell in cells]
    return Table("Longest tokens that occurred, and their bytes", ["tokenizer", "corpus", "tokens"], rows, 3)


def sweep_table(sweep: Sweep) -> Table:
    """A row per size: bytes per token on each corpus and what the step from the size before brought."""
    header = ["vocabulary"]
    for corpus in sweep.corpora:
        header += [corpus, "gain"]
    header += ["per word", "single bytes", "longest"]
    columns = {corpus: _with_gains([value for _, value in sweep.series(corpus)]) for corpus in sweep.corpora}
    rows = []
    for k, size in enumerate(sweep.sizes):
        last = sweep.rows[size][sweep.corpora[-1]]
        values = [text for corpus in sweep.corpora for text in columns[corpus][k]]
        shares = [f"{last.tokens_per_word:.3f}", f"{100 * last.single_byte_share:.1f} %", _token(last.longest[0])]
        rows.append([f"{size:,}", *values, *shares])
    title = f"Bytes per token; tokens per word, single bytes and longest token: {sweep.corpora[-1]}"
    return Table(title, header, rows, 0, tail_is_text=True)


def _with_gains(values: Sequence[float]) -> list[tuple[str, str]]:
    gains = ["", *(f"+{100 * (b / a - 1):.1f} %" for a, b in pairwise(values))]
    return [(f"{value:.3f}", gain) for value, gain in zip(values, gains)]


def _token(token: bytes) -> str:
    from weightless.lab.report.svg import shorten
    from weightless.lab.tokenizer_study import readable

    return f"{shorten(readable(token), LONGEST_TEXT).replace(chr(32), SPACE)} {len(token)}"


def notes(cells: Sequence[Measurement], samples: Mapping[str, Sample]) -> list[str]:
    """What the figures were taken on, and which texts did not come back whole."""
    lines = []
    for name, sample in samples.items():
        part = "all" if sample.n_bytes == sample.corpus_bytes else f"of {human_bytes(sample.corpus_bytes)}"
        lines.append(f"{name}: {human_bytes(sample.n_bytes)} ({part}), {len(sample.documents):,} documents")
    for cell in cells:
        if cell.decoded_share != 1:
            share = 100 * cell.decoded_share
            lines.append(f"{cell.tokenizer} rewrites {cell.corpus}: it decodes to {share:.2f} % of the bytes")
        if cell.refused:
            lines.append(f"{cell.tokenizer} on {cell.corpus}: bits per byte would be refused: {cell.refused}")
    return lines


def show(table: Table, markdown: bool) -> None:
    """Print a table, followed by an empty line."""
    if markdown:
        print(_markdown(table))
        return
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(title=table.title, box=box.SIMPLE_HEAD, title_justify="left")
    for k, name in enumerate(table.header):
        drawn.add_column(name, justify="left" if _is_text(table, k) else "right")
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    print_table(drawn)


def _is_text(table: Table, column: int) -> bool:
    return column < table.n_names or (table.tail_is_text and column == len(table.header) - 1)


def _markdown(table: Table) -> str:
    marks = [":--" if _is_text(table, k) else "--:" for k in range(len(table.header))]
    rows = [table.header, marks, *([cell.replace("|", "\\|") for cell in row] for row in table.rows)]
    return f"**{table.title}**\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
