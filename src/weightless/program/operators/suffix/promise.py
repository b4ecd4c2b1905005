"""An infinity-gram as operators over a suffix array: every pointer and every word compared is a counted read.

Stored: `text` (the training tokens), `suffixes` (their positions, sorted by what follows), `first_row` (V + 1 rows:
where the suffixes that begin with a word stand), `weights`.  Kept while decoding: row k of `found` = the range of
suffixes that begin with the last k words, for k = 1 .. `matched`; longer stretches of the context do not occur.

suffix_extend(k)   found_k of this position from found_{k-1} of the one before: one binary search for the new word among
                   suffixes that agree so far.  Longest first, because the shorter ranges are still those of before.
suffix_score(k)    p = w n_k(target) / n_k + (1 - w) p        for k = 1, 2, … matched, from the unigrams on
suffix_sample(k)   from the longest down: with probability w a word drawn from the occurrences, else a shorter context
suffix_full(k)     the whole distribution

n_k counts the occurrences of the last k words that a word follows, n_k(x) those that x follows.  The weight w depends
on the context alone: on k, on log2 n_k, and on whether more than one word has ever followed (the first and the last
suffix of a range tell).  So the distribution is normalised and fixed before the target is seen.  An operator reads no
row twice: searches go on strictly inside the rows that are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.ops.infinigram import N_BUCKETS, bucket_of
from weightless.program.arena import Arena
from weightless.program.operator import (
    BISECTED,
    Access,
    Bounds,
    Lowered,
    Place,
    Tensors,
    need,
    need_history,
    need_result,
    need_vector,
    operator,
    row_of,
    span_of,
    whole,
)
from weightless.program.operators.ngram import NOT_DRAWN
from weightless.program.operators.suffix.index import (
    CHANGED,
    DRAWN,
    END,
    IDLE,
    MAX_LENGTH,
    SEARCHED,
    SKIPPED,
    Cursor,
    Reads,
    SuffixIndex,
)
from weightless.program.registers import PROBABILITY, STATE, SUFFIX, TEXT

__all__ = ["MAX_LENGTH", "SuffixExtend", "SuffixFull", "SuffixSample", "SuffixScore"]


@operator("suffix_extend")
class SuffixExtend(SuffixIndex):
    """found_k = suffixes that begin with the last k words; `matched` becomes the longest k that has any."""

    history: str
    text: str
    suffixes: str
    first_row: str
    found: str
    matched: str
    level: int

    def _check_ends(self, bounds: Bounds) -> None:
        table = bounds.tensors[self.first_row]
        need(table.shape[1] == 1 and table.format == "u32", self, f"{self.first_row} should be a column of u32")
        need(table.kind != "state" and not table.by_row, self, f"{self.first_row} should be a tight constant")
        need(table.shape[0] == bounds.vocab_size + 1, self, "one row per token is needed")
        need_history(self, bounds, self.history)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (case, pointers, words, 1 when `matched` was written); without it the structural maximum."""
        if t < self.level:
            return []
        most = self.most(tensors) if self.level > 1 else 0
        case, pointers, words, told = data if data else (CHANGED, most, most, 1)
        known = whole(tensors[self.matched]) if t > 1 else []
        if case == SKIPPED:
            return known
        out = [*known, span_of(tensors[self.history], t - 1, 1)]
        if self.level == 1:
            out += [row_of(tensors[self.first_row]), row_of(tensors[self.first_row], 1)]
        else:
            out += [row_of(tensors[self.found], self.level - 1), *self.probes(tensors, Reads(case, pointers, words))]
        out += [row_of(tensors[self.found], self.level, write=True)] if case == CHANGED else []
        return [*out, *(whole(tensors[self.matched], write=True) if told else [])]

    def run(self, arena: Arena) -> tuple[int, ...]:
        t, level = arena.registers.t, self.level
        if t < level:
            return (*Reads(IDLE, 0, 0), 0)
        matched = self.matched_of(arena) if t > 1 else None
        if matched is not None and level > matched + 1:
            return (*Reads(SKIPPED, 0, 0), 0)
        word = int(arena.span(self.history, t - 1, 1)[0])
        read = Cursor(arena, self.suffixes, self.text, level - 1)
        if level == 1:
            first, end = int(arena.row(self.first_row, word)[0]), int(arena.row(self.first_row, word + 1)[0])
        else:
            first, end = read.checked(*arena.row(self.found, level - 1))
            first, end = read.bounds(first, end, word)
        read.checked(first, end)
        there = first < end
        if there:
            arena.put_row(self.found, np.array([first, end], np.uint32), level)
        now = max(level, matched or 0) if there else level - 1 if matched in (None, level) else matched
        if now != matched:
            arena.put_span(self.matched, 0, np.uint32(now))
        return (*Reads(CHANGED if there else SEARCHED, read.pointers, read.words), int(now != matched))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        at, table = places[self.first_row]
        return Lowered([*self.operands(places), places[self.history].offset, at, table.shape[0]])

    def decided(self) -> Mapping[int, str]:
        return {STATE: self.found, SUFFIX: self.suffixes, TEXT: self.text}

    def indifferent(self) -> list[tuple[str, str, int]]:
        return [(BISECTED, name, 0) for name in (self.suffixes, self.text, self.history)]


