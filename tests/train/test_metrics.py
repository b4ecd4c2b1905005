"""Columns of the learning curve.  Oracle: rates by hand, from the table in `optimizers/groups.py`."""

from __future__ import annotations

import csv
import dataclasses
import json

import pytest
from toy_training import ToyModel, toy_tokens

from weightless.train.config import TrainConfig
from weightless.train.loop import train
from weightless.train.metrics import COLUMNS, MetricsLog, read_metrics

CONFIG = TrainConfig(
    batch_size=2,
    context=9,
    num_steps=4,
    log_every=1,
    eval_tokens=100,
    threads=1,
    schedule="constant",
    warmup=0.0,
    max_lr=0.003,
    muon_lr=0.05,
    table_lr=0.7,
    embedding_lr_scale=2.0,
    head_lr_scale=3.0,
    vector_lr_scale=5.0,
)
SCALED = {"lr_embedding": 0.006, "lr_head": 0.009, "lr_vector": 0.015}


@pytest.mark.parametrize(
    ("optimizer", "others"),
    [
        ("muon", {"lr_matrix": 0.05, "lr_table": 0.7}),
        ("adamw", {"lr_matrix": 0.003, "lr_table": 0.003}),
        ("sgd", {"lr_matrix": 0.003, "lr_table": 0.003}),
    ],
)
def test_every_rate_has_a_column(tmp_path, optimizer, others):
    values = {"optimizer": optimizer} | ({} if optimizer == "muon" else {"muon_lr": 0.02, "table_lr": 0.1})
    train(ToyModel(), toy_tokens(500), toy_tokens(200, 1), dataclasses.replace(CONFIG, **values), tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    wanted = {**SCALED, **others}
    assert len(lines) == 4 and all(line["lr"] == 0.003 for line in lines)
    assert all({k: line[k] for k in line if k not in COLUMNS} == pytest.approx(wanted, rel=1e-12) for line in lines)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert {k: float(rows[-1][k]) for k in wanted} == pytest.approx(wanted, rel=1e-12)


def test_logs_without_rates_and_windows_of_padding_are_kept(tmp_path):
    """A log of an earlier version lacks the columns; a stretch of nothing but padding has no loss and no speed."""
    old = dict.fromkeys(COLUMNS, 1.0) | {"step": 1, "val_loss": None}
    new = {**old, "step": 2, "lr_matrix": 0.1, "train_loss": None, "tokens_per_second": None}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (old, new)))
    log = MetricsLog(tmp_path, upto_step=5)
    assert log.lines == [old, new]
    log.write_csv()
    first, second = csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines())
    assert (first["lr_matrix"], second["lr_matrix"], second["train_loss"]) == ("", "0.1", "")
