"""What a submission is built from: folders of `weightless train`, or a model of a run's folder, over its seeds.

    subjects([MODEL_FOLDER, …]) -> [Subject]             folders that differ in nothing but the seed
    subjects([RUN_FOLDER], model="feather") -> [Subject]

The first one is what the submission holds; the others are its seeds.
Errors: WeightlessError for folders that hold no finished model, and for models that are not one over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.config import to_dict
from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.data.shards.corpus import Corpus, corpus
from weightless.lab.checkpoints import ARTIFACT
from weightless.lab.recipe import ModelRecipe, Recipe, load_recipe
from weightless.lab.run import RECIPE, model_folder
from weightless.lab.stages import DONE, read_done
from weightless.lab.trained import trained_on
from weightless.models.catalog import Trained, family
from weightless.train.metrics import read_metrics
from weightless.train.same_run import deciding


@dataclass(frozen=True)
class Subject:
    """One trained model: its artifact, the corpus that it was made with, how it was made, its learning curve."""

    folder: Path
    data: Corpus
    family: str
    seed: int | None
    config: dict[str, Any]
    loop: dict[str, Any] | None
    curve: tuple[dict[str, Any], ...]
    train_tokens: int = 0
    why_not_again: str = ""
    """Why a script cannot train it again, in words; empty when it can."""

    @property
    def artifact(self) -> Path:
        return self.folder / ARTIFACT

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """Equal for models that differ in nothing but the seed."""
        return self.family, str(self.config), str(self.loop), self.train_tokens, self.data.sha256

    def recipe(self) -> dict[str, Any]:
        """What --train of the script does; ConfigError where it could not."""
        if self.why_not_again:
            raise ConfigError(
                f"{self.folder} cannot be trained again by a script, because {self.why_not_again}: build it with "
                "--decode_only"
            )
        return {
            "family": self.family,
            "config": self.config,
            "loop": self.loop,
            "seed": self.seed,
            "train_tokens": self.train_tokens,
            "corpus": {"name": self.data.name, "sha256": self.data.sha256},
            "tokenizer_sha256": self.data.manifest["tokenizer_sha256"],
        }


def subjects(folders: Sequence[Path], model: str = "", data: Path | None = None) -> list[Subject]:
    """The model over its seeds, the first folder's first."""
    if len(folders) == 1 and (folders[0] / RECIPE).exists():
        return _of_run(folders[0], model)
    if model:
        raise ConfigError("--model picks a model of a run's folder: leave it out for folders of weightless train")
    found = [_of_training(folder, data) for folder in folders]
    for other in found[1:]:
        if other.fingerprint != found[0].fingerprint:
            raise WeightlessError(
                f"{other.folder} is another model than {found[0].folder}, not another seed of it: name folders that "
                "differ in nothing but the seed"
            )
        if other.seed in [one.seed for one in found if one is not other]:
            raise WeightlessError(f"{other.folder} has the seed {other.seed} of another folder: name each seed once")
    return found


def _of_training(folder: Path, data: Path | None) -> Subject:
    record = trained_on(folder)
    if record is None or not (folder / ARTIFACT).is_file():
        raise WeightlessError(
            f"{folder} holds no model of weightless train (trained-on.json and {ARTIFACT}) and no run (recipe.toml): "
            "name a folder that one of them left"
        )
    settings = record.settings
    found = corpus(data) if data is not None else record.corpus()
    if found.sha256 != record.corpus_sha256 or record.parted_otherwise(found):
        raise WeightlessError(
            f"{found.folder} is not the text that {folder} was trained on, or split otherwise: what validates there "
            "may have been learned; name its own corpus with --data"
        )
    why = "it takes something from another model" if settings.get("lineage") else ""
    return Subject(
        folder,
        found,
        settings["family"],
        record.seed,
        settings["config"],
        {key: value for key, value in settings["loop"].items() if value is not None},
        tuple(read_metrics(folder / "metrics.jsonl")),
        why_not_again=why,
    )


def _of_run(run: Path, name: str) -> list[Subject]:
    recipe = load_recipe(run / RECIPE)
    names = [model.name for model in recipe.model]
    if not name and len(names) > 1:
        raise ConfigError(f"{run} holds {len(names)} models: say which with --model ({', '.join(names)})")
    if name and name not in names:
        raise ConfigError(f"{run} has no model {name!r}: {nearest(name, names)}")
    model = next(one for one in recipe.model if one.name == (name or names[0]))
    found = corpus(run / "data")
    made = [_of_model(run, recipe, model, seed, found) for seed in recipe.seeds]
    finished = [one for one in made if one is not None]
    if not finished:
        raise WeightlessError(f"no seed of {model.name} is finished in {run}: weightless run goes on with it")
    return finished


def _of_model(run: Path, recipe: Recipe, model: ModelRecipe, seed: int, data: Corpus) -> Subject | None:
    folder = model_folder(run, recipe, model, seed)
    if not (folder / DONE).exists() or not (folder / ARTIFACT).is_file():
        return None
    entry = read_done(folder)["entry"]
    room, config = family(model.family), model.build_config(data.vocab_size)
    loop = model.build_training(config, seed)
    settings = None if loop is None else {key: v for key, v in deciding(loop).items() if v is not None}
    return Subject(
        folder,
        data,
        model.family,
        entry.get("seed"),
        to_dict(config),
        settings,
        tuple(entry.get("curve") or ()),
        model.train_tokens[0] if model.train_tokens else 0,
        _why_not(room, model),
    )


def _why_not(room: Any, model: ModelRecipe) -> str:
    if model.rounded_from or model.init_from or model.distil:
        return "it takes something from another model"
    return "" if isinstance(room, Trained) else "it is counted or mixed, and not trained alone"
