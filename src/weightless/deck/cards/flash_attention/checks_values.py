"""What tiled attention gives, held to attention by definition (`deck/attention_truth.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weightless.deck.attention_truth import forward, normal, rows_of_output
from weightless.deck.bench import Bench, Worker
from weightless.deck.comparing import array_of, close, distance
from weightless.deck.outcome import Failed

NAME = "flash_attention_fwd"
PROMPT_ERROR = 1e-4
SIZES = ((7, 3), (63, 16), (64, 16), (65, 16), (97, 32), (40, 64))
"""(N, tile size): tiles that fit, that leave one row, that leave nearly a whole tile, that are larger than N."""


def right(worker: Worker, arrays: Sequence[np.ndarray], tile: int, causal: bool, what: str, **masks: Any) -> np.ndarray:
    """The answer, held to the truth to ten times the error of a plain implementation in the same type."""
    Q, K, V = arrays
    found = worker.call(NAME, Q, K, V, tile, causal=causal, **masks)
    truth = forward(Q, K, V, causal, **masks).O
    plain = None if Q.dtype == np.float64 else forward(Q, K, V, causal, Q.dtype.type, **masks).O
    close(found, truth, what, dtype=Q.dtype, plain=plain, terms=K.shape[2] + Q.shape[3])
    return found


def plain_call(bench: Bench) -> None:
    Q, K, V = normal(bench.rng, *[(2, 3, 16, 8)] * 3)
    with bench.solution() as worker:
        for dtype in (np.float64, np.float32):
            q, k, v = (array.astype(dtype) for array in (Q, K, V))
            array_of(worker.call(NAME, q, k, v, 4), Q.shape, dtype, f"the output for {np.dtype(dtype)}")
            given = worker.call(NAME, q, k, v, 4, True)
            array_of(given, Q.shape, dtype, "the output with causal by position")


def prompt_values(bench: Bench) -> None:
    Q, K, V = normal(bench.rng, *[(1, 1, 256, 64)] * 3)
    with bench.solution() as worker:
        _to_prompt_error(worker.call(NAME, Q, K, V, 64, causal=True), forward(Q, K, V).O, "the output")
        _to_prompt_error(worker.call(NAME, Q, K, V, 64), forward(Q, K, V).O, "the output without `causal`")


def prompt_large(bench: Bench) -> None:
    """One narrow head instead of sixteen of 64: the same code in a small part of the time."""
    Q, K, V = normal(bench.rng, *[(1, 1, 4096, 16)] * 3, dtype=np.float32)
    rows = [0, 127, 128, *bench.rng.integers(129, 4095, 3).tolist(), 4095]
    with bench.solution() as worker:
        found = array_of(worker.call(NAME, Q, K, V, 128, causal=True), Q.shape, np.float32, "the output")
    _to_prompt_error(found[:, :, rows], rows_of_output(Q, K, V, rows), f"rows {rows} of the output")


def ragged_sizes(bench: Bench) -> None:
    with bench.solution() as worker:
        for n, tile in SIZES:
            arrays = normal(bench.rng, *[(2, 2, n, 16)] * 3)
            right(worker, arrays, tile, True, f"N = {n} in tiles of {tile}")


def single(bench: Bench) -> None:
    with bench.solution() as worker:
        for n, tile in ((33, 8), (200, 64)):
            arrays = normal(bench.rng, *[(2, 2, n, 32)] * 3, dtype=np.float32)
            right(worker, arrays, tile, True, f"float32, N = {n} in tiles of {tile}")


def not_causal(bench: Bench) -> None:
    with bench.solution() as worker:
        for n, tile in ((48, 16), (61, 16), (20, 32)):
            arrays = normal(bench.rng, *[(2, 2, n, 8)] * 3)
            right(worker, arrays, tile, False, f"causal=False, N = {n} in tiles of {tile}")


def tile_sizes(bench: Bench) -> None:
    Q, K, V = normal(bench.rng, *[(1, 1, 50, 16)] * 3)
    with bench.solution() as worker:
        for causal in (True, False):
            whole = right(worker, (Q, K, V), 50, causal, "one tile that holds everything")
            for tile in (1, 7, 16, 49, 51, 500):
                found = worker.call(NAME, Q, K, V, tile, causal=causal)
                close(found, whole, f"tiles of {tile} beside one tile, causal={causal}", terms=Q.shape[2])


def prefixes(bench: Bench) -> None:
    Q, K, V = normal(bench.rng, *[(1, 2, 90, 16)] * 3)
    with bench.solution() as worker:
        whole = right(worker, (Q, K, V), 16, True, "N = 90")
        for n in (1, 15, 16, 17, 50):
            part = worker.call(NAME, Q[:, :, :n], K[:, :, :n], V[:, :, :n], 16, causal=True)
            close(part, whole[:, :, :n], f"the first {n} positions by themselves", terms=n)


def independence(bench: Bench) -> None:
    Q, K, V = normal(bench.rng, *[(3, 2, 37, 8)] * 3)
    with bench.solution() as worker:
        whole = right(worker, (Q, K, V), 16, True, "three batches of two heads")
        one = (slice(1, 2), slice(1, 2))
        alone = worker.call(NAME, Q[one], K[one], V[one], 16, causal=True)
        close(alone, whole[one], "one head of one batch by itself", terms=Q.shape[2])
        same = np.broadcast_to(V[:, :, :1], V.shape).copy()
        close(worker.call(NAME, Q, K, same, 16), same, "equal values everywhere", terms=Q.shape[2])
        twice = worker.call(NAME, Q, K, 3 * V + same, 16, causal=True)
        close(twice, 3 * whole + same, "3 V + c beside 3 times the output + c", terms=Q.shape[2])


def _to_prompt_error(found: Any, truth: np.ndarray, what: str) -> None:
    """The prompt's 1e-4, relative to the largest value."""
    found = array_of(found, truth.shape, found.dtype if isinstance(found, np.ndarray) else np.float64, what)
    if not (error := distance(found, truth)) <= PROMPT_ERROR:
        raise Failed("WRONG_NUMERIC", f"{what}: off by {error:.2g} of its largest value, allowed {PROMPT_ERROR:g}")
