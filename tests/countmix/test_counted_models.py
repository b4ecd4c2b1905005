"""Models of count mixing as a user meets them: odd texts, budgets, the same bytes twice, sums of probabilities."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from countmix.small import PIECES, V, text

from weightless.base.errors import ConfigError
from weightless.countmix.tree import depths
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.models import countmix
from weightless.models.countmix import Config
from weightless.ops.count_mixing import MAX_DEPTH

SMALL = Config(V, 64, stored_mb=1.0, mixers=("depth", "node", "input"))


def made(tmp_path, config, tokens, name="model.wl"):
    config, arrays = countmix.FAMILY.count(config, np.asarray(tokens), token_bytes=PIECES[: config.vocab_size])
    pack(tmp_path / name, "countmix", config, arrays)
    return open_packed(tmp_path / name)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return made(tmp_path_factory.mktemp("countmix"), SMALL, text(8000))


def test_it_predicts_what_comes_again(packed):
    tokens = text(8000)
    nats = packed.engine().score_stream(tokens[:64], tokens[1:65])
    assert nats.mean() < math.log(V) - 1


def test_probabilities_sum_to_one_at_a_thousand_positions(packed):
    """Before each p is rounded to float32 the sum is one to 1e-9: here from exact sides, node by node; and the
    float32 that are read out differ from one by no more than their rounding."""
    engine, tokens, checked = packed.engine(), text(1100, seed=3), 0
    for first in range(0, 1024, 64):
        engine.reset()
        for token in tokens[first : first + 64]:
            engine.feed(int(token))
            p = engine.distribution()
            assert p.min() > 0 and abs(float(p.sum(dtype=np.float64)) - 1) <= 6e-8
            checked += 1
    assert checked >= 1000


def learner_of(packed):
    """The packed model in the hands of what counted it."""
    from weightless.countmix.reopening import packed_learner

    c = configuration(packed)
    arrays = {name: packed.artifact.view(name) for name in packed.artifact.entries}
    lines, bits = (list(c.node_lines), list(c.list_lines)), (c.node_bits, c.list_bits)
    arrays |= {name: np.ascontiguousarray(arrays[name]).view("<u2") for name in ("tree.rank", "tree.token")}
    return packed_learner(c.shape, arrays, c.root, lines, bits)


def test_the_sides_of_every_node_are_exact(packed):
    """Products of multiples of 2^-22 in float64: the sum over all tokens of exp(-nats) is one to 1e-9."""
    model, tokens = learner_of(packed), text(40, seed=4)
    for n in (1, 2, 17, 39):
        nats = [model.score(np.append(tokens[:n], target))[-1] for target in range(V)]
        assert abs(sum(math.exp(-x) for x in nats) - 1) <= 1e-9


def test_the_longest_window_is_remembered_to_its_end(tmp_path):
    """65,535 positions in slots that name them in two bytes.  Oracle: what counted it, whose slots name none; and the
    same text seen a second time in the window is better known than the first time."""
    packed = made(tmp_path, dataclasses.replace(SMALL, context=65_535), text(8000))
    rare = np.random.default_rng(5).integers(0, V, 32_768)  # nothing that the tables could know
    tokens = np.concatenate([rare, rare])[:65_536]
    nats = packed.engine().score_stream(tokens[:-1], tokens[1:])
    assert np.allclose(nats, learner_of(packed).score(tokens), rtol=2**-22), "but for what float32 rounds off"
    assert nats[-32_000:].mean() < nats[:32_000].mean() - 0.5


def configuration(packed) -> Config:
    from weightless.audit.counters.subjects import configuration as of

    return of(packed)


def test_frozen_tables_are_not_changed_by_use(packed):
    before = packed.artifact.path.read_bytes()
    engine = packed.engine()
    engine.score_stream(text(64), text(64, seed=9))
    engine.distribution()
    assert packed.artifact.path.read_bytes() == before


def test_the_same_text_gives_the_same_file(tmp_path):
    one, two = (made(tmp_path, SMALL, text(3000), name).artifact.path.read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("megabytes", [0.15, 0.3, 1.0])
def test_the_file_fits_its_budget(tmp_path, megabytes):
    config = dataclasses.replace(SMALL, stored_mb=megabytes, mixers=("input",))
    found = made(tmp_path, config, text(20_000, seed=5))
    size = found.artifact.path.stat().st_size
    assert size <= megabytes * 1e6
    assert found.engine().score_stream(text(64), text(64, seed=5)).mean() < 5


def test_a_budget_without_room_says_so(tmp_path):
    with pytest.raises(ConfigError, match="leave no room for counts: give more"):
        made(tmp_path, dataclasses.replace(SMALL, stored_mb=0.02), text(500))


ODD = {
    "one word again and again": np.full(3000, 7),
    "two tokens": np.array([3, 4]),
    "ten tokens": np.arange(10),
    "every token once": np.arange(V),
    "nothing but pairs": np.tile([1, 2], 500),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_texts_give_sane_models(tmp_path, name):
    found = made(tmp_path, SMALL, ODD[name])
    engine, tokens = found.engine(), text(64)
    nats = engine.score_stream(tokens[:-1], tokens[1:])
    assert np.isfinite(nats).all() and nats.max() < 24 * 12
    assert abs(float(engine.distribution().sum(dtype=np.float64)) - 1) < 1e-6


def test_a_word_that_always_comes_is_sure_to_come(tmp_path):
    engine = made(tmp_path, SMALL, np.full(3000, 7)).engine()
    assert engine.score_stream(np.full(60, 7), np.full(60, 7))[20:].max() < 0.02


def test_one_token_is_no_text():
    with pytest.raises(ConfigError, match="no follower to count"):
        countmix.FAMILY.count(SMALL, np.array([5]))


@pytest.mark.parametrize("vocab_size", [2, 3, 256])
def test_small_vocabularies(tmp_path, vocab_size):
    tokens = np.random.default_rng(0).integers(0, vocab_size, 2000)
    config = Config(vocab_size, 32, dense=("o1", "o2"), lists=("o3",), window=("o1",), stored_mb=1.0)
    config, arrays = countmix.FAMILY.count(config, tokens)
    pack(tmp_path / "small.wl", "countmix", config, arrays)
    nats = open_packed(tmp_path / "small.wl").engine().score_stream(tokens[:32], tokens[1:33])
    assert nats.mean() < math.log(vocab_size) + 0.6


@pytest.mark.slow
def test_the_vocabulary_of_gpt2(tmp_path):
    vocab_size = 50_257
    tokens = (np.random.default_rng(0).zipf(1.2, 60_000) - 1) % vocab_size
    config, arrays = countmix.FAMILY.count(Config(vocab_size, stored_mb=40.0, window=("o1", "o2")), tokens)
    pack(tmp_path / "large.wl", "countmix", config, arrays)
    engine = open_packed(tmp_path / "large.wl").engine()
    assert np.isfinite(engine.score_stream(tokens[:512], tokens[1:513])).all()
    assert abs(float(engine.distribution().sum(dtype=np.float64)) - 1) < 1e-6


def test_no_path_is_too_deep(packed):
    from weightless.countmix.tree import build_tree

    chain = np.concatenate([np.full(2**i, i % V) for i in range(14)])
    assert depths(build_tree(chain, V)).max() <= MAX_DEPTH


BAD = {
    "vocab_size = 65537": {"vocab_size": 65_537},
    "is no context": {"dense": ("o9",)},
    "names a context twice": {"lists": ("o3", "o3")},
    "more than 8": {"dense": tuple(f"o{k}" for k in range(1, 9)) + ("t2",)},
    "contexts are more than": {"lists": tuple(f"t{k}{j}" for k in range(1, 6) for j in range(1, 6))},
    "in this order": {"mixers": ("node", "depth")},
    "should be some of": {"mixers": ()},
    "is not in 1..9": {"followers": 10},
    "should be above 0": {"stored_mb": 0.0},
}


@pytest.mark.parametrize("said", BAD)
def test_bad_configurations_are_refused(said):
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        Config(**BAD[said])


def test_tables_fit_the_memory_that_is_allowed():
    """Oracle: the bytes of the arrays.  Three slots of nodes for two tokens, fewer where memory is short."""
    from weightless.countmix.learning import growing_tables

    shape = Config(V).shape
    for n_tokens, most in ((1000, math.inf), (10**5, math.inf), (10**5, 1e7), (10**5, 4e5), (10**9, 1e6)):
        bits = shape.table_bits(n_tokens, most)
        tables = growing_tables(shape, V, *bits)
        assert tables.nodes.nbytes + tables.lists.nbytes == shape.table_bytes(bits) <= max(most, 1e5)
    crowds = [
        shape.crowding(n, shape.table_bits(n, most)) for n, most in ((10**5, math.inf), (10**9, math.inf), (10**5, 1e7))
    ]
    assert crowds == [1, 2**30 // 2**24, 8], "lists have at most 2^24 buckets"
    assert shape.table_bits(10**5, math.inf) == (17, 17) and shape.table_bits(10**9, math.inf) == (25, 24)
    assert shape.table_bytes(shape.table_bits(10**9, 7.6e9)) == 7_516_192_768
    assert [shape.table_bits(10**9, most) for most in (7.5e9, 5.9e9, 3.7e9)] == [(25, 23), (24, 23), (24, 22)]
    for alone in (shape._replace(lists=()), shape._replace(dense=())):
        assert 2**29 <= alone.table_bytes(alone.table_bits(10**9, 1e9)) <= 1e9, "half is as much as it can be off"


def test_a_smaller_table_still_counts(tmp_path):
    found = made(tmp_path, dataclasses.replace(SMALL, tables_gb=0.001), text(30_000))
    tokens = text(30_000)
    assert found.engine().score_stream(tokens[:64], tokens[1:65]).mean() < math.log(V) - 0.5


def test_tables_that_cannot_grow_with_their_text_are_told(capsys):
    """Forty thousand tokens in a megabyte of tables, and in as much as they want."""
    tokens = np.random.default_rng(0).integers(0, V, 40_000).astype(np.uint16)
    for gb, told in ((1.0, False), (1e-3, True)):
        config = Config(
            V, context=64, stored_mb=2.0, dense=("o1",), lists=("o2",), window=(), mixers=("input",), tables_gb=gb
        )
        countmix.count(config, tokens, show_progress=True, token_bytes=PIECES)
        assert ("buckets (tables_gb sets their memory)" in capsys.readouterr().err) is told
