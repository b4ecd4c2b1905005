"""Weights & Biases, the real package, offline in a temporary folder: what it recorded is read back from its own file.

Oracle: the metrics that training wrote, and the formula of bytes touched; wandb's own reader of its record.
"""

from __future__ import annotations

import json
import os
import struct

import pytest

from weightless.lab.trackers import tracker
from weightless.models import dense
from weightless.program.cost import touched_by_formula

wandb = pytest.importorskip("wandb")
BLOCK, FULL, LAST = 32768, 1, 4


def records(path):
    """The records of a .wandb file: a LevelDB log (blocks of 32 KiB; crc 4, length 2, type 1) after 7 bytes."""
    content, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            yield whole
            whole = b""


def recorded(folder):
    """{key: value} of the summary that the offline run holds, and the number of lines it logged."""
    from wandb.proto import wandb_internal_pb2 as protocol

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    summary, n_lines = {}, 0
    for content in records(path):
        record = protocol.Record()
        record.ParseFromString(content)
        n_lines += record.WhichOneof("record_type") == "history"
        if record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                summary[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    return summary, n_lines


@pytest.mark.filterwarnings("ignore")  # what wandb itself warns of is not ours to mend
def test_a_training_is_logged_offline_with_its_bytes(tmp_path, monkeypatch, capsys):
    from weightless.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    shape = {"d_model": 32, "n_layers": 1, "n_heads": 1, "context": 64}
    words = [word for name, value in shape.items() for word in (f"--{name}", str(value))]
    text = "\n<|endoftext|>\n".join(f"the fox number {i} ran home" * 9 for i in range(300))
    (tmp_path / "text.txt").write_text(text)
    words += ["--data", "data", "--text", "text.txt", "--vocab_size", "300"]
    code = main(
        [
            "train",
            "dense",
            *words,
            "--num_steps",
            "3",
            "--batch_size",
            "2",
            "--threads",
            "1",
            "--eval_tokens",
            "128",
            "--out",
            "out",
        ]
    )
    out, err = capsys.readouterr()
    assert code == 0, err
    summary, n_lines = recorded(tmp_path / "out")
    metrics = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    program = dense.FAMILY.decode_program(dense.Config(vocab_size=300, **shape))
    assert summary["bytes_touched_per_token"] == touched_by_formula(program).T.mean
    assert summary["final_val_loss"] == metrics[-1]["val_loss"] and summary["diverged"] is False
    assert n_lines >= len(metrics) and "wandb sync" in err


def test_a_mode_that_does_not_exist_is_one_line(tmp_path, monkeypatch):
    from weightless.base.errors import WeightlessError
    from weightless.lab.trackers import tracker

    monkeypatch.setenv("WANDB_MODE", "sideways")
    with pytest.raises(WeightlessError, match="--no_wandb"), tracker(tmp_path / "m", True, {}):
        pass


def test_a_folder_whose_name_is_no_text_is_not_logged_and_it_is_said(tmp_path, monkeypatch, capsys):
    """wandb ends with a UnicodeEncodeError there; a training that nobody asked to log does not end with it."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / os.fsdecode(b"m\xefx")
    with tracker(folder, True, {}) as log:
        assert log is None
    assert "not logged" in capsys.readouterr().err and not folder.exists()
