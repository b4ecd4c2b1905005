"""What the operators over a suffix array share: reading words behind suffixes, counted, and the ranges found so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from weightless.program.arena import Arena
from weightless.program.operator import Access, Bounds, Operator, Place, Tensors, need

MAX_LENGTH = 16  # longest context in words
END = -1  # the word behind the end of the text: smaller than any


class Reads(NamedTuple):
    """What one operator did, which only the data decides: its case, pointers and words read."""

    case: int
    pointers: int
    words: int


IDLE, SKIPPED, SEARCHED, CHANGED, DRAWN = 0, 1, 2, 3, 4


class Cursor:
    """Reads the word `depth` places into the suffix at a row, and counts."""

    def __init__(self, arena: Arena, suffixes: str, text: str, depth: int) -> None:
        self.arena, self.suffixes, self.text, self.depth = arena, suffixes, text, depth
        self.n, self.pointers, self.words = arena.tensor(text).shape[0], 0, 0

    def __call__(self, row: int) -> int:
        at = int(self.arena.row(self.suffixes, row)[0]) + self.depth
        self.pointers += 1
        if at >= self.n:
            return END
        self.words += 1
        return int(self.arena.row(self.text, at)[0])

    def bounds(self, first: int, end: int, word: int) -> tuple[int, int]:
        """(first row, end row) of `word` among rows first..end-1, equal when it is not there."""
        low, high = first, end
        while low < high:
            middle = (low + high) // 2
            found = self(middle)
            if found == word:
                return self.lower(low, middle, word), self.upper(middle + 1, high, word)
            low, high = (middle + 1, high) if found < word else (low, middle)
        return low, low

    def lower(self, low: int, high: int, word: int) -> int:
        """First row of low..high-1 whose word is not below `word`, else high."""
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self(middle) < word else (low, middle)
        return low

    def upper(self, low: int, high: int, word: int) -> int:
        """First row of low..high-1 whose word is above `word`, else high."""
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self(middle) > word else (middle + 1, high)
        return low

    def count(self, first: int, end: int, lowest: int, highest: int, word: int) -> int:
        """How many of the rows first..end-1 have `word`, the words of the first and the last row being known."""
        if word < lowest or word > highest:
            return 0
        if lowest == highest:
            return end - first
        if word == lowest:
            return self.upper(first + 1, end - 1, word) - first
        if word == highest:
            return end - self.lower(first + 1, end - 1, word)
        low, high = self.bounds(first + 1, end - 1, word)
        return high - low

    def checked(self, first: int, end: int) -> tuple[int, int]:
        """A range of rows; ValueError when a table of a damaged file led outside."""
        if not 0 <= first <= end <= self.n:
            raise ValueError("a range outside the suffix array")
        return int(first), int(end)


class SuffixIndex(Operator):
    """What all four share: the index, the ranges found, and how their reads are told."""

    text: str
    suffixes: str
    found: str
    matched: str
    level: int

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        text, suffixes, found = tensors[self.text], tensors[self.suffixes], tensors[self.found]
        need(1 <= self.level <= MAX_LENGTH, self, f"level {self.level} is not in 1..{MAX_LENGTH}")
        need(text.shape[1] == 1 and text.format in ("u16", "u32"), self, f"{self.text} should be a column of ids")
        need(suffixes.shape == text.shape and suffixes.format == "u32", self, f"{self.suffixes} should point into text")
        for tensor in (text, suffixes):
            need(tensor.kind != "state" and not tensor.by_row, self, f"{tensor.name} should be a tight constant")
        need(text.shape[0] > 0, self, "an empty text")
        need(found.shape[1] == 2 and found.shape[0] > self.level, self, f"{self.found} has no row {self.level}")
        for name in (self.found, self.matched):
            need(tensors[name].format == "u32" and tensors[name].kind == "state", self, f"{name} should be u32 state")
            need(not tensors[name].by_row, self, f"{name} should be tight")
        need(tensors[self.matched].shape == (1, 1), self, f"{self.matched} should be one number")
        self._check_ends(bounds)

    def _check_ends(self, bounds: Bounds) -> None:
        raise AssertionError("each operator checks its own ends")

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0

    def probes(self, tensors: Tensors, reads: Reads) -> list[Access]:
        """Distinct rows of the two tight columns (which ones, only the data knows)."""
        columns = ((self.suffixes, reads.pointers), (self.text, reads.words))
        return [Access(name, 0, n * tensors[name].row_bytes, False) for name, n in columns if n]

    def most(self, tensors: Tensors) -> int:
        """Probes of a search, at most: one side until the word is met, then both."""
        return min(tensors[self.text].shape[0], 2 * tensors[self.text].shape[0].bit_length() + 1)

    def operands(self, places: Mapping[str, Place]) -> list[int]:
        text_at, text = places[self.text]
        ends = [places[name].offset for name in (self.suffixes, self.found, self.matched)]
        return [text_at, text.row_bytes, text.shape[0], *ends, self.level, places[self.found].tensor.shape[0]]

    def matched_of(self, arena: Arena) -> int:
        matched = int(arena.span(self.matched, 0, 1)[0])
        if matched >= arena.tensor(self.found).shape[0]:
            raise ValueError("a match longer than any that is kept")
        return matched
