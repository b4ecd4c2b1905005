"""A prepared corpus and the text it was made from.  Oracle: whether a byte of the text has changed since."""

from __future__ import annotations

import json
import os

import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.data.shards.corpus import corpus
from weightless.data.shards.parts import Part, merge, prepare_part
from weightless.data.shards.prepare import prepare
from weightless.data.text import fables
from weightless.data.text.sources import open_source
from weightless.lab.corpora import prepared
from weightless.lab.recipe import DataRecipe
from weightless.tokenizer import Tokenizer

DOCUMENTS = list(fables.documents(seed=5, n_bytes=20_000))
MARK = b"\n<|endoftext|>\n"
TOKENIZER = Tokenizer.train(DOCUMENTS, 280)


@pytest.fixture
def text(tmp_path):
    """A folder of two files, and a validation file beside it."""
    folder = tmp_path / "novels"
    folder.mkdir()
    half = len(DOCUMENTS) // 2
    (folder / "a.txt").write_bytes(MARK.join(DOCUMENTS[:half]))
    (folder / "b.jsonl").write_text("\n".join(json.dumps({"text": text.decode()}) for text in DOCUMENTS[half:]))
    (tmp_path / "held.txt").write_bytes(MARK.join(fables.documents(seed=6, n_bytes=4_000)))
    return folder


def touched_since(path):
    """The same number of bytes, and the times of before: only the content tells."""
    before = path.stat()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"the", b"hte", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns


CHANGES = {
    "a file": lambda folder: touched_since(folder / "a.txt"),
    "a row": lambda folder: touched_since(folder / "b.jsonl"),
    "the validation text": lambda folder: touched_since(folder.parent / "held.txt"),
    "a file more": lambda folder: (folder / "c.txt").write_text("A third file."),
    "a file less": lambda folder: (folder / "b.jsonl").unlink(),
    "a name": lambda folder: (folder / "a.txt").rename(folder / "z.txt"),  # another order of documents
}


def by_recipe(folder, out):
    recipe = DataRecipe(os.fspath(folder), os.fspath(folder.parent / "held.txt"), vocab_size=280, max_overlap=1.0)
    return prepared(recipe, out, show_progress=False, workers=1, tell=False)


def by_tokenizer(folder, out):
    held_out = open_source(folder.parent / "held.txt")
    return prepare(open_source(folder), TOKENIZER, out, validation=held_out, show_progress=False, workers=1)


def in_parts(folder, out):
    held_out = open_source(folder.parent / "held.txt")
    options = {"validation": held_out, "show_progress": False, "workers": 1}
    for i in (1, 2):
        prepare_part(open_source(folder), TOKENIZER, out, Part(i, 2), **options)
    return merge(out)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("make", [by_recipe, by_tokenizer, in_parts])
def test_changed_text_is_refused(text, tmp_path, change, make):
    made = make(text, tmp_path / "out")
    assert make(text, tmp_path / "out").sha256 == made.sha256
    CHANGES[change](text)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    with pytest.raises(WeightlessError, match=r"(has |held |novels )changed since.*delete"):
        make(text, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in before} == before


def test_the_same_text_in_another_place_at_another_time_is_the_same(text, tmp_path):
    for make in (by_recipe, by_tokenizer, in_parts):
        made = make(text, tmp_path / make.__name__)
        (text / "a.txt").touch()
        (text / ".hidden").write_text("no text")
        (text / "empty.txt").write_text("")
        assert make(text, tmp_path / make.__name__).sha256 == made.sha256
        assert [entry["files"] for entry in made.manifest["content"]] == [2, 1]


@pytest.mark.parametrize("make", [by_recipe, by_tokenizer])
def test_a_manifest_without_hashes_of_files_is_held_to_the_documents(text, tmp_path, make):
    """As manifests were before they had any."""
    made = make(text, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    manifest = {key: value for key, value in made.manifest.items() if key != "content"}
    path.write_text(json.dumps(manifest))
    assert make(text, tmp_path / "out").sha256 == made.sha256
    touched_since(text / "a.txt")
    with pytest.raises(WeightlessError, match="changed since"):
        make(text, tmp_path / "out")


@pytest.mark.parametrize("change", [change for change in CHANGES if change != "the validation text"])
def test_parts_of_a_changed_text_are_refused_also_when_they_are_done(text, tmp_path, change):
    options = {"fraction": 0.2, "max_overlap": 1.0, "show_progress": False, "workers": 1}
    assert prepare_part(open_source(text), TOKENIZER, tmp_path / "out", Part(1, 2), **options) is None
    CHANGES[change](text)
    refused = 0
    for i in (1, 2):
        try:
            done = prepare_part(open_source(text), TOKENIZER, tmp_path / "out", Part(i, 2), **options)
            assert done is None
        except WeightlessError as error:
            refused += "changed since its parts were planned" in str(error)
    assert refused and not (tmp_path / "out" / "manifest.json").exists()


def test_a_tokenizer_of_text_that_has_changed_is_not_kept(text, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("weightless.lab.corpora.prepare", killed)
        with pytest.raises(KeyboardInterrupt):
            by_recipe(text, out)
    assert (out / "tokenizer.json").exists()
    (text / "a.txt").write_bytes(MARK.join(b"zq zq zq " + document for document in DOCUMENTS))
    changed = by_recipe(text, out)
    assert changed.tokenizer().sha256 == by_recipe(text, tmp_path / "new").tokenizer().sha256


def test_a_corpus_of_another_making_keeps_its_tokenizer(text, tmp_path):
    """A recipe must not train over a folder whose tokenizer was given."""
    made = by_tokenizer(text, tmp_path / "out")
    before = (tmp_path / "out" / "tokenizer.json").read_bytes()
    with pytest.raises(WeightlessError, match="was not trained with it"):
        by_recipe(text, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == before
    assert corpus(tmp_path / "out", check_hashes=True).sha256 == made.sha256


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"field": "body"}, "another source"),
        ({"fraction": 0.3}, "another split"),
        ({"last": 2}, "another split"),
        ({"max_overlap": 0.9}, "another split"),
        ({"shard_tokens": 999}, "shards of other sizes"),
        ({"name": "other"}, "another name"),
        ({"tokenizer": Tokenizer.train(DOCUMENTS, 290)}, "another tokenizer"),
    ],
)
def test_changed_settings_are_named(text, tmp_path, setting, said):
    def make(tokenizer=TOKENIZER, field="text", **options):
        return prepare(open_source(text / "a.txt", field), tokenizer, tmp_path / "out", show_progress=False, **options)

    make()
    with pytest.raises(WeightlessError, match=f"already holds a corpus made from .*{said}"):
        make(**setting)


def test_a_run_of_changed_text_is_refused(text, tmp_path):
    from weightless.cli.main import main

    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'name = "r"\n[data]\nsource = "{(text / "a.txt").as_posix()}"\nvocab_size = 280\nmax_overlap = 1.0\n'
        '[eval]\ntokens = 64\n[[model]]\nname = "n"\nfamily = "ngram"\nconfig = { order = 2, context = 32 }\n'
    )
    run = ["run", str(recipe), "--out", str(tmp_path / "run")]
    assert main(run) == 0
    touched_since(text / "a.txt")
    assert main(run) == 2


def test_two_ways_to_validate_are_refused(text):
    for values in (
        {"val_first": 1, "val_last": 1},
        {"val_first": 1, "validation": "x"},
        {"val_first": -1},
        {"val_last": 2, "val_fraction": 0.1},
        {"val_fraction": 1.0},
        {"max_overlap": 1.5},
    ):
        with pytest.raises(ConfigError):
            DataRecipe(**values)
