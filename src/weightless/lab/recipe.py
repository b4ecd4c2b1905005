"""A recipe: everything that decides a run, in one strict TOML file.

    name = "demo"
    seeds = [0]
    [data]      source = "docs" | "fables" | a path        vocab_size, val_fraction, max_overlap …
    [eval]      tokens, stride                             what of the held-out text is scored from the artifact
    [sample]    prompt, temperature, top_p …
    [[model]]   name, family, description, train_tokens     (only the first so many; several: one model for each)
    [model.config]   fields of the family's Config          (vocab_size comes from [data])
    [model.train]    fields of TrainConfig                  (nothing for a family that is counted)

An unknown key anywhere is an error that names the nearest known one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightless.base.config import from_dict, load_toml, to_dict
from weightless.base.errors import ConfigError
from weightless.models.catalog import family

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class DataRecipe:
    """Where the text comes from, how it is split, and how large a vocabulary is trained on its training part."""

    source: str = "docs"
    validation: str = ""  # a held-out file or folder; empty: split off the source by document
    field: str = "text"
    val_fraction: float = 0.05
    max_overlap: float = 0.2
    vocab_size: int = 4096
    pattern: str = "gpt2"


@dataclass(frozen=True)
class EvalRecipe:
    """About `tokens` targets, in windows spread evenly over the held-out split; 0 scores all of it."""

    tokens: int = 0
    stride: int = 0  # 0: the context, windows side by side


@dataclass(frozen=True)
class SampleRecipe:
    """The text that each artifact continues."""

    prompt: str = ""
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0
    max_tokens: int = 120


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

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"model name {self.name!r}: use letters, digits, - and _")
        if any(n < 1 for n in self.train_tokens):
            raise ConfigError(f"model {self.name!r}: train_tokens should be at least 1")

    def by_size(self) -> tuple[ModelRecipe, ...]:
        """Itself, or one model for each number of training tokens: NAME-0.3M, NAME-1M …"""
        if len(self.train_tokens) < 2:
            return (self,)
        return tuple(dataclasses.replace(self, name=f"{self.name}-{n / 1e6:g}M", train_tokens=(n,))
                     for n in self.train_tokens)  # fmt: skip

    def build_config(self, vocab_size: int) -> Any:
        """The family's Config; a vocab_size of its own would contradict the data."""
        if self.config.get("vocab_size", vocab_size) != vocab_size:
            raise ConfigError(f"model {self.name!r} wants a vocabulary of {self.config['vocab_size']}, "
                              f"but the data has {vocab_size}: leave it out of model.config")  # fmt: skip
        config = {**self.config, "vocab_size": vocab_size}
        return from_dict(family(self.family).Config, config, f"model.{self.name}.config")


@dataclass(frozen=True)
class Recipe:
    """A run; see the module's docstring."""

    name: str
    model: tuple[ModelRecipe, ...]
    seeds: tuple[int, ...] = (0,)
    data: DataRecipe = field(default_factory=DataRecipe)
    eval: EvalRecipe = field(default_factory=EvalRecipe)
    sample: SampleRecipe = field(default_factory=SampleRecipe)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"run name {self.name!r}: use letters, digits, - and _")
        if not self.model or not self.seeds:
            raise ConfigError("a recipe needs at least one [[model]] and one seed")
        names = [model.name for model in self.model]
        if len(set(names)) != len(names):
            raise ConfigError("two models of the recipe share a name")
        for model in self.model:
            model.build_config(self.data.vocab_size)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe; every mistake is one line with the file's name."""
    try:
        recipe = from_dict(Recipe, load_toml(path))
        return dataclasses.replace(recipe, model=tuple(m for model in recipe.model for m in model.by_size()))
    except ConfigError as error:
        message = str(error)
        raise ConfigError(message if message.startswith(str(path)) else f"{path}: {message}") from None


def fingerprint(*parts: Any) -> str:
    """A short hash of plain values and dataclasses: equal inputs, equal work."""
    plain = [to_dict(part) if dataclasses.is_dataclass(part) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
