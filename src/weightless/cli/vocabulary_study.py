"""weightless tokenizer study: which vocabulary, trained, at the same stored bytes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.config import check_text
from weightless.base.errors import ConfigError
from weightless.base.units import human_seconds
from weightless.cli.parse import parse
from weightless.cli.recipe_files import recipe_path

if TYPE_CHECKING:
    from weightless.lab.vocabulary_results import Results
    from weightless.lab.vocabulary_study import Planned, VocabularyStudy

STUDIES = "studies"


@dataclass(frozen=True)
class Study:
    """Train a model per vocabulary, all with the same stored bytes, and compare bits per byte of one held-out text."""

    study: Annotated[str, tyro.conf.Positional] = "vocabulary"
    """A study's TOML file, or the name of one in recipes/studies/."""
    out: str = ""
    """The folder; runs/NAME when empty.  The same command again goes on where it was interrupted."""
    text: str = ""
    """Another text to learn from than the study's; then name its --validation, too."""
    validation: str = ""
    """Another held-out text."""
    sizes: tuple[int, ...] = ()
    """Vocabularies instead of the study's."""
    kinds: tuple[str, ...] = ()
    """bytes, sentencepiece, or both, instead of the study's."""
    stored: str = ""
    """Bytes of artifact and tokenizer together instead of the study's: 16MB."""
    seconds: float = 0.0
    """Training seconds of each model, instead of the study's budget."""
    train_megabytes: float = 0.0
    """Megabytes (10^6 bytes) of text that each model sees, instead of the study's budget."""
    eval_megabytes: float = 0.0
    """Megabytes of held-out text at most, instead of the study's."""
    seeds: tuple[int, ...] = ()
    """Seeds instead of the study's."""
    plan: bool = False
    """Make tokenizers and corpora, solve the sizes, show them, and train nothing."""
    markdown: bool = False
    """Print the table as Markdown."""


def study_main(arguments: list[str]) -> int:
    from weightless.lab.vocabulary_results import draw, results
    from weightless.lab.vocabulary_study import planned, run_study

    options = parse(Study, "tokenizer study", arguments)
    study = study_of(options)
    folder = Path(options.out or Path("runs") / study.name)
    arms = planned(study, folder)
    _print_plan(study, arms)
    if options.plan:
        return 0
    for arm in arms:
        run_study(study, folder, [arm])
        _write(results(study, folder, arms), folder)
    found = results(study, folder, arms)
    if options.markdown:
        print(found.markdown())
    else:
        _print(found)
    pictures = draw(found, folder)
    print(f"{folder}: vocabulary.json, vocabulary.md" + (f", picture {pictures[-1]}" if pictures else ""))
    return 0


def study_of(options: Study) -> VocabularyStudy:
    """The study, checked whole, with what the command line replaces."""
    from weightless.lab.vocabulary_study import load_study

    study = load_study(recipe_path(options.study, STUDIES))
    if options.text and not options.validation:
        raise ConfigError(
            "--text replaces what is learned from: say with --validation which held-out text goes with it"
        )
    if options.seconds and options.train_megabytes:
        raise ConfigError("--seconds and --train_megabytes both say when training ends: give one")
    data, model = study.data, study.model
    texts = {"source": options.text, "validation": options.validation}
    data = dataclasses.replace(data, **{name: value for name, value in texts.items() if value})
    for name in (data.source, data.validation):
        check_text(name, "a study")
    fields: dict[str, Any] = {"data": data}
    if options.seconds or options.train_megabytes:
        budget = ("seconds", "num_steps", *(["clock"] if options.train_megabytes else []))
        train = {k: v for k, v in model.train.items() if k not in budget}
        train |= {"seconds": options.seconds} if options.seconds else {}
        fields |= {"train_megabytes": options.train_megabytes, "model": dataclasses.replace(model, train=train)}
    for name in ("sizes", "kinds", "stored", "eval_megabytes", "seeds"):
        fields |= {name: value} if (value := getattr(options, name)) else {}
    return dataclasses.replace(study, **fields)


def _print_plan(study: VocabularyStudy, arms: list[Planned]) -> None:
    from weightless.lab.vocabulary_results import shape_of

    for arm in arms:
        model = arm.recipe.model[0]
        config = model.build_config(arm.corpus.vocab_size)
        shape = ", ".join(shape_of(config))
        steps = f", {model.train['num_steps']:,} steps" if "num_steps" in model.train else ""
        print(f"{arm.arm.name}: {shape}, tokenizer {arm.tokenizer_bytes:,} bytes{steps}")
    n = len(arms) * len(study.seeds)
    seconds = study.model.train.get("seconds")
    print(f"{n} model{'s' * (n > 1)}" + (f", {human_seconds(n * seconds)} of training" if seconds else ""), flush=True)


def _write(found: Results, folder: Path) -> None:
    from weightless.base.files import atomic_write, write_json

    write_json(folder / "vocabulary.json", found.as_json())
    atomic_write(folder / "vocabulary.md", found.markdown() + "\n")


def _print(found: Results) -> None:
    from rich.table import Table

    from weightless.cli.tables import print_table
    from weightless.lab.vocabulary_results import HEADER

    table = Table()
    for name in HEADER:
        table.add_column(name, justify="right")
    for row in found.rows():
        table.add_row(*row)
    print_table(table)
    print(*found.notes(), sep="\n")