class _Level(SuffixIndex):
    """What score, sample and full share: the occurrences under found_k, and their weight."""

    weights: str

    def _check_ends(self, bounds: Bounds) -> None:
        weights = bounds.tensors[self.weights]
        need(weights.shape[1] == 1 and weights.format == "f32", self, f"{self.weights} should be a column of f32")
        need(weights.kind != "state" and not weights.by_row, self, f"{self.weights} should be a tight constant")
        need(weights.shape[0] >= self.level * 2 * N_BUCKETS, self, f"{self.weights} has too few rows")
        self._check_result(bounds)

    def _check_result(self, bounds: Bounds) -> None:
        raise AssertionError("each operator checks its own result")

    def _result(self) -> str:
        raise AssertionError("each operator names its own result")

    def decided(self) -> Mapping[int, str]:
        return {STATE: self._result(), SUFFIX: self.suffixes, TEXT: self.text, PROBABILITY: self.weights}

    def _range(self, arena: Arena) -> tuple[int, int] | None:
        """Rows of the last k words, or None when they do not occur."""
        if self.level > self.matched_of(arena):
            return None
        first, end = (int(row) for row in arena.row(self.found, self.level))
        if not first < end <= arena.tensor(self.text).shape[0]:
            raise ValueError("a range outside the suffix array")
        return first, end

    def _edges(self, read: Cursor, first: int, end: int) -> tuple[int, int, int, int]:
        """(first row that a word follows, end, lowest word, highest word); first = end when the text ends there."""
        lowest = read(first)
        if lowest == END:
            first += 1
            if first == end:
                return end, end, END, END
            lowest = read(first)
        highest = lowest if end - first == 1 else read(end - 1)
        if END in (lowest, highest):
            raise ValueError("two suffixes that end at the same place")
        return first, end, lowest, highest

    def _weight(self, arena: Arena, n: int, several: bool) -> float:
        at = ((self.level - 1) * 2 + int(several)) * N_BUCKETS + bucket_of(n)
        return float(arena.row(self.weights, at)[0])

    def _occurrences(self, tensors: Tensors, reads: Reads) -> list[Access]:
        return [*whole(tensors[self.matched]), row_of(tensors[self.found], self.level), *self.probes(tensors, reads)]

    def _ends(self, places: Mapping[str, Place], result: str) -> list[int]:
        return [*self.operands(places), places[self.weights].offset, places[result].offset]


