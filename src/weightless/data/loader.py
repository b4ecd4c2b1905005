"""Batches of token windows as a pure function of the step: the whole state of the data is one integer.

    draw number   g = (step * world + rank) * batch_size + row
    permutation   epoch e = g // n_windows, place i = g mod n_windows, window w = P_e(i),
                  start = phase_e + w * context       (all windows of an epoch once, none twice)
    uniform       start = hash(seed, g) mod (n_tokens - context)      (0 and the last possible start included)
    x = tokens[start : start + context],  y = tokens[start + 1 : start + context + 1]

P_e is a balanced Feistel network on the next power of four >= n_windows, walked until it falls below n_windows: a
bijection in constant memory.  phase_e is drawn afresh for every epoch, so that over the epochs every token but the
first becomes a target, and window edges fall everywhere.  Because g runs over ranks first, `world` ranks of
`batch_size` rows draw together exactly what one rank of world * batch_size rows draws, and share no window within
an epoch.
Error: ConfigError when the text is shorter than one window of context + 1 tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, nearest
from weightless.base.random import rng_for, seed_for

ORDERS = ("permutation", "uniform")
_ROUNDS = 6
_GOLDEN = 0x9E3779B97F4A7C15


class Batches:
    """Batches of one rank; `tokens` needs len() and slicing only."""

    def __init__(
        self,
        tokens: Any,
        context: int,
        batch_size: int,
        seed: int,
        order: str = "permutation",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if context < 1 or batch_size < 1:
            raise ConfigError(f"context {context} and batch_size {batch_size} must both be at least 1")
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} is not one of the {world} ranks 0..{world - 1}")
        if order not in ORDERS:
            raise ConfigError(f"order {order!r}: {nearest(order, ORDERS)}")
        if len(tokens) < context + 1:
            raise ConfigError(
                f"the text has {len(tokens)} tokens, but one window of context {context} needs {context + 1}; "
                "use a longer text or a shorter context"
            )
        self.tokens, self.context, self.batch_size, self.seed = tokens, context, batch_size, seed
        self.order, self.rank, self.world = order, rank, world
        n_targets = len(tokens) - 1
        self.n_starts = n_targets - context + 1
        self.n_windows = max(1, self.n_starts // context)
        self.slack = n_targets - self.n_windows * context  # by how much the phase of an epoch can move its windows

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(x_BT, y_BT), both int64, of one step."""
        starts_B = self.starts(step)
        rows = np.stack([np.asarray(self.tokens[s : s + self.context + 1]) for s in starts_B.tolist()]).astype(np.int64)
        return rows[:, :-1], rows[:, 1:]

    def starts(self, step: int) -> np.ndarray:
        """int64 offsets of the windows of one step."""
        if step < 0:
            raise ConfigError(f"step {step} is negative; steps count from 0")
        first = (step * self.world + self.rank) * self.batch_size
        if self.order == "uniform":
            return self._uniform(first)
        draws = [divmod(first + row, self.n_windows) for row in range(self.batch_size)]
        epochs = np.array([epoch for epoch, _ in draws])
        places = np.array([place for _, place in draws], np.int64)
        starts = np.empty(self.batch_size, np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            windows = permuted(places[here], self.n_windows, seed_for(self.seed, "order", epoch))
            starts[here] = self._phase(epoch) + windows * self.context
        return starts

    def _phase(self, epoch: int) -> int:
        return int(rng_for(self.seed, "phase", epoch).integers(0, self.slack + 1))

    def _uniform(self, first: int) -> np.ndarray:
        base = seed_for(self.seed, "uniform")
        draws = np.array([(base + _GOLDEN * (first + row)) % 2**64 for row in range(self.batch_size)], np.uint64)
        return (_mixed(draws) % np.uint64(self.n_starts)).astype(np.int64)


def permuted(places: np.ndarray, n: int, key: int) -> np.ndarray:
    """The images of `places` (0 <= place < n) under the permutation of 0..n-1 named by `key`."""
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    keys = _mixed(np.uint64(key) + np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(_GOLDEN))
    images = _feistel(places.astype(np.uint64), half, keys)
    while (outside := images >= n).any():
        images[outside] = _feistel(images[outside], half, keys)
    return images.astype(np.int64)


def _feistel(values: np.ndarray, half: np.uint64, keys: np.ndarray) -> np.ndarray:
    """(left, right) -> (right, left xor f(right)) for every key, on 2 * half bits."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << half) | right


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: a bijection of 64-bit integers in which every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
