"""Floor 8: the report of a run, one page that answers how little a model can get away with.

summary.py   read and check summary.json          page.py        the self-contained report.html
interval.py  mean and 95 % t interval             sections.py    samples, checks, conditions, commands
groups.py    models over seeds, Pareto front      frontier.py    loss against bytes touched (the picture)
headline.py  the sentence, computed               curves.py      loss against tokens and seconds
palette.py   one accent and mark per model        breakdown.py   bytes by component
svg.py       drawing and escaping                 picture.py     the same frontier as a PNG for the README
pairs.py     every loss beside the best, by seeds  canvas.py      where matplotlib keeps its fonts
labels.py    labels that do not overlap           table.py       HTML, Markdown and terminal tables
sizes.py     loss against training tokens, of models made at several sizes
"""

from __future__ import annotations

from weightless.lab.report.breakdown import byte_breakdown_svg
from weightless.lab.report.headline import headline
from weightless.lab.report.page import write_report
from weightless.lab.report.picture import frontier_png
from weightless.lab.report.sections import hashes
from weightless.lab.report.sizes import sizes_png, sizes_table
from weightless.lab.report.summary import check_summary, read_summary
from weightless.lab.report.table import markdown_table, terminal_table

__all__ = [
    "byte_breakdown_svg",
    "check_summary",
    "frontier_png",
    "hashes",
    "headline",
    "markdown_table",
    "read_summary",
    "sizes_png",
    "sizes_table",
    "terminal_table",
    "write_report",
]
