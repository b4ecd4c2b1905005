"""Trainings that several processes do together: the first one says which, the others take part.

    announce(…)      the first process, before it trains (lab/training.py)
    follow()         all others, from their beginning to the end of the program

Only the first process runs a verb, a recipe, a report.  What the others need is told in plain values: family,
configurations, the corpus by its folder and how many of its training tokens, where the model's folder is, what it takes
from other models.  They read all of it themselves, and before the first step everybody compares what it has.
Floor 8 (lab).
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from weightless.base.config import from_dict, to_dict
from weightless.base.errors import WeightlessError
from weightless.data.shards.corpus import Corpus
from weightless.data.shards.corpus import corpus as open_corpus
from weightless.models.catalog import trained
from weightless.train.processes import PATIENCE_SECONDS, Dismissed, Gone, Processes, current

TRAINING = "training"


def announce(
    name: str, config: Any, loop: Any, corpus: Corpus, folder: Path, tokens: Any, fresh: bool, lineage: Any
) -> None:
    """Ask the other processes, if there are any, to take part in a training on the first of the corpus's tokens."""
    together = current()
    if together.world == 1 or not together.is_first:
        return
    taken = None
    if lineage is not None:
        distil = None if lineage.distil is None else dataclasses.asdict(lineage.distil)
        taken = {"distil": distil, "init_from": lineage.init_from, "folder": str(lineage.folder)}
    told = {
        "family": name,
        "config": to_dict(config),
        "loop": to_dict(loop),
        "corpus": str(corpus.folder),
        "n_tokens": len(tokens),
        "folder": str(folder),
        "fresh": fresh,
        "lineage": taken,
    }
    together.tell(TRAINING, told)


def follow(together: Processes) -> int:
    """Take part in what the first process trains until it has ended; the exit code of this one."""
    patience, failed = None, ""
    while True:
        try:
            told = together.hear(TRAINING, patience)
            if told is None:  # the first one goes on, though this one cannot
                print(f"weightless: process {together.rank} of {together.world}: {failed}", file=sys.stderr)
                return 2
            patience, failed = None, ""
            with open(os.devnull, "w") as nobody, redirect_stderr(nobody), redirect_stdout(nobody):
                _take_part(told)
        except Dismissed:
            return 0
        except Gone as error:
            if error.is_told:
                print(f"weightless: {error}", file=sys.stderr)
            return 2
        except WeightlessError as error:  # the first one has met it, too, and tells it
            patience, failed = PATIENCE_SECONDS, str(error)
        except (KeyboardInterrupt, SystemExit):  # all have agreed, and the first one saves
            patience, failed = 10 * PATIENCE_SECONDS, "interrupted"


def _take_part(told: Mapping[str, Any]) -> None:
    from weightless.lab.lineage import lineage
    from weightless.train.config import TrainConfig
    from weightless.train.distil import Distil
    from weightless.train.distilling import ALONE
    from weightless.train.loop import train
    from weightless.train.same_run import origin
    from weightless.train.settling import divided

    name, room = told["family"], trained(told["family"])
    config = from_dict(room.Config, told["config"], "config")
    loop = from_dict(TrainConfig, told["loop"], "loop")
    data, folder, taken = open_corpus(Path(told["corpus"])), Path(told["folder"]), told["lineage"]
    model, tokens = room.Model(config), data.tokens("train")[: told["n_tokens"]]
    learned, _ = divided(model, tokens, data.end_of_text)
    lines = ALONE
    if taken is not None:
        distil = None if taken["distil"] is None else from_dict(Distil, taken["distil"], "distil")
        lines = lineage(distil, taken["init_from"], data, loop.context, Path(taken["folder"]))
    train(
        model,
        learned,
        data.tokens("val"),
        loop,
        folder,
        resume=not told["fresh"],
        source=data,
        origin=origin(name, config, data),
        lineage=lines,
    )
