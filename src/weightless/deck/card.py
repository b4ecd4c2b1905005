"""What a card is: its place in the deck, its wording, and the checks of its grader.

A card is a folder `deck/cards/NAME/`:

    card.py        CARD, a Card
    checks_*.py    the checks; each is one function of a Bench that raises Failed
    literal.md     the prompt with the known defects of the original wording, in our own words
    clarified.md   the prompt that says what is right
    interface.md   pinned names, argument order, shapes, dtypes, hooks: what a solution has to offer to be called
    traps.md       for people who teach: what goes wrong here, how it shows, what the right way is
    rubric.md      what the prompt asks to explain; filled in by a person or a model, never part of a score
    solution.py    our own solution: a thin file over modules of this library (`LIBRARY` in card.py), which are copied
                   beside it, so that it runs where nothing but NumPy is installed
    mutants.py     MUTANTS: (name, file of the solution, old text, new text, the status or statuses it has to get)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from weightless.deck.bench import Bench, Worker
from weightless.deck.outcome import Level, Status

Opened = Callable[[Path], AbstractContextManager[Worker]]
"""Starts a worker that has loaded solution.py of a folder."""
Difficulty = Literal["medium", "hard", "extra hard", "open-ended"]


@dataclass(frozen=True)
class Check:
    """One question that the grader asks: a level, a name that says what must hold, and the function that asks."""

    level: Level
    name: str
    ask: Callable[[Bench], None]


@dataclass(frozen=True)
class Mutant:
    """Our solution with one known mistake: `old` in `file` becomes `new`; `fails` are the statuses it may get."""

    name: str
    file: str
    old: str
    new: str
    fails: tuple[Status, ...] = ("WRONG_NUMERIC",)


@dataclass(frozen=True)
class Pinned:
    """A function, class or method ("KVCache.append") that interface.md pins, with its parameters in order (no self).

    `also` are names that honest solutions give it, and `parameter_also` those of a parameter, so that a solution which
    ignored interface.md is told what to rename; `optional` parameters may be missing.
    """

    name: str
    parameters: tuple[str, ...]
    optional: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    parameter_also: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Prepared:
    """What a submission in another language is asked, and the distributions that its workers have beside NumPy."""

    checks: tuple[Check, ...]
    packages: tuple[str, ...] = ()


Prepare = Callable[[Path, Path, Opened], Prepared | None]
"""prepare(submission, into, opened): None when a submission is graded as it is.  Else it makes the new folder `into`,
whose solution.py answers for the submission and is what workers are given, and returns what to ask of it.  Raises
Failed, CONTRACT for a source that does not compile.
"""


@dataclass(frozen=True)
class Card:
    """One challenge.  `library` names the modules of weightless that solution.py imports (their imports follow)."""

    name: str
    title: str
    difficulty: Difficulty
    order: int
    checks: tuple[Check, ...]
    library: tuple[str, ...] = ()
    files: tuple[str, ...] = ("solution.py",)
    pinned: tuple[Pinned, ...] = field(default=())
    """What `solution.py` must define; looked for without running it, before anything is called."""
    prepare: Prepare | None = None
    """For a card that may be handed in in several languages: see Prepare."""
