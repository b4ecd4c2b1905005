"""`tokenizer study` from text to table.  Oracles: the files that it names, and the runs that it left."""

from __future__ import annotations

import json

from weightless.data.text import fables

STUDY = """
name = "v"
sizes = [300]
kinds = ["bytes"]
stored = "250kB"
seeds = [0]
train_megabytes = 0.002
eval_megabytes = 0.004
[data]
source = "train.txt"
validation = "valid.txt"
[model.config]
context = 16
weight_format = "int8"
[model.train]
batch_size = 2
eval_tokens = 64
"""


def test_from_text_to_table(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.toml").write_text(STUDY)
    for name, seed in (("train", 1), ("valid", 2)):
        (tmp_path / f"{name}.txt").write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=seed, n_bytes=30_000)))
    asked = ("tokenizer", "study", "v.toml", "--out", "s")
    code, out, err = command(*asked, "--plan")
    assert code == 0 and "bytes-300: d_model" in out and "1 model\n" in out and not (tmp_path / "s/runs").exists(), err
    assert " d_ff " in out
    code, out, err = command(*asked, "--markdown")
    assert code == 0 and "| bytes-300 |" in out and "single seed" in out, err
    found = json.loads((tmp_path / "s/vocabulary.json").read_text())
    assert found["missing"] == 0
    for row in found["findings"]:
        run = tmp_path / "s/runs" / f"bytes-{row['vocab_size']}"
        assert row["stored"] == (run / "models/model/model.wl").stat().st_size <= 250_000
        (model,) = json.loads((run / "summary.json").read_text())["models"]
        assert row["bits_per_byte"] == {"0": model["bits_per_byte"]} and model["eval_bytes"] == row["val_bytes"]
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "s/runs").rglob("model.wl")}
    assert command(*asked)[0] == 0 and {path: path.stat().st_mtime_ns for path in stamps} == stamps
    code, _, err = command(*asked, "--seeds", "1")
    assert code == 2 and "another study" in err
    for flags, told in (
        (("--text", "train.txt"), "say with --validation"),
        (("--seconds", "1", "--train-megabytes", "1"), "give one"),
        (("--sizes", "12"), "12 is too small"),
    ):
        code, _, err = command("tokenizer", "study", "v.toml", "--out", "other", *flags)
        assert code == 2 and told in err and not (tmp_path / "other").exists()
