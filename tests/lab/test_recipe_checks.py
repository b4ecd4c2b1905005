"""A recipe is checked whole before anything runs: the second model's mistake is told before the first is trained.

Oracle: the words a person needs (model and key), and a folder in which nothing was made.
"""

from __future__ import annotations

import json

import pytest

from weightless.base.errors import ConfigError
from weightless.cli.main import main
from weightless.data.text import fables
from weightless.data.text.sources import read_documents
from weightless.lab.checks import check_on_machine, check_on_text
from weightless.lab.corpora import prepared
from weightless.lab.recipe import DataRecipe, ModelRecipe, load_recipe

DENSE = "d_model = 32, n_layers = 1, n_heads = 1, context = 64"
TRAIN = "num_steps = 2, batch_size = 2, threads = 1, eval_tokens = 128"
MIXED = 'context = 64, neural = "dense", neural_config = { d_model = 32 }, counted_config = { order = 2 }'
RECIPE = """
name = "two"
seeds = [0]
[data]
source = "%s"
vocab_size = 300
[eval]
tokens = 256
[sample]
max_tokens = 4
[[model]]
name = "first"
family = "ngram"
config = { order = 2, context = 64 }
[[model]]
name = "second"
family = "dense"
config = { %s }
train = { %s }
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "fables.txt"
    path.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=5, n_bytes=40_000)))
    return path


@pytest.fixture
def recipe(tmp_path, text):
    """Write the recipe with these changes; its path."""

    def write(*changes: tuple[str, str], config: str = DENSE, train: str = TRAIN):
        content = RECIPE % (text.as_posix(), config, train)
        for old, new in changes:
            assert old in content
            content = content.replace(old, new)
        path = tmp_path / "two.toml"
        path.write_text(content)
        return path

    return write


@pytest.mark.parametrize(
    ("config", "train", "words"),
    [
        (DENSE, TRAIN.replace("num_steps", "num_stepz"), ("train.num_stepz", "num_steps")),
        (DENSE, TRAIN.replace("batch_size = 2", "batch_size = 2.5"), ("train.batch_size", "int")),
        (DENSE, TRAIN.replace("num_steps = 2", "num_steps = 0"), ("num_steps", "greater than 0")),
        (DENSE, TRAIN + ", seconds = 3.0", ("num_steps or seconds",)),
        (DENSE, TRAIN.replace("num_steps = 2", "seconds = inf"), ("seconds = inf",)),
        (DENSE, TRAIN + ", max_lr = nan", ("max_lr = nan",)),
        (DENSE, TRAIN + ", max_lr = inf", ("max_lr = inf",)),
        (DENSE, TRAIN + ", head_lr_scale = -1.0", ("head_lr_scale = -1.0",)),
        (DENSE, TRAIN + ', optimizer = "moun"', ("optimizer", "muon")),
        (DENSE, TRAIN + ', device = "cuba"', ("device", "cuba")),
        (DENSE, TRAIN.replace("threads = 1", "threads = 100000"), ("threads = 100000", "at most")),
        (DENSE, TRAIN + ", seed = 1", ("train.seed",)),
        (DENSE, TRAIN + ", warmdown = 0.2", ("train.warmdown does nothing", "wsd")),
        (DENSE, TRAIN + ', optimizer = "adamw", muon_lr = 0.02', ("train.muon_lr does nothing", "muon")),
        (DENSE, TRAIN + ', optimizer = "sgd", beta2 = 0.95', ("train.beta2 does nothing", "sgd")),
        (DENSE, TRAIN + ', clock = "wall"', ("train.clock does nothing", "seconds")),
        (DENSE, TRAIN + ", context = 65", ("train.context = 65", "64")),
        (DENSE, TRAIN.replace("128", "63"), ("train.eval_tokens = 63", "64")),
        (DENSE, TRAIN + ', order = "score", score_file = "nowhere.npy"', ("train.score_file", "nowhere.npy")),
        (DENSE, "", ("train.batch_size",)),
        (DENSE.replace("32", "33"), TRAIN, ("d_model 33",)),
        (DENSE + ', weight_format = "int9"', TRAIN, ("int9", "int8")),
        (DENSE + ', weight_format = "u16"', TRAIN, ("u16",)),
        (DENSE + ", eps = nan", TRAIN, ("eps = nan",)),
        (DENSE + ", vocab_size = 299", TRAIN, ("config.vocab_size = 299", "300")),
    ],
)
def test_the_second_model_is_checked_before_the_first_is_made(recipe, tmp_path, capsys, config, train, words):
    path = recipe(config=config, train=train)
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and all(word in told for word in ("two.toml: model 'second'", *words)), told
    assert not (tmp_path / "run").exists()
    assert main(["count", str(path)]) == 2
    counted = capsys.readouterr()
    assert counted.err.partition(": ")[2] == told.partition(": ")[2] and not counted.out


def test_another_text_does_not_silently_drop_the_validation_of_the_recipe(recipe, text, tmp_path, capsys):
    """Whoever names another text says what is held out of it; with both named, that is what validates."""
    own, other = tmp_path / "valid.txt", tmp_path / "other.txt"
    for path, seed in ((own, 6), (other, 7)):
        path.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=seed, n_bytes=3000)))
    path, folder = recipe(("vocab_size", f'validation = "{own.as_posix()}"\nvocab_size')), tmp_path / "run"
    words = ["run", str(path), "--text", str(text), "--out", str(folder), "--only", "first"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"validates on {own}" in told and "--validation" in told
    assert not folder.exists()
    assert main([*words, "--validation", str(other)]) == 0
    said = json.loads((folder / "data" / "manifest.json").read_text())["splits"]["val"]["bytes"]
    assert said == sum(map(len, read_documents(other))) != sum(map(len, read_documents(own)))


@pytest.mark.parametrize(("key", "value"), [("field", "body"), ("pattern", "gpt4"), ("max_overlap", 0.5)])
def test_a_setting_that_the_text_leaves_idle_is_refused(text, tmp_path, key, value):
    """Of plain text no field is read; of a prepared corpus nothing is read anew."""
    if key == "field":
        with pytest.raises(ConfigError, match="data.field = 'body' does nothing"):
            prepared(DataRecipe(str(text), vocab_size=300, field="body"), tmp_path / "a")
    prepared(DataRecipe(str(text), vocab_size=300), tmp_path / "ready")
    with pytest.raises(ConfigError, match=f"data.{key} = .* does nothing"):
        prepared(DataRecipe(str(tmp_path / "ready"), vocab_size=300, **{key: value}), tmp_path / "b")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds = [0]", "seeds = [1, 0, 1]", ("two seeds", "1")),
        ('name = "second"', 'name = "first"', ("two models", "first")),
        ('name = "second"', 'name = "second"\ntrain_tokens = [500, 500]', ("two models",)),
        ('name = "second"', 'name = "second"\ntable = 3', ("model[1] ('second').table", "bool")),
        ("tokens = 256", "tokens = -1", ("eval.tokens",)),
        ("tokens = 256", "stride = 65", ("eval.stride = 65", "'first'", "64")),
        ("max_tokens = 4", "temperature = -1.0", ("sample", "temperature")),
        ("max_tokens = 4", "top_p = 0.0", ("sample", "top_p")),
        ("vocab_size = 300", "vocab_size = 256", ("data.vocab_size", "257")),
        ("vocab_size = 300", "vocab_size = 65537", ("data.vocab_size = 65537", "65536")),
        ("vocab_size = 300", 'pattern = "gtp2"', ("gtp2", "gpt2")),
        ("vocab_size = 300", "max_overlap = 1.5", ("data.max_overlap",)),
        ("order = 2", "order = 2, min_counts = [1]", ("'first'", "min_counts")),
        ("order = 2", "order = 2, nodes = [9], entries = [9]", ("'first'", "config.nodes", "counted from the text")),
        ("order = 2", "order = 2, entries = []", ("'first'", "config.entries", "counted from the text")),
        (
            'family = "ngram"\nconfig = { order = 2,',
            'family = "infinigram"\nconfig = { n_tokens = 5,',
            ("'first'", "config.n_tokens = 5", "counted from the text"),
        ),
        (
            'family = "ngram"\nconfig = { order = 2,',
            'family = "mixture"\nconfig = { neural = "dense", counted = '
            '"infinigram", counted_config = { n_tokens = 5 }, neural_config = { d_model = 32 },',
            ("'first'", "config.counted_config.n_tokens = 5", "counted from the text"),
        ),
        ('family = "dense"', 'family = "ngram"', ("'second'", "d_model")),
        ('family = "ngram"', 'family = "ngram"\ntrain = { num_steps = 2 }', ("'first'", "counted, not trained")),
    ],
)
def test_what_the_models_share_is_checked_too(recipe, old, new, words):
    path = recipe((old, new))
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert all(word in str(caught.value) for word in ("two.toml", *words)), str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("neural =", "nural =", ("config.nural", "neural")),
        ('"dense"', '"dens"', ("dens", "dense")),
        ('neural = "dense"', 'neural = "ngram"', ("'ngram'", "not trained")),
        ("d_model", "d_modle", ("neural_config.d_modle", "d_model")),
        ("order = 2", "order = 8", ("order 7 at most",)),
    ],
)
def test_the_parts_of_a_mixture_are_checked(recipe, old, new, words):
    path = recipe(
        ('name = "second"\nfamily = "dense"', 'name = "second"\nfamily = "mixture"'), config=MIXED.replace(old, new)
    )
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert all(word in str(caught.value) for word in ("model 'second'", *words)), str(caught.value)


def test_what_only_the_text_can_tell_is_told_before_training(recipe, tmp_path, capsys):
    """The text has some 12,000 tokens, of which about one in twenty validates."""
    path = recipe(config=DENSE.replace("64", "4096"), train=TRAIN.replace("128", "8192"))
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "model 'second'" in (told := capsys.readouterr().err) and "4096" in told
    assert not list((tmp_path / "run").glob("models/*"))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            ModelRecipe(
                "m",
                "dense",
                config={"context": 64},
                train={"batch_size": 1, "num_steps": 1, "eval_tokens": 64},
                train_tokens=(64,),
            ),
            "64 tokens",
        ),
        (ModelRecipe("m", "ngram", train_tokens=(10_000_000,)), "10,000,000 training tokens"),
        (
            ModelRecipe(
                "m", "mixture", config={"context": 64}, train={"batch_size": 1, "num_steps": 1}, train_tokens=(15,)
            ),
            "none to fit",
        ),
        (
            ModelRecipe(
                "m",
                "dense",
                config={"context": 64, "d_model": 1 << 20},
                train={"batch_size": 1, "num_steps": 1, "eval_tokens": 64},
            ),
            "this machine has",
        ),
    ],
)
def test_texts_and_machines_that_are_too_small(text, tmp_path_factory, model, words):
    folder = text.parent / "data"
    corpus = prepared(DataRecipe(text.as_posix(), vocab_size=300), folder, show_progress=False, workers=1)
    with pytest.raises(ConfigError, match=words) as caught:
        check_on_machine(model, corpus.vocab_size)
        check_on_text(model, corpus)
    assert "model 'm'" in str(caught.value)


def test_units_are_not_started_for_a_recipe_that_cannot_run(recipe, tmp_path, capsys):
    path, logs = recipe(train=TRAIN.replace("num_steps", "num_stepz")), tmp_path / "logs"
    arguments = ["launch", "--logs", str(logs), "--", "run", str(path), "--only", "first"]
    assert main(arguments) == 2
    assert "train.num_stepz" in capsys.readouterr().err and not logs.exists()
    assert main([*arguments[:-1], "frist"]) == 2


def test_a_refused_run_leaves_its_folder_to_the_corrected_recipe(recipe, tmp_path, capsys):
    """First its text is refused, then its context; a folder is claimed when nothing can refuse the recipe any more."""
    folder, empty = tmp_path / "run", tmp_path / "empty.txt"
    empty.write_bytes(b"")
    assert main(["run", str(recipe()), "--text", str(empty), "--out", str(folder)]) == 2
    path = recipe(config=DENSE.replace("64", "4096"), train=TRAIN.replace("128", "8192"))
    assert main(["run", str(path), "--out", str(folder)]) == 2
    assert "4096" in capsys.readouterr().err
    assert not (folder / "recipe.toml").exists() and not (folder / "sessions.jsonl").exists()
    assert main(["run", str(recipe()), "--only", "first", "--out", str(folder)]) == 0
