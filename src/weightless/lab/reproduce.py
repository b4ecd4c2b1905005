"""Commands that reproduce a run's figures: run as printed, from the folder the run was started in, each prints them.

    train      weightless run RECIPE --out FOLDER … --only MODEL     the model anew, or the table if it is finished
    eval       weightless eval ARTIFACT --tokens … --stride … --stretch …    the same targets
    count      weightless count ARTIFACT                             the same bytes, measured on the run's own text
    verify     weightless count ARTIFACT --verify                    the counters side by side
    generate   weightless generate ARTIFACT --prompt … --seed …      the same sample

A `command` is a command line as a person may paste it: names with spaces are quoted.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from weightless.lab.recipe import EvalRecipe, ModelRecipe, Recipe, SampleRecipe
from weightless.lab.taking import named_by


def with_only(command: str, only: Sequence[str]) -> str:
    """The command of a whole run, for some of its models."""
    return " ".join([command, "--only", *map(shlex.quote, only)]) if only else command


def commands_of_model(recipe: Recipe, model: ModelRecipe, artifact: Path | None, command: str) -> dict[str, str]:
    """By figure; `command` makes the whole run.  Without an artifact (a model that diverged) there is no other."""
    names = {arm.name for arm in recipe.model}
    needed = [name for name in (model.rounded_from, *named_by(model).values()) if name in names]
    train = {"train": with_only(command, list(dict.fromkeys([*needed, model.name])))}
    if artifact is None:
        return train
    where = shlex.quote(artifact.as_posix())
    return {
        **train,
        "eval": f"weightless eval {where} {_targets(recipe.evaluation)}",
        "count": f"weightless count {where}",
        "verify": f"weightless count {where} --verify",
        "generate": f"weightless generate {where} {_sampling(recipe.sample)}",
    }


def command_here(folder: Path) -> str:
    """The command that makes the run again where it lies, from its own copy of the recipe."""
    return shlex.join(["weightless", "run", (folder / "recipe.toml").as_posix(), "--out", folder.as_posix()])


def _targets(evaluation: EvalRecipe) -> str:
    said = (
        f"--{name} {value}" for name, value in (("stride", evaluation.stride), ("stretch", evaluation.stretch)) if value
    )
    return " ".join([f"--tokens {evaluation.tokens}", *said])


def _sampling(sample: SampleRecipe) -> str:
    words = [
        f"--temperature={sample.temperature}",
        f"--top_p={sample.top_p}",
        f"--seed={sample.seed}",
        f"--max_tokens={sample.max_tokens}",
        "--past_end",
    ]
    return shlex.join([f"--prompt={sample.prompt}", *words] if sample.prompt else words)
