"""Oracles: sets of offsets; chi-square bounds for uniformity; another reader of the same windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.data.batches.loader import Batches
from weightless.data.batches.order import permuted
from weightless.data.shards.shards import TokenView


@given(st.integers(1, 300), st.integers(0, 2**63 - 1))
def test_permutations_are_bijections(n, key):
    assert sorted(permuted(np.arange(n), n, key).tolist()) == list(range(n))


def test_permutations_are_shuffles():
    """Over 4,000 keys each of the 24 orders of four comes 167 times; chi-square with 23 degrees stays below 60."""
    orders = [tuple(permuted(np.arange(4), 4, key * 7919).tolist()) for key in range(4000)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24 and ((counts - 4000 / 24) ** 2 / (4000 / 24)).sum() < 60
    image = permuted(np.arange(100_000), 100_000, 1)
    assert abs(np.corrcoef(np.arange(100_000), image)[0, 1]) < 0.015  # 5 sigma of 1 / sqrt(n)


def test_a_million_draws_without_a_repeat():
    tokens = np.zeros(4_000_013, np.uint16)
    batches = Batches(tokens, context=4, batch_size=5000, seed=3)
    assert batches.n_windows == 1_000_002
    starts = np.concatenate([batches.starts(step) for step in range(200)])
    assert len(np.unique(starts)) == 1_000_000
    assert len(np.unique(starts % 4)) == 1 and starts.min() >= 0 and starts.max() + 5 <= len(tokens)


@pytest.mark.parametrize("order", ["permutation", "uniform"])
def test_ranks_share_nothing_and_make_up_one_big_rank(order):
    tokens = np.arange(7 * 640 + 7, dtype=np.uint16)
    alone = Batches(tokens, 7, 32, 1, order)
    ranks = [Batches(tokens, 7, 16, 1, order, rank=rank, world=2) for rank in range(2)]
    for step in (0, 1, 19):
        both = np.concatenate([rank.starts(step) for rank in ranks])
        assert np.array_equal(both, alone.starts(step))
    if order == "permutation":
        seen = [np.concatenate([rank.starts(step) for step in range(20)]) for rank in ranks]
        assert alone.n_windows == 640 and not set(seen[0].tolist()) & set(seen[1].tolist())
        assert len(set(seen[0].tolist()) | set(seen[1].tolist())) == 640


@pytest.mark.parametrize("order", ["permutation", "uniform"])
def test_targets_are_the_inputs_shifted_and_steps_are_pure(order):
    tokens = np.random.default_rng(0).integers(0, 999, 1023).astype(np.uint16)
    batches = Batches(tokens, 63, 3, seed=9, order=order)
    x_BT, y_BT, documents = batches.batch(40)
    assert documents is None
    assert x_BT.shape == y_BT.shape == (3, 63) and x_BT.dtype == y_BT.dtype == np.int64
    assert np.array_equal(x_BT[:, 1:], y_BT[:, :-1])
    for row, start in enumerate(batches.starts(40)):
        assert np.array_equal(y_BT[row], tokens[start + 1 : start + 64])
    resumed = Batches(TokenView([tokens[:500], tokens[500:]]), 63, 3, seed=9, order=order)
    assert np.array_equal(resumed.batch(40)[0], x_BT)
    other = Batches(tokens, 63, 3, seed=10, order=order)
    assert any(not np.array_equal(other.starts(step), batches.starts(step)) for step in range(5))


def test_uniform_starts_reach_both_ends_evenly():
    batches = Batches(np.zeros(30, np.uint16), context=9, batch_size=1000, seed=0, order="uniform")
    counts = np.bincount(np.concatenate([batches.starts(step) for step in range(21)]), minlength=21)
    assert len(counts) == 21  # starts 0..20: 20 + 9 + 1 = 30 tokens
    assert ((counts - 1000) ** 2 / 1000).sum() < 55  # chi-square, 20 degrees of freedom: p < 1e-4


@pytest.mark.parametrize("n_tokens", [8, 9, 15, 16, 37])
def test_every_target_is_reached_over_the_epochs(n_tokens):
    batches = Batches(np.arange(n_tokens, dtype=np.uint16), context=7, batch_size=1, seed=2)
    targets = {int(t) for step in range(200 * batches.n_windows) for t in batches.batch(step)[1].ravel()}
    assert targets == set(range(1, n_tokens))


def test_refusals():
    tokens = np.zeros(8, np.uint16)
    assert Batches(tokens, 7, 2, 0).batch(5)[0].shape == (2, 7)
    for options, message in [
        ({"context": 8}, "has 8 tokens, but one window of context 8 needs 9"),
        ({"context": 0}, "at least 1"),
        ({"rank": 2, "world": 2}, "rank 2 is not one of the 2 ranks"),
        ({"order": "permutations"}, "did you mean 'permutation'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Batches(tokens, **{"context": 4, "batch_size": 1, "seed": 0, **options})
    with pytest.raises(ConfigError, match="negative"):
        Batches(tokens, 4, 1, 0).batch(-1)
