"""What a model of count mixing is made of, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Shape(NamedTuple):
    """Contexts by name, mixers by name, the window's slots per context and followers per slot, the model's context.

    `beside`: whether a neural model has an input, too.
    """

    dense: Sequence[str]
    lists: Sequence[str]
    window: Sequence[str]
    mixers: Sequence[str]
    context: int
    n_slots: int
    n_followers: int
    beside: bool = False

    @property
    def contexts(self) -> tuple[str, ...]:
        return (*self.dense, *self.lists, *self.window)

    @property
    def n_inputs(self) -> int:
        """Order 0, every context, the window's pairs, what is always there, and a neural model."""
        return 1 + len(self.contexts) + 2 + self.beside

    @property
    def bias(self) -> int:
        """Which input is always there."""
        return 1 + len(self.contexts) + 1

    @property
    def has_words(self) -> bool:
        """Whether a context is made of words."""
        return any("w" in name for name in self.contexts)
