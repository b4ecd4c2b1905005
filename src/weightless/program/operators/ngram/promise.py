"""A Kneser-Ney model as operators over sorted arrays: every probe of an index is a counted read.

ngram_context(k)   find the node of the last k words under the node of the last k-1 (binary search)
ngram_score(k)     p = own_k(target) + gamma_k p         for k = 0, 1, … (interpolation, shortest context first)
ngram_finish       nats = -log p
ngram_sample(k)    from the longest context down: draw a listed word, or fall through with probability gamma_k
ngram_full(k)      the whole distribution

Probabilities are differences of cumulative 32-bit quanta (`ngram.kneser_ney`), so the distribution is
normalised exactly.  `found` = (first child, end of children, first continuation, end) of a node, zeros if absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.program.arena import Arena
from weightless.program.operator import (
    BISECTED,
    Access,
    Bounds,
    Lowered,
    Operator,
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
from weightless.program.operators.ngram.columns import (
    ABSENT,
    MAX_LEVEL,
    NOT_DRAWN,
    PRESENT,
    QUANTA,
    need_found,
    need_ids,
    probed,
    search,
)
from weightless.program.registers import CONTEXT_INDEX, PROBABILITY, STATE, WORD_INDEX


@operator("ngram_context")
class NgramContext(Operator):
    """found_k = node of the last k words; level 1 is indexed by the word itself.  Tight columns `word`, `node`."""

    history: str
    parent: str  # found_{k-1}; empty at level 1
    word: str  # ctx.k.word; empty at level 1
    node: str  # ctx.k.node (N + 1, 2), or (N + 1, 1) at the deepest level
    found: str
    level: int

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        need(1 <= self.level <= MAX_LEVEL, self, f"level {self.level} is not in 1..{MAX_LEVEL}")
        node = tensors[self.node]
        need(node.format == "u32" and node.shape[1] in (1, 2) and not node.by_row, self, f"{self.node} is malformed")
        need(node.shape[0] >= 1 and node.kind != "state", self, f"{self.node} is malformed")
        need_found(self, tensors, self.found)
        need((self.level == 1) == (self.parent == ""), self, "only level 1 has no parent")
        if self.parent:
            need_found(self, tensors, self.parent)
            need_ids(self, tensors, self.word)
            need(tensors[self.word].shape[0] == node.shape[0] - 1, self, f"{self.word} and {self.node} disagree")
        need_history(self, bounds, self.history)
        if self.level == 1:
            need(node.shape[0] == bounds.vocab_size + 1, self, "one node per token is needed")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (probes, ABSENT | PRESENT); without it the structural maximum."""
        out = whole(tensors[self.found], write=True)
        if t < self.level:
            return out
        token = span_of(tensors[self.history], t - self.level, 1)
        if self.level == 1:
            return [token, row_of(tensors[self.node]), row_of(tensors[self.node], 1), *out]
        parent = span_of(tensors[self.parent], 0, 2)
        most = (tensors[self.word].shape[0]).bit_length()
        probes, present = data if data else (most, PRESENT)
        if probes == 0:
            return [parent, *out]
        node = [row_of(tensors[self.node]), row_of(tensors[self.node], 1)] if present else []
        return [parent, token, *probed(tensors, self.word, probes), *node, *out]

    def run(self, arena: Arena) -> tuple[int, int]:
        t = arena.registers.t
        at, probes = -1, 0
        if t >= self.level == 1:
            at = int(arena.span(self.history, t - 1, 1)[0])
        elif t >= self.level:
            first, end = (int(v) for v in arena.span(self.parent, 0, 2))
            if first < end:
                key = int(arena.span(self.history, t - self.level, 1)[0])
                at, probes = search(arena, self.word, first, end, key)
        found = np.zeros(4, dtype=np.uint32)
        if at >= 0:
            (row, following) = arena.row(self.node, at), arena.row(self.node, at + 1)
            found[2:] = row[-1], following[-1]
            if len(row) == 2:
                found[:2] = row[0], following[0]
        arena.put_span(self.found, 0, found)
        return probes, PRESENT if at >= 0 else ABSENT

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        offset, node = places[self.node]
        ends = [
            places[self.history].offset,
            places[self.found].offset,
            offset,
            node.shape[1],
            node.shape[0],
            self.level,
        ]
        if not self.parent:
            return Lowered([*ends, 0, 0, 0])
        word_at, word = places[self.word]
        return Lowered([*ends, places[self.parent].offset, word_at, word.row_bytes])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0

    def decided(self) -> Mapping[int, str]:
        return {STATE: self.found, CONTEXT_INDEX: self.node}

    def indifferent(self) -> list[tuple[str, str, int]]:
        return [(BISECTED, name, 0) for name in (self.word, self.history)] if self.word else []


