"""Oracles: sorted() over the windows of an epoch, and the plain permutation for the shuffled control."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.data.batches.loader import Batches
from weightless.data.batches.order import Curriculum, Permutation
from weightless.data.batches.packing import DocumentWindows, StreamWindows

EOT = 7


def drawn(order, n: int, epoch: int, upto: int | None = None) -> list[int]:
    return order.windows(epoch, np.arange(n if upto is None else upto)).tolist()


@given(st.integers(1, 90), st.integers(0, 7), st.booleans(), st.integers(0, 9))
def test_every_window_comes_once_per_epoch_in_order(n, n_buckets, descending, seed):
    values = np.random.default_rng(seed).integers(0, 9, n).astype(float)
    order = Curriculum(n, seed, lambda _: values, n_buckets, descending)
    for epoch in (0, 1, 5):
        windows = drawn(order, n, epoch)
        assert sorted(windows) == list(range(n))
        found = (-values if descending else values)[windows]
        if n_buckets == 0:
            assert found.tolist() == sorted(found.tolist())
        else:
            parts = [found[np.arange(n) * n_buckets // n == b] for b in range(n_buckets)]
            parts = [part for part in parts if len(part)]
            assert all(a.max() <= b.min() for a, b in zip(parts, parts[1:], strict=False))


def test_one_bucket_is_the_permutation_and_buckets_are_permuted_inside():
    values = np.arange(1000.0)
    assert drawn(Curriculum(1000, 3, lambda _: values, 1), 1000, 2) == drawn(Permutation(1000, 3), 1000, 2)
    windows = np.array(drawn(Curriculum(1000, 3, lambda _: values, 4), 1000, 0)).reshape(4, 250)
    for b, part in enumerate(windows):
        assert sorted(part.tolist()) == list(range(250 * b, 250 * b + 250))
        assert abs(np.corrcoef(np.arange(250), part)[0, 1]) < 0.32  # 5 sigma of 1 / sqrt(n)


@pytest.mark.parametrize("n_draws", [0, 30, 100, 130, 250])
def test_a_run_that_ends_inside_an_epoch_has_the_windows_of_its_control(n_draws):
    """Sorted, in buckets or shuffled: the same windows in every epoch, as long as the run lasts."""
    values = np.random.default_rng(0).random(100)
    control, kinds = Permutation(100, 5), (0, 1, 3)
    orders = [Curriculum(100, 5, lambda _: values, n, n_draws=n_draws) for n in kinds]
    for epoch in range(3):
        m = min(100, max(0, n_draws - 100 * epoch))
        wanted = drawn(control, 100, epoch, m)
        for order in orders:
            assert sorted(drawn(order, 100, epoch, m)) == sorted(wanted)
        assert values[drawn(orders[0], 100, epoch, m)].tolist() == sorted(values[wanted].tolist())
        assert drawn(orders[0], 100, epoch)[m:] == drawn(control, 100, epoch)[m:]  # beyond the plan: permuted


def test_places_are_pure_in_any_order_of_asking():
    values = np.random.default_rng(1).random(50)
    order = Curriculum(50, 1, lambda epoch: np.roll(values, epoch))
    wanted = {epoch: drawn(order, 50, epoch) for epoch in range(4)}
    for epoch in (3, 0, 2, 1, 0):
        assert drawn(order, 50, epoch) == wanted[epoch]


def documents(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 60, 400)
    tokens = rng.integers(8, 900, lengths.sum()).astype(np.uint16)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tokens[starts[:-1]] = EOT
    return tokens, starts


def test_scores_of_stream_windows_are_means_over_positions():
    tokens, starts = documents(0)
    scores = np.random.default_rng(1).standard_normal(400)
    windows = StreamWindows(tokens, 23, seed=4)
    of_token = np.repeat(scores, np.diff(starts))
    for epoch in (0, 1):
        at = windows.starts(epoch, np.arange(windows.n_windows))
        wanted = [of_token[a : a + 23].mean() for a in at]
        np.testing.assert_allclose(windows.window_scores(epoch, starts, scores), wanted, rtol=0, atol=1e-12)


def test_scores_of_packed_windows_are_means_over_what_is_not_padding():
    tokens, starts = documents(0)
    scores = np.random.default_rng(1).standard_normal(400)
    of_token = dict(zip(starts[:-1].tolist(), scores, strict=True))
    windows = DocumentWindows(tokens, 64, EOT, starts, scores)
    found = windows.window_scores(0, starts, scores)
    for w in range(windows.n_windows):
        pieces = slice(windows.first[w], windows.first[w + 1])
        total = sum(of_token[s] * n for s, n in zip(windows.starts[pieces].tolist(), windows.lengths[pieces].tolist()))
        assert found[w] == pytest.approx(total / windows.lengths[pieces].sum(), abs=1e-12)
    with pytest.raises(ConfigError, match="packed without scores"):
        DocumentWindows(tokens, 64, EOT, starts).window_scores(0, starts, scores)


def test_packing_by_score_keeps_documents_of_like_score_together():
    """Groups of 256 pieces: the spread inside a window is far below that of windows packed without regard."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(4, 40, 8000)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tokens = rng.integers(8, 900, lengths.sum()).astype(np.uint16)
    scores = rng.random(8000)
    spreads = []
    for given_scores in (scores, None):
        windows = DocumentWindows(tokens, 128, EOT, starts, given_scores)
        owner = np.searchsorted(starts, windows.starts, side="right") - 1
        spreads.append(np.mean([np.ptp(s) for s in np.split(scores[owner], windows.first[1:-1])]))
        assert windows.wasted_share < 0.02
    assert spreads[0] < 0.05 < 0.5 < spreads[1]


@pytest.mark.parametrize("packing", ["stream", "documents"])
def test_ranks_share_a_curriculum(packing):
    tokens, starts = documents(5)
    lengths = np.diff(starts).astype(float)

    def batches(batch_size: int, rank: int = 0, world: int = 1) -> Batches:
        windows = (
            StreamWindows(tokens, 16, 1) if packing == "stream" else DocumentWindows(tokens, 16, EOT, starts, lengths)
        )
        order = Curriculum(windows.n_windows, 1, lambda e: windows.window_scores(e, starts, lengths), 5)
        return Batches(tokens, 16, batch_size, 1, order, rank, world, windows)

    alone, ranks = batches(8), [batches(4, rank, 2) for rank in range(2)]
    for step in (0, alone.n_windows // 8, 400):
        both = np.concatenate([rank.batch(step).inputs_BT for rank in ranks])
        assert np.array_equal(both, alone.batch(step).inputs_BT)


def test_buckets_below_zero_are_refused():
    with pytest.raises(ConfigError, match="-1 buckets"):
        Curriculum(5, 0, lambda _: np.zeros(5), -1)