@operator("suffix_score")
class SuffixScore(_Level):
    """p = w n(target) / n + (1 - w) p."""

    text: str
    suffixes: str
    weights: str
    found: str
    matched: str
    p: str
    level: int

    def _check_result(self, bounds: Bounds) -> None:
        need_vector(self, bounds.tensors, self.p, 1)

    def _result(self) -> str:
        return self.p

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (case, pointers, words); without it the structural maximum."""
        most = min(tensors[self.text].shape[0], self.most(tensors) + 3)
        reads = Reads(*data) if data else Reads(CHANGED, most, most)
        if reads.case == SKIPPED or t < self.level:
            return whole(tensors[self.matched])
        out = self._occurrences(tensors, reads)
        p, weight = tensors[self.p], row_of(tensors[self.weights])
        return [*out, weight, *whole(p), *whole(p, write=True)] if reads.case == CHANGED else out

    def run(self, arena: Arena) -> Reads:
        rows = self._range(arena)
        if rows is None:
            return Reads(SKIPPED, 0, 0)
        read = Cursor(arena, self.suffixes, self.text, self.level)
        first, end, lowest, highest = self._edges(read, *rows)
        if first == end:
            return Reads(SEARCHED, read.pointers, read.words)
        n, target = end - first, arena.registers.target
        hits = read.count(first, end, lowest, highest, target)
        w = self._weight(arena, n, lowest != highest)
        p = float(arena.row(self.p)[0])
        arena.put_row(self.p, np.array([w * (hits / n) + (1 - w) * p], dtype=np.float32))
        return Reads(CHANGED, read.pointers, read.words)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self._ends(places, self.p))

    def indifferent(self) -> list[tuple[str, str, int]]:
        return [(BISECTED, name, 0) for name in (self.suffixes, self.text)]


@operator("suffix_sample")
class SuffixSample(_Level):
    """outcome = the word behind a random occurrence, with probability w; else left for the next shorter context.

    `left` = the product of (1 - w) so far: this level draws when 1 - uniform_1 lies between it before and after.
    Uniform 0 chooses the occurrence, and the word in the unigrams below.
    """

    text: str
    suffixes: str
    weights: str
    found: str
    matched: str
    left: str
    outcome: str
    level: int
    first: bool

    def _check_result(self, bounds: Bounds) -> None:
        need_vector(self, bounds.tensors, self.outcome, 1)
        need_vector(self, bounds.tensors, self.left, 1)

    def result(self) -> str:
        return self.outcome

    def _result(self) -> str:
        return self.outcome

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (case, pointers, words); without it the structural maximum."""
        most = min(tensors[self.text].shape[0], 4)
        reads = Reads(*data) if data else Reads(DRAWN, most, most)
        left, outcome = tensors[self.left], tensors[self.outcome]
        before = [] if self.first else whole(outcome)
        if reads.case == IDLE:
            return before
        begun = [*whole(left, write=True), *whole(outcome, write=True)] if self.first else []
        if reads.case == SKIPPED or t < self.level:
            return [*before, *whole(tensors[self.matched]), *begun]
        out = [*before, *self._occurrences(tensors, reads)]
        if reads.case == SEARCHED:
            return [*out, *begun]
        out += [row_of(tensors[self.weights]), *([] if self.first else whole(left))]
        if reads.case == DRAWN:
            return [*out, *whole(outcome, write=True)]
        return [*out, *whole(left, write=True), *(whole(outcome, write=True) if self.first else [])]

    def run(self, arena: Arena) -> Reads:
        if not self.first and arena.row(self.outcome)[0] != NOT_DRAWN:
            return Reads(IDLE, 0, 0)
        rows, read = self._range(arena), Cursor(arena, self.suffixes, self.text, self.level)
        first, end, lowest, highest = self._edges(read, *rows) if rows else (0, 0, END, END)
        if first == end:
            self._begin(arena, 1.0)
            return Reads(SEARCHED if rows else SKIPPED, read.pointers, read.words)
        w = self._weight(arena, end - first, lowest != highest)
        left = (1.0 if self.first else float(arena.row(self.left)[0])) * (1 - w)
        uniforms = arena.registers.uniforms
        if 1 - uniforms[1] > left:
            row = first + min(int(uniforms[0] * (end - first)), end - first - 1)
            word = lowest if row == first else highest if row == end - 1 else read(row)
            arena.put_row(self.outcome, np.array([word], dtype=np.float32))
            return Reads(DRAWN, read.pointers, read.words)
        if self.first:
            self._begin(arena, left)
        else:
            arena.put_row(self.left, np.array([left], dtype=np.float32))
        return Reads(CHANGED, read.pointers, read.words)

    def _begin(self, arena: Arena, left: float) -> None:
        if self.first:
            arena.put_row(self.left, np.array([left], dtype=np.float32))
            arena.put_row(self.outcome, np.array([NOT_DRAWN], dtype=np.float32))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([*self._ends(places, self.outcome), places[self.left].offset, int(self.first)])


@operator("suffix_full")
class SuffixFull(_Level):
    """outcome (1, V) = w n(.) / n + (1 - w) outcome: reads the word behind every occurrence."""

    text: str
    suffixes: str
    weights: str
    found: str
    matched: str
    outcome: str
    level: int

    def _check_result(self, bounds: Bounds) -> None:
        need_vector(self, bounds.tensors, self.outcome, bounds.tensors[self.outcome].shape[1])
        need_result(self, bounds, self.outcome, full=True)

    def result(self) -> str:
        return self.outcome

    def _result(self) -> str:
        return self.outcome

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (case, pointers, words); without it the structural maximum."""
        n = tensors[self.text].shape[0]
        reads = Reads(*data) if data else Reads(CHANGED, n, n)
        if reads.case == SKIPPED or t < self.level:
            return whole(tensors[self.matched])
        out, p = self._occurrences(tensors, reads), tensors[self.outcome]
        if reads.case == SEARCHED:
            return out
        return [*out, row_of(tensors[self.weights]), *whole(p), *whole(p, write=True)]

    def run(self, arena: Arena) -> Reads:
        rows = self._range(arena)
        if rows is None:
            return Reads(SKIPPED, 0, 0)
        read = Cursor(arena, self.suffixes, self.text, self.level)
        words = np.array([word for word in (read(row) for row in range(*rows)) if word != END], dtype=np.int64)
        if len(words) + 1 < rows[1] - rows[0]:
            raise ValueError("two suffixes that end at the same place")
        if not len(words):
            return Reads(SEARCHED, read.pointers, read.words)
        w = self._weight(arena, len(words), bool((words != words[0]).any()))
        share = np.bincount(words, minlength=arena.tensor(self.outcome).shape[1]) / len(words)
        p = arena.row(self.outcome).astype(np.float64)
        arena.put_row(self.outcome, (w * share + (1 - w) * p).astype(np.float32))
        return Reads(CHANGED, read.pointers, read.words)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        vocab_size = places[self.outcome].tensor.shape[1]
        return Lowered([*self._ends(places, self.outcome), vocab_size])
