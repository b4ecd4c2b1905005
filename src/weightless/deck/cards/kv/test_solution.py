"""The tests of our own solution of `kv`; `solution` is the file beside it."""

from __future__ import annotations

import numpy as np
from solution import KVCache

H, G, D = 4, 2, 3


class _All:
    """Every key and value so far, attention over them anew each time."""

    def __init__(self, n: int) -> None:
        self.k, self.v = ([np.zeros((G, 0, D)) for _ in range(n)] for _ in range(2))

    def step(self, k, v, q, lengths):
        out = np.zeros(q.shape)
        for b, n in enumerate(lengths):
            self.k[b] = np.concatenate((self.k[b], k[b, :, :n]), 1)
            self.v[b] = np.concatenate((self.v[b], v[b, :, :n]), 1)
            for h in range(H):
                for i in range(n):
                    seen = self.k[b].shape[1] - n + i + 1
                    s = self.k[b][h // (H // G), :seen] @ q[b, h, i] / np.sqrt(D)
                    p = np.exp(s - s.max())
                    out[b, h, i] = p / p.sum() @ self.v[b][h // (H // G), :seen]
        return out


def _drawn(rng, lengths, T, padding=np.nan, size=1.0):
    k, v, q = (rng.standard_normal((len(lengths), n, T, D)) * size for n in (G, G, H))
    for b, n in enumerate(lengths):
        for part in (k, v, q):
            part[b, :, n:] = padding
    return k, v, q


def _both(cache, everything, rng, lengths, T=None, size=1.0):
    """One step in both layers; the second layer gets other numbers."""
    T = max(1, *lengths) if T is None else T
    for layer, oracle in enumerate(everything):
        k, v, q = _drawn(rng, lengths, T, size=size)
        before = [part.shape[1] for part in oracle.k]
        positions = cache.append(layer, k, v, lengths)
        for b, n in enumerate(lengths):
            assert positions[b].tolist() == [*range(before[b], before[b] + n), *[-1] * (T - n)]
        found = cache.attend(layer, q, lengths)
        assert np.abs(found - oracle.step(k, v, q, lengths)).max() < 1e-11


def _begun(n):
    return KVCache(n, 2, H, G, D), [_All(n), _All(n)], np.random.default_rng(0)


def test_tokens_and_pieces_of_ragged_sequences():
    cache, everything, rng = _begun(3)
    for lengths in ([1, 6, 13], [1, 1, 1], [0, 4, 2], [1, 1, 1], [5, 0, 1]):
        _both(cache, everything, rng, lengths, T=14)
    assert list(cache.lengths()) == [8, 12, 18]


def test_large_scores():
    cache, everything, rng = _begun(2)
    for lengths in ([5, 3], [1, 1]):
        _both(cache, everything, rng, lengths, size=100.0)


def test_copies_go_their_own_way_and_places_are_used_again():
    cache, everything, rng = _begun(2)
    _both(cache, everything, rng, [5, 3])
    for rows in ([1, 0, 0], [2, 0, -1, 0], [-1, 3]):
        cache.reorder(rows)
        for oracle in everything:
            oracle.k, oracle.v = (
                [old[row] if row >= 0 else np.zeros((G, 0, D)) for row in rows] for old in (oracle.k, oracle.v)
            )
        _both(cache, everything, rng, [1 + b % 2 for b in range(len(rows))])
        _both(cache, everything, rng, [1] * len(rows))


def test_float32_comes_back_as_float32():
    cache = KVCache(1, 1, H, G, D, "float32")
    k, v, q = (part.astype(np.float32) for part in _drawn(np.random.default_rng(0), [4], 4))
    cache.append(0, k, v, [4])
    assert cache.attend(0, q, [4]).dtype == np.float32
