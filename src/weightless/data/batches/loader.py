"""Batches of token windows as a pure function of the step: the whole state of the data is one integer.

    draw number   g = (step * world + rank) * batch_size + row
    permutation   epoch e = g // n_windows, place i = g mod n_windows, window = what the order has at place i of epoch e
    uniform       a window (of a stream: any offset) by hash(seed, g), with replacement; both ends are reachable

What a window is, packing.py says; in which order they come, order.py.  Because g runs over ranks first, `world` ranks
of `batch_size` rows draw together exactly what one rank of world * batch_size rows draws, and share no window within
an epoch.
Error: ConfigError when the text is shorter than one window of context + 1 tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, nearest
from weightless.base.random import seed_for
from weightless.data.batches.order import GOLDEN, Curriculum, Permutation, mixed
from weightless.data.batches.packing import Batch, DocumentWindows, StreamWindows

ORDERS = ("permutation", "uniform")


class Batches:
    """Batches of one rank; `tokens` needs len() and slicing only.

    `windows` replaces the contiguous windows of `tokens`, a Curriculum as `order` their permutation.
    """

    def __init__(
        self,
        tokens: Any,
        context: int,
        batch_size: int,
        seed: int,
        order: str | Curriculum = "permutation",
        rank: int = 0,
        world: int = 1,
        windows: StreamWindows | DocumentWindows | None = None,
    ) -> None:
        if context < 1 or batch_size < 1:
            raise ConfigError(f"context {context} and batch_size {batch_size} must both be at least 1")
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} is not one of the {world} ranks 0..{world - 1}")
        if isinstance(order, str) and order not in ORDERS:
            raise ConfigError(f"order {order!r}: {nearest(order, ORDERS)}")
        self.windows = StreamWindows(tokens, context, seed) if windows is None else windows
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.n_windows = self.windows.n_windows
        self.is_uniform = order == "uniform"
        self.order = Permutation(self.n_windows, seed) if isinstance(order, str) else order

    def batch(self, step: int) -> Batch:
        """Inputs and targets of one step, and the documents where the windows tell them apart."""
        first = self._first_draw(step)
        if self.is_uniform:
            return self._uniform_rows(first)
        epochs, windows = self._windows(first)
        parts = [self.windows.rows(epoch, windows[epochs == epoch]) for epoch in np.unique(epochs).tolist()]
        if len(parts) == 1:
            return parts[0]
        joined = [None if rows[0] is None else np.concatenate(rows) for rows in zip(*parts, strict=True)]
        return Batch(*joined)  # type: ignore[arg-type]

    def starts(self, step: int) -> np.ndarray:
        """int64 offsets of the windows of one step, where windows are contiguous."""
        if not isinstance(self.windows, StreamWindows):
            raise ConfigError("packed documents have no single offset; ask for the batch")
        first = self._first_draw(step)
        if self.is_uniform:
            return self._hashed(first, self.windows.n_starts)
        epochs, windows = self._windows(first)
        found = [self.windows.starts(epoch, windows[epochs == epoch]) for epoch in np.unique(epochs).tolist()]
        return np.concatenate(found)

    def _first_draw(self, step: int) -> int:
        if step < 0:
            raise ConfigError(f"step {step} is negative; steps count from 0")
        return (step * self.world + self.rank) * self.batch_size

    def _windows(self, first: int) -> tuple[np.ndarray, np.ndarray]:
        """(epoch, window) of every draw, in order of epochs."""
        epoch, place = divmod(first, self.n_windows)
        places = place + np.arange(self.batch_size)
        epochs, places = epoch + places // self.n_windows, places % self.n_windows
        windows = np.empty(self.batch_size, np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            windows[here] = self.order.windows(epoch, places[here])
        return epochs, windows

    def _uniform_rows(self, first: int) -> Batch:
        if isinstance(self.windows, StreamWindows):
            return self.windows.rows_at(self._hashed(first, self.windows.n_starts))
        return self.windows.rows(0, self._hashed(first, self.n_windows))

    def _hashed(self, first: int, n: int) -> np.ndarray:
        base = (seed_for(self.seed, "uniform") + GOLDEN * first) % 2**64
        draws = np.uint64(base) + np.arange(self.batch_size, dtype=np.uint64) * np.uint64(GOLDEN)
        return (mixed(draws) % np.uint64(n)).astype(np.int64)
