"""What a model of count mixing is made of, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LEAST_BITS, MOST_BITS = 8, 25
NODES_BYTES, LIST_BYTES = 2 * 64, 2 * 32
"""Of a bucket of growing tables, which has two slots (`kernels.numba.count_tables`)."""


def _wanted_bits(n_tokens: int) -> int:
    return max(LEAST_BITS, (max(2, -(-3 * n_tokens // 4)) - 1).bit_length())


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

    def table_bits(self, n_tokens: int, most_bytes: float) -> tuple[int, int]:
        """Buckets of growing tables of nodes and of lists, by their bits: three slots of nodes for two tokens, or as
        many as `most_bytes` have room for; where there is less, by turns one of both is halved, the lists first."""
        bits = min(_wanted_bits(n_tokens), MOST_BITS)
        nodes, lists = bits if self.dense else 1, min(bits, MOST_BITS - 1) if self.lists else 1
        while self.table_bytes((nodes, lists)) > most_bytes and max(nodes, lists) > LEAST_BITS:
            if lists >= nodes - 1 and lists > LEAST_BITS:
                lists -= 1
            else:
                nodes -= 1
        return nodes, lists

    def crowding(self, n_tokens: int, bits: tuple[int, int]) -> int:
        """How many times more buckets so many tokens would have: 1 where the tables are as large as wanted."""
        wanted = _wanted_bits(n_tokens)
        short = [wanted - bits[0]] if self.dense else []
        short += [wanted - bits[1]] if self.lists else []
        return 2 ** max(0, *short, 0)

    def table_bytes(self, bits: tuple[int, int]) -> int:
        """Bytes of the growing tables."""
        return (NODES_BYTES << bits[0]) + len(self.lists) * (LIST_BYTES << bits[1])
