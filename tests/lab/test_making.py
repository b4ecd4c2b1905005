"""Making models from recipes: by number of training tokens, and a mixture of a trained and a counted part.

Oracles: the parts' own artifacts for the nats that the weights are fitted on; the same training without a mixture.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
from lab.fables_corpus import corpus_of_fables

from weightless.base.errors import ConfigError
from weightless.evals.bits_per_byte import evaluate
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.lab import making, stages
from weightless.lab.recipe import ModelRecipe, fingerprint, load_recipe
from weightless.models import ngram
from weightless.ops.window_weights import fit_on, held_out_from, side_by_side
from weightless.program.cached import CACHE_WEIGHTS
from weightless.program.compose import WEIGHTS

TRAIN = {"num_steps": 400, "batch_size": 2, "threads": 1, "eval_tokens": 128, "max_lr": 1e-2}
NEURAL = {"d_model": 32, "n_layers": 1, "n_heads": 1}
MIXTURE = ModelRecipe(
    "mixed",
    "mixture",
    config={
        "context": 64,
        "neural": "dense",
        "neural_config": NEURAL,
        "counted_config": {"order": 2},
        "held_out": 700,
    },
    train=TRAIN,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of_fables(tmp_path_factory.mktemp("corpus"), n_bytes=60_000)


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    return making.make(MIXTURE, 0, corpus, folder, "mixed"), folder


def test_a_mixture_is_better_than_its_parts_on_held_out_text(corpus, made, tmp_path):
    """Three artifacts, the same tokens: the counted part counts all, the neural part is the mixture's own."""
    mixture, folder = made
    pack(tmp_path / "mixed.wl", "mixture", mixture.config, mixture.arrays)
    counted = making.make(ModelRecipe("ngram", "ngram", config={"order": 2, "context": 64}), 0, corpus, folder, "ngram")
    pack(tmp_path / "counted.wl", "ngram", counted.config, counted.arrays)
    _, neural_config = mixture.config.part("neural")
    own = {name.removeprefix("neural."): a for name, a in mixture.arrays.items() if name.startswith("neural.")}
    pack(tmp_path / "neural.wl", "dense", neural_config, own)
    tokens, pieces = corpus.tokens("val"), corpus.tokenizer().token_bytes
    losses = {
        name: evaluate(open_packed(tmp_path / f"{name}.wl"), tokens, pieces, n_threads=1).nats_per_token
        for name in ("mixed", "counted", "neural")
    }
    assert losses["mixed"] < losses["counted"] and losses["mixed"] < losses["neural"], losses
    assert all(np.array_equal(mixture.arrays[f"counted.{name}"], a) for name, a in counted.arrays.items())


def test_the_weights_are_fitted_on_what_the_parts_score(corpus, made, tmp_path):
    """Nats read from the state of the mixture = nats of each part's own artifact, window by window."""
    mixture, _ = made
    pack(tmp_path / "mixed.wl", "mixture", mixture.config, mixture.arrays)
    tokens = np.asarray(corpus.tokens("train")[-200:], dtype=np.int64)
    neural, counted, gates = making.part_nats(open_packed(tmp_path / "mixed.wl"), tokens)
    for name, have in (("neural", neural), ("counted", counted)):
        _, config = mixture.config.part(name)
        own = {key.removeprefix(f"{name}."): a for key, a in mixture.arrays.items() if key.startswith(f"{name}.")}
        pack(tmp_path / "part.wl", getattr(mixture.config, name), config, own)
        engine, wanted = open_packed(tmp_path / "part.wl").engine(), []
        for first in range(0, len(tokens) - 1, 64):
            engine.reset()
            window = tokens[first : first + 65]
            wanted.append(engine.score_stream(window[:-1], window[1:]))
        assert np.array_equal(have, np.concatenate(wanted))
    assert 0 <= gates.min() and gates.max() < len(mixture.arrays[WEIGHTS]) and len(set(gates.tolist())) > 3


def test_what_is_recorded(made, corpus):
    mixture, folder = made
    assert mixture.record["curve"] is None and mixture.record["steps"] == 400
    assert mixture.record["train_tokens"] == len(corpus.tokens("train"))
    assert mixture.record["observed"]["the mixture is no worse than its parts"]["ok"]
    assert not (folder / making.FITTING).exists() and (folder / "neural" / "checkpoint").exists()
    weights = mixture.arrays[WEIGHTS]
    assert 0 < weights.min() < weights.max() < 1


