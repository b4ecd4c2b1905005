"""Files beside token shards that hold no tokens.  Oracle: the ids that were written as tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data.test_import_tokens import V, bins, imported

from weightless.base.errors import WeightlessError
from weightless.data.shards.shards import write_shard


def golf_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Shards as a Parameter Golf export has them, with the bytes of each validation token in a sidecar."""
    rng = np.random.default_rng(3)
    train, val = rng.integers(0, V, 900), rng.integers(0, V, 300)
    for name, ids in (("train", train), ("val", val), ("val_bytes", rng.integers(0, 8, 300))):
        write_shard(folder / f"fineweb_{name}_000000.bin", ids)
    return train, val


def test_byte_count_sidecars_are_no_tokens(tmp_path, capsys):
    """Oracle: the ids that were written as tokens, and the sidecar's name in what is told."""
    (tmp_path / "in").mkdir()
    train, val = golf_folder(tmp_path / "in")
    found = imported(tmp_path / "in", tmp_path / "out")
    assert np.array_equal(found.tokens("train"), train) and np.array_equal(found.tokens("val"), val)
    assert "left out 1 file(s)" in (told := capsys.readouterr().err) and "fineweb_val_bytes_000000.bin" in told
    with pytest.raises(WeightlessError, match="name fineweb_val_000000.bin"):
        imported(tmp_path / "in/fineweb_val_bytes_000000.bin", tmp_path / "other")
    (tmp_path / "in/fineweb_val_000000.bin").unlink()
    with pytest.raises(WeightlessError, match="belongs to fineweb_val_000000.bin, which is not there"):
        imported(tmp_path / "in", tmp_path / "other")


def test_other_sidecars_and_names_that_only_look_like_one(tmp_path, capsys):
    bins(tmp_path / "nano")
    for name in ("val_bytes.bin", "train.mask.bin", "nbytes_train.bin"):
        np.zeros(10, np.uint16).tofile(tmp_path / "nano" / name)
    assert imported(tmp_path / "nano", tmp_path / "a").n_tokens("train") == 5000
    assert "left out 3 file(s)" in capsys.readouterr().err
    (tmp_path / "named").mkdir()
    for split in ("train", "val"):
        write_shard(tmp_path / f"named/docs_bytes_{split}_000000.bin", np.arange(50))
    assert imported(tmp_path / "named", tmp_path / "b").n_tokens("val") == 50
    assert "left out" not in capsys.readouterr().err
