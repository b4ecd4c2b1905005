"""What only this machine and the prepared text can tell of a recipe, asked of every model before the first is trained.

    check_on_machine    is the device there, do the weights fit into memory?  before the text is prepared
    check_made          is what a model takes from another one of the recipe made, or to be made now?
    check_taken_on_text does a teacher, or a model to begin with, that a path names suit the model and the text?
    check_on_text       is there a window to train on and one to validate on, are there as many training tokens as were
                        asked for, does a mixture or a window cache leave tokens to be fitted on?

What the recipe alone tells is checked when it is read (recipe.py).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.memory import memory
from weightless.base.units import human_bytes
from weightless.data.shards.corpus import Corpus
from weightless.lab.making import HELD_OUT_TOKENS, divided, made_before, training_tokens
from weightless.lab.recipe import ModelRecipe
from weightless.lab.taking import named_by
from weightless.models.catalog import Composed, Counted, family, trained
from weightless.program.compose import COUNTED

TRAINING_BYTES_PER_PARAMETER = 8  # float32 weights and their gradients; optimizers want more


def check_on_machine(model: ModelRecipe, vocab_size: int) -> None:
    """ConfigError naming the model when it cannot be trained here: nothing has to be written to know that."""
    config = model.build_config(vocab_size)
    training = model.build_training(config, seed=0)
    if training is None:
        return
    from weightless.train.device import check_device

    try:
        check_device(training.device)
        check_memory(model.family, config)
    except WeightlessError as error:
        raise ConfigError(f"model {model.name!r}: {error}") from None


def check_on_text(model: ModelRecipe, corpus: Corpus) -> None:
    """ConfigError naming the model when it cannot be made of this corpus."""
    config = model.build_config(corpus.vocab_size)
    tokens = training_tokens(model, corpus)
    n_validation = len(corpus.tokens("val"))
    if n_validation < 2:
        raise ConfigError(
            f"{corpus.folder} has {n_validation} validation token(s), and no loss can be measured on "
            "them: give more text, or a larger val_fraction"
        )
    _check_counting(model, config, len(tokens))
    training = model.build_training(config, seed=0)
    if training is None:
        if config.window_cache:
            divided(model, HELD_OUT_TOKENS, tokens)
        return
    if isinstance(family(model.family), Composed):
        tokens, _ = divided(model, config.held_out, tokens)
    try:
        _check_training(training, tokens, n_validation, corpus)
    except WeightlessError as error:
        raise ConfigError(f"model {model.name!r}: {error}") from None


def check_taken_on_text(model: ModelRecipe, corpus: Corpus, arms: Collection[str]) -> None:
    """ConfigError naming the model when what it takes from a path does not suit it or this text."""
    paths = {key: name for key, name in named_by(model).items() if name not in arms}
    training = model.build_training(model.build_config(corpus.vocab_size), seed=0) if paths else None
    if training is None:
        return
    from weightless.lab.lineage import start_of, teacher_of

    try:
        if "distil.teacher" in paths:
            teacher_of(paths["distil.teacher"], corpus, training.context)
        if "init_from" in paths:
            specs = trained(model.family).laid(model.build_config(corpus.vocab_size)).parameters()
            start_of(paths["init_from"], corpus).check({spec.name: spec.shape for spec in specs})
    except WeightlessError as error:
        raise ConfigError(f"model {model.name!r}: {error}") from None


def check_made(model: ModelRecipe, chosen: Collection[str], arms: Collection[str], folders: Iterable[Path]) -> None:
    """WeightlessError when a model of the recipe that this one takes something from is not made, nor to be made now.

    `folders` are those of this model, one per seed.
    """
    for name in named_by(model).values():
        if name in arms and name not in chosen:
            for folder in folders:
                made_before(name, model, folder)


def _check_counting(model: ModelRecipe, config: Any, n_tokens: int) -> None:
    """ConfigError when this machine cannot hold the tables that count so many tokens."""
    room = family(model.family)
    room, config = config.part(COUNTED) if isinstance(room, Composed) else (room, config)
    wanted = room.memory(config, n_tokens) if isinstance(room, Counted) and room.memory else 0
    here = memory()
    if here is not None and wanted > here:
        raise ConfigError(
            f"model {model.name!r}: counting {n_tokens:,} tokens takes {human_bytes(wanted)} of memory, this machine "
            f"has {human_bytes(here)}: lower tables_gb = {config.tables_gb:g} (rarer contexts go), or train_tokens"
        )


def _check_training(training: Any, tokens: Any, n_validation: int, corpus: Corpus) -> None:
    from weightless.train.feeding import feeding
    from weightless.train.validation import windows_of

    cheap = {"order": "length"} if training.order == "compression" else {}  # needs the same of the text
    feeding(tokens, dataclasses.replace(training, **cheap), corpus)
    windows_of(n_validation, training.context, training.eval_tokens)


def check_memory(name: str, config: Any) -> None:
    """Weights that this machine cannot even hold are told now, and not by a failing allocation after hours."""
    here = memory()
    if here is None:
        return
    room, config = config.part("neural") if isinstance(family(name), Composed) else (trained(name), config)
    wanted = TRAINING_BYTES_PER_PARAMETER * sum(math.prod(spec.shape) for spec in room.Model(config).tensors())
    if wanted > here:
        raise ConfigError(
            f"its weights and their gradients take {human_bytes(wanted)}, this machine has "
            f"{human_bytes(here)}: make it smaller"
        )
