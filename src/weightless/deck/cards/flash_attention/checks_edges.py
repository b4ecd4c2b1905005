"""Where tiled attention breaks, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.deck.asking import grows_linearly, leaves_alone, takes, tiles_are_skipped
from weightless.deck.attention_truth import forward, normal
from weightless.deck.bench import Bench, Worker
from weightless.deck.cards.flash_attention.checks_values import NAME, right
from weightless.deck.comparing import close
from weightless.deck.costs import seconds_beside

LARGE = 1e4
SLOWER = 20.0


def smallest(bench: Bench) -> None:
    with bench.solution() as worker:
        for n, d, tile in ((1, 1, 1), (1, 8, 4), (9, 1, 4), (5, 3, 1), (6, 4, 1000)):
            for causal in (True, False):
                arrays = normal(bench.rng, *[(1, 2, n, d)] * 3)
                right(worker, arrays, tile, causal, f"N = {n}, D = {d}, tiles of {tile}, causal={causal}")


def huge_scores(bench: Bench) -> None:
    """A score of size s moves its exponential by s eps, so that is allowed beside the sums' rounding."""
    with bench.solution() as worker:
        for sign in (1.0, -1.0):
            Q, K, V = normal(bench.rng, *[(1, 2, 50, 16)] * 3)
            Q *= LARGE / 4
            K = sign * np.abs(K) if sign < 0 else K
            for dtype in (np.float64, np.float32):
                q, k, v = (array.astype(dtype) for array in (Q, K, V))
                _right_to_scores(worker, q, k, v, f"scores of {sign * LARGE:g}, {np.dtype(dtype)}")


def rising_and_falling(bench: Bench) -> None:
    """Scores of each key tile far above, or far below, those before it: what was summed has to be scaled down."""
    n, tile = 48, 8
    steps = np.arange(n) // tile
    Q, K, V = normal(bench.rng, *[(1, 1, n, 8)] * 3)
    Q[..., 0] = np.sqrt(8.0)
    with bench.solution() as worker:
        for slope, name in ((3.0, "rising"), (-3.0, "falling"), (200.0, "steeply rising"), (-200.0, "steeply falling")):
            keys = K.copy()
            keys[..., 0] = slope * steps
            for causal in (True, False):
                _right_to_scores(worker, Q, keys, V, f"{name} scores, causal={causal}", tile, causal)


def inputs_survive(bench: Bench) -> None:
    arrays = normal(bench.rng, *[(2, 2, 20, 8)] * 3)
    with bench.solution() as worker:
        leaves_alone(worker, NAME, arrays, 8)


def offered_masks(bench: Bench) -> None:
    with bench.solution() as worker:
        Q, K, V = normal(bench.rng, (2, 2, 21, 8), (2, 2, 33, 8), (2, 2, 33, 8))
        if takes(worker, NAME, Q, K, V, 8, causal=True, q_offset=12):
            right(worker, (Q, K, V), 8, True, "21 queries after 12 cached keys", q_offset=12)
            right(worker, (Q, K, V), 8, True, "the same without q_offset: the last sees the last")
            right(worker, (Q, K, V), 8, True, "q_offset = 3: the last keys are seen by nobody", q_offset=3)
        Q, K, V = normal(bench.rng, *[(2, 2, 33, 8)] * 3)
        if takes(worker, NAME, Q, K, V, 8, causal=True, window=5):
            for window in (1, 5, 40):
                right(worker, (Q, K, V), 8, True, f"window = {window}", window=window)
                right(worker, (Q, K, V), 8, False, f"window = {window}, causal=False", window=window)
        padding = bench.rng.random((2, 33)) < 0.7
        padding[:, 0] = True
        if takes(worker, NAME, Q, K, V, 8, causal=True, key_padding_mask=padding):
            right(worker, (Q, K, V), 8, True, "padded keys", key_padding_mask=padding)


def empty_rows(bench: Bench) -> None:
    """More queries than keys, or the first keys padded: output 0, and no NaN."""
    with bench.solution() as worker:
        Q, K, V = normal(bench.rng, (1, 2, 25, 8), (1, 2, 10, 8), (1, 2, 10, 8))
        if takes(worker, NAME, Q, K, V, 4, causal=True, q_offset=-15):
            right(worker, (Q, K, V), 4, True, "15 queries before the first key", q_offset=-15)
        Q, K, V = normal(bench.rng, *[(2, 2, 25, 8)] * 3)
        padding = np.ones((2, 25), bool)
        padding[0, :7], padding[1] = False, False
        if takes(worker, NAME, Q, K, V, 4, causal=True, key_padding_mask=padding):
            right(worker, (Q, K, V), 4, True, "padding in front, a batch item all padded", key_padding_mask=padding)
            right(worker, (Q, K, V), 4, False, "the same, not causal", key_padding_mask=padding)


def memory(bench: Bench) -> None:
    """float64 with D = 16, so that inputs are small beside one (N, N)."""
    sizes = (256, 2048, 4096)
    arrays = {n: normal(bench.rng, *[(1, 1, n, 16)] * 3) for n in sizes}
    with bench.solution() as worker:
        grows_linearly(worker, sizes, lambda w, n: w.call(NAME, *arrays[n], 128, causal=True), 8 * sizes[-1] ** 2)


def skipped_tiles(bench: Bench) -> None:
    """Processor time with and without the mask, tiles of 64: 136 of 256 pairs have something to see."""
    Q, K, V = normal(bench.rng, *[(1, 2, 1024, 64)] * 3)
    with bench.solution() as worker:
        tiles_are_skipped(worker, lambda w, causal: w.call(NAME, Q, K, V, 64, causal=causal))


def time_beside_ours(bench: Bench) -> None:
    Q, K, V = normal(bench.rng, *[(2, 2, 1024, 64)] * 3, dtype=np.float32)
    seconds_beside(bench, "N = 1024", lambda worker: worker.call(NAME, Q, K, V, 128, causal=True), SLOWER, 1.0)


def _right_to_scores(
    worker: Worker, Q: np.ndarray, K: np.ndarray, V: np.ndarray, what: str, tile: int = 16, causal: bool = True
) -> None:
    truth = forward(Q, K, V, causal).O
    largest = float(np.abs(Q.astype(np.float64) @ np.swapaxes(K, 2, 3)).max() / np.sqrt(Q.shape[3]))
    found: Any = worker.call(NAME, Q, K, V, tile, causal=causal)
    close(found, truth, what, dtype=Q.dtype, terms=int(largest**2) + K.shape[2])
