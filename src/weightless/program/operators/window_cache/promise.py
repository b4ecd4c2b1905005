"""The heads of a window cache: the model's own result, mixed with the counts of the window (`ops/window_cache.py`).

cache_score    nats = -log(rest exp(-nats of the model) + sum over orders of w_k q_k(target))
cache_sample   the model's draw or an order's: one uniform number of its own chooses, and what is left of it draws
cache_full     p = rest p of the model + sum over orders of w_k q_k

w_k = lam_k times what the longer contexts have left; `weights` (1, K CLASSES) holds lam by `class_of`.

Scoring and sampling touch the same bytes at every step.  Both read every line that is found as far as it is in use, and
the weight of its class.  Of order 0 both read a word's row and one token of the window: the scorer the target's row and
the token at the position that it gives (or the newest, if that is none of the window); the sampler a token drawn
evenly, so in proportion to its count, and its row, which has to know it.  The model's own head runs in either case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.ops.window_cache import CLASSES, MOST, WORDS, WindowCounts, class_of, mixed_nats, usable
from weightless.program.arena import Arena
from weightless.program.batch import LOG_P, Batch
from weightless.program.operator import (
    Access,
    Bounds,
    Lowered,
    Place,
    Tensors,
    need,
    need_result,
    need_vector,
    operator,
    span_of,
    whole,
)
from weightless.program.operators.window_cache.layout import BITS, FRESH, Cached, cells, line_of
from weightless.program.registers import N_UNIFORMS, USUAL_UNIFORMS

CHOICE = USUAL_UNIFORMS  # the uniform that chooses: no model draws by it


class _Order(NamedTuple):
    """One context that was found: lam, and its words with their counts (none of order 0)."""

    weight: float
    words: list[int]
    counts: list[int]


class _Head(Cached):
    """What score, sample and full have in common."""

    weights: str
    own: str
    outcome: str
    is_full: ClassVar[bool] = False

    def check(self, bounds: Bounds) -> None:
        super().check(bounds)
        tensors = bounds.tensors
        need_vector(self, tensors, self.weights, tensors[self.known].shape[1] * CLASSES, state=False)
        for name in (self.own, self.outcome):
            need_vector(self, tensors, name, bounds.vocab_size if self.is_full else 1)
        need_result(self, bounds, self.outcome, self.is_full)
        need(self.own != self.outcome, self, "the model's result and the outcome should be two tensors")

    def result(self) -> str:
        return self.outcome

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        ends = [places[name].offset for name in (self.weights, self.own, self.outcome)]
        return Lowered([*self.operands(places), *ends])

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = (words read of orders 1, 2, …: 0 where nothing was found, then what the mode adds); without it the
        structural maximum."""
        orders = tensors[self.known].shape[1]
        n = min(orders - 1, t)
        used = data[:n] if data else (WORDS,) * n
        out = [*whole(tensors[self.own]), *whole(tensors[self.outcome], write=True), cells(self.known, 0, 1 + n)]
        out.append(cells(self.weights, 0))
        for k, read in enumerate(used, start=1):
            out += [cells(self.lines, line_of(k), 1 + read), cells(self.weights, k * CLASSES)] if read else []
        return [*out, *self._of_order_0(tensors, t, data[n:])]

    def _of_order_0(self, tensors: Tensors, t: int, data: Sequence[int]) -> list[Access]:
        return [cells(self.words, 0, 2), span_of(tensors[self.history], 0, 1)]

    def _orders(self, arena: Arena) -> tuple[list[_Order], tuple[int, ...]]:
        """(the contexts that were found, longest first and order 0 last, words read of orders 1, 2, …)."""
        t, n = arena.registers.t, min(self.orders(arena) - 1, arena.registers.t)
        distinct, *rows = arena.span(self.known, 0, 1 + n).tolist()
        found, read = [self._order(arena, 0, t, distinct, [], [])], list[int]()
        for k, row in enumerate(rows, start=1):
            if row & FRESH:
                read.append(0)
                continue
            _, used = self.line(arena, k, row)
            entries = arena.span(self.lines, line_of(k) + 1, used, row).tolist()
            words, counts = [entry >> BITS for entry in entries], [entry & MOST for entry in entries]
            found.append(self._order(arena, k, sum(counts), used, words, counts))
            read.append(used)
        return found[::-1], tuple(read)

    def _order(self, arena: Arena, k: int, total: int, distinct: int, words: list[int], counts: list[int]) -> _Order:
        if not 1 <= distinct <= total:
            raise CorruptFileError(f"a context of the window is said to have had {distinct} words {total} times")
        number = class_of(k, total, distinct)
        return _Order(usable(float(arena.span(self.weights, number, 1)[0])), words, counts)

    def _row_of(self, arena: Arena, word: int) -> tuple[int, int]:
        """(first position, count) of a word, if it is of this window."""
        first, count = arena.span(self.words, 2 * word, 2).tolist()
        return first, count


