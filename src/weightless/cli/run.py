"""weightless demo | run | report: whole runs."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from weightless.base.config import check_text
from weightless.base.errors import ConfigError
from weightless.cli.parse import parse
from weightless.cli.recipe_files import recipe_path

if TYPE_CHECKING:
    from weightless.lab.recipe import Recipe

DEMO = "demo"


@dataclass(frozen=True)
class Demo:
    """Collect text, make four models of it, pack them, and show what each byte bought (about five minutes)."""

    text: str = "docs"
    """docs (prose of this Python installation), fables, a file or a folder (text, JSON, parquet, .gz .xz .zst)."""
    out: str = ""
    """The run folder; runs/demo when empty."""
    only: tuple[str, ...] = ()
    """Names of models to make; all when empty."""


@dataclass(frozen=True)
class Run:
    """Do what a recipe says; the same command again goes on where it was interrupted."""

    recipe: Annotated[str, tyro.conf.Positional]
    """A recipe file, or the name of one in recipes/."""
    out: str = ""
    """The run folder; runs/NAME when empty."""
    text: str = ""
    """Another source of text than the recipe's; with a recipe that names its validation, name that, too."""
    validation: str = ""
    """A held-out text, instead of a part split off or the recipe's own."""
    only: tuple[str, ...] = ()
    """Names of models to make; all when empty."""


@dataclass(frozen=True)
class Report:
    """Write report.html (and with --png the README's picture) of a run folder anew, or compare several folders."""

    run: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A run's folder; or several, runs and models as `train` leaves them, whose losses are put side by side."""
    out: str = ""
    """The folder for the page of a comparison; runs/comparison when empty."""
    png: str = ""
    """Also draw the frontier as a PNG file here."""
    sizes: str = ""
    """Also draw loss against training tokens as a PNG file here, for models made at several sizes (train_tokens)."""
    markdown: bool = False
    """Print the table of results as Markdown, with the command that made it."""


def main(verb: str, arguments: list[str]) -> int:
    if verb == "report":
        return _report(parse(Report, verb, arguments))
    if verb == "demo":
        demo = parse(Demo, verb, arguments)
        source = "" if demo.text == "docs" else demo.text
        options = Run(DEMO, demo.out, source, "", demo.only)
        return _run(options, ["weightless", verb])
    options = parse(Run, verb, arguments)
    return _run(options, ["weightless", verb, options.recipe])


def _run(options: Run, words: list[str]) -> int:
    """`words` name the recipe; together with the options that change it they make the run's command."""
    from weightless.lab.run import SUMS

    recipe = recipe_of(options)
    folder = Path(options.out or Path("runs") / recipe.name)
    for name in ("text", "validation", "out"):
        words += [f"--{name}", value] if (value := getattr(options, name)) else []
    page = do(recipe, folder, words, options.only)
    _print_table(folder)
    print(f"report: {page}")
    print(f"hashes of the artifacts: {folder / SUMS}")
    return 0


def do(recipe: Recipe, folder: Path, words: list[str], only: Sequence[str] = ()) -> Path:
    """Make the run, whose names of texts are checked first; the page of its report.  `words` are its command."""
    from weightless.lab.run import run

    for name in (recipe.data.source, recipe.data.validation):
        check_text(name, "the recipe of a run")
    return run(recipe, folder, shlex.join(words), only)


def recipe_of(options: Run) -> Recipe:
    """The recipe, checked whole, with the texts that the command line names instead of its own."""
    from weightless.lab.recipe import load_recipe

    return with_texts(load_recipe(recipe_path(options.recipe)), options)


def with_texts(recipe: Recipe, options: Run) -> Recipe:
    """The recipe with the texts of --text and --validation."""
    data = recipe.data
    if options.text:
        if data.validation and not options.validation:  # it may repeat the new text, or have nothing to do with it
            raise ConfigError(
                f"{options.recipe} validates on {data.validation}, beside the text that --text replaces: "
                "say with --validation which held-out text goes with the new one, or take validation "
                "out of the recipe, so that a part of the new one validates"
            )
        data = dataclasses.replace(data, source=options.text)
        if options.recipe == DEMO:
            stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(options.text).name.split(".")[0]) or "text"
            recipe = dataclasses.replace(recipe, name=f"{DEMO}-{stem}")
    if options.validation:
        data = dataclasses.replace(data, validation=options.validation)
    return dataclasses.replace(recipe, data=data)


def check_command(arguments: Sequence[str]) -> None:
    """Refuse `run ARGUMENTS` for what its flags and its recipe alone can tell, before it is started elsewhere."""
    options = parse(Run, "run", list(arguments))
    recipe_of(options).chosen(options.only)


def _report(options: Report) -> int:
    from weightless.lab.comparison import compare, is_run
    from weightless.lab.report import frontier_png, markdown_table, sizes_png, sizes_table
    from weightless.lab.report.groups import gather
    from weightless.lab.report.pairs import pairs_lines
    from weightless.lab.report.summary import read_summary
    from weightless.lab.run import report_again

    folders = [Path(run) for run in options.run]
    if not folders:
        raise ConfigError("name a run's folder, or several folders to compare")
    if len(folders) == 1 and is_run(folders[0]):
        folder = folders[0]
        page = report_again(folder)
    else:
        folder = Path(options.out or "runs/comparison")
        words = ["weightless", "report", *options.run, *(["--out", options.out] if options.out else [])]
        page = compare(folders, folder, shlex.join(words))
    if options.png:
        frontier_png(folder, Path(options.png))
        print(f"picture: {options.png}")
    if options.sizes:
        sizes_png(folder, Path(options.sizes))
        print(f"{sizes_table(read_summary(folder))}\npicture: {options.sizes}")
    if options.markdown:
        print(markdown_table(read_summary(folder)))
        return 0
    _print_table(folder)
    if len(folders) > 1:
        print("\n".join(pairs_lines(gather(read_summary(folder)))))
    print(f"report: {page}")
    return 0


def _print_table(folder: Path) -> None:
    from weightless.cli.tables import print_table
    from weightless.lab.report import terminal_table
    from weightless.lab.report.summary import read_summary

    print_table(terminal_table(read_summary(folder)))
