"""What the key-value caches are held to; every check takes the two classes (contiguous, paged), so that mutants can be
checked alike.

Oracle: attention by definition over all keys and values, recomputed, in float64.  1e-10: other order of the same sums.
Paged caches fill whatever is free with NaN, so that a read of it shows.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ArgumentError

L, G, H, K = 2, 2, 4, 3
BLOCK = 4


def vectors(rng: np.random.Generator, n_heads: int, t: int) -> np.ndarray:
    return rng.standard_normal((n_heads, t, K))


def by_definition(q_HTK, k_GSK, v_GSK, window=None, tree=None):
    """Full recompute: every query over every key it sees, one softmax each."""
    n_heads, T, _ = q_HTK.shape
    S = k_GSK.shape[1]
    out = np.empty_like(q_HTK)
    for h in range(n_heads):
        g = h // (n_heads // len(k_GSK))
        for i in range(T):
            at = S - T + i
            seen = [j for j in range(S) if j <= at and (window is None or at - j < window)]
            if tree is not None:
                seen = [*range(S - T), *(S - T + j for j in range(T) if tree[i, j])]
            scores = np.array([q_HTK[h, i] @ k_GSK[g, j] for j in seen]) / np.sqrt(K)
            p = np.exp(scores - scores.max())
            out[h, i] = p / p.sum() @ v_GSK[g, seen]
    return out


def near(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


def each(plain, paged, format="f64", window=None):
    """One cache of either kind."""
    return [plain(L, G, K, format, window), paged(L, G, K, BLOCK, None, format, window, poison=True)]


def check_chunks(plain, paged) -> None:
    """A prompt in pieces is the prompt at once: query i of a piece sees the past and the piece up to itself."""
    rng = np.random.default_rng(0)
    k, v, q = vectors(rng, G, 11), vectors(rng, G, 11), vectors(rng, H, 11)
    for window in (None, 3):
        wanted = by_definition(q, k, v, window)
        for cache in each(plain, paged, window=window):
            cache.append(0, 0, k, v)
            near(cache.attend(0, 0, q), wanted)
            for start, stop in ((0, 5), (5, 6), (6, 11)):
                cache.append(1, 0, k[:, start:stop], v[:, start:stop])
                near(cache.attend(1, 0, q[:, start:stop]), wanted[:, start:stop])


def check_ragged(plain, paged) -> None:
    """Sequences of 1, 6 and 13 positions, fed in turn: each gets what it gets alone, and no room behind it is seen."""
    rng = np.random.default_rng(1)
    lengths = {0: 1, 1: 6, 2: 13}
    rows = {s: [vectors(rng, n_heads, n) for n_heads in (G, G, H)] for s, n in lengths.items()}
    for cache in each(plain, paged):
        for at in range(13):
            for s, (k, v, q) in rows.items():
                if at < lengths[s]:
                    cache.append(s, 1, k[:, at : at + 1], v[:, at : at + 1])
                    wanted = by_definition(q[:, at : at + 1], k[:, : at + 1], v[:, : at + 1])
                    near(cache.attend(s, 1, q[:, at : at + 1]), wanted)
        for s, (k, v, q) in rows.items():
            near(cache.attend(s, 1, q), by_definition(q, k, v))


def check_fork(plain, paged) -> None:
    """A fork and its origin go on differently, in one block at first; freeing the origin changes nothing."""
    rng = np.random.default_rng(2)
    for cache in each(plain, paged):
        k, v = vectors(rng, G, 6), vectors(rng, G, 6)
        cache.append(0, 0, k, v)
        twin, truth = cache.fork(0), {}
        for s in (0, twin, 0, twin):
            more = vectors(rng, G, 3), vectors(rng, G, 3)
            cache.append(s, 0, *more)
            truth[s] = [np.concatenate(pair, 1) for pair in zip(truth.get(s, (k, v)), more)]
        q = vectors(rng, H, 3)
        for s, past in truth.items():
            near(cache.attend(s, 0, q), by_definition(q, *past))
        cache.free(0)
        cache.append(5, 0, *(vectors(rng, G, 12) for _ in range(2)))  # takes what the origin gave back
        near(cache.attend(twin, 0, q), by_definition(q, *truth[twin]))


def check_keep(plain, paged) -> None:
    """What stays of a refused draft: 0..4, then 6 and 8, moved up behind them; a fork still holds all ten."""
    rng = np.random.default_rng(3)
    k, v, q = vectors(rng, G, 10), vectors(rng, G, 10), vectors(rng, H, 2)
    at = [*range(5), 6, 8]
    for cache in each(plain, paged):
        for layer in range(L):
            cache.append(0, layer, k, v)
        twin = cache.fork(0)
        cache.keep(0, 5, [6, 8])
        assert cache.length(0) == 7 and cache.length(twin) == 10
        for layer in range(L):
            near(cache.attend(0, layer, q), by_definition(q, k[:, at], v[:, at]))
            near(cache.attend(twin, layer, q), by_definition(q, k, v))


def check_tree(plain, paged) -> None:
    """Nodes of a tree see the past, their ancestors and themselves."""
    rng = np.random.default_rng(4)
    tree = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]], bool)
    k, v, q = vectors(rng, G, 9), vectors(rng, G, 9), vectors(rng, H, 4)
    for cache in each(plain, paged):
        cache.append(0, 1, k, v)
        near(cache.attend(0, 1, q, tree), by_definition(q, k, v, tree=tree))


def check_window(plain, paged) -> None:
    """Windows of 1, 4 and 5 over 90 positions in pieces of 1 to 3; what no query sees any more is given back."""
    rng = np.random.default_rng(5)
    for window in (1, 4, 5):
        k, v, q = vectors(rng, G, 90), vectors(rng, G, 90), vectors(rng, H, 90)
        caches, start = each(plain, paged, window=window), 0
        while start < 90:
            stop = min(90, start + 1 + start % 3)
            wanted = by_definition(q[:, start:stop], k[:, :stop], v[:, :stop], window)
            for cache in caches:
                for layer in range(L):
                    cache.append(0, layer, k[:, start:stop], v[:, start:stop])
                    near(seen(cache, layer, q[:, start:stop]), wanted)
            start = stop
        contiguous, blocks = caches
        assert contiguous.nbytes <= contiguous.shape.bytes_of(32)
        assert blocks.keys.n_blocks <= 4


def seen(cache, layer: int, q: np.ndarray) -> np.ndarray:
    """What sequence 0 sees; it is a failure when what the window shows is gone."""
    try:
        return cache.attend(0, layer, q)
    except ArgumentError as error:
        raise AssertionError(str(error)) from error


def check_memory(plain, paged) -> None:
    """2 L G D b bytes per position: 48 layers, 25 heads of 64 in two bytes is 307,200."""
    x = np.zeros((25, 10, 64), np.float16)
    for cache, room in ((plain(48, 25, 64, "f16"), 16), (paged(48, 25, 64, 5, None, "f16"), 20)):
        for layer in range(48):
            cache.append(0, layer, x, x)
        assert cache.nbytes_used == 10 * 307_200
        assert cache.nbytes == room * 307_200


def check_int8(plain, paged) -> None:
    """Each vector is off by at most half a step, max |x| / 254, and the fp16 scale by 2^-11 of itself.

    Two entries of all 64 are then off by 0.01, and so is what attention makes of 33 of them, at most.
    """
    rng = np.random.default_rng(6)
    k, v, q = (rng.standard_normal((n, 33, 64)) for n in (G, G, H))
    held = {}
    for make in (lambda f: plain(L, G, 64, f), lambda f: paged(L, G, 64, 16, None, f)):
        for format in ("f64", "f32", "int8"):
            held[format] = make(format)
            held[format].append(0, 0, k, v)
        assert np.abs(held["f64"].attend(0, 0, q) - held["int8"].attend(0, 0, q)).max() < 0.02
        assert held["int8"].nbytes_used / held["f32"].nbytes_used == (64 + 2) / (4 * 64)
    store = held["int8"].keys
    read = np.concatenate([store.read(0, block, 0, 16) for block in held["int8"].block_table(0)], 1)[:, :33]
    step = np.abs(k).max(2, keepdims=True) / 127
    assert (np.abs(read - k) <= 0.5 * step + 127 * step * 2.0**-11).all()


def check_copies(plain, paged) -> None:
    """1,024 steps move at most two rows each in the long run: room doubles.  One more each time moves 500 a step."""
    x = np.zeros((G, 1, K))
    for cache in (plain(1, G, K), paged(1, G, K, 1)):
        moved = 0
        for length in range(1024):
            before = cache.nbytes
            cache.append(0, 0, x, x)
            moved += length if cache.nbytes != before else 0
        assert moved <= 2 * 1024, moved


CHECKS = [
    check_chunks,
    check_ragged,
    check_fork,
    check_keep,
    check_tree,
    check_window,
    check_memory,
    check_int8,
    check_copies,
]
