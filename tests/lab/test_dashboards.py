"""Dashboards beside the JSONL: what each was given is read back, by its own reader where it is installed.

Oracles: metrics.jsonl of the same training; TensorBoard's EventAccumulator; for packages that are not installed a
module of the same names that keeps what it is given.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from types import ModuleType, SimpleNamespace

import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.lab.dashboards import dashboards, names_of, numbers

LINES = (
    {"step": 20, "tokens": 40_960, "train_loss": 7.5, "val_loss": None, "lr": 1e-3},
    {"step": 40, "tokens": 81_920, "train_loss": math.nan, "val_loss": 5.25, "lr": 5e-4},
)
FIGURES = {"bytes_touched_per_token": 125_176.0, "final_val_loss": 5.25, "diverged": False}
CONFIG = {"family": "dense", "d_model": 32, "window": None}
EXPECTED = [
    (20, "tokens", 40_960.0),
    (20, "train_loss", 7.5),
    (20, "lr", 1e-3),
    (40, "tokens", 81_920.0),
    (40, "val_loss", 5.25),
    (40, "lr", 5e-4),
    (40, "final/bytes_touched_per_token", 125_176.0),
    (40, "final/final_val_loss", 5.25),
    (40, "final/diverged", 0.0),
]


class Writer:
    """What of torch.utils.tensorboard's SummaryWriter is used."""

    kept: list = []

    def __init__(self, log_dir, purge_step=None):
        self.kept.append(("began", log_dir, purge_step))

    def add_text(self, name, told, step):
        self.kept.append((name, told, step))

    def add_scalar(self, name, value, step):
        self.kept.append((step, name, value))

    def flush(self):
        pass

    def close(self):
        self.kept.append("closed")


def installed(monkeypatch, name: str, **contents) -> None:
    """Put a module of this name, with these contents, in the place of the package."""
    module = ModuleType(name)
    module.__spec__ = importlib.util.spec_from_loader(name, None)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def logged(folder, track: str) -> None:
    with dashboards(folder, track, True, CONFIG) as log:
        assert log is not None
        for line in LINES:
            log(dict(line))
        log.summarise(FIGURES)


def test_tensorboard_gets_the_same_lines(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Writer, "kept", [])
    installed(monkeypatch, "tensorboard")
    installed(monkeypatch, "torch.utils.tensorboard", SummaryWriter=Writer)
    logged(tmp_path / "model", "tensorboard")
    assert [kept for kept in Writer.kept if isinstance(kept[0], int)] == EXPECTED
    assert Writer.kept[0] == ("began", str(tmp_path / "model" / "tensorboard"), 20) and Writer.kept[-1] == "closed"
    assert "d_model = 32" in Writer.kept[1][1]
    assert "tensorboard --logdir" in capsys.readouterr().err