class _Level(Operator):
    """What score, sample and full share: a continuation list (`words`, `cum`) under `found`; level 0 has none."""

    found: str
    words: str
    cum: str
    level: int

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        cum = tensors[self.cum]
        need(cum.shape[1] == 1 and cum.format == "u32" and not cum.by_row, self, f"{self.cum} is malformed")
        need(cum.shape[0] > 0 and cum.kind != "state", self, f"{self.cum} is malformed")
        need(0 <= self.level <= MAX_LEVEL, self, f"level {self.level} is not in 0..{MAX_LEVEL}")
        need((self.level == 0) == (self.found == ""), self, "only level 0 has no node")
        if self.found:
            need_found(self, tensors, self.found)
            need_ids(self, tensors, self.words)
            need(tensors[self.words].shape == cum.shape, self, f"{self.words} and {self.cum} disagree")
        if self.level == 0:
            need(cum.shape[0] == bounds.vocab_size, self, "unigram table of another size")
        self._check_ends(bounds)

    def _check_ends(self, bounds: Bounds) -> None:
        raise AssertionError("each operator checks its own result")

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0

    def decided(self) -> Mapping[int, str]:
        lists = {PROBABILITY: self.cum, STATE: self._result()}
        return lists | {WORD_INDEX: self.words} if self.words else lists

    def _result(self) -> str:
        raise AssertionError("each operator names its own result")

    def _range(self, arena: Arena) -> tuple[int, int]:
        first, end = arena.span(self.found, 2, 2)
        return int(first), int(end)

    def _ints(self, places: Mapping[str, Place], result: str) -> list[int]:
        offset, cum = places[self.cum]
        ends = [places[result].offset, offset, cum.shape[0], self.level]
        if not self.found:
            return [*ends, 0, 0, 0]
        words_at, words = places[self.words]
        return [*ends, places[self.found].offset, words_at, words.row_bytes]


