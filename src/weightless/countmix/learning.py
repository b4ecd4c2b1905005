"""One pass over a text: count what follows every context, and learn how to mix what the counts say.

At every token the tables and the mixers that stand so far predict it, then learn from it, so that what is learned is
how to predict text that has not been counted.  In windows of the model's context the window's own memory starts empty,
as it does when the model is used; the counted contexts reach over the windows' ends.

Rates fall as 1 / (1 + i / RATE_HALVED) down to a floor; i counts tokens.  Everything is in integers: the same text
gives the same bits.  One core does it, because every token depends on the one before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from weightless.base.progress import progress
from weightless.countmix.arranging import DRAWN
from weightless.countmix.shape import Shape
from weightless.countmix.tree import Tree, order_zero
from weightless.kernels.numba import count_inputs as fast
from weightless.kernels.numba.context_hashes import context_start, hash_contexts
from weightless.kernels.numba.count_mixing import learn_window
from weightless.kernels.numba.count_tables import LISTED, NODES, WAYS
from weightless.ops.context_hashes import context_parts, mix
from weightless.ops.count_mixing import (
    N_CONFIDENCES,
    RATE_BITS,
    WEIGHT_BITS,
    counter,
    reciprocal_table,
    squash_table,
    stretch_table,
)

MIXERS = {
    "depth": fast.DEPTH,
    "node": fast.NODE,
    "confidence": fast.CONFIDENCE,
    "input": fast.INPUT,
    "token": fast.TOKEN,
}
"""What may select the weights: depth and longest known list; the node; how sure the last two dense contexts are; depth
and every input's own confidence; the last token and depth."""
FIRST_WEIGHT = 0.3
FASTEST, SLOWEST, RATE_HALVED, LAST_RATE = 0.01, 0.0007, 200_000, 0.0005
TUNED_FASTEST, TUNED_SLOWEST, TUNED_MOST, ENOUGH = 0.006, 0.0002, 0.03, 30_000_000
MOST_STEPS = 1000
BLOCK, REACH = 1 << 16, 64


