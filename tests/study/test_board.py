"""The leaderboard by wall clock: order, budget, front; what cannot stand side by side is refused by name.

Oracles: the definition of the front by brute force over all pairs, and sorting by hand, from the numbers of the
summaries, which are invented (lab/example_summary.py).
"""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
from lab.example_summary import ZOO, example
from study.small_study import small_study

from weightless.base.config import save_toml
from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import write_json
from weightless.base.units import parse_seconds
from weightless.cli.main import main
from weightless.lab.recipe import DataRecipe, EvalRecipe, ModelRecipe, Recipe
from weightless.study.board import board_of
from weightless.study.board_page import markdown, page
from weightless.study.records import read_evidence

TRAIN = {"num_steps": 9, "batch_size": 2}


def run_folder(where: Path, models=ZOO, seeds=(0, 1, 2), context=64, clock="wall", tokens=4096, **corpus) -> Path:
    """A folder as a run leaves it, with seconds that differ from model to model."""
    summary = example(models, seeds)
    summary["corpus"] = {"train_documents": 9, "val_documents": 3, **summary["corpus"], **corpus}
    for i, model in enumerate(summary["models"]):
        model["train_seconds"] = 10.0 + 37 * (i * 7 % 11)
    where.mkdir()
    write_json(where / "summary.json", summary)
    train = {**TRAIN, "clock": "cpu", "seconds": 9.0} if clock == "cpu" else TRAIN
    train = {key: value for key, value in train.items() if key != "num_steps" or clock == "wall"}
    config = {"d_model": 32, "n_layers": 1, "n_heads": 1, "context": context}
    model = ModelRecipe("one", "dense", config=config, train={**train, "eval_tokens": 128})
    recipe = Recipe("run", (model,), (0,), DataRecipe("docs", vocab_size=300), EvalRecipe(tokens, 0, 64))
    save_toml(where / "recipe.toml", recipe)
    return where


def test_places_front_and_budget(tmp_path):
    folder = run_folder(tmp_path / "run")
    board = board_of([folder], 150.0)
    assert len(board.places) == len(ZOO)
    inside = [place for place in board.places if place.seconds.mean <= 1.01 * 150]
    assert 2 < len(inside) < len(ZOO)
    assert [place.rank for place in board.places] == [*range(1, len(inside) + 1), *[0] * (len(ZOO) - len(inside))]
    losses = [place.group.loss.mean for place in board.places[: len(inside)]]
    assert losses == sorted(losses)
    assert all(place.why == "over the budget" for place in board.places[len(inside) :])
    for place in board.places:
        beaten = any(
            other.seconds.mean <= place.seconds.mean and other.group.loss.mean < place.group.loss.mean
            for other in board.places
        )
        assert place.on_front == (not beaten), place.group.name
    assert all(place.rank for place in board_of([folder / "summary.json"]).places)