def test_what_is_made_again_is_the_same_file(corpus, made, tmp_path):
    """A mixture trained, counted and fitted anew in another folder, and a suffix array sorted twice."""
    mixture, _ = made
    again = making.make(MIXTURE, 0, corpus, tmp_path, "again")
    pack(tmp_path / "one.wl", "mixture", mixture.config, mixture.arrays)
    pack(tmp_path / "two.wl", "mixture", again.config, again.arrays)
    assert (tmp_path / "one.wl").read_bytes() == (tmp_path / "two.wl").read_bytes()
    suffixes = ModelRecipe("suffixes", "infinigram", config={"context": 64})
    one, two = (making.make(suffixes, 0, corpus, tmp_path, "suffixes") for _ in range(2))
    assert one.config == two.config and all(np.array_equal(one.arrays[n], two.arrays[n]) for n in one.arrays)


def test_the_neural_part_never_sees_the_held_out_tokens(corpus, made):
    """Its parameters are those of the same training on all but the last 700 tokens."""
    mixture, folder = made
    _, config = mixture.config.part("neural")
    tokens = corpus.tokens("train")
    alone = making.trained("dense", config, MIXTURE, 0, corpus, tokens[: len(tokens) - 700], folder / "alone", "alone")
    assert all(np.array_equal(mixture.arrays[f"neural.{name}"], a) for name, a in alone.arrays.items())


def test_the_fit_sees_a_table_without_the_held_out_tokens(corpus, made, tmp_path, monkeypatch):
    """First counted without them, then again with them; the training is the one that the folder already holds."""
    counted, seen = ngram.count, []

    def count(config, tokens, **more):
        seen.append(len(tokens))
        return counted(config, tokens, **more)

    monkeypatch.setattr(ngram, "FAMILY", dataclasses.replace(ngram.FAMILY, counted=count))
    making.make(MIXTURE, 0, corpus, made[1], "mixed")
    n = len(corpus.tokens("train"))
    assert [size for size in seen if size != making.WARM_UP_TOKENS] == [n - 700, n]


