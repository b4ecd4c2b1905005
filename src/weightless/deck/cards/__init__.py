"""One folder for each challenge; `deck/catalog.py` finds them.  They stand on floor 9."""

from importlib import import_module
from typing import Any


def card(name: str) -> Any:
    """CARD of one folder here."""
    return import_module(f"{__name__}.{name}.card").CARD


def mutants(name: str) -> Any:
    """MUTANTS of one folder here."""
    return import_module(f"{__name__}.{name}.mutants").MUTANTS
