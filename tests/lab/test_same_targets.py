"""Models of different contexts in one run: the same targets, and the bytes of all positions that the loss is paid with.

Oracles: evenly spaced windows as long as the longest context; the formula over all positions; the printed command.
"""

from __future__ import annotations

import json
import shlex

import pytest

from weightless.cli.main import main
from weightless.data.shards.corpus import corpus
from weightless.data.text import fables
from weightless.evals.bits_per_byte import spread, windows
from weightless.export.packed import open_packed
from weightless.lab.recipe import load_recipe
from weightless.program.cost import touched_by_formula

RECIPE = """
name = "small"
[data]
source = "{text}"
vocab_size = 300
val_fraction = 0.3
[eval]
tokens = 700
[sample]
max_tokens = 4
[[model]]
name = "short"
family = "ngram"
config = {{ order = 3, context = 64 }}
[[model]]
name = "long"
family = "ngram"
config = {{ order = 3, context = 640, window_cache = 3 }}
[[model]]
name = "dense"
family = "dense"
config = {{ d_model = 32, n_layers = 1, n_heads = 1, context = 640 }}
train = {{ num_steps = 1, batch_size = 2, threads = 1, context = 64, eval_tokens = 128 }}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The run's folder."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "fables.txt").write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=4, n_bytes=40_000)))
    (folder / "small.toml").write_text(RECIPE.format(text=(folder / "fables.txt").as_posix()))
    assert main(["run", str(folder / "small.toml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


def entries(made) -> dict:
    return {entry["name"]: entry for entry in json.loads((made / "summary.json").read_text())["models"]}


def test_they_are_asked_for_the_same_targets(made):
    n_tokens = len(corpus(made / "data").tokens("val"))
    wanted = sum(stop - begin for _, begin, stop in spread(windows(n_tokens, 640, 640), 700))
    found = {(entry["eval_tokens"], entry["eval_bytes"]) for entry in entries(made).values()}
    assert {n for n, _ in found} == {wanted} and len(found) == 1
    assert load_recipe(made / "recipe.toml").evaluation.stretch == 640


def test_the_printed_command_scores_the_same(made, capsys):
    for entry in entries(made).values():
        command = shlex.split(entry["commands"]["eval"])
        assert command[-2:] == ["--stretch", "640"]
        assert main([*command[1:], "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["nats"] == entry["nats"]


def test_bytes_over_the_whole_window_are_told(made, capsys):
    found = entries(made)
    assert "window" not in found["short"]
    program = open_packed(made / "models/dense/model.wl").program
    assert found["dense"]["window"] == {"positions": 640, "T": touched_by_formula(program, positions=640).T.mean}
    assert found["dense"]["window"]["T"] > found["dense"]["touched"]["T"]["mean"], "the last positions read more keys"
    assert main(["report", str(made), "--markdown"]) == 0
    told = capsys.readouterr().out
    over = told.split("over whole windows of 640 tokens: ")[1].split(". ")[0]
    assert [one.split()[0] for one in over.split(", ")] == ["long", "dense"]


def test_one_context_is_scored_as_ever(made, tmp_path):
    """A recipe of one context has no stretch, so that runs of old are what they were."""
    text = (made / "recipe.toml").read_text().replace("context = 640", "context = 64")
    (tmp_path / "one.toml").write_text(text)
    assert load_recipe(tmp_path / "one.toml").evaluation.stretch == 0