@operator("cache_score")
class CacheScore(_Head):
    """outcome = nats of the target in the mixture, from the model's `own`."""

    history: str
    words: str
    known: str
    lines: str
    weights: str
    own: str
    outcome: str

    def run(self, arena: Arena) -> tuple[int, ...]:
        t, target = arena.registers.t, arena.registers.target
        orders, read = self._orders(arena)
        rest, added = 1.0, 0.0
        for weight, words, counts in orders[:-1]:
            hits = sum(count for word, count in zip(words, counts, strict=True) if word == target)
            added += rest * weight * hits / sum(counts)
            rest *= 1 - weight
        first, count = self._row_of(arena, target)
        has_occurred = self.holds(arena, min(first, t - 1), target) and first < t
        added += rest * orders[-1].weight * (count if has_occurred else 0) / t
        rest *= 1 - orders[-1].weight
        nats = mixed_nats(float(arena.row(self.own)[0]), rest, added)
        arena.put_row(self.outcome, np.array([nats], dtype=np.float32))
        return read or (0,)


@operator("cache_sample")
class CacheSample(_Head):
    """outcome = the token that an order or the model (`own`) has drawn."""

    history: str
    words: str
    known: str
    lines: str
    weights: str
    own: str
    outcome: str

    def n_uniforms(self) -> int:
        return N_UNIFORMS

    def run(self, arena: Arena) -> tuple[int, ...]:
        t, u = arena.registers.t, float(arena.registers.uniforms[CHOICE])
        orders, read = self._orders(arena)
        drawn = -1
        for weight, words, counts in orders[:-1]:
            if drawn < 0 and u < weight:
                at = int(np.searchsorted(np.cumsum(counts), u / weight * sum(counts), side="right"))
                drawn = words[min(at, len(words) - 1)]
            u = u if drawn >= 0 else (u - weight) / (1 - weight)
        chosen = drawn < 0 and u < orders[-1].weight
        place = min(int((u / orders[-1].weight if chosen else u) * t), t - 1)
        word = int(arena.span(self.history, place, 1)[0])
        first, _ = self._row_of(arena, word)
        if first > place:
            raise CorruptFileError(f"position {place} holds a word that is said to occur first at {first}")
        own = float(arena.row(self.own)[0])
        token = drawn if drawn >= 0 else word if chosen else own
        arena.put_row(self.outcome, np.array([token], dtype=np.float32))
        return read or (0,)


@operator("cache_full")
class CacheFull(_Head):
    """outcome (1, V) = the mixture, from the model's `own`; order 0 goes through all tokens of the window."""

    history: str
    words: str
    known: str
    lines: str
    weights: str
    own: str
    outcome: str
    is_full: ClassVar[bool] = True

    def _of_order_0(self, tensors: Tensors, t: int, data: Sequence[int]) -> list[Access]:
        distinct = data[0] if data else min(t, tensors[self.words].shape[1] // 2)
        return [cells(self.words, 0, 2 * distinct), span_of(tensors[self.history], 0, t)]

    def run(self, arena: Arena) -> tuple[int, ...]:
        t = arena.registers.t
        orders, read = self._orders(arena)
        rest, parts = 1.0, list[tuple[int, float]]()
        for weight, words, counts in orders[:-1]:
            parts += [(word, rest * weight * count / sum(counts)) for word, count in zip(words, counts, strict=True)]
            rest *= 1 - weight
        tokens = arena.span(self.history, 0, t).tolist()
        distinct = list(dict.fromkeys(tokens))
        parts += [(word, rest * orders[-1].weight * self._row_of(arena, word)[1] / t) for word in distinct]
        out = rest * (1 - orders[-1].weight) * arena.row(self.own).astype(np.float64)
        for word, p in parts:
            out[word] += p
        arena.put_row(self.outcome, out.astype(np.float32))
        return *read, len(distinct)

    def batch(self, rows: Batch) -> None:
        weights_K, log_p_NV = rows.weight(self.weights)[0], rows.values[LOG_P].astype(np.float64)
        orders, counts = rows.n_columns(self.known), None
        for row, fed in enumerate(rows.fed()):
            if counts is None or counts.fed != fed[:-1]:
                counts = WindowCounts(orders, fed[:-1])
            counts.enter(fed[-1])
            rest, added = counts.mixture(weights_K)
            log_p_NV[row] += np.log(rest)
            words = list(added)
            log_p_NV[row, words] = np.logaddexp(log_p_NV[row, words], np.log(list(added.values())))
        rows.values[LOG_P] = log_p_NV.astype(rows.dtype)
