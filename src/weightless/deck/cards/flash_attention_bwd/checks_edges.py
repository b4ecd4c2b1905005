"""Where gradients of tiled attention break, and what they cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.deck.asking import grows_linearly, takes, tiles_are_skipped, unchanged
from weightless.deck.attention_truth import backward, forward, normal
from weightless.deck.bench import Bench, Worker
from weightless.deck.cards.flash_attention_bwd.checks_gradients import (
    BACKWARD,
    FORWARD,
    GRADIENTS,
    both,
    right,
    went_backward,
    went_forward,
)
from weightless.deck.comparing import close
from weightless.deck.costs import seconds_beside
from weightless.deck.outcome import Failed

SLOWER = 20.0


def smallest(bench: Bench) -> None:
    with bench.solution() as worker:
        for n, d, tile in ((1, 1, 1), (1, 8, 4), (9, 1, 4), (5, 3, 1), (6, 4, 1000)):
            for causal in (True, False):
                arrays = normal(bench.rng, *[(1, 2, n, d)] * 4)
                right(worker, arrays, tile, causal, f"N = {n}, D = {d}, tiles of {tile}, causal={causal}")


def shifted_keys(bench: Bench) -> None:
    """Scores of a row move by one number, so nothing changes.  A row sum over less than the row shows here, too."""
    Q, K, V, dO = normal(bench.rng, *[(1, 2, 60, 16)] * 4)
    shift = 30.0 * bench.rng.standard_normal(16)
    size = float(np.abs(Q @ shift).max() * np.abs(shift).max())
    with bench.solution() as worker:
        for causal in (True, False):
            plain = right(worker, [Q, K, V, dO], 16, causal, "keys as they are")
            moved = both(worker, [Q, K + shift, V, dO], 16, causal)
            for name, a, b in zip(GRADIENTS, moved, plain):
                close(a, b, f"{name} after one vector was added to all keys, causal={causal}", terms=int(size**2))


def huge_scores(bench: Bench) -> None:
    """Nearly all of a row is one key's: dQ and dK are differences of equal numbers, so their terms set the scale."""
    Q, K, V, dO = normal(bench.rng, *[(1, 2, 50, 16)] * 4)
    Q *= 2500.0
    with bench.solution() as worker:
        for causal in (True, False):
            found, truths = both(worker, [Q, K, V, dO], 16, causal), backward(dO, Q, K, V, causal)
            slope = float(np.abs(dO @ np.swapaxes(V, 2, 3)).max())
            for name, a, truth, factor in zip(GRADIENTS, found, truths, (K, Q, None)):
                scale = np.abs(dO).sum() if factor is None else slope * float(np.abs(factor).max())
                error = float(np.abs(a - truth).max() / scale)
                if not error <= 1e-9:  # 10,000 eps in an exponent, with a margin of 400
                    raise Failed("WRONG_NUMERIC", f"{name} at scores of 10,000: off by {error:.2g} of its terms")


def zero_upstream(bench: Bench) -> None:
    Q, K, V, dO = normal(bench.rng, *[(1, 2, 40, 8)] * 4)
    with bench.solution() as worker:
        for name, a in zip(GRADIENTS, both(worker, [Q, K, V, np.zeros_like(dO)], 16)):
            if np.any(a != 0):
                raise Failed("WRONG_NUMERIC", f"{name} is not 0 for dO = 0")
        dO[:, :, 23:] = 0.0
        found = right(worker, [Q, K, V, dO], 16, True, "dO = 0 from row 23 on")
        for name, a in zip(GRADIENTS, found):
            if np.any(a[:, :, 23:] != 0):
                raise Failed("WRONG_NUMERIC", f"{name} of positions that no row with dO sees is not 0")
        part = both(worker, [a[:, :, :23].copy() for a in (Q, K, V, dO)], 16)
        for name, a, b in zip(GRADIENTS, part, found):
            close(a, b[:, :, :23], f"{name} of the first 23 positions by themselves", terms=200)


def empty_rows(bench: Bench) -> None:
    """15 queries stand before the first key: their O is 0, their L −inf, and they give no gradient."""
    Q, dO, K, V = normal(bench.rng, (1, 2, 25, 8), (1, 2, 25, 8), (1, 2, 10, 8), (1, 2, 10, 8))
    with bench.solution() as worker:
        if not takes(worker, FORWARD, Q, K, V, 4, causal=True, q_offset=-15):
            return
        cache, truth = went_forward(worker, (Q, K, V), 4, causal=True, q_offset=-15), forward(Q, K, V)
        close(cache["O"], truth.O, "O of queries that see no key, and of others", terms=25)
        close(cache["L"].astype(np.float64), truth.L, "L of queries that see no key, and of others", terms=25)
        found = went_backward(worker, dO, cache, 4, causal=True, q_offset=-15)
        for name, a, b in zip(GRADIENTS, found, backward(dO, Q, K, V)):
            close(a, b, f"{name} with queries that see no key", terms=200)


def inputs_survive(bench: Bench) -> None:
    """Arrays that live in the worker, looked at after both passes; and the same gradients from the same cache again."""
    *qkv, dO = normal(bench.rng, *[(1, 2, 20, 8)] * 4)
    with bench.solution() as worker:
        there = [worker.hold(array) for array in (*qkv, dO)]
        made = worker.make(FORWARD, *there[:3], 8, causal=True)
        kept = worker.take(made, 1)
        before = worker.read(kept)
        worker.call(BACKWARD, there[3], kept, 8, causal=True)
        unchanged(worker, there, (*qkv, dO), ("Q", "K", "V", "dO"))
        after = worker.read(kept)
        if not all(np.array_equal(before[name], after[name]) for name in "OLQKV"):
            raise Failed("WRONG_NUMERIC", "the cache is written to")
        cache = went_forward(worker, qkv, 8, causal=True)
        for name, a, b in zip(
            GRADIENTS,
            went_backward(worker, dO, cache, 8, causal=True),
            went_backward(worker, dO, cache, 8, causal=True),
        ):
            close(a, b, f"{name} of a second call", terms=200)


def memory(bench: Bench) -> None:
    """float64 with D = 16, so that inputs are small beside one (N, N)."""
    sizes = (256, 2048, 4096)
    arrays = {n: normal(bench.rng, *[(1, 1, n, 16)] * 4) for n in sizes}
    with bench.solution() as worker:
        grows_linearly(worker, sizes, lambda w, n: _passes(w, arrays[n], 128, True), 8 * sizes[-1] ** 2)


def skipped_tiles(bench: Bench) -> None:
    """Processor time of both passes with and without the mask, tiles of 64: 136 of 256 pairs have work in them."""
    arrays = normal(bench.rng, *[(1, 1, 1024, 64)] * 4)
    with bench.solution() as worker:
        tiles_are_skipped(worker, lambda w, causal: _passes(w, arrays, 64, causal))


def time_beside_ours(bench: Bench) -> None:
    arrays = normal(bench.rng, *[(1, 2, 1024, 64)] * 4, dtype=np.float32)
    seconds_beside(bench, "N = 1024", lambda worker: _passes(worker, arrays, 128, True), SLOWER, 1.0)


def _passes(worker: Worker, arrays: list[np.ndarray], tile: int, causal: bool) -> Any:
    *qkv, dO = arrays
    _, cache = worker.call(FORWARD, *qkv, tile, causal=causal)
    return worker.call(BACKWARD, dO, cache, tile, causal=causal)
