"""A key-value cache for a batch of sequences of different lengths: our solution of the card `kv`.

Layout.  Every sequence has its own room, (layer, head, slot, width) for keys and for values, which doubles when it is
full: nothing is padded to the longest sequence, and a position is copied O(1) times on average.  One sequence of n
positions costs 2 n_layers n_kv_heads d_head bytes(dtype) n, and at most twice that in room.
A step.  `append` writes the new rows behind the old ones; `attend` reads every key and value once.
Storage and attention: weightless/decode/kv_cache.py, cache_attention.py, which this file hands on.

To save more: paged blocks (sequences that share a beginning share its blocks, and no room is left free), int8 codes
with a scale per vector, a sliding window.  On a GPU a block of threads takes one (sequence, key-value head), so that
keys are read once for all query heads that share them, and long sequences are cut into stretches whose (m, l, O) merge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weightless.decode import kv_cache

FORMATS = {"float64": "f64", "float32": "f32"}


class KVCache:
    """Keys and values of `batch_size` sequences, each as long as it is."""

    def __init__(
        self, batch_size: int, n_layers: int, n_heads: int, n_kv_heads: int, d_head: int, dtype: str = "float64"
    ) -> None:
        if n_heads % n_kv_heads:
            raise ValueError(f"n_heads {n_heads} should be a multiple of n_kv_heads {n_kv_heads}")
        self.dtype = np.dtype(dtype)
        self.store = kv_cache.KVCache(n_layers, n_kv_heads, d_head, FORMATS[self.dtype.name])
        self.numbers = list(range(batch_size))  # what the store calls each sequence of the batch
        self.filled = np.zeros((batch_size, n_layers), np.int64)  # positions of each
        self.n_begun = batch_size

    def append(self, layer: int, k: Any, v: Any, lengths: Sequence[int]) -> np.ndarray:
        """Add lengths[b] positions to sequence b; returns the positions (B, T) that the rows took, -1 for padding."""
        positions = np.full((len(self.numbers), k.shape[2]), -1, np.int64)
        for b, n in enumerate(lengths):
            if n:
                self.store.append(self.numbers[b], layer, k[b, :, :n], v[b, :, :n])
                positions[b, :n] = self.filled[b, layer] + np.arange(n)
                self.filled[b, layer] += n
        return positions

    def attend(self, layer: int, q: Any, lengths: Sequence[int]) -> np.ndarray:
        """The newest lengths[b] positions of sequence b against everything up to their own; zeros where padded."""
        out = np.zeros(q.shape, self.dtype)
        for b, n in enumerate(lengths):
            if n:
                out[b, :, :n] = self.store.attend(self.numbers[b], layer, q[b, :, :n])
        return out

    def reorder(self, rows: Sequence[int]) -> None:
        """Make the batch of the old sequences `rows`; one that stands twice is copied, -1 begins an empty one."""
        numbers: list[int] = []
        for row in rows:
            number = self.numbers[row] if row >= 0 else self.n_begun
            if row < 0 or number in numbers:
                self.n_begun += 1
                if row >= 0 and self.filled[row].any():
                    self.store.fork(number, self.n_begun)
                number = self.n_begun
            numbers.append(number)
        for number in set(self.store.sequences) - set(numbers):
            self.store.free(number)
        self.filled = np.array([self.filled[row] * (row >= 0) for row in rows], np.int64)
        self.numbers = numbers

    def lengths(self) -> list[int]:
        """Positions of every sequence that all layers have."""
        return [int(n) for n in self.filled.min(axis=1)]