def test_a_cache_of_counts_is_fitted_without_the_held_out_tokens(corpus, tmp_path, monkeypatch):
    """Oracle: a table of all but the last tenth, its own artifact, and what that scores; the table itself is of all."""
    table, seen = ngram.FAMILY.counted, []

    def count(config, tokens, **more):
        seen.append(len(tokens))
        return table(config, tokens, **more)

    monkeypatch.setattr(ngram, "FAMILY", dataclasses.replace(ngram.FAMILY, counted=count))
    recipe = ModelRecipe("cached", "ngram", config={"order": 2, "context": 64, "window_cache": 3})
    made = making.make(recipe, 0, corpus, tmp_path, "cached")
    tokens = corpus.tokens("train")
    n_held = min(making.HELD_OUT_TOKENS, len(tokens) // 10)
    first = held_out_from(tokens, n_held, corpus.end_of_text)
    assert tokens[first] == corpus.end_of_text and first < len(tokens) - n_held
    assert seen[1:] == [len(tokens), first] and not (tmp_path / making.FITTING).exists()
    plain = ngram.FAMILY.count(ngram.Config(corpus.vocab_size, 2, 64), np.asarray(tokens[:first]))
    pack(tmp_path / "plain.wl", "ngram", *plain)
    windows = side_by_side(np.asarray(tokens[first : first + n_held], dtype=np.int64), 64)
    nats = making.window_nats(open_packed(tmp_path / "plain.wl"), windows)
    weights, told = fit_on(nats, windows, 3)
    assert np.array_equal(made.arrays[CACHE_WEIGHTS], weights)
    assert made.record["observed"][making.CACHE_FITTED] == {"ok": True, "detail": told}
    whole = ngram.FAMILY.count(ngram.Config(corpus.vocab_size, 2, 64), np.asarray(tokens[:]))[1]
    assert all(np.array_equal(made.arrays[name], array) for name, array in whole.items())


def test_a_mixture_fits_its_cache_where_it_fits_its_weights(corpus, made, tmp_path):
    """From the nats of the mixture, on the same tokens, which begin with a document; the table is that of all."""
    mixture, _ = made
    recipe = dataclasses.replace(MIXTURE, config={**MIXTURE.config, "window_cache": 2})
    cached = making.make(recipe, 0, corpus, tmp_path, "cached")
    counted = {name: array for name, array in mixture.arrays.items() if name.startswith("counted.")}
    assert all(np.array_equal(cached.arrays[name], array) for name, array in counted.items())
    assert set(cached.arrays) == {*mixture.arrays, CACHE_WEIGHTS}
    assert cached.record["n_parameters"] == mixture.record["n_parameters"] + cached.arrays[CACHE_WEIGHTS].size
    detail = cached.record["observed"][making.CACHE_FITTED]["detail"]
    assert "100 weights, fitted on 699 held-out training tokens" in detail
    pack(tmp_path / "cached.wl", "mixture", cached.config, cached.arrays)
    assert open_packed(tmp_path / "cached.wl").engine().score_stream(np.arange(9), np.arange(9)).shape == (9,)


def test_models_by_number_of_training_tokens(corpus, tmp_path):
    path = tmp_path / "sizes.toml"
    path.write_text(
        'name = "sizes"\n[[model]]\nname = "n"\nfamily = "ngram"\ntrain_tokens = [2000, 300_000]\n'
        '[[model]]\nname = "m"\nfamily = "ngram"\ntrain_tokens = [900]\n'
    )
    small, large, one = load_recipe(path).model
    assert (small.name, large.name, one.name) == ("n-0.002M", "n-0.3M", "m")
    assert (small.train_tokens, large.train_tokens, one.train_tokens) == ((2000,), (300_000,), (900,))
    counted = making.make(small, 0, corpus, tmp_path, "small")
    first = np.asarray(corpus.tokens("train")[:2000])
    assert counted.record["train_tokens"] == counted.record["tokens_seen"] == 2000
    assert np.array_equal(np.asarray(making.training_tokens(small, corpus)), first)
    with pytest.raises(ConfigError, match="300,000 training tokens"):
        making.make(large, 0, corpus, tmp_path, "large")
    with pytest.raises(ConfigError, match="train_tokens"):
        ModelRecipe("x", "ngram", train_tokens=(0,))
    with pytest.raises(ConfigError, match="counted"):
        making.make(dataclasses.replace(one, train={"num_steps": 1}), 0, corpus, tmp_path, "one")


def test_a_model_made_before_there_were_sizes_is_still_the_same():
    """The recorded fingerprint of a model without train_tokens."""
    plain = stages.wanted(ModelRecipe("dense", "dense"))
    assert "train_tokens" not in plain and fingerprint(plain) == "3c1589320ff67b36"
    assert "train_tokens" in stages.wanted(ModelRecipe("dense", "dense", train_tokens=(5,)))


def test_a_mixture_of_almost_no_tokens_is_told(corpus, tmp_path):
    tiny = dataclasses.replace(MIXTURE, train_tokens=(15,))
    with pytest.raises(ConfigError, match="none to fit"):
        making.make(tiny, 0, corpus, Path(tmp_path), "tiny")


@pytest.fixture
def sleepy(monkeypatch):
    """Counting n-grams takes a second more, of the wall and not of the processor."""

    def slow(config, tokens, **others):
        time.sleep(1.0 if len(tokens) > making.WARM_UP_TOKENS else 0)
        return ngram.count(config, tokens, **others)

    monkeypatch.setattr(ngram, "FAMILY", dataclasses.replace(ngram.FAMILY, counted=slow))


@pytest.mark.parametrize("clock", ["cpu", "wall"])
def test_counting_is_timed_by_the_clock_of_the_training_beside_it(corpus, tmp_path, sleepy, clock):
    train = {key: value for key, value in TRAIN.items() if key != "num_steps"} | {"seconds": 0.5, "clock": clock}
    mixture = making.make(dataclasses.replace(MIXTURE, train=train), 0, corpus, tmp_path, "mixed")
    beside = mixture.record["train_seconds"] - train["seconds"]  # counted twice; the last step may not fit
    assert beside > 1.5 if clock == "wall" else beside < 1.5


def test_what_is_only_counted_is_timed_by_its_processor(corpus, tmp_path, sleepy):
    table = making.make(ModelRecipe("t", "ngram", config={"order": 2, "context": 64}), 0, corpus, tmp_path, "t")
    assert 0 < table.record["train_seconds"] < 1.0
