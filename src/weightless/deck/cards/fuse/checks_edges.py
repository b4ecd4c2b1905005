"""Ties, impossible tokens, k beyond V, probabilities of zero, inputs that must survive, and what it costs."""

from __future__ import annotations

import numpy as np

from weightless.deck.bench import Bench
from weightless.deck.cards.fuse.checks_rows import drawn
from weightless.deck.cards.fuse.truth import asked, by_definition, compare, hold_to_truth
from weightless.deck.comparing import array_of
from weightless.deck.costs import memory_beside, seconds_beside
from weightless.deck.outcome import Failed


def ties(bench: Bench) -> None:
    """Whole numbers as logits, all equal ones, and 0.0 beside -0.0: the lower index comes first."""
    coarse = bench.rng.integers(0, 4, (1, 3, 5000)).astype(np.float32)
    zeros = np.where(bench.rng.random((1, 2, 300)) < 0.5, np.float32(0.0), np.float32(-0.0))
    with bench.solution() as worker:
        hold_to_truth(worker, coarse, 12, "with ties")
        hold_to_truth(worker, np.full((1, 2, 9001), 1.5, np.float32), 5, "of equal logits")
        hold_to_truth(worker, zeros, 5, "of 0.0 and -0.0")


def more_than_there_are(bench: Bench) -> None:
    """k > V: index -1 and probability 0 behind the V tokens."""
    with bench.solution() as worker:
        for V, k in ((3, 8), (1, 4), (7, 8)):
            hold_to_truth(worker, drawn(bench.rng, 2, 2, V), k, f"of V = {V}, k = {k}")


def nothing_possible(bench: Bench) -> None:
    """A row of -inf, between ordinary rows: -1 and 0, no NaN."""
    logits = drawn(bench.rng, 2, 3, 600)
    logits[0, 1] = logits[1, 2] = -np.inf
    with bench.solution() as worker:
        hold_to_truth(worker, logits, 4, "with a row of -inf")


def few_possible(bench: Bench) -> None:
    """Fewer than k above -inf, and whole blocks of -inf before and behind them."""
    logits = np.full((1, 3, 9500), -np.inf, np.float32)
    logits[0, 0, [9400, 17, 5003]] = 1.0, 2.0, -3.0
    logits[0, 1, 9499] = -5e3
    logits[0, 2, 0] = 88.0
    with bench.solution() as worker:
        hold_to_truth(worker, logits, 5, "with few tokens above -inf")


def probabilities_of_zero(bench: Bench) -> None:
    """All but one probability round to zero: the ranks behind it still go by logit."""
    logits = drawn(bench.rng, 1, 2, 2000)
    logits[..., 1234] = 2000.0
    with bench.solution() as worker:
        hold_to_truth(worker, logits, 6, "with probabilities that round to zero")


def strided(bench: Bench) -> None:
    """Logits that are every second element of a larger array."""
    logits = drawn(bench.rng, 2, 3, 801)
    with bench.solution() as worker:
        compare(asked(worker, worker.hold(logits, strided=True), 7), logits, 7, "of a strided array")


def logits_survive(bench: Bench) -> None:
    """The logits are not written to, and a second call says the same."""
    logits = drawn(bench.rng, 2, 2, 500)
    with bench.solution() as worker:
        held = worker.hold(logits)
        asked(worker, held, 5)
        again, after = asked(worker, held, 5), worker.read(held)
    if not np.array_equal(array_of(after, logits.shape, np.float32, "logits"), logits):
        raise Failed("WRONG_NUMERIC", "logits were written to: they are another array after the call")
    compare(again, logits, 5, "asked for a second time")


def memory(bench: Bench) -> None:
    """From V = 131,072 to 2,097,152 in one row: nothing of the size of V beside the logits themselves."""
    small, large = drawn(bench.rng, 1, 1, 1 << 17), drawn(bench.rng, 1, 1, 1 << 21)
    memory_beside(
        bench,
        "one row of 2,097,152 logits",
        lambda worker: asked(worker, small, 10),
        lambda worker: asked(worker, large, 10),
        large.nbytes // 2,
    )


def reads(bench: Bench) -> None:
    """CUDA: each logit is read from global memory once (a tenth more is allowed), in rows that are not aligned, too."""
    logits = drawn(bench.rng, 1, 3, 20_001)
    with bench.solution() as worker:
        found = worker.call("reads_per_logit", logits, 16)
    if not isinstance(found, float) or not found <= 1.1:
        raise Failed("SLOW", f"each of 3 x 20,001 logits is read {found} times on average; once is enough")


def speed(bench: Bench) -> None:
    """No Python loop over tokens: within eight times our processor time, and half a second."""
    logits = drawn(bench.rng, 1, 4, 50257)
    seconds_beside(
        bench,
        "4 rows of 50,257",
        lambda worker: asked(worker, logits, 20),
        8,
        0.5,
        warm=lambda worker: asked(worker, logits[:, :1, :600], 20),
    )


def sums_to_one(bench: Bench) -> None:
    """k = V gives the whole distribution, which adds up to one."""
    logits = drawn(bench.rng, 1, 3, 60)
    with bench.solution() as worker:
        p = array_of(asked(worker, logits, 60)[1], (1, 3, 60), np.float32, "probabilities")
    if not np.abs(p.sum(-1, dtype=np.float64) - by_definition(logits, 60)[1].sum(-1)).max() <= 1e-5:
        raise Failed("WRONG_NUMERIC", f"all {60} probabilities of a row add up to {p.sum(-1).max():.6f}, not to 1")
