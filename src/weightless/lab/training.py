"""Train one model of a family into a folder of its own, in a way that no file there can speak for another training.

    FOLDER/model.toml    family and configuration, for whoever reads the folder     FOLDER/checkpoint/  the truth
    FOLDER/model.wl      the artifact     FOLDER/model.previous.wl  that of the training that was here before

Everything that decides the result is checked first: the family's Config and the loop's by themselves, the program that
will be packed, the text (is there a window to train and to validate on?), and a checkpoint that is there already, which
has to be of this very training.  Only then is anything written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from weightless.base.config import to_dict
from weightless.data.shards.corpus import Corpus
from weightless.lab.checkpoints import ARTIFACT, CHECKPOINT, MODEL, PREVIOUS, load_model_file, save_model_file
from weightless.lab.following import announce
from weightless.models.catalog import trained


def train_model(
    name: str,
    config: Any,
    loop: Any,
    corpus: Corpus,
    folder: Path,
    label: str,
    tokens: Any = None,
    fresh: bool = False,
    on_metrics: Callable[[dict[str, Any]], None] | None = None,
    on_begin: Callable[[], object] = lambda: None,
    lineage: Any = None,
) -> Any:
    """The TrainResult of family `name` with `config` and `loop` (a TrainConfig) on `tokens`, or all for training.

    A checkpoint of the same training is continued, of another one refused; `fresh` begins anew.  `on_begin` is called
    when everything is checked and the folder is this training's.  `lineage` (train/distilling.py) is what the training
    takes from other models.
    """
    from weightless.train.distilling import ALONE
    from weightless.train.loop import train
    from weightless.train.same_run import origin
    from weightless.train.settling import divided

    room, of = trained(name), origin(name, config, corpus)
    room.decode_program(config)  # what cannot be packed is not trained
    if not fresh:
        _check_model_file(folder, of)

    def begin() -> None:
        if fresh or not (folder / CHECKPOINT).exists():
            _put_aside(folder)
        save_model_file(folder, name, config)
        on_begin()

    model, text = room.Model(config), corpus.tokens("train") if tokens is None else tokens
    learned, settling = divided(model, text, corpus.end_of_text)
    announce(name, config, loop, corpus, folder, text, fresh, lineage)
    return train(
        model,
        learned,
        corpus.tokens("val"),
        loop,
        folder,
        label,
        resume=not fresh,
        on_metrics=on_metrics,
        source=corpus,
        origin=of,
        on_begin=begin,
        settling=settling,
        lineage=lineage or ALONE,
    )


def _check_model_file(folder: Path, of: dict[str, Any]) -> None:
    """A checkpoint made before checkpoints said what they are of is of what model.toml says."""
    from weightless.train.checkpoint import read_state
    from weightless.train.same_run import ORIGIN, differing_origins, refuse

    state = read_state(folder / CHECKPOINT)
    if state is not None and ORIGIN not in state and (folder / MODEL).exists():
        name, config = load_model_file(folder)
        refuse(differing_origins({"family": name, "config": to_dict(config)}, of, folder), folder)


def _put_aside(folder: Path) -> None:
    """The artifact of an earlier training is no longer that of this folder."""
    with suppress(FileNotFoundError):
        os.replace(folder / ARTIFACT, folder / PREVIOUS)
        print(f"{folder}: {ARTIFACT} is of an earlier training, and is kept as {PREVIOUS}", file=sys.stderr)
