"""A model that is rounded from one with learned clips keeps their codes where it keeps the format, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from toy_training import toy_tokens

from weightless.base.files import write_json
from weightless.export.lower import StoredRows
from weightless.lab.checkpoints import CHECKPOINT, save_model_file
from weightless.lab.making import TRAINING, rounded
from weightless.lab.recipe import ModelRecipe
from weightless.models.catalog import trained
from weightless.quant.formats import decode_rows, encode_rows
from weightless.train.checkpoint import load_checkpoint
from weightless.train.config import TrainConfig
from weightless.train.loop import train

LOOP = TrainConfig(num_steps=4, batch_size=2, context=16, threads=1, eval_tokens=64, qat_clip="group", qat_start=0.0)


def test_codes_of_learned_clips_are_the_master_copy(tmp_path: Path) -> None:
    room: Any = trained("dense")
    config = room.Config(vocab_size=61, d_model=32, n_layers=1, n_heads=1, context=16, weight_format="int4")
    source = tmp_path / "whole-s0"
    source.mkdir()
    save_model_file(source, "dense", config)
    train(room.Model(config), toy_tokens(600), toy_tokens(200), LOOP, source)
    write_json(source / "done.json", {})
    write_json(source / TRAINING, {"train_seconds": 1.0})
    saved = load_checkpoint(source / CHECKPOINT)
    assert saved is not None
    other = room.Config(**{**vars(config), "plan": {"embed": "int3"}})
    corpus: Any = None
    for asked, kept in ((config, True), (other, False)):
        made = rounded(asked, ModelRecipe("other", "dense", rounded_from="whole"), corpus, tmp_path / "other-s0")
        rows = {name: value for name, value in made.arrays.items() if isinstance(value, StoredRows)}
        assert ("embed" in rows) is kept and "block.0.up" in rows
        assert f"; {len(rows)} that keep their format" in made.record["observed"]["rounded"]["detail"]
        w = saved.parameters["block.0.up"].numpy()
        by_rule = decode_rows(encode_rows(w, "int4"), "int4", w.shape[1])
        assert not np.array_equal(decode_rows(rows["block.0.up"].rows, "int4", w.shape[1]), by_rule)
