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
    adapter, tokens = Adapter(made, 100), text(150, seed=2)
    twin = twin_of(adapter)
    for first in range(0, 149, 37):
        window = tokens[first : first + 38]
        nats, spent = adapter.window(window)
        said = adapt(twin, window.tolist(), made.hashes(window))
        assert nats.tolist() == [nats for nats, _ in said]
        assert spent.tolist() == [list(spent) for _, spent in said]
    assert np.array_equal(twin.own.nodes, adapter.own.nodes)
    assert np.array_equal(twin.own.lists, adapter.own.lists)
    assert np.array_equal(twin.learned.weights, adapter.learned.weights)