def test_a_model_that_diverged_has_no_place(tmp_path):
    folder = run_folder(tmp_path / "run")
    summary = example(ZOO, (0,))
    summary["models"][0] |= {"bits_per_byte": None, "nats_per_token": None}
    summary["corpus"] |= {"train_documents": 9, "val_documents": 3}
    write_json(folder / "summary.json", summary)
    last = board_of([folder]).places[-1]
    assert (last.group.name, last.rank, last.why) == (ZOO[0][0], 0, "no finite loss")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"sha256": "cd" * 32}, "losses of different corpora cannot be compared: .*one.*two"),
        ({"val_bytes": 7}, "losses on different held-out documents"),
        ({"context": 32}, "models of different windows cannot stand on one board.*windows of 64.*windows of 32"),
        ({"tokens": 64}, "the runs score different targets"),
        ({"clock": "cpu"}, "models of different clocks cannot stand on one board.*wall clock.*cpu clock"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(tmp_path, other, told):
    folders = [run_folder(tmp_path / "one"), run_folder(tmp_path / "two", **other)]
    with pytest.raises(WeightlessError, match=told):
        board_of(folders)


def test_table_page_and_errors_of_the_verb(tmp_path, capsys):
    models = copy.deepcopy(ZOO[:3]) + (("<b>bold</b>|", "dense", 1.5, 1e6, 5_000_000, 900.0),)
    folder = run_folder(tmp_path / "run", models)
    out = tmp_path / "board.html"
    assert main(["board", str(folder), "--budget", "10min", "--out", str(out)]) == 0
    assert "page: " in capsys.readouterr().out
    text = out.read_text()
    assert "<b>bold" not in text and "&lt;b&gt;bold" in text and "budget 10 min 00 s" in text
    board = board_of([folder])
    lines = markdown(board, "weightless board run").splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 1 + len(models)
    assert all(line.replace("\\|", "").count("|") == lines[0].count("|") for line in lines[1:6])
    assert "weightless board run" in page(board, "weightless board run")
    for words, told in (
        ([], "name at least one run"),
        ([str(tmp_path)], "holds neither a finished run"),
        ([str(folder), "--budget", "soon"], "no length of time"),
    ):
        assert main(["board", *words]) == 2
        assert told in capsys.readouterr().err


def test_lengths_of_time():
    assert [parse_seconds(text) for text in ("90", "90 s", "1.5h", "30min", "2d")] == [90, 90, 5400, 1800, 172_800]
    for text in ("", "h", "-3s", "nan", "1e999", "3 weeks"):
        with pytest.raises(ConfigError):
            parse_seconds(text)
    assert math.isclose(parse_seconds("0.5m"), 30)


def test_a_study_stands_beside_a_run_of_the_same_text(tmp_path, monkeypatch):
    """Every cell with the figures of its own done.json; a tuned arm with the setting that counts."""
    monkeypatch.chdir(tmp_path)
    path = small_study(tmp_path, seeds="[0, 1]")
    tuned = '[[arm]]\nname = "tuned"\n[arm.tune]\n"train.max_lr" = [1e-3, 1e-2]\n[[arm]]\nname = "plain"\n'
    path.write_text(path.read_text().partition("[grid]")[0] + tuned)
    assert main(["study", str(path), "--parallel", "1"]) == 0
    folder = tmp_path / "runs" / "tiny"
    board = board_of([folder])
    assert {place.group.name for place in board.places} == {"tuned", "plain"}
    evidence = read_evidence(folder)
    for place in board.places:
        values = evidence.values(place.group.name, "bits_per_byte")
        assert place.nats.n == len(values) == 2 and place.rank
        assert math.isclose(place.group.loss.mean, sum(values.values()) / 2, rel_tol=1e-12)
    assert board_of([folder / "study.json"]).places == board.places
    base, train = (path.read_text().partition(mark)[2].partition("[")[0] for mark in ("[base]\n", "[base.train]\n"))
    head = path.read_text().partition("[base]")[0].partition("[question]")
    model = f'[[model]]\nname = "alone"\n{base}[model.train]\n{train}max_lr = 1e-3\n'
    data = head[2].partition("[data]")[2]
    (tmp_path / "alone.toml").write_text(f'name = "alone"\nseeds = [0, 1]\n[data]{data}{model}')
    assert main(["run", "alone.toml"]) == 0
    both = {place.group.name: place.group.loss.mean for place in board_of([folder, tmp_path / "runs" / "alone"]).places}
    assert both.keys() == {"tuned", "plain", "alone"}
    (tmp_path / "other.toml").write_text((tmp_path / "alone.toml").read_text().replace("tokens = 256", "tokens = 128"))
    assert main(["run", "other.toml", "--out", "runs/other"]) == 0
    with pytest.raises(WeightlessError, match="the runs score different targets.*tiny.*other"):
        board_of([folder, tmp_path / "runs" / "other"])
    (folder / "study.toml").unlink()
    with pytest.raises(WeightlessError, match="without its study.toml"):
        board_of([folder])
