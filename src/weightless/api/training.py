"""wl.train: a recipe becomes a run folder, as `weightless run` makes it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightless.base.errors import ConfigError, WeightlessError

if TYPE_CHECKING:
    from weightless.api.model import Model
    from weightless.lab.recipe import Recipe

NAMES = "name", "family", "seed", "nats_per_token", "bits_per_byte"


@dataclass(frozen=True)
class RunModel:
    """One model of a run; `entry` is what summary.json says of it, `artifact` None where it diverged."""

    name: str
    family: str
    artifact: Path | None
    entry: dict[str, Any] = field(repr=False)

    def open(self) -> Model:
        """The packed model; WeightlessError where training diverged and nothing was packed."""
        from weightless.api.model import open

        if self.artifact is None:
            raise WeightlessError(f"model {self.name!r} diverged, so that nothing was packed: see its entry")
        return open(self.artifact)


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, summary.json, report.html and its models, in the order of the recipe."""

    folder: Path
    report: Path
    summary: dict[str, Any] = field(repr=False)
    models: list[RunModel]

    def __getitem__(self, name: str) -> RunModel:
        """The model of that name; WeightlessError naming the nearest one."""
        from weightless.base.errors import nearest

        known = {model.name: model for model in self.models}
        if name not in known:
            raise WeightlessError(f"{self.folder} has no model {name!r}: {nearest(str(name), known)}")
        return known[name]


def train(
    recipe: str | PathLike[str] | dict[str, Any],
    *,
    out: str | PathLike[str] = "",
    text: str | PathLike[str] = "",
    validation: str | PathLike[str] = "",
    only: str | Sequence[str] = (),
) -> Run:
    """Make the models of a recipe: a file, the name of one of the house, or the table that it would hold.

    `out` is the run's folder (runs/NAME when empty), `text` and `validation` replace the recipe's, `only` names models.
    The same call again goes on where it was interrupted.  WeightlessError before anything is made when the recipe
    cannot be, or when the folder holds another run.
    """
    from weightless.cli import run as command

    only = (only,) if isinstance(only, str) else tuple(only)
    table = copy.deepcopy(recipe) if isinstance(recipe, dict) else None
    named = "" if isinstance(recipe, dict) else _name("recipe", recipe)
    options = command.Run(named, _name("out", out), _name("text", text), _name("validation", validation), only)
    whole = command.recipe_of(options) if table is None else _of_table(table, options)
    folder = Path(options.out or Path("runs") / whole.name)
    words = ["weightless", "run", named]
    for name in ("text", "validation", "out"):
        words += [f"--{name}", value] if (value := getattr(options, name)) else []
    if table is not None:  # the run keeps the recipe, texts and all
        words = ["weightless", "run", (folder / "recipe.toml").as_posix(), "--out", folder.as_posix()]
    page = command.do(whole, folder, words, only)
    return _finished(folder, page)


def _of_table(table: dict[str, Any], options: Any) -> Recipe:
    from weightless.cli.run import with_texts
    from weightless.lab.recipe import recipe_of_table

    return with_texts(recipe_of_table(table, "the recipe"), options)


def _name(what: str, value: Any) -> str:
    if not isinstance(value, (str, PathLike)):
        raise ConfigError(f"{what} = {value!r:.60}: give a path" + (" or a table" if what == "recipe" else ""))
    return str(fspath(value))


def _finished(folder: Path, page: Path) -> Run:
    from weightless.lab.report.summary import read_summary

    summary = read_summary(folder)
    models = [
        RunModel(
            entry["name"], entry["family"], folder / entry["artifact"]["file"] if entry.get("artifact") else None, entry
        )
        for entry in summary["models"]
    ]
    return Run(folder, page, summary, models)
