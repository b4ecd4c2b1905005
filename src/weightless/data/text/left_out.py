"""What a source of text was not taken for: counted by reason, told once, written into the manifest.

    hidden          files and folders whose name begins with a dot
    empty           files of no bytes, whatever their name
    binary          files of a folder that are no text (NUL bytes, UTF-16, too much that is not UTF-8)
    not regular     pipes, sockets and devices in a folder
    broken link     links that lead nowhere
    met already     links to a file or folder that is read under another name (loops among them)
    null, blank     rows whose field is null, or holds nothing but white space; blank files

Noticed, not left out: <|endoftext|> in the midst of a line, read as text; files read as JSON because of their content;
tables (.csv, .tsv), of which no column is taken.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

WITHIN, BY_CONTENT, TABLES = "marks within lines", "JSON by content", "tables as plain text"
_SENTENCES = {
    WITHIN: "{n:,} <|endoftext|> within lines were read as text ({names}); to end a document, a mark stands at the "
    "start or at the end of a line",
    BY_CONTENT: "{n:,} file(s) were read as rows of JSON, by what is in them ({names}); --field '' reads them as text",
    TABLES: "{n:,} table(s) of the ending .csv or .tsv were read as plain text, separators and all ({names}); rows of "
    "JSON or parquet are read by --field",
}
_NAMED = 3


class LeftOut:
    """Counts of one reading, and some names for each reason."""

    def __init__(self) -> None:
        self.clear()
        self._is_told = False

    def clear(self) -> None:
        """Begin anew, as every reading does."""
        self.counts: dict[str, int] = {}
        self.noticed: dict[str, int] = {}
        self._names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str, count: int = 1) -> None:
        if count:
            counts = self.noticed if reason in _SENTENCES else self.counts
            counts[reason] = counts.get(reason, 0) + count
            names = self._names.setdefault(reason, [])
            if len(names) <= _NAMED and name not in names:
                names.append(name)

    def tell(self, source: str) -> None:
        """A line for what was left out, and one for each thing noticed; on standard error, at the first call only."""
        if self._is_told:
            return
        self._is_told = True
        if self.counts:
            found = (f"{n:,} {reason} ({self._some(reason)})" for reason, n in self.counts.items())
            print(f"{source}: left out {', '.join(found)}", file=sys.stderr)
        for reason, n in self.noticed.items():
            print(f"{source}: {_SENTENCES[reason].format(n=n, names=self._some(reason))}", file=sys.stderr)

    def _some(self, reason: str) -> str:
        names = self._names[reason]
        return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def together(all_counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """The counts of several sources."""
    total: dict[str, int] = {}
    for counts in all_counts:
        for reason, n in counts.items():
            total[reason] = total.get(reason, 0) + n
    return total