def test_tensorboards_own_reader_finds_them(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged(tmp_path, "tensorboard")
    logged(tmp_path, "tensorboard")  # gone on with: what was there from the same step on is superseded
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    found = [(event.step, tag, event.value) for tag in read.Tags()["scalars"] for event in read.Scalars(tag)]
    wanted = [(step, name, pytest.approx(value, rel=1e-6)) for step, name, value in EXPECTED]  # float32 in its files
    assert sorted(found) == sorted(wanted, key=lambda row: row[:2])


def test_trackio_stays_in_the_folder(monkeypatch, tmp_path):
    kept: list = []
    run = SimpleNamespace(log=lambda values, step: kept.append((step, values)), finish=lambda: kept.append("finished"))

    def init(**options):
        kept.append(options)
        return run

    installed(monkeypatch, "trackio", init=init)
    monkeypatch.setenv("TRACKIO_DIR", "")
    monkeypatch.delenv("TRACKIO_DIR")
    logged(tmp_path / "model", "trackio")
    options = kept[0]
    assert (options["project"], options["name"]) == ("weightless", "model")
    assert options["config"] == {"family": "dense", "d_model": 32} and options["embed"] is False
    rows = [(step, name, value) for step, values in kept[1:-1] for name, value in values.items()]
    assert rows == EXPECTED and kept[-1] == "finished"


def test_mlflow_writes_a_file_of_the_folder(monkeypatch, tmp_path):
    kept: list = []

    class Client:
        def __init__(self, tracking_uri):
            self.tracking_uri = tracking_uri

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return "7"

        def create_run(self, experiment, run_name):
            kept.append((self.tracking_uri, experiment, run_name))
            return SimpleNamespace(info=SimpleNamespace(run_id="run"))

        def log_param(self, run_id, name, value):
            kept.append((name, value))

        def log_metric(self, run_id, name, value, step):
            kept.append((step, name, value))

        def set_terminated(self, run_id, status):
            kept.append(status)

    installed(monkeypatch, "mlflow")
    installed(monkeypatch, "mlflow.tracking", MlflowClient=Client)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged(tmp_path / "model", "mlflow")
    assert kept[0] == (f"sqlite:///{(tmp_path / 'model').resolve()}/mlflow.db", "7", "model")
    assert [row for row in kept if isinstance(row[0], int)] == EXPECTED and kept[-1] == "FINISHED"
    with pytest.raises(RuntimeError), dashboards(tmp_path / "model", "mlflow", True, CONFIG) as log:
        log(dict(LINES[0]))
        raise RuntimeError("the training stopped")
    assert kept[-1] == "FAILED"


def test_a_training_gives_them_what_it_writes(monkeypatch, tmp_path, capsys):
    from weightless.cli.main import main

    monkeypatch.setattr(Writer, "kept", [])
    installed(monkeypatch, "tensorboard")
    installed(monkeypatch, "torch.utils.tensorboard", SummaryWriter=Writer)
    monkeypatch.chdir(tmp_path)
    text = "\n<|endoftext|>\n".join(f"the fox number {i} ran home" * 9 for i in range(300))
    (tmp_path / "text.txt").write_text(text)
    flags = "--data data --text text.txt --vocab_size 300 --d_model 32 --n_layers 1 --n_heads 1 --context 64 --out out"
    flags += " --num_steps 3 --batch_size 2 --threads 1 --eval_tokens 128 --no-pack --track tensorboard"
    assert main(["train", "dense", *flags.split()]) == 0
    assert not (tmp_path / "out" / "wandb").exists()
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    wanted = [(line["step"], name, value) for line in lines for name, value in numbers(line).items() if name != "step"]
    found = [kept for kept in Writer.kept if isinstance(kept[0], int) and not kept[1].startswith("final/")]
    assert wanted and found == wanted
    assert any(kept[1] == "final/bytes_touched_per_token" for kept in Writer.kept if isinstance(kept[0], int))
    capsys.readouterr()
    for words, told in (
        ("--track tensorbord", "did you mean 'tensorboard'?"),
        ("--track tensorboard --no_wandb", "--no_wandb does nothing beside --track"),
    ):
        assert main(["train", "dense", "--out", "other", *words.split()]) == 2
        assert told in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_names(monkeypatch):
    assert names_of("") == [] and names_of("none") == []
    installed(monkeypatch, "trackio")
    assert names_of("trackio, trackio") == ["trackio"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for track, told in (
        ("mlflow", "mlflow is not installed; pip install mlflow"),
        ("none,trackio", "not installed|none stands alone"),
        ("weights", "--track weights: "),
    ):
        with pytest.raises(ConfigError, match=told):
            names_of(track)


def test_what_a_package_raises_is_one_line(monkeypatch, tmp_path):
    def init(**options):
        raise OSError("no space left\nTraceback …")

    installed(monkeypatch, "trackio", init=init)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    with (
        pytest.raises(WeightlessError, match=r"trackio does not log \(no space left\)"),
        dashboards(tmp_path, "trackio", True, CONFIG) as log,
    ):
        log(dict(LINES[0]))
