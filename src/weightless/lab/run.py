"""A recipe becomes a run folder: corpus, models, ledger, report.  Interrupt it anywhere; the same call goes on.

    runs/NAME/recipe.toml environment.json sessions.jsonl summary.json SHA256SUMS report.html data/ models/MODEL/

What is finished is kept by its own files (`corpora`, `stages`, checkpoints); a folder made from another recipe is
refused, not overwritten.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weightless.base.config import save_toml, to_dict
from weightless.base.errors import WeightlessError
from weightless.base.files import append_line, atomic_write, is_number, read_log, write_json
from weightless.base.folder_lock import folder_lock, is_lock
from weightless.base.progress import told_if_slow
from weightless.data.shards.corpus import Corpus
from weightless.data.shards.corpus import corpus as open_corpus
from weightless.data.text.split import overlap_warning
from weightless.lab.checks import check_made, check_on_machine, check_on_text, check_taken_on_text
from weightless.lab.corpora import prepared
from weightless.lab.environment import commit, machine
from weightless.lab.recipe import ModelRecipe, Recipe, load_recipe
from weightless.lab.report import hashes, read_summary, write_report
from weightless.lab.reproduce import command_here, commands_of_model, with_only
from weightless.lab.stages import ARTIFACT, DONE, read_done, run_model
from weightless.models.catalog import family
from weightless.program.program import Program
from weightless.program.warm import in_background

RECIPE, SESSIONS, SUMS = "recipe.toml", "sessions.jsonl", "SHA256SUMS"


def run(recipe: Recipe, folder: Path, command: str, only: Sequence[str] = ()) -> Path:
    """Do what is not done yet, write summary.json and report.html; returns the report's path.

    `command` makes all of it.  With `only`, just these models are made; the summary holds whatever is finished.
    """
    chosen = recipe.chosen(only)
    for model in chosen:
        check_on_machine(model, recipe.data.vocab_size)
    with folder_lock(folder):
        _refuse_other(folder, recipe)
        names, arms = [model.name for model in chosen], [model.name for model in recipe.model]
        for model in chosen:
            check_made(model, names, arms, [model_folder(folder, recipe, model, seed) for seed in recipe.seeds])
        started = time.monotonic()
        compiling = _compiling(recipe, folder, chosen)
        try:
            corpus = prepared(recipe.data, folder / "data")
            for model in chosen:
                check_on_text(model, corpus)
                check_taken_on_text(model, corpus, arms)
            if compiling is not None:
                with told_if_slow("compiling the engine (once per machine and version of the code)"):
                    compiling.wait()
            return _made(recipe, folder, command, chosen, corpus, started)
        finally:
            if compiling is not None:
                compiling.terminate()
                compiling.wait()


def _compiling(recipe: Recipe, folder: Path, chosen: list[ModelRecipe]) -> subprocess.Popen[bytes] | None:
    """A process that compiles what decodes the models that are still to be made, if there are any."""
    to_make = [
        model
        for model in chosen
        if not all((model_folder(folder, recipe, model, seed) / DONE).exists() for seed in recipe.seeds)
    ]
    return in_background({model.name: _program(model, recipe) for model in to_make}) if to_make else None


def _program(model: ModelRecipe, recipe: Recipe) -> Program:
    """What the model will be decoded by, but for the sizes that only its text tells."""
    return family(model.family).decode_program(model.check(recipe.data.vocab_size, recipe.seeds[0]))


def _made(
    recipe: Recipe, folder: Path, command: str, chosen: list[ModelRecipe], corpus: Corpus, started: float
) -> Path:
    """Make the models; the folder is this recipe's from now on, since nothing is left that could refuse it."""
    save_toml(folder / RECIPE, recipe)
    session = with_only(command, [model.name for model in chosen] if len(chosen) < len(recipe.model) else [])
    try:
        write_json(folder / "environment.json", {"machine": machine(), "commit": commit(), "command": session})
        for seed in recipe.seeds:
            for model in chosen:
                run_model(recipe, model, seed, corpus, model_folder(folder, recipe, model, seed))
    finally:
        line = {"ended": _now(), "seconds": round(time.monotonic() - started, 1), "command": session}
        append_line(folder / SESSIONS, json.dumps(line))
    return report(recipe, folder, corpus, command)


