"""Padding full of NaN, sequences of no tokens, copies that part, old memory, and what a step and a position cost."""

from __future__ import annotations

import numpy as np

from weightless.deck.bench import Bench, Handle, Worker
from weightless.deck.cards.kv.truth import Pair, Shape
from weightless.deck.costs import memory_beside, seconds_beside
from weightless.deck.outcome import Failed

MEGABYTE = 10**6


def padding_of_nan(bench: Bench) -> None:
    """Rows behind lengths[b] are NaN in keys, values and queries: 0 times NaN is NaN, so they must not be touched."""
    with bench.solution() as worker:
        pair = Pair(worker, bench.rng, Shape(), padding=float("nan"))
        for lengths in ([2, 7, 1], [1, 1, 4], [1, 1, 1]):
            pair.step(lengths, "with padding of NaN", T=8)


def no_tokens(bench: Bench) -> None:
    """Sequences that begin later, that pause, and steps in which nobody gets a token."""
    with bench.solution() as worker:
        pair = Pair(worker, bench.rng, Shape())
        for lengths in ([0, 2, 0], [0, 0, 0], [3, 0, 0], [1, 1, 0], [0, 0, 1]):
            pair.step(lengths, f"of lengths {lengths}", T=3)


def copies_part(bench: Bench) -> None:
    """One sequence three times, each with its own continuation: none writes into another's past."""
    with bench.solution() as worker:
        pair = Pair(worker, bench.rng, Shape(batch=2))
        pair.step([5, 3], "before any copy")
        pair.reorder([0, 0, 1, 0], "after reorder([0, 0, 1, 0])")
        for lengths in ([1, 1, 1, 1], [2, 1, 0, 3], [1, 1, 1, 1]):
            pair.step(lengths, "of copies that go their own way")
        pair.reorder([3, 0], "after reorder([3, 0])")
        pair.step([1, 1], "of the copies that were left")


def places_are_used_again(bench: Bench) -> None:
    """Sequences leave and new ones begin in their place: nothing of the old ones is seen."""
    with bench.solution() as worker:
        pair = Pair(worker, bench.rng, Shape())
        pair.step([9, 4, 6], "of the first three")
        pair.reorder([-1, 1, -1], "after reorder([-1, 1, -1])")
        pair.step([2, 1, 1], "of sequences in used places")
        pair.reorder([2, -1, 1, 0], "after reorder([2, -1, 1, 0])")
        pair.step([1, 3, 1, 1], "of sequences in used places")


def smallest(bench: Bench) -> None:
    """One sequence, one layer, one head, width one."""
    with bench.solution() as worker:
        pair = Pair(worker, bench.rng, Shape(1, 1, 1, 1, 1))
        for lengths in ([1], [1], [3], [1]):
            pair.step(lengths, "of the smallest cache")


def large_scores(bench: Bench) -> None:
    """Scores of ten thousand: exp overflows unless the largest is taken off."""
    with bench.solution() as worker:
        pair = Pair(worker, bench.rng, Shape(2, 1, 2, 2, 8))
        for lengths in ([6, 4], [1, 1], [2, 3]):
            pair.step(lengths, "with scores of ten thousand", size=100.0)


def what_was_given_may_change(bench: Bench) -> None:
    """The caller writes over its arrays after append: the cache holds numbers and not the arrays."""
    shape = Shape(1, 1, 2, 2, 4)
    k, v, q = (bench.rng.standard_normal((1, 2, 6, 4)) for _ in range(3))
    with bench.solution() as worker:
        cache = worker.make("KVCache", *shape.arguments)
        held = [worker.hold(part) for part in (k, v)]
        worker.method(cache, "append", 0, *held, [6])
        for handle, given in zip(held, (k, v)):
            if not np.array_equal(worker.read(handle), given):
                raise Failed("WRONG_NUMERIC", "append wrote to the arrays that it was given")
            worker.method(handle, "fill", 7.0)
        pair = Pair(worker, bench.rng, shape)
        pair.cache = cache
        pair.oracle.append(0, k, v, [6])
        pair.compare(worker.method(cache, "attend", 0, q, [6]), 0, q, [6], "after the caller's arrays were filled")