@operator("ngram_score")
class NgramScore(_Level):
    """p = own_k(target) + gamma_k p; level 0 sets p to the unigram probability."""

    found: str
    words: str
    cum: str
    p: str
    level: int

    def _check_ends(self, bounds: Bounds) -> None:
        need_vector(self, bounds.tensors, self.p, 1)

    def _result(self) -> str:
        return self.p

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (probes, cum entries read); without it the structural maximum."""
        cum, p = tensors[self.cum], tensors[self.p]
        if self.level == 0:
            return [*probed(tensors, self.cum, data[1] if data else 2), *whole(p, write=True)]
        probes, entries = data if data else (cum.shape[0].bit_length(), 3)
        here = span_of(tensors[self.found], 2, 2)
        if probes == 0:
            return [here]
        read = [*probed(tensors, self.words, probes), *(row_of(cum, r) for r in range(entries))]
        return [here, *whole(p), *read, *whole(p, write=True)]

    def run(self, arena: Arena) -> tuple[int, int]:
        target = arena.registers.target
        if self.level == 0:
            own = self._own(arena, 0, target)
            arena.put_row(self.p, np.array([own / QUANTA], dtype=np.float32))
            return 0, 2 if target > 0 else 1
        first, end = self._range(arena)
        if first >= end:
            return 0, 0
        p = float(arena.row(self.p)[0])
        at, probes = search(arena, self.words, first, end, target)
        listed = int(arena.row(self.cum, end - 1)[0])
        own = self._own(arena, first, at) if at >= 0 else 0
        entries = {end - 1, at, at - 1} - {-1, -2, first - 1} if at >= 0 else {end - 1}
        arena.put_row(self.p, np.array([(own + (QUANTA - listed) * p) / QUANTA], dtype=np.float32))
        return probes, len(entries)

    def _own(self, arena: Arena, first: int, at: int) -> int:
        below = int(arena.row(self.cum, at - 1)[0]) if at > first else 0
        return int(arena.row(self.cum, at)[0]) - below

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self._ints(places, self.p))

    def indifferent(self) -> list[tuple[str, str, int]]:
        return [(BISECTED, self.words, 0)] if self.words else []


@operator("ngram_finish")
class NgramFinish(Operator):
    """outcome = -log p, in nats."""

    p: str
    outcome: str

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        need_vector(self, tensors, self.p, 1)
        need_vector(self, tensors, self.outcome, 1)

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        return [*whole(tensors[self.p]), *whole(tensors[self.outcome], write=True)]

    def run(self, arena: Arena) -> None:
        arena.put_row(self.outcome, -np.log(arena.row(self.p)))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([places[self.p].offset, places[self.outcome].offset])

    def result(self) -> str:
        return self.outcome

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0


@operator("ngram_sample")
class NgramSample(_Level):
    """outcome = a listed word with its own probability, else left for the next shorter context.

    The deepest level (`first`) begins the draw; uniform number `level` decides here.
    """

    found: str
    words: str
    cum: str
    outcome: str
    level: int
    first: bool

    def _check_ends(self, bounds: Bounds) -> None:
        need_vector(self, bounds.tensors, self.outcome, 1)

    def result(self) -> str:
        return self.outcome

    def _result(self) -> str:
        return self.outcome

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (probes of cum, drawn here?, already drawn?); without it the structural maximum."""
        cum, outcome = tensors[self.cum], tensors[self.outcome]
        probes, drawn, before = data if data else (cum.shape[0].bit_length() + 1, 1, 0)
        read = [] if self.first else whole(outcome)
        if before:
            return read
        if self.found:
            read = [*read, span_of(tensors[self.found], 2, 2)]
        read += probed(tensors, self.cum, probes)
        if drawn and self.found:
            read.append(row_of(tensors[self.words]))
        return [*read, *(whole(outcome, write=True) if drawn or self.first else [])]

    def run(self, arena: Arena) -> tuple[int, int, int]:
        if not self.first and arena.row(self.outcome)[0] != NOT_DRAWN:
            return 0, 0, 1
        first, end = self._range(arena) if self.found else (0, arena.tensor(self.cum).shape[0])
        at, probed = self._draw(arena, first, end)
        word = at
        if at >= 0 and self.found:
            word = int(arena.row(self.words, at)[0])
        if at >= 0 or self.first:
            arena.put_row(self.outcome, np.array([word], dtype=np.float32))
        return probed, int(at >= 0), 0

    def _draw(self, arena: Arena, first: int, end: int) -> tuple[int, int]:
        """(entry whose quanta hold the draw, or -1; distinct cum entries read)."""
        if first >= end:
            return -1, 0
        quantum = int(arena.registers.uniforms[self.level] * QUANTA)
        seen = {end - 1}
        if quantum >= int(arena.row(self.cum, end - 1)[0]):
            return -1, 1
        low, high = first, end - 1
        while low < high:
            middle = (low + high) // 2
            seen.add(middle)
            if int(arena.row(self.cum, middle)[0]) <= quantum:
                low = middle + 1
            else:
                high = middle
        return low, len(seen)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([*self._ints(places, self.outcome), int(self.first)])


@operator("ngram_full")
class NgramFull(_Level):
    """outcome (1, V): own_k + gamma_k outcome; level 0 writes the unigram distribution."""

    found: str
    words: str
    cum: str
    outcome: str
    level: int

    def _check_ends(self, bounds: Bounds) -> None:
        need_vector(self, bounds.tensors, self.outcome, bounds.tensors[self.outcome].shape[1])
        need_result(self, bounds, self.outcome, full=True)

    def result(self) -> str:
        return self.outcome

    def _result(self) -> str:
        return self.outcome

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (length of the list,); without it the structural maximum."""
        cum, outcome = tensors[self.cum], tensors[self.outcome]
        if self.level == 0:
            return [*whole(cum), *whole(outcome, write=True)]
        n = data[0] if data else min(cum.shape[0], outcome.shape[1])
        here = span_of(tensors[self.found], 2, 2)
        if n == 0:
            return [here]
        words = tensors[self.words]
        lists = [Access(self.words, 0, n * words.row_bytes, False), Access(self.cum, 0, n * cum.row_bytes, False)]
        return [here, *lists, *whole(outcome), *whole(outcome, write=True)]

    def run(self, arena: Arena) -> tuple[int]:
        if self.level == 0:
            quanta = np.diff(arena.rows(self.cum)[:, 0].astype(np.int64), prepend=0)
            arena.put_row(self.outcome, (quanta / QUANTA).astype(np.float32))
            return (0,)
        first, end = self._range(arena)
        if first >= end:
            return (0,)
        words = arena.rows(self.words, first, end - first)[:, 0]
        cum = arena.rows(self.cum, first, end - first)[:, 0].astype(np.int64)
        p = arena.row(self.outcome).astype(np.float64) * ((QUANTA - cum[-1]) / QUANTA)
        p[words] += np.diff(cum, prepend=0) / QUANTA
        arena.put_row(self.outcome, p.astype(np.float32))
        return (end - first,)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([*self._ints(places, self.outcome), places[self.outcome].tensor.shape[1]])
