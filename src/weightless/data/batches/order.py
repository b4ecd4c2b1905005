"""In which order windows come: a pure function of the place, so that the whole state is one integer.

    Permutation   window P_e(i) at place i of epoch e
    Curriculum    the same windows sorted by a score, strictly, or into n buckets that are permuted inside

P_e is a balanced Feistel network on the next power of four >= n, walked until it falls below n: a bijection of
0 .. n-1 in constant memory.

A curriculum never changes which windows an epoch has, only when they come: of the m windows P_e(0) .. P_e(m-1) that
the run will draw in epoch e, place i gets the one with the i-th score (m = n unless the run is known to end before;
equal scores stay permuted).  With b buckets the windows are cut by rank into b equal parts, from easy to hard, and
inside a part they come in the order of P_e.  So one bucket is exactly the permutation: the shuffled control, with the
same windows in every epoch (Bengio et al. 2009).  Its tables are 4 bytes per window of an epoch, made anew from the
epoch's number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.random import seed_for

_ROUNDS = 6
GOLDEN = 0x9E3779B97F4A7C15
STRICT = 0
"""Number of buckets that stands for one window in each."""


class Permutation:
    """Every window once per epoch, in an order that says nothing about it."""

    def __init__(self, n_windows: int, seed: int) -> None:
        self.n_windows, self.seed = n_windows, seed

    def windows(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """int64 windows at these places (0 <= place < n_windows) of one epoch."""
        return permuted(places, self.n_windows, seed_for(self.seed, "order", epoch))


class Curriculum:
    """Every window once per epoch, sorted by `scores(epoch)`, one finite number per window."""

    def __init__(
        self,
        n_windows: int,
        seed: int,
        scores: Callable[[int], np.ndarray],
        n_buckets: int = STRICT,
        descending: bool = False,
        n_draws: int | None = None,
    ) -> None:
        if n_buckets < 0:
            raise ConfigError(f"{n_buckets} buckets: give 1 or more, or {STRICT} for a strict sort")
        self.permutation, self.scores, self.n_draws = Permutation(n_windows, seed), scores, n_draws
        self.n_windows, self.n_buckets, self.descending = n_windows, n_buckets, descending
        self._tables: dict[int, np.ndarray] = {}

    def windows(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """int64 windows at these places of one epoch; a place beyond the planned end of the run is permuted."""
        if epoch not in self._tables:
            kept = {e: table for e, table in self._tables.items() if e == epoch - 1}  # a batch may span two epochs
            self._tables = {**kept, epoch: self._table(epoch)}
        table = self._tables[epoch]
        inside = places < len(table)
        if inside.all():
            return table[places].astype(np.int64)
        found = self.permutation.windows(epoch, places)
        found[inside] = table[places[inside]]
        return found

    def _table(self, epoch: int) -> np.ndarray:
        """The windows of an epoch in their order, uint32 (int64 beyond 2^32 windows)."""
        n = self.n_windows
        n_drawn = n if self.n_draws is None else min(n, max(0, self.n_draws - epoch * n))
        windows = self.permutation.windows(epoch, np.arange(n_drawn))
        values = self.scores(epoch)[windows]
        order = np.argsort(-values if self.descending else values, kind="stable")
        if self.n_buckets != STRICT:
            bucket = np.empty(n_drawn, np.int64)
            bucket[order] = np.arange(n_drawn) * self.n_buckets // max(1, n_drawn)
            order = np.argsort(bucket, kind="stable")
        return windows[order].astype(np.uint32 if n < 2**32 else np.int64)


def permuted(places: np.ndarray, n: int, key: int) -> np.ndarray:
    """The images of `places` (0 <= place < n) under the permutation of 0..n-1 named by `key`."""
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    keys = mixed(np.uint64(key) + np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(GOLDEN))
    images = _feistel(places.astype(np.uint64), half, keys)
    while (outside := images >= n).any():
        images[outside] = _feistel(images[outside], half, keys)
    return images.astype(np.int64)


def _feistel(values: np.ndarray, half: np.uint64, keys: np.ndarray) -> np.ndarray:
    """(left, right) -> (right, left xor f(right)) for every key, on 2 * half bits."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (mixed(right ^ key) & mask)
    return (left << half) | right


def mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: a bijection of 64-bit integers in which every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
