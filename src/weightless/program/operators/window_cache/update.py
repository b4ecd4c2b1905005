"""The body of a window cache: enter the newest token, and find the contexts of the one to come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.ops.window_cache import MOST, WORDS
from weightless.program.arena import Arena
from weightless.program.batch import Batch
from weightless.program.operator import Access, Lowered, Place, Tensors, operator, span_of
from weightless.program.operators.window_cache.layout import (
    BITS,
    FRESH,
    Cached,
    cells,
    header_of,
    line_of,
    onward_of,
)


@operator("cache_update")
class CacheUpdate(Cached):
    """Enter the newest token of the history under the contexts before it, longest first; leave the rows of its own.

    A context's words are read up to the one that is entered.  It is counted, up to MOST, or takes a place: the next
    free one, else that of the word counted least (of equals the first from the hand on, which then stands behind it).
    """

    history: str
    words: str
    known: str
    lines: str

    def kept(self) -> tuple[str, ...]:
        return tuple(name for name in (self.words, self.known, self.lines) if name)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (former position looked up?, word known?, then for every order, longest first: words read, listed?);
        without it the structural maximum: no context knows the word, and all lists are full."""
        orders = tensors[self.known].shape[1]
        n = min(orders - 1, t - 1)
        looked, known, *lists = data or (int(t > 1), 0, *(WORDS, 0) * n)
        out = [span_of(tensors[self.history], t - 1, 1), cells(self.words, 0)]
        out += [span_of(tensors[self.history], 0, 1)] if looked else []
        if known:
            out += [cells(self.words, 1), cells(self.words, 1, write=True)]
        else:
            out += [cells(self.words, 0, 2, write=True), cells(self.known, 0, write=True)]
            out += [cells(self.known, 0)] if t > 1 else []
        out += [cells(self.known, 1, n)] if n else []
        out += [cells(self.known, 1, min(orders - 1, t), write=True)] if orders > 1 else []
        for k, read, listed in zip(range(n, 0, -1), lists[::2], lists[1::2], strict=True):
            at = line_of(k)
            out += [cells(self.lines, at, 1 + read)] if read else []
            out.append(cells(self.lines, at + 1, write=True))
            out += [] if listed else [cells(self.lines, at, write=True)]
            out += [cells(self.lines, onward_of(orders, k), write=not listed)] if k < orders - 1 else []
        return out

    def run(self, arena: Arena) -> tuple[int, ...]:
        t, orders = arena.registers.t, self.orders(arena)
        here, n = t - 1, min(orders - 1, t - 1)
        word = int(arena.span(self.history, here, 1)[0])
        if 2 * word >= arena.tensor(self.words).shape[1]:
            raise CorruptFileError(f"the history holds a word {word} that is none")
        rows = arena.span(self.known, 1, n).tolist() if n else []
        data, onward = list[int](), [0] * orders
        for k in range(n, 0, -1):
            onward[k], read, listed = self._enter(arena, k, rows[k - 1], word)
            data += [read, listed]
        first = int(arena.span(self.words, 2 * word, 1)[0])
        is_known = first < here and self.holds(arena, first, word)
        if is_known:
            arena.put_span(self.words, 2 * word + 1, arena.span(self.words, 2 * word + 1, 1) + np.uint32(1))
        else:
            arena.put_span(self.words, 2 * word, np.array([here, 1], np.uint32))
            distinct = arena.span(self.known, 0, 1) if t > 1 else np.zeros(1, np.uint32)
            arena.put_span(self.known, 0, distinct + np.uint32(1))
        onward[0] = first if is_known else here | FRESH
        if orders > 1:
            arena.put_span(self.known, 1, np.array(onward[: min(orders - 1, t)], np.uint32))
        return int(first < here), int(is_known), *data

    def _enter(self, arena: Arena, k: int, row: int, word: int) -> tuple[int, int, int]:
        """(row in which the context goes on that the word makes longer, words read, whether the word was listed)."""
        orders, at, fresh = self.orders(arena), line_of(k), bool(row & FRESH)
        row, entries = row & ~FRESH, list[int]()
        hand, used = (0, 0) if fresh else self.line(arena, k, row)
        for place in range(used):
            entries.append(int(arena.span(self.lines, at + 1 + place, 1, row)[0]))
            if entries[-1] >> BITS == word:
                count = min((entries[-1] & MOST) + 1, MOST)
                arena.put_span(self.lines, at + 1 + place, np.uint32(word << BITS | count), row)
                longer = arena.span(self.lines, onward_of(orders, k) + place, 1, row) if k < orders - 1 else [0]
                return int(longer[0]), place + 1, 1
        place, new, here = used, header_of(hand, used + 1), arena.registers.t - 1
        if used == WORDS:
            place = min(range(WORDS), key=lambda i: (entries[i] & MOST, (i - hand) % WORDS))
            new = header_of((place + 1) % WORDS, WORDS)
        arena.put_span(self.lines, at, np.uint32(new), row)
        arena.put_span(self.lines, at + 1 + place, np.uint32(word << BITS | 1), row)
        if k < orders - 1:
            arena.put_span(self.lines, onward_of(orders, k) + place, np.uint32(here), row)
        return here | FRESH, used, 0

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self.operands(places))

    def batch(self, rows: Batch) -> None:
        """Nothing: the head of a batch counts each row's window from its tokens (`Batch.fed`)."""
