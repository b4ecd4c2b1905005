"""Memory: slots that a query finds by two halves, and the rows of those that it found."""

from weightless.program.operators.memory.promise import AddSlots, ChooseSlots

__all__ = ["AddSlots", "ChooseSlots"]
