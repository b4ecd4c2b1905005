"""A recipe: everything that decides a run, in one strict TOML file.

    name = "demo"
    seeds = [0]
    [data]      source = "docs" | "fables" | a path        vocab_size, val_fraction, max_overlap …
    [eval]      tokens, stride, stretch                          what of the held-out text is scored from the artifact
    [sample]    prompt, temperature, top_p …
    [[model]]   name, family, description, train_tokens     (only the first so many; several: one model for each)
    [model.config]   fields of the family's Config          (vocab_size comes from [data])
    [model.train]    fields of TrainConfig                  (nothing for a family that is counted)
    [model.distil]   teacher, weight, temperature, top_k    init_from in [[model]]: taken from other models (taking.py)
    rounded_from, gptq      in [[model]]: the numbers of another model of the recipe, rounded to other formats

A recipe is checked whole when it is made: every table against its dataclass, every model's configuration by drawing its
program, its training by making its TrainConfig, and what all of them share.  An error names the model and the key, an
unknown key the nearest known one.  What only the text can tell (is it long enough?) is in checks.py.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightless.base.config import from_dict, load_toml, to_dict
from weightless.base.errors import ConfigError, CorruptFileError, nearest
from weightless.data.shards.corpus import MANIFEST
from weightless.data.shards.shards import LARGEST_VOCABULARY
from weightless.data.text.split import split_rule
from weightless.decode.sampling import Sampling
from weightless.lab.taking import check_taken, check_taking
from weightless.models.catalog import Composed, Counted, Trained, family
from weightless.tokenizer.patterns import pattern_code

if TYPE_CHECKING:
    from weightless.train.config import TrainConfig

LEAST_VOCABULARY = 257  # the 256 bytes, and <|endoftext|>
FORMAT_FIELDS = ("weight_format", "table_format", "plan")
"""What a model may have otherwise than the one that it is rounded from."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class DataRecipe:
    """Where the text comes from, how it is split, and how large a vocabulary is trained on its training part."""

    source: str = "docs"
    validation: str = ""  # a held-out file or folder; empty: split off the source by document
    field: str = "text"
    val_fraction: float = 0.05
    val_first: int = 0  # or so many documents at the beginning of the text validate
    val_last: int = 0  # or at its end
    max_overlap: float = 0.2  # validation documents of which more than this share was met in training are dropped
    vocab_size: int = 4096
    pattern: str = "gpt2"

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError("data.source is empty: name docs, fables, a file or a folder")
        is_prepared = os.path.isfile(Path(self.source) / MANIFEST)  # then its tokenizer decides, which may have fewer
        if self.vocab_size < (1 if is_prepared else LEAST_VOCABULARY):
            raise ConfigError(
                f"data.vocab_size = {self.vocab_size} should be at least {LEAST_VOCABULARY}: "
                "256 bytes and <|endoftext|>"
            )
        if self.vocab_size > LARGEST_VOCABULARY:
            raise ConfigError(
                f"data.vocab_size = {self.vocab_size}: shards hold 16-bit ids, so {LARGEST_VOCABULARY} is the most"
            )
        for name in ("val_fraction", "max_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"data.{name} = {getattr(self, name)} should lie between 0 and 1")
        pattern_code(self.pattern)
        _ = self.rule

    @property
    def rule(self) -> dict[str, Any]:
        """What validates; ConfigError for two answers at once."""
        return split_rule(bool(self.validation), self.val_fraction, self.val_first, self.val_last, self.max_overlap)


@dataclass(frozen=True)
class EvalRecipe:
    """About `tokens` targets, spread evenly over the held-out split; 0 scores all of it."""

    tokens: int = 0
    stride: int = 0  # 0: the context, windows side by side
    stretch: int = 0  # tokens side by side; 0: the context, or the longest context of models that have several

    def __post_init__(self) -> None:
        if min(self.tokens, self.stride, self.stretch) < 0:
            raise ConfigError(
                f"eval.tokens = {self.tokens}, eval.stride = {self.stride}, eval.stretch = {self.stretch}: none should "
                "be negative"
            )


@dataclass(frozen=True)
class SampleRecipe:
    """The text that each artifact continues."""

    prompt: str = ""
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0
    max_tokens: int = 120

    def __post_init__(self) -> None:
        with _naming("sample"):
            self.sampling()

    def sampling(self) -> Sampling:
        """How to draw it; a sample goes on after <|endoftext|>."""
        return Sampling(self.temperature, self.top_p, self.seed, self.max_tokens, stop_at_end=False)


@dataclass(frozen=True)
class ModelRecipe:
    """One model: `config` and `train` stay dictionaries until the family is known."""

    name: str
    family: str
    description: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    table: bool = True
    train_tokens: tuple[int, ...] = ()
    rounded_from: str = ""
    """A trained model of the recipe, whose numbers (of the same seed) this one has in other formats; `config` says
    only what is different."""
    gptq: int = 0
    """Round them by GPTQ, for the inputs that so many training tokens give; 0: to nearest."""
    init_from: str = ""
    """Begin with the numbers of a trained model: one of the recipe (of the same seed), an artifact, or a folder."""
    distil: dict[str, Any] = field(default_factory=dict)
    """Fields of Distil: a teacher, named in the same ways, and how much of it to learn."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"model name {self.name!r}: use letters, digits, - and _")
        if any(n < 1 for n in self.train_tokens):
            raise ConfigError(f"model {self.name!r}: train_tokens should be at least 1")

    def by_size(self) -> tuple[ModelRecipe, ...]:
        """Itself, or one model for each number of training tokens: NAME-0.3M, NAME-1M …"""
        if len(self.train_tokens) < 2:
            return (self,)
        return tuple(
            dataclasses.replace(self, name=f"{self.name}-{n / 1e6:g}M", train_tokens=(n,)) for n in self.train_tokens
        )

    def build_config(self, vocab_size: int) -> Any:
        """The family's Config; a vocab_size of its own would contradict the data."""
        with _naming(f"model {self.name!r}"):
            if self.config.get("vocab_size", vocab_size) != vocab_size:
                raise ConfigError(
                    f"config.vocab_size = {self.config['vocab_size']}, but the data has {vocab_size}: leave it out"
                )
            made = from_dict(family(self.family).Config, {**self.config, "vocab_size": vocab_size}, "config")
            self._refuse_counted(made)
            return made

    def _refuse_counted(self, config: Any) -> None:
        """ConfigError for a field that counting would overwrite, of the family or of the counted part of a mixture."""
        room, values, where = family(self.family), self.config, "config"
        if isinstance(room, Composed):
            room, values, where = family(config.counted), config.counted_config, "config.counted_config"
        for key in room.from_text if isinstance(room, Counted) else ():
            if key in values:
                raise ConfigError(f"{where}.{key} = {values[key]!r} is counted from the text: leave it out")

    def build_training(self, config: Any, seed: int) -> TrainConfig | None:
        """The loop's configuration for a model of `config`; None for a family that is counted."""
        from weightless.train.config import TrainConfig

        with _naming(f"model {self.name!r}"):
            room = family(self.family)
            check_taking(self, is_trained=isinstance(room, Trained) and not self.rounded_from)
            if self.rounded_from:
                if self.train:
                    raise ConfigError(f"it is rounded from {self.rounded_from!r} and not trained: take train out")
                return None
            if self.gptq:
                raise ConfigError(f"gptq = {self.gptq} rounds the numbers of another model: name it in rounded_from")
            if isinstance(room, Counted):
                if self.train:
                    raise ConfigError(f"family {self.family!r} is counted, not trained: take train out of the recipe")
                return None
            if "seed" in self.train:
                raise ConfigError("train.seed: the seeds of a recipe stand at its head (seeds = [0]); take it out")
            made = from_dict(TrainConfig, {"context": config.context, **self.train, "seed": seed}, "train")
            made.check_used(self.train, "train.")
            if made.context > config.context:
                raise ConfigError(f"train.context = {made.context} is longer than the model's own of {config.context}")
            return made

    def check(self, vocab_size: int, seed: int) -> Any:
        """Its Config, if everything that can be known without the text is sound; ConfigError otherwise."""
        config = self.build_config(vocab_size)
        with _naming(f"model {self.name!r}"):
            family(self.family).decode_program(config)  # formats, widths, parts that cannot be mixed
        training = self.build_training(config, seed)
        with _naming(f"model {self.name!r}"):
            if training is not None and training.eval_tokens < training.context:
                raise ConfigError(
                    f"train.eval_tokens = {training.eval_tokens} is not one window of context {training.context}"
                )
            if training is not None and training.score_file and not os.path.isfile(training.score_file):
                raise ConfigError(f"train.score_file = {training.score_file!r}: no such file")
        return config


@dataclass(frozen=True)
class Recipe:
    """A run: models over one text, every field checked when the recipe is made (ConfigError naming the key).

    `name` names the run; every `model` that is trained is made once per seed of `seeds`; `data`, `eval` and `sample`
    say what is read, scored and written.
    """

    name: str
    model: tuple[ModelRecipe, ...]
    seeds: tuple[int, ...] = (0,)
    data: DataRecipe = field(default_factory=DataRecipe)
    eval: EvalRecipe = field(default_factory=EvalRecipe)
    sample: SampleRecipe = field(default_factory=SampleRecipe)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"run name {self.name!r}: use letters, digits, - and _")
        if self.data.rule["method"] == "none":
            raise ConfigError("a run scores held-out text: val_fraction = 0 leaves none")
        if not self.model or not self.seeds:
            raise ConfigError("a recipe needs at least one [[model]] and one seed")
        for what, values in (("models", [model.name for model in self.model]), ("seeds", list(self.seeds))):
            twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
            if twice is not None:
                raise ConfigError(f"two {what} of the recipe are called {twice!r}: each makes a folder of its own")
        for model in self.model:
            config = model.check(self.data.vocab_size, self.seeds[0])
            if self.eval.stride > config.context:
                raise ConfigError(
                    f"eval.stride = {self.eval.stride} is longer than the context of model "
                    f"{model.name!r}, {config.context}"
                )
        for i, model in enumerate(self.model):
            before = {m.name: m for m in self.model[:i]}
            if model.rounded_from:
                self._check_rounded(model, before)
            with _naming(f"model {model.name!r}"):
                check_taken(model, before, {m.name for m in self.model[i:]}, self.data.vocab_size, self.seeds[0])

    def _check_rounded(self, model: ModelRecipe, before: dict[str, ModelRecipe]) -> None:
        """ConfigError unless its numbers are those of a trained model before it, and only their formats differ."""
        with _naming(f"model {model.name!r}"):
            if model.rounded_from not in before:
                raise ConfigError(
                    f"rounded_from = {model.rounded_from!r} is no model that stands before it "
                    f"({nearest(model.rounded_from, before) if before else 'there is none'})"
                )
            source = before[model.rounded_from]
            if source.rounded_from or not isinstance(family(source.family), Trained):
                raise ConfigError(f"{source.name!r} is not trained: only the numbers of a trained model can be rounded")
            if model.family != source.family or model.train_tokens != source.train_tokens or model.gptq < 0:
                raise ConfigError(f"family, train_tokens and a gptq of 0 or more should be as those of {source.name!r}")
            ours, theirs = (to_dict(m.build_config(self.data.vocab_size)) for m in (model, source))
            odd = [name for name in ours | theirs if ours.get(name) != theirs.get(name) and name not in FORMAT_FIELDS]
            if odd:
                raise ConfigError(f"config.{odd[0]} is not that of {source.name!r}: rounding changes formats alone")

    @property
    def evaluation(self) -> EvalRecipe:
        """`eval` in which models of different contexts are asked for the same targets."""
        return self.eval if len(self._contexts) == 1 else self._in_stretches

    @property
    def targets(self) -> EvalRecipe:
        """`eval` as two runs have to share it: windows side by side, of one context, are stretches of that context."""
        return self.evaluation if self.eval.stride else self._in_stretches

    @property
    def _in_stretches(self) -> EvalRecipe:
        chosen = self.eval.tokens and not self.eval.stretch
        return dataclasses.replace(self.eval, stretch=max(self._contexts)) if chosen else self.eval

    @functools.cached_property
    def _contexts(self) -> set[int]:
        return {model.check(self.data.vocab_size, self.seeds[0]).context for model in self.model}

    def chosen(self, only: Sequence[str] = ()) -> list[ModelRecipe]:
        """The models of these names, all when there are none; ConfigError for a name that no model has."""
        known = {model.name: model for model in self.model}
        for name in only:
            if name not in known:
                raise ConfigError(f"the recipe has no model {name!r}: {nearest(name, known)}")
        return [model for name, model in known.items() if not only or name in only]


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe; every mistake is one line with the file's name."""
    return recipe_of_table(load_toml(path), str(path))