def mixer_rows(shape: Shape, vocab_size: int) -> list[int]:
    """How many rows of weights every mixer selects from."""
    n = {
        "depth": (len(shape.lists) + 1) * fast.MAX_DEPTH,
        "node": vocab_size,
        "confidence": fast.MAX_DEPTH * N_CONFIDENCES**2,
        "input": fast.MAX_DEPTH * N_CONFIDENCES,
        "token": vocab_size * (fast.MAX_DEPTH // fast.N_LEVELS),
    }
    return [n[name] for name in shape.mixers]


def fresh_learned(shape: Shape, tree: Tree, counts: np.ndarray) -> fast.Learned:
    """Maps that say what the counts say, and mixers that add everything up evenly."""
    vocab_size = len(tree.rank)
    n_lists = max(1, len(shape.lists) + len(shape.window))
    rows = mixer_rows(shape, vocab_size)
    standing = np.array([0, 1, 2, 3, 4, 6, 11, 30, 100.0])
    right = (standing + 0.4) / (standing + standing[:, None] + 0.8)
    exact = np.array([(r + 0.25) / (n + 0.5) for n in (1, 2, 3) for r in range(n + 1)])
    m = len(rows)
    return fast.Learned(
        order0=counter(order_zero(tree, counts)),
        dense_map=counter(np.tile(exact, max(1, len(shape.dense)) * fast.MAX_DEPTH)),
        list_map=counter(np.tile(right.reshape(-1), n_lists * fast.MAX_DEPTH * 3)),
        pair_map=counter(np.full(fast.MAX_DEPTH * N_CONFIDENCES**2, 0.5)),
        weights=np.full((sum(rows), shape.n_inputs), int(FIRST_WEIGHT * 2**WEIGHT_BITS), np.int32),
        first_row=np.cumsum([0, *rows[:-1]]),
        kinds=np.array([MIXERS[name] for name in shape.mixers]),
        last=np.full((fast.MAX_DEPTH, m), 2**WEIGHT_BITS // m, np.int32),
        stretch=stretch_table(),
        squash=squash_table(),
        reciprocals=reciprocal_table(),
    )


def work_space(shape: Shape) -> fast.Work:
    """Room for one position."""
    n_dense, n_lists, n = len(shape.dense), len(shape.lists) + len(shape.window), shape.n_inputs
    m = len(shape.mixers)
    sizes = (n, n, n_dense, n_dense, n_lists, n_lists, n_lists, n_lists, (n_lists, 16), (n_lists, 16), m, m, 4)
    return fast.Work(*(np.zeros(size, np.int64) for size in sizes))


def growing_tables(shape: Shape, vocab_size: int, node_bits: int, list_bits: int) -> fast.Tables:
    """Empty tables; memory is taken as they fill."""
    regions = np.zeros((1, 1, 2), np.int64)
    return fast.Tables(
        nodes=np.zeros((WAYS << node_bits, NODES + 1), np.uint32),
        lists=np.zeros((len(shape.lists), WAYS << list_bits, LISTED + 1), np.uint32),
        regions=regions,
        list_regions=regions[0],
        places=np.zeros(1, np.int64),
        bits=np.array([node_bits, list_bits]),
        window=np.zeros((len(shape.window), shape.n_slots, 1 + shape.n_followers), np.uint32),
        pairs=np.zeros((vocab_size, 2), np.uint8),
    )


class Learner:
    """What has been counted and learned, and the verbs that go on with it."""

    def __init__(self, shape: Shape, tree: Tree, tables: fast.Tables, learned: fast.Learned, records: np.ndarray):
        self.shape, self.tables, self.learned, self.records = shape, tables, learned, records
        self._tree = fast.Tree(tree.rank, tree.child, np.array([tree.root]))
        self._work = work_space(shape)
        self._parts = np.array([context_parts(name) for name in shape.contexts], np.int64).reshape(-1, 2)
        self._starts = np.array([context_start(int(t), int(w)) for t, w in self._parts], np.uint64)

    def hashes(self, tokens: np.ndarray) -> np.ndarray:
        """uint64 [n, contexts] behind each token of a stretch, before which there is nothing."""
        found = np.zeros((len(tokens), len(self._parts)), np.uint64)
        hash_contexts(tokens, 0, len(tokens), self._parts, self._starts, self.records, found)
        return found

    def window(
        self,
        tokens: np.ndarray,
        hashes: np.ndarray,
        rates: np.ndarray,
        counts: bool,
        learns: bool,
        said: np.ndarray | None = None,
    ) -> np.ndarray:
        """Nats of tokens[1:], float64; `said` int64 [n, MAX_DEPTH] is what a neural model says of them."""
        if said is None:
            said = np.zeros((len(tokens) - 1 if self.shape.beside else 0, fast.MAX_DEPTH), np.int64)
        nats = np.zeros(len(tokens) - 1)
        n_lists = len(self.shape.lists)
        learn_window(
            tokens,
            hashes,
            said,
            n_lists,
            self._tree,
            self.tables,
            self.learned,
            self._work,
            rates,
            counts,
            learns,
            nats,
        )
        return nats

    def score(self, tokens: np.ndarray, said: np.ndarray | None = None) -> np.ndarray:
        """Nats of tokens[1:] in one window that begins with tokens[0]; nothing is learned."""
        tokens = np.ascontiguousarray(tokens, np.int64)
        return self.window(tokens, self.hashes(tokens), rates_at(0, 0.0, 0.0), counts=False, learns=False, said=said)

    def go_over(
        self,
        tokens: np.ndarray,
        what: str,
        first: int = 0,
        counts: bool = True,
        learns: bool = True,
        show_progress: bool = False,
        end: int | None = None,
        reached: int | None = None,
        after: Callable[[int], None] = lambda at: None,
    ) -> float:
        """Mean nats of tokens[first + 1 : end] while learning from them, window after window.

        `reached` is where an earlier call has come to: one of the places that `after` was told, behind each block.
        """
        stop, total = (len(tokens) if end is None else end) - 1, 0.0
        here = first if reached is None else reached
        shown = progress(what, stop - first, "tokens", start=here - first) if show_progress else None
        with shown or nullcontext(lambda amount, note="": None) as tick:
            for start in range(here, stop, BLOCK):
                begin = max(0, start - REACH)
                until = min(start + BLOCK, stop)
                stretch = np.ascontiguousarray(tokens[begin : until + 1], np.int64)
                hashes, at = self.hashes(stretch), start - begin
                rates = rates_at(start, FASTEST, SLOWEST)
                for window in range(at, len(stretch) - 1, self.shape.context):
                    part = slice(window, min(window + self.shape.context, len(stretch) - 1) + 1)
                    total += float(self.window(stretch[part], hashes[part], rates, counts, learns).sum())
                tick(until - start)
                after(until)
        return total / max(stop - here, 1)

    def tune(
        self,
        tokens: Any,
        first: int,
        show_progress: bool = False,
        after: Callable[[int], None] = lambda at: None,
        said_of: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> float:
        """Mean nats of tokens[first + 1 :] while the mixers learn from them and nothing is counted.

        Windows of `context` that begin anew, as in use, in an order drawn by hash, so that the weights do not end as
        those of the last document.  The rate falls evenly to TUNED_SLOWEST, from TUNED_FASTEST where ENOUGH tokens were
        learned from before; of fewer the mixers have learned less, and it begins higher, with the root of their number.
        `said_of` gives what a neural model says on the paths to all tokens of a window but the first.
        """
        context, n = self.shape.context, len(tokens) - 1 - first
        starts = [first + i for i in range(0, n, context)]
        order = sorted(range(len(starts)), key=lambda k: mix(k, DRAWN))
        fastest = min(max(TUNED_FASTEST, TUNED_FASTEST * math.sqrt(ENOUGH / max(first, 1))), TUNED_MOST)
        total, seen = 0.0, 0
        shown = progress("tuning the mixers", n, "tokens") if show_progress else None
        with shown or nullcontext(lambda amount, note="": None) as tick:
            for done, k in enumerate(order):
                window = np.ascontiguousarray(tokens[starts[k] : starts[k] + context + 1], np.int64)
                rates = _rates(fastest + (TUNED_SLOWEST - fastest) * done / len(order), LAST_RATE)
                said = said_of(window) if said_of else None
                total += float(self.window(window, self.hashes(window), rates, False, True, said).sum())
                seen += len(window) - 1
                tick(len(window) - 1)
                after(seen)
        return total / max(seen, 1)


def rates_at(i: int, fastest: float, slowest: float, last_rate: float = LAST_RATE) -> np.ndarray:
    """int64 (rate of the weights, of the last sums, most steps of a map) at token i."""
    rate = max(slowest, fastest / (1 + i / RATE_HALVED))
    return _rates(rate, last_rate)


def _rates(rate: float, last_rate: float) -> np.ndarray:
    return np.array([int(rate * 2**RATE_BITS), int(last_rate * 2**RATE_BITS), MOST_STEPS])
