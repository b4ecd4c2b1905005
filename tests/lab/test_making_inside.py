"""A trained part made into an input of countmix's mixers, from a recipe.

Oracles: PyTorch on the packed weights for what the part says; the same training on the tokens that are not held out.
"""

from __future__ import annotations

import numpy as np
import pytest
from contract.beside_cases import rounded, said_by_torch
from lab.fables_corpus import corpus_of_fables

from weightless.countmix.arranging import arranged
from weightless.countmix.tree import Tree, build_tree
from weightless.evals.bits_per_byte import evaluate
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.lab import making
from weightless.lab.beside import Speaker
from weightless.lab.recipe import ModelRecipe
from weightless.models.catalog import family

NEURAL = {"d_model": 32, "n_layers": 1, "n_heads": 1, "head": "class", "tied": False}
COUNTED = {"stored_mb": 2.0, "dense": ("o1",), "lists": ("o2",), "window": ("o1",), "mixers": ("input",)}
TRAIN = {"num_steps": 300, "batch_size": 2, "threads": 1, "eval_tokens": 128, "max_lr": 1e-2}
INSIDE = ModelRecipe(
    "inside",
    "mixture",
    config={
        "context": 64,
        "neural": "dense",
        "neural_config": NEURAL,
        "counted": "countmix",
        "counted_config": {**COUNTED, "held_out": 3000},
    },
    train=TRAIN,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of_fables(tmp_path_factory.mktemp("corpus"), n_bytes=120_000)


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside")
    return making.make(INSIDE, 0, corpus, folder, "inside"), folder


@pytest.mark.slow
def test_it_is_better_than_its_parts_on_held_out_text(corpus, made, tmp_path):
    inside, _ = made
    pack(tmp_path / "inside.wl", "mixture", inside.config, inside.arrays, corpus.tokenizer_json())
    counted = making.make(ModelRecipe("c", "countmix", config={"context": 64, **COUNTED}), 0, corpus, tmp_path, "c")
    pack(tmp_path / "counted.wl", "countmix", counted.config, counted.arrays)
    pack(tmp_path / "neural.wl", "dense", *neural_alone(corpus, made))
    tokens, pieces = corpus.tokens("val"), corpus.tokenizer().token_bytes
    found = {
        name: evaluate(open_packed(tmp_path / f"{name}.wl"), tokens, pieces, n_threads=1).nats_per_token
        for name in ("inside", "counted", "neural")
    }
    assert found["inside"] < min(found["counted"], found["neural"]) - 0.01, found


def neural_alone(corpus, made):
    """(configuration, arrays) of the same training on what is not held out, in the order of countmix."""
    inside, folder = made
    _, config = inside.config.part("neural")
    counted_room, counted_config = inside.config.part("counted")
    earlier = counted_room.mixes(counted_config, corpus.tokens("train"), making.bytes_of_tokens(counted_room, corpus))
    alone = making.trained("dense", config, INSIDE, 0, corpus, earlier, folder / "alone", "alone")
    return config, alone.arrays


def test_the_trained_part_never_sees_what_the_mixers_are_tuned_on(corpus, made):
    inside, _ = made
    _, alone = neural_alone(corpus, made)
    assert all(
        np.array_equal(inside.arrays[f"neural.{name}"], a)
        for name, a in alone.items()
        if f"neural.{name}" in inside.arrays and name not in ("classes", "words")
    )
    order = np.asarray(alone["slot_of_token"]).reshape(-1)[inside.arrays["counted.tree.token"][:, 0].astype(int)]
    assert np.array_equal(inside.arrays["neural.words"][: len(order)], alone["words"][order])


def test_what_is_held_out_is_whole_documents(corpus, made):
    inside, _ = made
    room, config = inside.config.part("counted")
    tokens, text = corpus.tokens("train"), making.bytes_of_tokens(room, corpus)
    first = room.mixes(config, tokens, text)
    whole = arranged(tokens, text, 3000)
    assert 3000 <= len(tokens) - len(first) <= 6000
    assert np.array_equal(np.sort(np.concatenate([first, whole[len(first) :]])), np.sort(np.asarray(tokens[:])))


def test_what_is_recorded(made, corpus):
    inside, folder = made
    observed = inside.record["observed"]["the mixers gain by the trained part"]
    assert observed["ok"] and "while tuning; neural" in observed["detail"]
    assert inside.record["curve"] is None and inside.record["train_tokens"] == len(corpus.tokens("train"))
    assert not (folder / making.FITTING).exists() and (folder / "neural" / "checkpoint").exists()
    room = family("mixture")
    stored = sum(t.shape[0] * t.shape[1] for t in room.decode_program(inside.config).stored() if t.kind == "weight")
    assert inside.record["n_parameters"] >= stored


def test_it_says_what_pytorch_says(corpus, made, tmp_path):
    """Odds on the paths of a window: the rounding to 1/256 turns where float32 sums do, seldom and by one."""
    config, arrays = neural_alone(corpus, made)
    pack(tmp_path / "neural.wl", "dense", config, arrays)
    speaker = Speaker(open_packed(tmp_path / "neural.wl"))
    beside, tokens = speaker.beside(), np.asarray(corpus.tokens("val")[:65]).astype(np.int64)
    tree: Tree = build_tree(np.asarray(corpus.tokens("train")[:]), 300, beside.blocks)
    room = family("dense")
    p = rounded(room.decode_program(config), arrays)
    want = said_by_torch(room.Model(config), p)(tree)(tokens)
    have = beside.said_of(tree)(tokens)
    assert have.shape == want.shape and np.abs(have).max() > 100
    assert np.abs(have - want).max() <= 12 and (have != want).mean() < 0.05
