"""A packed model that goes on counting.  Oracles: `ops.count_adapting` on the same arrays, bit for bit and byte for
byte; the frozen model; and all tokens in the place of one, whose probabilities must add up to 1."""

from __future__ import annotations

import numpy as np
import pytest
from countmix.small import SHAPE, V, learner, text
from countmix.test_packing import packed

from weightless.countmix.adapting import Adapter
from weightless.countmix.learning import Learner
from weightless.ops.count_adapting import Model, adapt

SHAPES = {
    "all": SHAPE,
    "no_lists": SHAPE._replace(lists=(), mixers=("node", "token")),
    "no_dense": SHAPE._replace(dense=(), mixers=("depth", "input")),
    "no_window": SHAPE._replace(window=(), mixers=("confidence",)),
}


def opened(shape=SHAPE, n: int = 3000) -> Learner:
    """A packed model of a text; its maps and order 0 speak in logits of counters."""
    grown = learner(text(n), shape)
    grown.go_over(text(n), "all")
    return packed(grown, shape)


def twin_of(adapter: Adapter) -> Model:
    """The readable twin on copies of the same arrays."""
    n_lists, tree, tables, learned, _, own, rates = adapter._parts()
    copies = [type(part)(*(np.array(array) for array in part)) for part in (tables, learned, own)]
    return Model(n_lists, tree, *copies, rates)


@pytest.mark.parametrize("bits", [1, 9], ids=["crowded", "roomy"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_compiled_pass_is_the_readable_one_bit_for_bit_and_byte_for_byte(name, bits, monkeypatch):
    """Also where slots are fought over: two buckets of two."""
    monkeypatch.setattr("weightless.countmix.adapting.LEAST_BITS", bits + 1)
    monkeypatch.setattr("weightless.countmix.adapting.MOST_BITS", bits + 1)
    monkeypatch.setattr("weightless.countmix.adapting.hashing_bytes", lambda contexts: (0, 0))
    made = opened(SHAPES[name])
    adapter, tokens = Adapter(made, 100), text(76, seed=2)
    twin = twin_of(adapter)
    for first in range(0, 75, 25):
        window = tokens[first : first + 26]
        nats, spent = adapter.window(window)
        said = adapt(twin, window.tolist(), made.hashes(window))
        assert nats.tolist() == [nats for nats, _ in said]
        assert spent.tolist() == [list(spent) for _, spent in said]
    assert np.array_equal(twin.own.nodes, adapter.own.nodes)
    assert np.array_equal(twin.own.lists, adapter.own.lists)
    assert np.array_equal(twin.learned.weights, adapter.learned.weights)


def test_the_first_token_is_scored_as_frozen():
    """Before anything was learned there is nothing that differs; behind it there is."""
    made, tokens = opened(), text(60, seed=2)
    frozen = made.score(tokens)
    adapted, _ = Adapter(made, 100).window(tokens)
    assert adapted[0] == frozen[0]
    assert not np.array_equal(adapted, frozen)


def test_it_learns_another_language():
    made, tokens = opened(), text(4000, seed=7)
    adapter, parts = Adapter(made, 4000), [tokens[first : first + 65] for first in range(0, 3900, 64)]
    frozen = np.mean([made.score(part).mean() for part in parts[-20:]])
    adapted = np.mean([adapter.window(part)[0].mean() for part in parts][-20:])
    assert adapted < frozen - 0.5


def test_all_tokens_share_one_probability_while_it_learns():
    """Sides of nodes are exact to 2^-22 and add up to 1; float64 sums of 61 products err by less than 1e-12."""
    adapter, tokens = Adapter(opened(), 500), text(500, seed=5)
    for first in range(0, 390, 64):
        adapter.window(tokens[first : first + 30])
        assert abs(np.exp(-adapter.nats_of_all()).sum() - 1) < 1e-12
        assert adapter.extend(tokens[first + 30 : first + 60])[0].shape == (30,)
        assert abs(np.exp(-adapter.nats_of_all()).sum() - 1) < 1e-12


def test_what_it_says_of_a_token_is_what_it_then_scores():
    tokens = text(300, seed=5)
    made = opened()
    for target in range(0, V, 7):
        adapter = Adapter(made, 500)
        adapter.window(tokens[:40])
        said = adapter.nats_of_all()
        assert np.array_equal(said, adapter.nats_of_all())
        assert adapter.extend(np.array([target]))[0][0] == said[target]


@pytest.mark.parametrize("t", [1, 17, 40])
def test_no_score_knows_what_comes_later(t):
    made, tokens = opened(), text(60, seed=5)
    other = np.concatenate([tokens[: t + 1], text(59 - t, seed=6)])
    one, two = (Adapter(made, 500).window(stream)[0] for stream in (tokens, other))
    assert np.array_equal(one[:t], two[:t])


def test_windows_in_pieces_are_the_same_windows():
    tokens = text(64, seed=5)
    whole, pieces = Adapter(opened(), 500), Adapter(opened(), 500)
    nats, spent = whole.window(tokens)
    parts = [pieces.window(tokens[:9]), pieces.extend(tokens[9:10]), pieces.extend(tokens[10:])]
    assert np.array_equal(np.concatenate([part for part, _ in parts]), nats)
    assert np.array_equal(np.concatenate([part for _, part in parts]), spent)


def test_what_is_packed_is_only_read():
    made, tokens = opened(), text(60, seed=2)
    arrays = (made.tables.nodes, made.tables.lists, *made.learned)
    before, frozen = [part.copy() for part in arrays], made.score(tokens)
    Adapter(made, 100).window(tokens)
    assert all(np.array_equal(part, kept) for part, kept in zip(arrays, before, strict=True))
    assert np.array_equal(made.score(tokens), frozen)


def test_the_window_counts_as_a_frozen_one_does():
    """One place ahead at a time, one more at a time: `count_in`, which the frozen model is held to."""
    from weightless.kernels.numba.count_adapting import count_often
    from weightless.kernels.numba.count_tables import count_in

    rng, one, two = np.random.default_rng(0), np.zeros(6, np.uint32), np.zeros(6, np.uint32)
    for rank in rng.integers(0, 9, 600):
        count_in(one, int(rank), np.uint32(255))
        count_often(two, int(rank), 1, 255, 1)
        assert np.array_equal(one, two)