def report(recipe: Recipe, folder: Path, corpus: Corpus, command: str) -> Path:
    """Write summary.json and report.html from what is finished."""
    summary = summarise(recipe, folder, corpus, command)
    write_json(folder / "summary.json", summary)
    atomic_write(folder / SUMS, "".join(f"{line}\n" for line in hashes(summary)))
    return write_report(folder)


def report_again(folder: Path) -> Path:
    """Write report.html from summary.json; where the run was moved, its commands name the place where it is now."""
    read_summary(folder)  # a folder that holds no run is told so, not locked
    with folder_lock(folder):
        summary = read_summary(folder)
        if summary.get("folder") != folder.as_posix() and (folder / "models").is_dir():
            recipe, corpus = load_recipe(folder / "recipe.toml"), open_corpus(folder / "data")
            anew = summarise(recipe, folder, corpus, command_here(folder))
            commands = {entry["name"]: entry["commands"] for entry in anew["models"]}
            models = [{**model, "commands": commands.get(model["name"])} for model in summary["models"]]
            changed = {"folder": anew["folder"], "command": anew["command"], "models": models}
            write_json(folder / "summary.json", {**summary, **changed})
        return write_report(folder)


def model_folder(folder: Path, recipe: Recipe, model: ModelRecipe, seed: int) -> Path:
    """models/NAME, or models/NAME-sSEED when there are several seeds."""
    return folder / "models" / (model.name if len(recipe.seeds) == 1 else f"{model.name}-s{seed}")


def summarise(recipe: Recipe, folder: Path, corpus: Corpus, command: str) -> dict[str, Any]:
    """The content of summary.json; models that are not finished are left out."""
    models, finished = [], set()
    for model in recipe.model:
        for seed in recipe.seeds:
            made = model_folder(folder, recipe, model, seed)
            if (made / DONE).exists():
                entry = read_done(made)["entry"]
                artifact = made / ARTIFACT if entry["artifact"] else None
                commands = commands_of_model(recipe, model, artifact, command)
                commands.pop("" if entry["sample"] else "generate", None)  # nothing was written: no tokenizer
                models.append({**entry, "commands": commands})
                finished.add(model.name)
    these = [] if len(finished) == len(recipe.model) else [m.name for m in recipe.model if m.name in finished]
    sessions = read_log(folder / SESSIONS, lambda line: is_number(line.get("seconds")))
    return {
        "name": recipe.name,
        "created": _now(),
        "folder": folder.as_posix(),
        "command": with_only(command, these),
        "commit": commit(),
        "wall_seconds": sum(session["seconds"] for session in sessions),
        "machine": machine(),
        "corpus": corpus_entry(corpus),
        "models": models,
    }


def corpus_entry(corpus: Corpus) -> dict[str, Any]:
    """What a summary says of the text; null for the bytes of ids whose tokenizer nobody knows.

    `warning` is empty, or says why no loss on this text can be trusted.
    """
    train, val = corpus.manifest["splits"]["train"], corpus.manifest["splits"]["val"]
    return {
        "name": corpus.name,
        "sha256": corpus.sha256,
        **{
            f"{name}_{what}": split[what]
            for what in ("documents", "bytes", "tokens")
            for name, split in (("train", train), ("val", val))
        },
        "parting": corpus.parting,
        "vocab_size": corpus.vocab_size,
        "bytes_per_token": train["bytes"] / train["tokens"] if train["bytes"] else None,
        "warning": overlap_warning(corpus.manifest),
    }


def _refuse_other(folder: Path, recipe: Recipe) -> None:
    """WeightlessError when the folder is another recipe's, or holds anything that no run has left."""
    path = folder / RECIPE
    if path.exists():
        if to_dict(load_recipe(path)) != to_dict(recipe):
            raise WeightlessError(f"{folder} holds a run of another recipe: give --out another folder, or delete it")
        return
    if any(path.name != "data" and not is_lock(path) for path in folder.iterdir()):  # data may be prepared beforehand
        raise WeightlessError(f"{folder} is not empty and holds no run: give --out another folder")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
