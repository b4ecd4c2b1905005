"""What a model of a recipe takes from other models, as far as the recipe alone tells: `init_from` and `[model.distil]`.

Either names a model of the recipe that stands before it, whose folder of the same seed is meant, or else a path: an
artifact, the folder of a trained model, or one of Hugging Face's (lineage.py opens them).
Errors: ConfigError; what a path holds is checked before the first model is trained (checks.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, nearest
from weightless.models.catalog import Trained, family

if TYPE_CHECKING:
    from weightless.lab.recipe import ModelRecipe
    from weightless.train.distil import Distil


def distil_of(model: ModelRecipe) -> Distil | None:
    """What it asks of a teacher; ConfigError for what cannot be."""
    from weightless.train.distil import Distil

    return from_dict(Distil, model.distil, "distil") if model.distil else None


def named_by(model: ModelRecipe) -> dict[str, str]:
    """{key of the recipe: the model that it names}."""
    named = {"init_from": model.init_from, "distil.teacher": model.distil.get("teacher", "")}
    return {key: name for key, name in named.items() if name}


def check_taking(model: ModelRecipe, is_trained: bool) -> None:
    """ConfigError for a model that takes something and is not trained, or asks for what cannot be."""
    if not is_trained and (model.init_from or model.distil):
        what = "init_from" if model.init_from else "distil"
        raise ConfigError(f"{what} is for a model that is trained by gradient, which this is not: take it out")
    distil_of(model)


def check_taken(
    model: ModelRecipe, before: Mapping[str, ModelRecipe], later: set[str], vocab_size: int, seed: int
) -> None:
    """ConfigError unless each name is a model of the recipe `before` it that suits it, or a path that is there."""
    distil = distil_of(model)
    if distil is not None and distil.top_k > vocab_size:
        raise ConfigError(f"distil.top_k = {distil.top_k} is more than the {vocab_size} tokens of the vocabulary")
    for key, name in named_by(model).items():
        if name in before:
            _check_arm(key, model, before[name], vocab_size, seed)
        elif name in later:
            whose = "is this model itself" if name == model.name else "stands behind it"
            raise ConfigError(f"{key} = {name!r} {whose}: put the model that it names in front")
        elif not os.path.exists(name):
            known = nearest(name, before) if before else "no model stands before it"
            raise ConfigError(f"{key} = {name!r} is no model that stands before it, and no path that is there: {known}")


def _check_arm(key: str, model: ModelRecipe, source: ModelRecipe, vocab_size: int, seed: int) -> None:
    ours, theirs = model.build_config(vocab_size), source.build_config(vocab_size)
    if key == "distil.teacher":
        training = model.build_training(ours, seed)
        if training is not None and training.context > theirs.context:
            raise ConfigError(
                f"distil.teacher = {source.name!r} sees {theirs.context} tokens, and train.context is "
                f"{training.context}: the teacher has to see as far"
            )
        return
    room, here = family(source.family), family(model.family)
    if source.rounded_from or not isinstance(room, Trained) or not isinstance(here, Trained):
        raise ConfigError(f"init_from = {source.name!r} is not trained: there are no numbers to begin with")
    shapes = [{p.name: p.shape for p in r.laid(c).parameters()} for r, c in ((here, ours), (room, theirs))]
    odd = [n for n in sorted({*shapes[0], *shapes[1]}) if shapes[0].get(n) != shapes[1].get(n)]
    if odd:
        here_told, there_told = ("none" if odd[0] not in s else " x ".join(map(str, s[odd[0]])) for s in shapes)
        raise ConfigError(
            f"init_from = {source.name!r}: tensor {odd[0]!r} is {there_told} there and {here_told} here, and the "
            "shapes have to agree"
        )
