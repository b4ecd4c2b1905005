"""The two-level class head: log p(w) = log p(class(w)) + log p(w | class(w)), exactly normalised.

About sqrt(V) classes of W words each; only the class rows and the rows of ONE class are read.  Words live in
slots, class c owning slots cW..cW+W-1; two small tables translate token <-> slot.  Scoring reads one entry of
`slot_of_token`, sampling one of `token_of_slot`: equal bytes by construction.  Slots >= V of the last class are
padding and have probability zero.  (Goodman 2001, "Classes for fast maximum entropy training".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.ops.class_head import below
from weightless.ops.cross_entropy import log_softmax, nll
from weightless.program.arena import Arena
from weightless.program.batch import LOG_P, Batch, normed_rows, times
from weightless.program.operator import (
    SCRATCH_BYTES,
    WITHOUT_WORD,
    Access,
    Bounds,
    Lowered,
    Operand,
    Operator,
    Place,
    Tensors,
    need,
    need_matrix,
    need_vector,
    operator,
    packed,
    row_of,
    whole,
)
from weightless.program.operators.class_head.level import Level, Parts
from weightless.program.operators.full_head import draw
from weightless.program.operators.residual import normed, offset_or_none, optional


def _need_table(op: object, tensors: Tensors, name: str, rows: int) -> None:
    table = tensors[name]
    need(table.shape == (rows, 1) and table.format in ("u16", "u32"), op, f"{name} should be {rows} rows of one id")
    need(table.kind != "state" and not table.by_row, op, f"{name} should be a tightly packed constant")


class _Classes(Operator):
    """First level: h = rms_norm(x) * g, or x as it is without `norm`; class scores = C h."""

    norm: str
    classes: str
    x: str
    h: str
    choice: str
    eps: float

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        n_classes, width = tensors[self.classes].shape
        need_matrix(self, tensors, self.classes, n_classes, width)
        if self.norm:
            need_vector(self, tensors, self.norm, width, state=False)
        need_vector(self, tensors, self.x, width)
        need_vector(self, tensors, self.h, width)
        need_vector(self, tensors, self.choice, self._choice_width(n_classes))
        need(n_classes > 0, self, "a head without classes")
        need(4 * n_classes <= SCRATCH_BYTES, self, f"{n_classes} classes exceed the scratch memory")

    def _choice_width(self, n_classes: int) -> int:
        return 2

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = optional(tensors, self.x, self.norm, self.classes)
        return [*read, *whole(tensors[self.h], write=True), *whole(tensors[self.choice], write=True)]

    def flops(self, tensors: Tensors, t: int) -> int:
        rows, cols = tensors[self.classes].shape
        return 2 * rows * cols

    def _log_p(self, arena: Arena) -> np.ndarray:
        h = normed(arena, arena.row(self.x), self.norm, self.eps)
        arena.put_row(self.h, h)
        return log_softmax(arena.rows(self.classes) @ h)

    def _ints(self, places: Mapping[str, Place]) -> list[Operand]:
        ends = [places[name].offset for name in (self.x, self.h, self.choice)]
        return [*packed(places[self.classes], "matvec"), offset_or_none(places, self.norm), *ends]


@operator("class_score", version=2)
class ClassScore(_Classes):
    """choice = (slot of the target, -log p of its class); `n_words` slots per class, 0: as the word rows say."""

    norm: str
    classes: str
    slot_of_token: str
    words: str
    x: str
    h: str
    choice: str
    eps: float
    n_words: int = 0

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        super().check(bounds)
        _need_table(self, tensors, self.slot_of_token, tensors[self.slot_of_token].shape[0])
        slots, n_classes = tensors[self.words].shape[0], tensors[self.classes].shape[0]
        need(self.n_words > 0 or slots % n_classes == 0, self, "classes of unequal size")
        need(0 <= self.n_words <= slots <= n_classes * (self.n_words or slots), self, "classes too small for all slots")
        need(tensors[self.slot_of_token].shape[0] >= bounds.vocab_size, self, "fewer slots than tokens")

    def slot_tables(self) -> tuple[str, str]:
        return self.slot_of_token, ""

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        return [row_of(tensors[self.slot_of_token]), *super().accesses(tensors, t)]

    def run(self, arena: Arena) -> None:
        slot = int(arena.row(self.slot_of_token, arena.registers.target)[0])
        n_words = self.n_words or arena.tensor(self.words).shape[0] // arena.tensor(self.classes).shape[0]
        log_p = self._log_p(arena)
        arena.put_row(self.choice, np.array([slot, -log_p[slot // n_words]], dtype=np.float32))

    def batch(self, rows: Batch) -> None:
        slot_N = rows.ids(self.slot_of_token)[rows.target_N].astype(np.int64)
        n_words = self.n_words or rows.n_rows(self.words) // rows.n_rows(self.classes)
        rows.values[self.h] = normed_rows(rows, rows.values[self.x], self.norm, self.eps)
        scores_NC = times(rows.weight(self.classes), rows.values[self.h])
        rows.values[self.choice] = np.stack([slot_N, nll(scores_NC, slot_N // n_words)], axis=1)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        offset, table = places[self.slot_of_token]
        n_words = self.n_words or places[self.words].tensor.shape[0] // places[self.classes].tensor.shape[0]
        return Lowered([*self._ints(places), offset, table.row_bytes, n_words], [self.eps])


@operator("class_sample")
class ClassSample(_Classes):
    """choice = (a class drawn with the first uniform, 0)."""

    norm: str
    classes: str
    x: str
    h: str
    choice: str
    eps: float

    def run(self, arena: Arena) -> None:
        chosen = draw(self._log_p(arena), arena.registers.uniforms[0])
        arena.put_row(self.choice, np.array([chosen, 0], dtype=np.float32))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self._ints(places), [self.eps])


@operator("class_full")
class ClassFull(_Classes):
    """choice (1, n_classes) = log p of every class."""

    norm: str
    classes: str
    x: str
    h: str
    choice: str
    eps: float

    def _choice_width(self, n_classes: int) -> int:
        return n_classes

    def run(self, arena: Arena) -> None:
        arena.put_row(self.choice, self._log_p(arena))

    def batch(self, rows: Batch) -> None:
        rows.values[self.h] = normed_rows(rows, rows.values[self.x], self.norm, self.eps)
        rows.values[self.choice] = log_softmax(times(rows.weight(self.classes), rows.values[self.h]))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self._ints(places), [self.eps])


class _Words(Level):
    """Second level: the W word rows of one class against h."""

    words: str
    h: str
    choice: str
    outcome: str
    n_words: int
    vocab_size: int

    def parts(self) -> Parts:
        return Parts(self.words, self.outcome, self.n_words, self.vocab_size)

    def check(self, bounds: Bounds) -> None:
        super().check(bounds)
        need(self.vocab_size == bounds.vocab_size, self, "another vocabulary size")

    def check_ends(self, tensors: Tensors, n_rows: int) -> None:
        need_vector(self, tensors, self.choice, 2)
        need_vector(self, tensors, self.outcome, 1)

    def result(self) -> str:
        return self.outcome


@operator("word_score")
class WordScore(_Words):
    """outcome = -log p(class) - log p(word | class), in nats."""

    words: str
    h: str
    choice: str
    outcome: str
    n_words: int
    vocab_size: int

    def run(self, arena: Arena) -> None:
        slot, nats = arena.row(self.choice)
        chosen, word = divmod(int(slot), self.n_words)
        log_p = self.log_p(arena, chosen, arena.row(self.h))
        arena.put_row(self.outcome, np.array([nats - log_p[word]], dtype=np.float32))

    def batch(self, rows: Batch) -> None:
        slot_N, nats_N = rows.values[self.choice].T
        rows.values[self.outcome] = (nats_N + self.nats_of_rows(rows, slot_N.astype(np.int64)))[:, None]

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered(self.operands(places))

    def indifferent(self) -> list[tuple[str, str, int]]:
        return [(WITHOUT_WORD, self.words, self.vocab_size)]


@operator("word_sample")
class WordSample(_Words):
    """outcome = the token drawn from the chosen class with the second uniform."""

    words: str
    token_of_slot: str
    h: str
    choice: str
    outcome: str
    n_words: int
    vocab_size: int

    def check(self, bounds: Bounds) -> None:
        super().check(bounds)
        _need_table(self, bounds.tensors, self.token_of_slot, self.vocab_size)

    def slot_tables(self) -> tuple[str, str]:
        return "", self.token_of_slot

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        return [*super().accesses(tensors, t), row_of(tensors[self.token_of_slot])]

    def run(self, arena: Arena) -> None:
        chosen = int(arena.row(self.choice)[0])
        word = draw(self.log_p(arena, chosen, arena.row(self.h)), arena.registers.uniforms[1])
        token = arena.row(self.token_of_slot, min(chosen * self.n_words + word, self.vocab_size - 1))
        arena.put_row(self.outcome, token.astype(np.float32))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        offset, table = places[self.token_of_slot]
        return Lowered([*self.operands(places), offset, table.row_bytes])


@operator("word_full")
class WordFull(_Words):
    """outcome (1, V)[token] = p(class) p(word | class) for every token: reads the whole head."""

    words: str
    token_of_slot: str
    h: str
    choice: str
    outcome: str
    n_words: int
    vocab_size: int

    def check_ends(self, tensors: Tensors, n_rows: int) -> None:
        need_vector(self, tensors, self.choice, n_rows // self.n_words)
        need_vector(self, tensors, self.outcome, self.vocab_size)
        _need_table(self, tensors, self.token_of_slot, self.vocab_size)

    def slot_tables(self) -> tuple[str, str]:
        return "", self.token_of_slot

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        names = (self.choice, self.h, self.words, self.token_of_slot)
        read = [access for name in names for access in whole(tensors[name])]
        return [*read, *whole(tensors[self.outcome], write=True)]

    def flops(self, tensors: Tensors, t: int) -> int:
        slots, width = tensors[self.words].shape
        return 2 * slots * width

    def run(self, arena: Arena) -> None:
        class_log_p, h = arena.row(self.choice), arena.row(self.h)
        log_p = [arena_log_p + self.log_p(arena, c, h) for c, arena_log_p in enumerate(class_log_p)]
        tokens = arena.rows(self.token_of_slot)[:, 0]
        probabilities = np.zeros(self.vocab_size, dtype=np.float32)
        probabilities[tokens] = np.exp(np.concatenate(log_p)[: self.vocab_size])
        arena.put_row(self.outcome, probabilities)

    def batch(self, rows: Batch) -> None:
        by_slot = below(rows.values[self.h], rows.values[self.choice], rows.weight(self.words), self.vocab_size)
        log_p = np.empty_like(by_slot)
        log_p[:, rows.ids(self.token_of_slot)] = by_slot
        rows.values[LOG_P] = log_p

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        offset, table = places[self.token_of_slot]
        return Lowered([*self.operands(places), offset, table.row_bytes])
