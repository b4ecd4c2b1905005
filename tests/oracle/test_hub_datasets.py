"""The `datasets` library reads our loopback hub too: its rows, masked and joined, are the shards that we import."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from data.hub_server import Repository, environment, masked_rows, running_hub, value_rows

pytest.importorskip("datasets", reason="the extra hub is not installed")

V = 50257
PROGRAM = """
    import sys
    import numpy as np
    from datasets import load_dataset

    masked = load_dataset("kushalt/fineweb-edu-gpt2", data_dir="sample-10BT_max_length_513", streaming=True)
    for split in ("train", "test"):
        ids = [i for row in masked[split] for i, m in zip(row["input_ids"], row["pad_mask"]) if m]
        np.array(ids, np.uint16).tofile(f"{out}/masked-{{split}}.bin")
    plain = load_dataset("alkibijad/fineweb-edu-sample-10BT-gpt2tokenized", streaming=True)
    ids = [i for split in sorted(plain) for row in plain[split] for i in row["values"]]
    np.array(ids, np.uint16).tofile("{out}/values.bin")
"""


@pytest.mark.slow
def test_rows_agree_with_the_datasets_library(tmp_path, monkeypatch):
    from weightless.data.imports.import_tokens import import_tokens
    from weightless.data.imports.row_sets import open_rows
    from weightless.data.imports.token_parquet import Reading

    folder = "sample-10BT_max_length_513/"
    with running_hub() as hub:
        hub.repositories["kushalt/fineweb-edu-gpt2"] = Repository(
            {
                folder + "train-00000-of-00002.parquet": masked_rows(40, V, 0, pad=50256)[0],
                folder + "train-00001-of-00002.parquet": masked_rows(30, V, 1, pad=50256)[0],
                folder + "test-00000-of-00001.parquet": masked_rows(20, V, 2, pad=50256)[0],
            }
        )
        shards = {f"data/train_00000{n}-00000-of-00001.parquet": value_rows(25, V, n)[0] for n in (1, 2)}
        card = [
            {
                "config_name": "default",
                "data_files": [{"split": f"train_00000{n}", "path": f"data/train_00000{n}-*"} for n in (1, 2)],
            }
        ]
        front = (
            "---\nconfigs:\n- config_name: default\n  data_files:\n"
            + "".join(f"  - split: train_00000{n}\n    path: data/train_00000{n}-*\n" for n in (1, 2))
            + "---\n"
        )
        hub.repositories["alkibijad/fineweb-edu-sample-10BT-gpt2tokenized"] = Repository(
            {**shards, "README.md": front.encode()}, card
        )
        settings = environment(hub, tmp_path / "home")
        text = textwrap.dedent(PROGRAM).format(out=tmp_path)
        done = subprocess.run(
            [sys.executable, "-c", text], env={**os.environ, **settings}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        for key, value in settings.items():
            monkeypatch.setenv(key, value)
        for name, options in (("fineweb-edu-gpt2", {}), ("fineweb-edu-10bt-gpt2", {"validation": "none"})):
            rows = open_rows(name, Reading(V, 50256))
            import_tokens(rows, tmp_path / name, "t", shard_tokens=400, show_progress=False, **options)
    from weightless.data.shards.corpus import corpus

    found = corpus(tmp_path / "fineweb-edu-gpt2")
    for split, other in (("train", "train"), ("val", "test")):
        assert np.array_equal(found.tokens(split)[:], np.fromfile(tmp_path / f"masked-{other}.bin", np.uint16))
    values = corpus(tmp_path / "fineweb-edu-10bt-gpt2").tokens("train")[:]
    assert np.array_equal(values, np.fromfile(tmp_path / "values.bin", np.uint16))
