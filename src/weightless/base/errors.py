"""Errors a user can act on: what is wrong, where, and what to do.

Anything that bad input can cause is raised as `WeightlessError` (or a subclass); the command line
prints its one line and exits with 2.  Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_NAMED = 30
LONGEST = 1200


class WeightlessError(Exception):
    """A problem of input or environment, told in one line: what, where, remedy.

    Names and values in it come from strangers: what would break the line or command the terminal is shown escaped.
    """

    def __str__(self) -> str:
        told = "".join(c if c.isprintable() else repr(c)[1:-1] for c in super().__str__())
        return told if len(told) <= LONGEST else f"{told[: LONGEST * 3 // 4]} … {told[-LONGEST // 4 :]}"


class CorruptFileError(WeightlessError):
    """A file's bytes contradict its format: truncated, damaged, or of another kind."""


class NewerFileError(CorruptFileError):
    """A file is sound, but a later version of this program wrote it; making it anew is no remedy, updating is."""


class ConfigError(WeightlessError):
    """A recipe, option or configuration asks for something that cannot be."""


class ArgumentError(WeightlessError, ValueError):
    """An argument of a library function has a shape or value that the function cannot take."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``did you mean 'd_model'?`` or the list of known names, the first thirty of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return "known: " + ", ".join(name[:60] for name in known[:MOST_NAMED]) + more
