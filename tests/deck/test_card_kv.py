"""The card `kv`: our solution passes, each known mistake gets its status."""

from __future__ import annotations

from deck.trying import CardTests

ZEROS = """import numpy as np
class KVCache:
    def __init__(self, batch_size, n_layers, n_heads, n_kv_heads, d_head, dtype="float64"):
        self.n, self.dtype = batch_size, dtype
    def append(self, layer, k, v, lengths):
        return np.zeros((k.shape[0], k.shape[2]), np.int64)
    def attend(self, layer, q, lengths):
        return np.zeros(q.shape, self.dtype)
    def reorder(self, rows):
        self.n = len(rows)
    def lengths(self):
        return [0] * self.n
"""


class TestKV(CardTests):
    name = "kv"
    zeros = ZEROS
    not_by_own_tests = frozenset(
        {
            "one more position of room a step",
            "sixty-four times the room",
            "sequences that left are kept",
            "every step recomputes in Python",
        }
    )