def recipe_of_table(values: dict[str, Any], where: str) -> Recipe:
    """The recipe of a table as TOML gives it; every mistake is one line that begins with `where`."""
    try:
        recipe = from_dict(Recipe, _with_inherited(values))
        return dataclasses.replace(recipe, model=tuple(m for model in recipe.model for m in model.by_size()))
    except ConfigError as error:
        raise ConfigError(f"{where}: {_by_name(str(error), values)}") from None


def _with_inherited(values: dict[str, Any]) -> dict[str, Any]:
    """The recipe's table with what a rounded model has of the one that it is rounded from: family, configuration."""
    models = values.get("model")
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        return values
    known: dict[str, dict[str, Any]] = {}
    whole = []
    for model in models:
        name, above = model.get("name"), model.get("rounded_from")
        source = known.get(above, {}) if isinstance(above, str) else {}
        config = [m.get("config", {}) for m in (source, model)]
        if source and all(isinstance(table, dict) for table in config):
            model = {**{key: source[key] for key in ("family", "train_tokens") if key in source}, **model}
            model["config"] = {**config[0], **config[1]}
        if isinstance(name, str):
            known[name] = model
        whole.append(model)
    return {**values, "model": whole}


def _by_name(message: str, values: dict[str, Any]) -> str:
    """A message about model[2] with the name that the recipe gives it."""

    def named(match: re.Match[str]) -> str:
        name = values["model"][int(match[1])].get("name")
        return f"{match[0]} ({name!r})" if isinstance(name, str) else match[0]

    return re.sub(r"model\[(\d+)\](?=\.)", named, message)


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Put the name of what is at fault before the message; a program that cannot be drawn is a wrong configuration."""
    try:
        yield
    except (ConfigError, CorruptFileError) as error:
        raise ConfigError(f"{what}: {error}") from None


def recipe_of_run(data: Path) -> Recipe | None:
    """The recipe of the run that the prepared corpus `data` belongs to; None for a corpus of its own."""
    path = data.parent / "recipe.toml"
    return load_recipe(path) if path.is_file() else None


def fingerprint(*parts: Any) -> str:
    """A short hash of plain values and dataclasses: equal inputs, equal work."""
    plain = [_ordered(to_dict(part) if dataclasses.is_dataclass(part) else part) for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _ordered(value: Any) -> Any:
    """Plain values with every plan of formats as a list of pairs: the first pattern that fits decides, so its order
    does; an empty one is as if there were none."""
    if isinstance(value, dict):
        named = {key: _ordered(item) for key, item in value.items() if key != "plan" or item}
        return {key: list(map(list, item.items())) if key == "plan" else item for key, item in named.items()}
    return [_ordered(item) for item in value] if isinstance(value, list) else value
