"""The cards of the deck, found by the names of their folders.  Floor 9.

A folder of `cards/` with a `card.py` is a card; its name is checked against the list of folders before it is imported.
"""

from __future__ import annotations

from pathlib import Path

from weightless.base.errors import ConfigError, nearest
from weightless.deck import cards as room
from weightless.deck.card import Card, Mutant


def cards() -> tuple[Card, ...]:
    """All cards in the suggested order."""
    folders = [path.parent.name for path in Path(room.__file__).parent.glob("*/card.py")]
    return tuple(sorted((room.card(name) for name in folders), key=lambda one: (one.order, one.name)))


def card(name: str) -> Card:
    """The card of that name.  Raises ConfigError naming the nearest one."""
    if not (Path(room.__file__).parent / name / "card.py").is_file() or not name.isidentifier():
        raise ConfigError(f"no card {name!r}: {nearest(name, [one.name for one in cards()])}")
    return room.card(name)


def mutants(name: str) -> tuple[Mutant, ...]:
    """Our solution of a card with one known mistake each."""
    return room.mutants(card(name).name)
