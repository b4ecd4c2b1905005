"""Floor 9.  Who stands on a board: the models of a run, a model as `train` leaves it, or the cells of a study.

Of a study every text is a standing of its own, because losses on two texts are refused side by side; cells that
finished or diverged are on it under the names of their arms, and of a tuned arm the setting that counts.
Errors: WeightlessError for a folder that is none of these, or of whose study the texts or cells are gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.data.shards.corpus import corpus as open_corpus
from weightless.lab.comparison import RECIPE, Compared, opened
from weightless.lab.recipe import DataRecipe, ModelRecipe, load_recipe
from weightless.lab.run import corpus_entry
from weightless.lab.stages import read_done
from weightless.study.arms import arms_of
from weightless.study.records import is_evidence, read_evidence
from weightless.study.study_file import Study, load_study
from weightless.study.units import CELLS, Unit, units_of
from weightless.study.working import STUDY, text_name

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Standing:
    """What is compared, with the longest context and the clock (wall or cpu) of each of its models by name."""

    compared: Compared
    contexts: Mapping[str, int]
    clocks: Mapping[str, str]


def standings(paths: Sequence[Path]) -> list[Standing]:
    """The folders (or their summary.json, study.json), each once."""
    folders = dict.fromkeys(path.parent if path.name in (SUMMARY, "study.json") else path for path in paths)
    return [one for folder in folders for one in (_of_study(folder) if is_evidence(folder) else [_of_folder(folder)])]


def _of_folder(folder: Path) -> Standing:
    """A run or a trained model."""
    found = opened(folder)
    if found.record is not None:
        settings = found.record.settings
        context, clock = settings["config"].get("context", 0), settings["loop"].get("clock", "wall")
        return Standing(found, {folder.name: context}, {folder.name: clock})
    if not (folder / RECIPE).exists():
        return Standing(found, {}, {})
    recipe = load_recipe(folder / RECIPE)
    contexts = {model.name: model.build_config(recipe.data.vocab_size).context for model in recipe.model}
    return Standing(found, contexts, {model.name: clock for model in recipe.model if (clock := _clock(model))})


def _clock(model: ModelRecipe) -> str:
    """wall or cpu; empty for a counted model, which has no clock of its own."""
    return model.train.get("clock", "wall") if model.train else ""


def _of_study(folder: Path) -> list[Standing]:
    if not (folder / STUDY).is_file():
        raise WeightlessError(f"{folder} holds the evidence of a study without its {STUDY}: name the folder it ran in")
    study, evidence = load_study(folder / STUDY), read_evidence(folder)
    units = {f"{CELLS}/{unit.name}": unit for unit in units_of(study, _arms(study, folder), folder)}
    cells: dict[DataRecipe, list[tuple[Unit, dict[str, Any]]]] = {}
    for cell in evidence.cells:
        if cell.status not in ("done", "diverged"):
            continue
        if cell.folder not in units:
            raise WeightlessError(f"{folder}: {cell.folder} is no cell of its {STUDY}: run the study again")
        unit = units[cell.folder]
        entry = {**read_done(folder / cell.folder)["entry"], "name": f"{cell.arm}-s{cell.seed}", "commands": {}}
        cells.setdefault(unit.arm.data, []).append((unit, entry))
    if not cells:
        raise WeightlessError(f"{folder} has no finished cell: run the study first")
    machine = dict(evidence.machine)
    return [_of_text(study, folder, data, found, machine) for data, found in cells.items()]


def _arms(study: Study, folder: Path) -> list[Any]:
    if study.search is None:
        return arms_of(study)[0]
    from weightless.study.searching import arms_of_search

    return arms_of_search(study, folder)


def _of_text(
    study: Study, folder: Path, data: DataRecipe, cells: Sequence[tuple[Unit, dict[str, Any]]], machine: dict[str, Any]
) -> Standing:
    """The cells of one text, as a run of them would stand."""
    corpus = open_corpus(folder / "data" / text_name(data))
    summary = {"corpus": corpus_entry(corpus), "machine": machine, "models": [entry for _, entry in cells]}
    contexts = {e["name"]: u.arm.model.build_config(corpus.vocab_size).context for u, e in cells}
    clocks = {e["name"]: clock for u, e in cells if (clock := _clock(u.arm.model))}
    evaluation = cells[0][0].recipe.targets
    return Standing(Compared(folder, summary, evaluation, None), contexts, clocks)
