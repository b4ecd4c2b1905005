"""A trained part that says what it thinks of text which it has not seen, for the mixers of counts beside it.

The packed part runs in the compiled engine, window by window; what its head makes of every position (the probabilities
of the classes, and within the target's class those of its words) becomes odds at the nodes of the path to the target.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from weightless.countmix.counting import Beside
from weightless.countmix.tree import Blocks, Tree
from weightless.export.packed import Packed
from weightless.kernels.numba.node_odds import path_odds
from weightless.ops.count_mixing import MAX_DEPTH
from weightless.ops.norm import rms_norm
from weightless.program.arena import Arena
from weightless.program.compose_inside import ClassHead, by_rank, class_head


class Speaker:
    """The packed part, and what it has said: `nats` of its own per token, and those of the mixers that heard it."""

    def __init__(self, packed: Packed) -> None:
        self.packed, self.head = packed, class_head(packed.program)
        self.slot = Arena(packed.program.layout, packed.weights).rows(self.head.slots)[:, 0].astype(np.int64)
        self.nats: list[np.ndarray] = []
        self.tuned: list[float] = []

    def beside(self) -> Beside:
        """As counting takes it."""
        identity = hashlib.sha256(self.packed.weights.data).hexdigest()
        return Beside(Blocks(self.slot, self.head.sizes), self.said_of, self.tuned.append, identity)

    def said_of(self, tree: Tree) -> Callable[[np.ndarray], np.ndarray]:
        """Odds int64 [n, MAX_DEPTH] on the paths to tokens[1:] of a window."""
        engine, rows = self.packed.engine(), Rows(self.packed, self.head, self.slot[tree.token])
        place = self.packed.program.layout.places[self.head.first.x]
        x_D = engine.S[place.offset : place.offset + place.tensor.row_bytes].view(np.float32)
        self.nats.clear()

        def said(tokens: np.ndarray) -> np.ndarray:
            x_TD = np.empty((len(tokens) - 1, len(x_D)), np.float32)
            engine.reset()
            for i in range(len(x_TD)):
                engine.feed(int(tokens[i]))
                x_TD[i] = x_D
            ranks = tree.rank[tokens[1:]]
            weights, log_p = rows.weights(x_TD, ranks)
            out = np.zeros((len(x_TD), MAX_DEPTH), np.int64)
            path_odds(ranks, weights, rows.levels, tree.child, tree.root, out)
            self.nats.append(-log_p)
            return out

        return said

    def told(self) -> dict[str, Any]:
        """An assertion for the run record: nats per token of the text held out, alone and in the mixers."""
        alone, tuned = float(np.concatenate(self.nats).mean()), self.tuned[-1]
        n = sum(map(len, self.nats))
        return {"ok": tuned < alone, "detail": f"{tuned:.4f} nats per token of {n:,} while tuning; neural {alone:.4f}"}


class Rows:
    """The head's rows in the order of a tree: weights of every level along the paths to some ranks."""

    def __init__(self, packed: Packed, head: ClassHead, slots_V: np.ndarray) -> None:
        arena = Arena(packed.program.layout, packed.weights)
        self.norm, self.eps, self.vocab_size = head.first.norm, head.first.eps, len(slots_V)
        self.gain = arena.row(self.norm) if self.norm else None
        self.rows, levels, at, block = [], [], 0, self.vocab_size
        for name, unit in head.units.items():
            rows = by_rank(arena.rows(name), slots_V, unit)
            per_block = len(rows) if block == self.vocab_size and not levels else block // unit
            self.rows.append(rows.reshape(-1, per_block, rows.shape[1]))
            levels.append((at, unit, block))
            at, block = at + per_block, unit
        self.levels, self.width = np.array(levels), at

    def weights(self, x_TD: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(float64 [T, width] in proportion to probabilities, level after level; log p of the ranks)."""
        h_TD = rms_norm(x_TD, self.gain, self.eps) if self.norm else x_TD
        weights, log_p = np.zeros((len(x_TD), self.width)), np.zeros(len(x_TD))
        for (at, unit, block), rows in zip(self.levels.tolist(), self.rows, strict=True):
            scores = h_TD @ rows[0].T if len(rows) == 1 else _of_blocks(rows, h_TD, ranks // block)
            first = ranks // block * block
            valid = first[:, None] + np.arange(rows.shape[1]) * unit < self.vocab_size
            scores = np.where(valid, scores - scores.max(1, keepdims=True), -np.inf).astype(np.float64)
            weights[:, at : at + rows.shape[1]] = np.exp(scores)
            chosen = np.take_along_axis(scores, ((ranks - first) // unit)[:, None], 1)[:, 0]
            log_p += chosen - np.log(weights[:, at : at + rows.shape[1]].sum(1))
        return weights, log_p


def _of_blocks(rows_BWD: np.ndarray, h_TD: np.ndarray, block_T: np.ndarray) -> np.ndarray:
    """Scores [T, W] of the rows of one block for each position."""
    return np.matmul(rows_BWD[block_T], h_TD[:, :, None])[:, :, 0]
