"""Gradients of tiled attention, held to those by definition (`deck/attention_truth.py`), in the max norm.

Relative error per element means nothing here: under the causal mask the first query sees one key, its probability is 1
whatever the score, and its row of dQ is exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weightless.deck.attention_truth import backward, forward, normal
from weightless.deck.bench import Bench, Worker
from weightless.deck.comparing import array_of, close, distance
from weightless.deck.outcome import Failed

FORWARD, BACKWARD = "flash_attention_fwd", "flash_attention_bwd"
DIFFERENCES_ERROR, NAIVE_ERROR = 1e-5, 1e-4
GRADIENTS = ("dQ", "dK", "dV")
SIZES = ((7, 3), (63, 16), (64, 16), (65, 16), (97, 32), (40, 64))
"""(N, tile size): tiles that fit, that leave one row, that leave nearly a whole tile, that are larger than N."""

Cache = dict[str, np.ndarray]


def went_forward(worker: Worker, qkv: Sequence[np.ndarray], tile: int, **named: Any) -> Cache:
    """The cache of a forward pass, of the pinned names, shapes and types."""
    Q, K, V = qkv
    found = worker.call(FORWARD, Q, K, V, tile, **named)
    if not isinstance(found, (tuple, list)) or len(found) != 2 or not isinstance(found[1], dict):
        raise Failed("WRONG_SHAPE", f"{FORWARD} should return (O, cache), and gave a {type(found).__name__}")
    O, cache = found
    if set(cache) != set("OLQKV"):
        raise Failed(
            "WRONG_SHAPE", f"cache holds {', '.join(sorted(cache))[:200]}; it should be O, L, Q, K and V alone"
        )
    array_of(O, Q.shape, Q.dtype, "O")
    for name, given in (("O", O), ("Q", Q), ("K", K), ("V", V)):
        if not np.array_equal(array_of(cache[name], given.shape, Q.dtype, f"cache[{name!r}]"), given, equal_nan=True):
            raise Failed("WRONG_NUMERIC", f"cache[{name!r}] is not {name}")
    L = cache["L"]
    if not isinstance(L, np.ndarray) or L.dtype.kind != "f":
        raise Failed("WRONG_DTYPE", "cache['L'] should be an array of float32 or float64")
    array_of(L, Q.shape[:3], L.dtype, "cache['L']")
    return cache


def went_backward(worker: Worker, dO: np.ndarray, cache: Cache, tile: int, **named: Any) -> tuple[np.ndarray, ...]:
    """(dQ, dK, dV) of the pinned shapes and types."""
    found = worker.call(BACKWARD, dO, cache, tile, **named)
    if not isinstance(found, (tuple, list)) or len(found) != 3:
        raise Failed("WRONG_SHAPE", f"{BACKWARD} should return (dQ, dK, dV), and gave a {type(found).__name__}")
    like = [cache[name] for name in "QKV"]
    return tuple(array_of(a, b.shape, b.dtype, name) for a, b, name in zip(found, like, GRADIENTS))


def both(
    worker: Worker, arrays: list[np.ndarray], tile: int, causal: bool = True, backward_tile: int = 0
) -> tuple[np.ndarray, ...]:
    """(dQ, dK, dV) by a forward and a backward pass; `arrays` are Q, K, V, dO."""
    *qkv, dO = arrays
    cache = went_forward(worker, qkv, tile, causal=causal)
    return went_backward(worker, dO, cache, backward_tile or tile, causal=causal)


def right(worker: Worker, arrays: list[np.ndarray], tile: int, causal: bool, what: str) -> tuple[np.ndarray, ...]:
    """The gradients, held to the truth to ten times the error of a plain implementation in the same type."""
    *qkv, dO = arrays
    found, dtype = both(worker, arrays, tile, causal), dO.dtype
    truths = backward(dO, *qkv, causal=causal)
    plain = backward(dO, *qkv, causal=causal, dtype=dtype.type) if dtype != np.float64 else (None, None, None)
    for name, a, truth, rough in zip(GRADIENTS, found, truths, plain):
        # Rounding of dP stays where the differences cancel: in dQ and dK of few positions.
        scale = float(np.abs(dO).max() * max(np.abs(x).max() for x in qkv) ** 2)
        largest = float(np.abs(truth).max())
        cancelled = (scale / largest) ** 2 if largest else 0.0
        if largest:
            close(
                a, truth, f"{name}, {what}", dtype=dtype, plain=rough, terms=int(min(cancelled, 1e12)) + sum(dO.shape)
            )
        elif np.abs(a).max() > 100 * np.finfo(dtype).eps * scale:
            raise Failed("WRONG_NUMERIC", f"{name}, {what}: should be 0 but for rounding")
    return found


def plain_forward(bench: Bench) -> None:
    Q, K, V = normal(bench.rng, *[(2, 3, 16, 8)] * 3)
    with bench.solution() as worker:
        went_forward(worker, (Q, K, V), 4)
        went_forward(worker, [a.astype(np.float32) for a in (Q, K, V)], 4, causal=False)


def plain_backward(bench: Bench) -> None:
    arrays = normal(bench.rng, *[(2, 3, 16, 8)] * 4)
    with bench.solution() as worker:
        both(worker, arrays, 4)
        cache = went_forward(worker, arrays[:3], 4)
        found = worker.call(BACKWARD, arrays[3], cache, 4, True)
        array_of(found[0] if isinstance(found, (tuple, list)) and found else found, (2, 3, 16, 8), np.float64, "dQ")
        both(worker, [a.astype(np.float32) for a in arrays], 4, False)


def prompt_differences(bench: Bench) -> None:
    """Central differences of sum(dO * O) along random directions: one number stands for all elements of a gradient."""
    arrays, h = normal(bench.rng, *[(1, 1, 64, 32)] * 4), 1e-5
    with bench.solution() as worker:
        found = both(worker, arrays, 16)
    for place, name in enumerate(GRADIENTS):
        for _ in range(3):
            along = bench.rng.standard_normal(arrays[0].shape)
            up, down = ([a + s * h * along if i == place else a for i, a in enumerate(arrays)] for s in (1, -1))
            slope = float(np.sum(arrays[3] * (_output(up) - _output(down))) / (2 * h))
            size = float(np.linalg.norm(found[place]) * np.linalg.norm(along)) / along.size**0.5
            error = abs(float(np.sum(found[place] * along)) - slope) / max(abs(slope), size, 1e-300)
            if not error <= DIFFERENCES_ERROR:
                raise Failed(
                    "WRONG_NUMERIC", f"{name} misses a difference by {error:.2g}, allowed {DIFFERENCES_ERROR:g}"
                )


def _output(arrays: Sequence[np.ndarray]) -> np.ndarray:
    Q, K, V = arrays[:3]
    return forward(Q, K, V).O


def prompt_naive(bench: Bench) -> None:
    Q, K, V, dO = arrays = normal(bench.rng, *[(2, 4, 256, 64)] * 4)
    with bench.solution() as worker:
        found = both(worker, arrays, 64)
    for name, a, truth in zip(GRADIENTS, found, backward(dO, Q, K, V)):
        if not (error := distance(a, truth)) <= NAIVE_ERROR:
            raise Failed("WRONG_NUMERIC", f"{name}: off by {error:.2g} of its largest value, allowed {NAIVE_ERROR:g}")


def forward_values(bench: Bench) -> None:
    with bench.solution() as worker:
        for n, tile in SIZES:
            for causal in (True, False):
                Q, K, V = normal(bench.rng, *[(2, 2, n, 16)] * 3)
                cache, truth = went_forward(worker, (Q, K, V), tile, causal=causal), forward(Q, K, V, causal)
                what = f"N = {n} in tiles of {tile}, causal={causal}"
                close(cache["O"], truth.O, f"O, {what}", terms=n)
                close(cache["L"].astype(np.float64), truth.L, f"L, {what}", terms=n)


def ragged_sizes(bench: Bench) -> None:
    with bench.solution() as worker:
        for n, tile in SIZES:
            right(worker, normal(bench.rng, *[(2, 2, n, 16)] * 4), tile, True, f"N = {n} in tiles of {tile}")


def single(bench: Bench) -> None:
    with bench.solution() as worker:
        for n, tile in ((33, 8), (150, 64)):
            arrays = normal(bench.rng, *[(2, 2, n, 32)] * 4, dtype=np.float32)
            right(worker, arrays, tile, True, f"float32, N = {n} in tiles of {tile}")


def not_causal(bench: Bench) -> None:
    with bench.solution() as worker:
        for n, tile in ((48, 16), (61, 16), (20, 32)):
            right(
                worker, normal(bench.rng, *[(2, 2, n, 8)] * 4), tile, False, f"causal=False, N = {n}, tiles of {tile}"
            )


def tile_sizes(bench: Bench) -> None:
    arrays = normal(bench.rng, *[(1, 1, 50, 16)] * 4)
    with bench.solution() as worker:
        for causal in (True, False):
            whole = right(worker, arrays, 50, causal, "one tile that holds everything")
            for tile, back in ((1, 1), (13, 13), (49, 49), (16, 7), (64, 16)):
                for name, a, b in zip(GRADIENTS, both(worker, arrays, tile, causal, back), whole):
                    told = f"{name} in tiles of {tile} forwards and {back} backwards beside one tile, causal={causal}"
                    close(a, b, told, terms=200)


def from_our_cache(bench: Bench) -> None:
    """Nothing is carried from the forward pass but the cache: here it is made by us, and the two passes do not meet."""
    Q, K, V, dO = normal(bench.rng, *[(2, 2, 45, 8)] * 4)
    with bench.solution() as worker:
        for causal in (True, False):
            truth = forward(Q, K, V, causal)
            cache = {"O": truth.O, "L": truth.L, "Q": Q, "K": K, "V": V}
            found = went_backward(worker, dO, cache, 16, causal=causal)
            for name, a, b in zip(GRADIENTS, found, backward(dO, Q, K, V, causal)):
                close(a, b, f"{name} from a cache of ours, causal={causal}", terms=200)


def linearity(bench: Bench) -> None:
    *qkv, dO, other = normal(bench.rng, *[(2, 2, 37, 8)] * 5)
    one = (slice(1, 2), slice(0, 1))
    with bench.solution() as worker:
        first, second = right(worker, [*qkv, dO], 16, True, "N = 37"), both(worker, [*qkv, other], 16)
        mixed = both(worker, [*qkv, 2 * dO - other], 16)
        alone = both(worker, [a[one] for a in (*qkv, dO)], 16)
        for name, a, b, c, d in zip(GRADIENTS, first, second, mixed, alone):
            close(c, 2 * a - b, f"{name} of 2 dO − dO' beside 2 {name} − {name}'", terms=200)
            close(d, a[one], f"{name} of one head by itself", terms=200)
