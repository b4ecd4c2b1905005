"""Contract, the prompt's own tests, and vocabularies of every size."""

from __future__ import annotations

import numpy as np

from weightless.deck.bench import Bench
from weightless.deck.cards.fuse.truth import asked, by_definition, hold_to_truth
from weightless.deck.comparing import array_of
from weightless.deck.outcome import Failed


def drawn(rng: np.random.Generator, *shape: int, dtype: type = np.float32) -> np.ndarray:
    """Logits as a model has them: normal, spread by 3."""
    return (3 * rng.standard_normal(shape)).astype(dtype)


def answers(bench: Bench) -> None:
    """Indices int64 and probabilities float32, both (B, T, k)."""
    with bench.solution() as worker:
        index, p = asked(worker, drawn(bench.rng, 2, 3, 50), 5)
    array_of(index, (2, 3, 5), np.int64, "indices")
    array_of(p, (2, 3, 5), np.float32, "probabilities")


def a_thousand(bench: Bench) -> None:
    """[2, 3, 1000], the ten most probable."""
    with bench.solution() as worker:
        hold_to_truth(worker, drawn(bench.rng, 2, 3, 1000), 10, "of (2, 3, 1000), k = 10")


def a_large_vocabulary(bench: Bench) -> None:
    """V = 50,257."""
    with bench.solution() as worker:
        hold_to_truth(worker, drawn(bench.rng, 1, 2, 50257), 20, "of V = 50257, k = 20")


def stable(bench: Bench) -> None:
    """Logits around 10,000 and -10,000, where exp overflows or all of it vanishes."""
    with bench.solution() as worker:
        for offset in (1e4, -1e4):
            hold_to_truth(worker, drawn(bench.rng, 1, 3, 777) + np.float32(offset), 7, f"around {offset:g}")


def every_size(bench: Bench) -> None:
    """V of 1, 5, k - 1, k, k + 1, odd ones, and what no block size divides."""
    k = int(bench.rng.integers(4, 12))
    with bench.solution() as worker:
        for V in (k, k + 1, 63, 255, 256, 257, 4096, 4097, int(bench.rng.integers(1000, 9000))):
            hold_to_truth(worker, drawn(bench.rng, 1, 3, V), k, f"of V = {V}, k = {k}")
        hold_to_truth(worker, drawn(bench.rng, 1, 2, 5), 1, "of V = 5, k = 1")
        hold_to_truth(worker, drawn(bench.rng, 2, 1, 1), 1, "of V = 1, k = 1")


def the_largest_vocabulary(bench: Bench) -> None:
    """V = 151,936, k = 50."""
    with bench.solution() as worker:
        hold_to_truth(worker, drawn(bench.rng, 1, 1, 151936), 50, "of V = 151936, k = 50")


def not_renormalised(bench: Bench) -> None:
    """The k probabilities add up to their share of all V, which is far from one."""
    logits = drawn(bench.rng, 2, 2, 3000) / np.float32(3)
    share = by_definition(logits, 8)[1].sum(-1)
    with bench.solution() as worker:
        p = array_of(asked(worker, logits, 8)[1], (2, 2, 8), np.float32, "probabilities")
    if not np.abs(p.sum(-1) - share).max() <= 1e-3 * share.max():
        told = f"8 of 3000 add up to {p.sum(-1).max():.3f}, and to {share.max():.3f} in the softmax over all"
        raise Failed("WRONG_NUMERIC", f"probabilities are not those of the full softmax: {told}")


def rising_and_falling(bench: Bench) -> None:
    """The maximum comes last, or first, or in the middle: the running sum has to be put right each time."""
    up = np.linspace(-20, 20, 9000) + bench.rng.standard_normal(9000)
    rows = np.stack([up, up[::-1], np.concatenate((up[::2], up[::-2])), np.where(np.arange(9000) == 6001, 60, up)])
    with bench.solution() as worker:
        hold_to_truth(worker, rows[None].astype(np.float32), 9, "of rows that rise and fall")


def rows_keep_apart(bench: Bench) -> None:
    """Rows of sizes 1e-3 to 1e3 beside each other: every one has a maximum and a sum of its own."""
    logits = drawn(bench.rng, 3, 5, 400) * np.logspace(-3, 2.5, 15).reshape(3, 5, 1).astype(np.float32)
    with bench.solution() as worker:
        hold_to_truth(worker, logits, 6, "of rows of many sizes")


def in_double(bench: Bench) -> None:
    """float64 in, float64 out, to float64's accuracy."""
    with bench.solution() as worker:
        hold_to_truth(worker, drawn(bench.rng, 2, 2, 5000, dtype=np.float64), 10, "in float64")
