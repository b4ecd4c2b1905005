"""Contract, the prompt's own tests, and random histories held to recomputing everything."""

from __future__ import annotations

import numpy as np

from weightless.deck.bench import Bench
from weightless.deck.cards.kv.truth import Pair, Shape
from weightless.deck.comparing import array_of
from weightless.deck.outcome import Failed


def answers(bench: Bench) -> None:
    """KVCache is made by position, append gives positions (B, T), attend (B, n_heads, T, d_head)."""
    shape = Shape(2, 1, 4, 2, 3)
    k, v = (bench.rng.standard_normal((2, 2, 5, 3)) for _ in range(2))
    with bench.solution() as worker:
        cache = worker.make("KVCache", *shape.arguments)
        positions = worker.method(cache, "append", 0, k, v, [5, 4])
        out = worker.method(cache, "attend", 0, bench.rng.standard_normal((2, 4, 5, 3)), [5, 4])
        lengths = worker.method(cache, "lengths")
        worker.method(cache, "reorder", [1, 0])
    array_of(positions, (2, 5), np.int64, "what append returns")
    array_of(out, (2, 4, 5, 3), np.float64, "what attend returns")
    if not isinstance(lengths, (list, tuple, np.ndarray)) or len(lengths) != 2:
        raise Failed("WRONG_SHAPE", f"lengths() is {lengths!r:.80}, not a list of two whole numbers")


def one_token_at_a_time(bench: Bench) -> None:
    """Twelve steps of one token for every sequence: each is what attention over everything so far gives."""
    with bench.solution() as worker:
        pair = Pair(worker, bench.rng, Shape(batch=2))
        for i in range(12):
            pair.step([1, 1], f"at step {i + 1}")


def prompts_of_different_lengths(bench: Bench) -> None:
    """A batch of prompts of 1, 6 and 13 tokens padded to 13, then five tokens for each."""
    with bench.solution() as worker:
        pair = Pair(worker, bench.rng, Shape())
        pair.step([1, 6, 13], "of prompts of 1, 6 and 13 tokens")
        for i in range(5):
            pair.step([1, 1, 1], f"at step {i + 1} after prompts of 1, 6 and 13 tokens")


def several_heads(bench: Bench) -> None:
    """Five heads, each with keys of its own."""
    with bench.solution() as worker:
        pair = Pair(worker, bench.rng, Shape(2, 1, 5, 5, 7))
        pair.step([4, 2], "with 5 heads")
        pair.step([1, 1], "with 5 heads")


def pieces_of_a_prompt(bench: Bench) -> None:
    """A prompt in pieces: query i of a piece sees the past and the piece up to itself, and no more."""
    with bench.solution() as worker:
        pair = Pair(worker, bench.rng, Shape(batch=2))
        for lengths in ([5, 3], [1, 4], [7, 2], [3, 9]):
            pair.step(lengths, f"of a piece of {lengths} tokens")


def shared_heads(bench: Bench) -> None:
    """Grouped queries: head h reads key-value head h // (n_heads / n_kv_heads); also one for all."""
    with bench.solution() as worker:
        for n_heads, n_kv_heads in ((6, 2), (6, 3), (4, 1)):
            pair = Pair(worker, bench.rng, Shape(2, 2, n_heads, n_kv_heads, 5))
            pair.step([6, 3], f"with {n_heads} heads on {n_kv_heads}")
            pair.step([1, 1], f"with {n_heads} heads on {n_kv_heads}")


def any_history(bench: Bench) -> None:
    """Pieces and single tokens, sequences that pause, leave, double and begin, forty steps."""
    _history(bench, Shape(3, 2, 4, 2, 5), 40)


def any_history_in_single(bench: Bench) -> None:
    """The same in float32: results are float32, and off by rounding only."""
    _history(bench, Shape(3, 1, 6, 2, 16, "float32"), 25)


def _history(bench: Bench, shape: Shape, n_steps: int) -> None:
    rng = bench.rng
    with bench.solution() as worker:
        pair = Pair(worker, rng, shape)
        n = shape.batch
        for i in range(n_steps):
            if rng.random() < 0.2:
                n = int(rng.integers(1, 5))
                rows = rng.integers(-1, len(pair.oracle.sequences), n).tolist()
                pair.reorder(rows, f"after reorder({rows}) at step {i + 1}")
            longest = 1 if rng.random() < 0.6 else int(rng.integers(2, 9))
            lengths = rng.integers(0, longest + 1, n).tolist()
            pair.step(lengths, f"at step {i + 1} of a random history", T=longest)


def layers_keep_apart(bench: Bench) -> None:
    """Four layers, and a second cache beside the first: nobody reads another's keys."""
    with bench.solution() as worker:
        first, second = (Pair(worker, bench.rng, Shape(2, 4, 2, 2, 4)) for _ in range(2))
        for lengths in ([3, 1], [1, 1], [2, 5]):
            first.step(lengths, "in four layers")
            second.step(lengths[::-1], "in another cache")
