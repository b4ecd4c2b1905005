"""The vocabulary study: what is refused, what is solved, what is written.

Oracles: sizes of files, counts of bytes, and figures put in by hand."""

from __future__ import annotations

import dataclasses
import json

import pytest

from weightless.base.config import from_dict, to_dict
from weightless.base.errors import ConfigError, WeightlessError
from weightless.data.text import fables
from weightless.lab.fit import Request as Asked
from weightless.lab.fit import costs_of
from weightless.lab.recipe import DataRecipe
from weightless.lab.report.groups import Group
from weightless.lab.report.vocabulary_trained import Point, lay_out
from weightless.lab.vocabulary_results import Finding, Results
from weightless.lab.vocabulary_study import LISTED, VocabularyStudy, excerpts, hold_out, load_study, planned

PLAIN = {
    "name": "v",
    "sizes": [257, 300],
    "stored": "250kB",
    "train_megabytes": 0.004,
    "eval_megabytes": 0.01,
    "seeds": [0, 1],
    "model": {"config": {"context": 16, "weight_format": "int8"}, "train": {"batch_size": 2, "eval_tokens": 64}},
}


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """A folder with train.txt and valid.txt, in which the test is."""
    monkeypatch.chdir(tmp_path)
    for name, seed, n in (("train", 1, 40_000), ("valid", 2, 30_000)):
        (tmp_path / f"{name}.txt").write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=seed, n_bytes=n)))
    return {"source": "train.txt", "validation": "valid.txt"}


def study_of(**fields) -> VocabularyStudy:
    return from_dict(VocabularyStudy, {**PLAIN, **fields})


def test_what_is_counted_is_given_the_same_bytes():
    study = study_of(model={"family": "countmix", "config": {"context": 16}}, train_megabytes=0.0, stored="2MB")
    configs = [study.solved(size, 40_000) for size in study.sizes]
    assert [c.stored_mb for c in configs] == [1.96, 1.96] and [c.vocab_size for c in configs] == [257, 300]
    models = [study.recipe(arm, DataRecipe(vocab_size=arm.size), c, 1).model[0] for arm, c in zip(study.arms, configs)]
    assert all(m.config["stored_mb"] == 1.96 and not m.train for m in models)


