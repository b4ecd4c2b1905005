"""The memory of a window cache, and why none of it has to be cleared.  Positions count from 0, orders from 0 to K - 1.

    words   (1, 2 V) u32             of every word [where it first occurred in this window, how often]: order 0
    lines   (context, 16 (2 K - 3))  row i belongs to the contexts first met at position i: for each order 1 .. K - 1 a
                                     line of 64 bytes [hand | words in use, 15 times (word | count)], and for all but
                                     the last a second one: beside every word the row of the context it makes longer
    known   (1, K) u32               [different words in the window, row of the last word, of the last two words, …], a
                                     row marked FRESH where nothing has followed its context yet

So contexts are a tree: a word's row in `words` leads to the line of the context of that word, there the word beside it
to the line of both, and so on.  Nothing is hashed, and nothing collides: per order only one context is first met at a
position, so no two share a line.

What an earlier window has left is never taken for this one's:
 - A word's row counts only if its position p is one of this window and the history holds that word there (a sparse set,
   Briggs & Torczon 1993).  Then the word has occurred at p in this window, and its first occurrence, at p or before,
   has written the row.
 - Lines are reached from rows that count, or from `known`, which the step before wrote.  A row is first named in the
   step of its position, FRESH; the step behind it writes the header, the word and the row beside it, before anybody
   reads them; and only words that the header counts are ever read.
"""

from __future__ import annotations

from collections.abc import Mapping

from weightless.base.errors import CorruptFileError
from weightless.ops.window_cache import WORDS
from weightless.program.arena import Arena
from weightless.program.operator import (
    NOT_SET,
    Access,
    Bounds,
    Operator,
    Place,
    Tensors,
    need,
    need_history,
)
from weightless.program.registers import STATE, WINDOW

MAX_ORDERS = 6
LINE = 16  # numbers
FRESH = 1 << 31
BITS = 8  # of a count, below the word; of how many words are in use, below the hand
assert WORDS < LINE


def width_of_lines(orders: int) -> int:
    """Numbers in a row of `lines`."""
    return LINE * (2 * orders - 3)


def line_of(k: int) -> int:
    """Column at which the line of order k begins."""
    return LINE * (k - 1)


def onward_of(orders: int, k: int) -> int:
    """Column of the rows in which contexts of order k go on, one for each of their words."""
    return LINE * (orders + k - 2)


def header_of(hand: int, used: int) -> int:
    return hand << BITS | used


class Cached(Operator):
    """What the operators of a window cache have in common: its memory."""

    history: str
    words: str
    known: str
    lines: str  # empty where there is order 0 alone

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        orders = tensors[self.known].shape[1]
        need(1 <= orders <= MAX_ORDERS, self, f"{orders} orders are not in 1..{MAX_ORDERS}")
        need((self.lines == "") == (orders == 1), self, "there are lines where there is more than order 0")
        wanted = {self.words: (1, 2 * bounds.vocab_size), self.known: (1, orders)}
        if self.lines:
            wanted[self.lines] = (bounds.context, width_of_lines(orders))
        for name, shape in wanted.items():
            tensor = tensors[name]
            need(tensor.shape == shape, self, f"{name} should have shape {shape}, not {tensor.shape}")
            need(tensor.format == "u32" and tensor.kind == "state", self, f"{name} should be a u32 state")
            need(not tensor.by_row, self, f"{name} should be packed tightly")
        need_history(self, bounds, self.history)
        need(len({self.history, *wanted}) == 1 + len(wanted), self, "history, words, known and lines should be apart")

    def line(self, arena: Arena, k: int, row: int) -> tuple[int, int]:
        """(hand, words in use) of a line of order k; CorruptFileError where no window leaves such numbers."""
        header = int(arena.span(self.lines, line_of(k), 1, row)[0])
        hand, used = header >> BITS, header & (1 << BITS) - 1
        if hand >= WORDS or not 1 <= used <= WORDS:
            raise CorruptFileError(f"a line of the window cache says that {used} of {WORDS} words are in use")
        return hand, used

    def holds(self, arena: Arena, place: int, word: int) -> bool:
        """Whether this window has the word at a position."""
        return int(arena.span(self.history, place, 1)[0]) == word

    def orders(self, arena: Arena) -> int:
        return arena.tensor(self.known).shape[1]

    def decided(self) -> Mapping[int, str]:
        return {STATE: self.history, WINDOW: self.words}

    def flops(self, tensors: Tensors, t: int) -> int:
        """Some additions and products per order are not counted, as those of counted models are not."""
        return 0

    def indifferent(self) -> list[tuple[str, str, int]]:
        return [(NOT_SET, self.words, 0), (NOT_SET, self.history, 0)]

    def operands(self, places: Mapping[str, Place]) -> list[int]:
        """[history, words, known, lines, bytes of a row of lines, rows, orders, V]."""
        known, words = places[self.known], places[self.words]
        at, lines = places[self.lines] if self.lines else known
        sizes = [lines.row_stride, lines.shape[0], known.tensor.shape[1], words.tensor.shape[1] // 2]
        return [places[self.history].offset, words.offset, known.offset, at, *sizes]


def cells(name: str, column: int, n: int = 1, write: bool = False) -> Access:
    """`n` numbers from a column on, of "some row": all rows cost the same."""
    return Access(name, 4 * column, 4 * n, write)