def _fed(worker: Worker, shape: Shape, n: int, piece: int = 5000) -> Handle:
    """A cache whose first sequence has n positions, and the others one."""
    cache = worker.make("KVCache", *shape.arguments)
    _go_on(worker, cache, shape, [1] * shape.batch, 1)
    for start in range(1, n, piece):
        _go_on(worker, cache, shape, [min(piece, n - start)] + [0] * (shape.batch - 1), 1)
    return cache


def _go_on(worker: Worker, cache: Handle, shape: Shape, lengths: list[int], n_times: int) -> None:
    k = np.ones((len(lengths), shape.n_kv_heads, max(lengths), shape.d_head), shape.dtype)
    for _ in range(n_times):
        for layer in range(shape.n_layers):
            worker.method(cache, "append", layer, k, k, lengths)


def a_step_does_not_copy(bench: Bench) -> None:
    """Eighty tokens behind 100,000 cost about what they cost behind 2,000: no array is joined anew at every step."""
    shape, n_steps, seconds = Shape(1, 1, 1, 1, 32), 80, []
    with bench.solution() as worker:
        for n in (2_000, 100_000):
            cache = _fed(worker, shape, n)
            before = worker.cpu_seconds
            _go_on(worker, cache, shape, [1], n_steps)
            seconds.append(worker.cpu_seconds - before)
    few, many = seconds
    if many > 4 * few + 0.2:
        told = f"{n_steps} tokens take {few:.2f} s behind 2,000 positions and {many:.2f} s behind 100,000"
        raise Failed("SLOW", f"append: {told}; a step should not copy the past")


def memory_follows_the_lengths(bench: Bench) -> None:
    """One sequence of 40,000 positions beside 15 of one: 2 n_layers n_kv_heads d_head (sum of lengths) numbers, and at
    most twice that more than ours takes at its peak; neither padded to the longest nor spread over n_heads.
    """
    shape = Shape(16, 1, 8, 1, 16)
    formula = 2 * shape.n_layers * shape.n_kv_heads * shape.d_head * 8 * 40_000
    memory_beside(
        bench,
        "one sequence of 40,000 positions beside 15 of one",
        lambda worker: _fed(worker, shape, 1_000, piece=500),
        lambda worker: _fed(worker, shape, 40_000, piece=500),
        2 * formula,
    )


def memory_is_given_back(bench: Bench) -> None:
    """Twelve sequences of 10,000 positions one after another: room for about one of them."""
    shape = Shape(1, 1, 1, 1, 32)

    def ask(n_sequences: int, worker: Worker) -> None:
        cache = worker.make("KVCache", *shape.arguments)
        for _ in range(n_sequences):
            _go_on(worker, cache, shape, [10_000], 1)
            worker.method(cache, "reorder", [-1])

    memory_beside(
        bench,
        "twelve sequences of 10,000 positions, one after another",
        lambda worker: ask(2, worker),
        lambda worker: ask(12, worker),
        16 * MEGABYTE,
    )


def speed(bench: Bench) -> None:
    """Fifteen steps of eight sequences of 500: within six times our processor time, and 0.4 seconds."""
    shape = Shape(8, 2, 8, 2, 32)
    q = bench.rng.standard_normal((8, 8, 1, 32))

    def ask(worker: Worker) -> None:
        cache = worker.make("KVCache", *shape.arguments)
        _go_on(worker, cache, shape, [500] * 8, 1)
        for _ in range(15):
            _go_on(worker, cache, shape, [1] * 8, 1)
            for layer in range(shape.n_layers):
                worker.method(cache, "attend", layer, q, [1] * 8)

    seconds_beside(bench, "15 steps of 8 sequences of 500", ask, 6, 0.4)