@pytest.mark.parametrize(
    "fields, told",
    [
        ({"sizes": [12]}, "12 is too small for bytes: 257 is the least"),
        ({"sizes": [257], "kinds": ["sentencepiece"]}, "257 is too small for sentencepiece: 261"),
        ({"kinds": ["byte"]}, "bytes"),
        ({"sizes": []}, "at least one of sizes"),
        ({"stored": "20kB"}, "dense cannot keep to 20 kB"),
        ({"stored": "20km"}, "not a size in bytes"),
        ({"train_megabytes": 0.0}, "model.train.seconds"),
        ({"train_megabytes": -1.0}, "above 0"),
        ({"eval_megabytes": 0.0}, "above 0"),
        ({"data": {"validation": ""}}, "data.validation is empty"),
        ({"data": {"normalisation": "nfck"}}, "nfkc"),
        ({"model": {"train": {"batch_size": 2, "seconds": 9.0}}}, "take seconds out of model.train"),
        ({"model": {"family": "countmix"}}, "take out train_megabytes and model.train"),
        ({"model": {"family": "countmix", "config": {"stored_mb": 1.0}}, "train_megabytes": 0.0}, "stored says it"),
        ({"model": {"family": "ngram"}}, "ngram"),
        ({"model": {"train": {"batch_sise": 2}}}, "batch_size"),
        ({"model": {"config": {"contxt": 16}, "train": {"batch_size": 2}}}, "context"),
        ({"model": {"family": "ngram"}}, "ngram"),
        ({"model": {"config": {"vocab_size": 300}, "train": {"batch_size": 2}}}, "sizes says it"),
        ({"sizs": [300]}, "sizes"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_made(fields, told):
    with pytest.raises(ConfigError, match=told):
        study_of(**fields)


def test_the_recipe_of_the_house_is_sound():
    found = load_study("recipes/studies/vocabulary.toml")
    assert found.budget == 2_000_000 and len(found.arms) == 6 and len(found.seeds) == 3


def test_sizes_are_solved_and_texts_are_equal(texts, tmp_path):
    study = study_of(data=texts, kinds=["bytes", "sentencepiece"], sizes=[400, 420])
    arms = planned(study, tmp_path / "s")
    assert [arm.arm.name for arm in arms] == ["bytes-400", "bytes-420", "sentencepiece-400", "sentencepiece-420"]
    held_out = [json.loads(line)["text"] for line in (tmp_path / "s/heldout.jsonl").read_text().splitlines()]
    n_bytes = sum(len(document.encode()) for document in held_out)
    assert 5_000 < n_bytes <= 10_000
    for arm in arms:
        assert arm.corpus.n_bytes("val") == n_bytes and arm.corpus.vocab_size == arm.arm.size
        model = arm.recipe.model[0]
        config = model.build_config(arm.arm.size)
        stored = sum(costs_of(Asked("dense", {}, arm.arm.size), config, ("stored",))["stored"].values())
        room = study.budget - arm.tokenizer_bytes - stored
        assert LISTED <= room < 0.05 * study.budget
        assert bool(arm.beside) == (arm.arm.kind == "sentencepiece")
        ratio = arm.corpus.n_bytes("train") / arm.corpus.n_tokens("train")
        seen = model.train["num_steps"] * 2 * 16 * ratio
        assert abs(seen - 4_000) <= 16 * ratio  # half a step
    again = planned(study, tmp_path / "s")
    assert [to_dict(arm.recipe) for arm in again] == [to_dict(arm.recipe) for arm in arms]
    with pytest.raises(WeightlessError, match="another study"):
        planned(dataclasses.replace(study, seeds=(0,)), tmp_path / "s")


@pytest.mark.parametrize("size", [5, 63, 1023])
def test_excerpts_are_the_text(size):
    documents = ["naïve 日本語\n".encode() * 40, b"", b"x" * 130, "é".encode() * 99]
    found = list(excerpts(documents, size))
    assert b"".join(found) == b"".join(documents) and max(map(len, found)) <= size
    assert all(piece.decode() for piece in found)  # no character is cut, and none is empty
    if size == 63:
        assert found[0].endswith(b"\n")


def test_the_held_out_text_comes_from_everywhere(tmp_path):
    """Of one long document, too: excerpts of every tenth of it, in order."""
    (tmp_path / "v.txt").write_bytes(b"".join(b"%07d\n" % i for i in range(40_000)))
    study = study_of(
        data={"source": str(tmp_path / "v.txt"), "validation": str(tmp_path / "v.txt")}, eval_megabytes=0.1
    )
    hold_out(study, tmp_path / "h.jsonl")
    rows = [json.loads(line)["text"] for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    starts = [int(row[:7]) for row in rows]
    assert starts == sorted(starts) and {start // 4_000 for start in starts} == set(range(10))
    assert 50_000 < sum(map(len, rows)) <= 100_000


def finding(name: str, size: int, losses: list[float]) -> Finding:
    entry = {"touched": {"T": {"mean": 9.0}}, "curve": [[1]], "tokens_seen": 10, "n_parameters": 5, "components": []}
    members = tuple({**entry, "seed": s, "bits_per_byte": loss, "train_seconds": 1.0} for s, loss in enumerate(losses))
    return Finding("bytes", size, Group(name, "dense", members), 2.0, "d_model 8", 100, 10, 1000)


@pytest.mark.parametrize(
    "losses, told",
    [
        ([[1.5, 1.51, 1.49], [1.2, 1.21, 1.2]], "b has the fewest bits per byte, 1.203, apart from all others"),
        ([[1.3, 1.1, 1.25], [1.2, 1.21, 1.2]], "b has the fewest bits per byte, 1.203, not told apart from a"),
        ([[1.3], [1.2]], "b has the fewest bits per byte, 1.200 (single seed: no interval)"),
    ],
)
def test_the_claim_is_what_the_intervals_bear(losses, told):
    found = Results(study_of(), tuple(finding(n, s, x) for n, s, x in zip("ab", (300, 400), losses)), 1)
    assert found.claim() == told
    table = found.markdown()
    assert table.count("\n| ") == 2 and "1 vocabularies are still to be trained" in table
    assert ("NOT within" in table) == (found.findings[0].stored > found.study.budget)


def test_what_exceeds_the_budget_is_told():
    over = dataclasses.replace(finding("a", 300, [1.0, 1.0]), stored=250_001)
    assert "NOT within the budget: a." in Results(study_of(), (over,), 0).notes()


def test_the_picture_shows_every_value():
    lines = {
        "bytes": [Point(300, 1.5, 0.1), Point(600, 1.4, 0.0)],
        "pieces": [Point(300, 1.6, 0.0), Point(900, 1.3, 0.2)],
    }
    strokes, words = lay_out(lines, "claim", "one. two.")
    shown = [w.content for w in words]
    assert all(value in shown for value in ("1.500", "1.400", "1.600", "1.300", "claim", "one.", "two.", "900"))
    assert sum(len(s.points) == 2 and s.width == 1.2 and s.points[0][0] == s.points[1][0] for s in strokes) >= 2
    with pytest.raises(WeightlessError, match="two sizes"):
        lay_out({"bytes": lines["bytes"][:1]}, "", "")


def test_a_shape_names_the_width_that_zero_stands_for():
    """Oracle: 8/3 of 216, rounded down to 8s, by hand; a family without such a dial says nothing of it."""
    from weightless.lab.vocabulary_results import shape_of
    from weightless.models import dense, ngram

    assert shape_of(dense.Config(300, 216, 3)) == ["d_model 216", "n_layers 3", "d_ff 576"]
    assert shape_of(dense.Config(300, 216, 3, d_ff=40)) == ["d_model 216", "n_layers 3", "d_ff 40"]
    assert shape_of(ngram.Config(300, 3)) == []
