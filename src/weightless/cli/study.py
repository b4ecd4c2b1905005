"""weightless study STUDY.toml: plan, run, share, go on, write up."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.config import check_text, load_toml, put
from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.cli.cluster import OnCluster
from weightless.cli.parse import parse, settings
from weightless.cli.recipe_files import recipe_path

if TYPE_CHECKING:
    from weightless.study.arms import Arm
    from weightless.study.cells import Cell, Evidence
    from weightless.study.study_file import Study as StudyFile
    from weightless.study.units import Unit

STUDIES, COPY, EVIDENCE, SEARCH = "studies", "study.toml", "study.json", "search/"


@dataclass(frozen=True)
class Study(OnCluster):
    """Run what is missing of a study and write it up; the same command goes on, and shares the runs with itself."""

    study: Annotated[str, tyro.conf.Positional]
    """A study's TOML file, the name of one in recipes/studies/, or a study's folder."""
    out: str = ""
    """The study's folder; runs/NAME when empty."""
    plan: bool = False
    """Say what would be run and what it will take, and run nothing."""
    report: bool = False
    """Write the page anew from the folder's study.json alone."""
    text: str = ""
    """Another source of text than the study's; with a study that names its validation, name that, too."""
    validation: str = ""
    """A held-out text, instead of a part split off or the study's own."""
    seeds: tuple[int, ...] = ()
    """Other seeds than the study's."""
    set: tuple[str, ...] = ()
    """Other values than the study's, as base.train.num_steps=100 or search.trials=8."""
    only: tuple[str, ...] = ()
    """Names of arms to run; all when empty."""
    retry: bool = False
    """Try units that have failed for good again."""
    parallel: int = 0
    """Units at a time; 0: cores divided by train.threads (local), or all (slurm, ray)."""
    unit: str = ""
    """One unit alone, ARM/SEED, without a page: what launchers start."""


OF_MODEL = "model 'model': "
"""What errors call the one model of a cell, which nobody named so."""


def main(verb: str, arguments: list[str]) -> int:
    options = parse(Study, verb, arguments)
    given = Path(options.study)
    if given.name == COPY and ((given.parent / EVIDENCE).is_file() or (given.parent / "cells").is_dir()):
        given = given.parent  # the copy in a study's folder names the folder
    is_folder = any((given / name).is_file() for name in (COPY, EVIDENCE))
    if options.report:
        return _report(options, given if is_folder else None)
    path = given / COPY if is_folder else recipe_path(options.study, STUDIES)
    study = _study_of(options, path)
    folder = Path(options.out or (given if is_folder else Path("runs") / study.name))
    from weightless.lab.launchers import LAUNCHERS
    from weightless.study.arms import arms_of
    from weightless.study.units import units_of
    from weightless.study.working import check_before, check_question, refuse_other

    options.resources()  # refused before anything is made
    if options.how not in LAUNCHERS:
        raise ConfigError(f"--how {options.how}: {nearest(options.how, LAUNCHERS)}")
    try:
        if study.search is not None:
            from weightless.study.searching import arms_of_search

            arms, mismatch = arms_of_search(study, folder), {}
        else:
            arms, mismatch = arms_of(study)
        check_question(study, arms)
    except ConfigError as error:
        raise ConfigError(f"{path}: {str(error).replace(OF_MODEL, '')}") from None
    for flag, key in (("text", "data.source"), ("validation", "data.validation")):
        if getattr(options, flag) and all(key in arm.changes for arm in arms):
            raise ConfigError(f"--{flag} does nothing: every arm has its own {key}; give --set arm.NAME.{key}=PATH")
    units = units_of(study, arms, folder)
    for note in dict.fromkeys(note for arm in arms for note in arm.notes):
        print(note)
    if options.plan:
        refuse_other(study, arms, folder)
        _print_plan(study, units, mismatch)
        try:
            check_before(arms)
        except WeightlessError as error:
            print(f"but not here: {error}", file=sys.stderr)
        return 0
    return _run(options, study, arms, mismatch, folder)


def _study_of(options: Study, path: Path) -> StudyFile:
    """The study, checked whole, with what the command line replaces."""
    from weightless.study.study_file import study_of

    values = load_toml(path)
    data = dict(values["data"]) if isinstance(values.get("data"), dict) else {}
    if options.text and data.get("validation") and not options.validation:
        raise ConfigError(
            f"{options.study} validates on {data['validation']}, beside the text that --text replaces: say with "
            "--validation which held-out text goes with the new one"
        )
    for name, text in (("source", options.text), ("validation", options.validation)):
        check_text(text, "a study")
        data |= {name: text} if text else {}
    values = {**values, **({"data": data} if data else {})}
    values |= {"seeds": list(options.seeds)} if options.seeds else {}
    for key, value in settings(None, options.set).items():
        for flag, of in (("text", "data.source"), ("validation", "data.validation"), ("seeds", "seeds")):
            if key == of and getattr(options, flag):
                raise ConfigError(f"--{flag} and --set {key} say the same: give one of them")
        _put(values, key, value)
    try:
        return study_of(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    """values[a][b][c] = value for a.b.c; the keys of a grid hold dots themselves."""
    head, _, rest = key.partition(".")
    if head == "grid" and rest:
        values["grid"] = {**values.get("grid", {}), rest: value}
        return
    if head == "arm" and isinstance(values.get("arm"), list):
        values["arm"] = _with_arm(values["arm"], key, rest, value)
        return
    put(values, key.split("."), value, f"--set {key}")


def _with_arm(arms: list[Any], key: str, rest: str, value: Any) -> list[Any]:
    """The [[arm]]s, with arm.NAME.KEY = value put in."""
    names = {str(arm.get("name")): i for i, arm in enumerate(arms) if isinstance(arm, dict)}
    name = max((name for name in names if rest.startswith(f"{name}.")), key=len, default="")
    if not name:
        raise ConfigError(f"--set {key}: write arm.NAME.KEY; {nearest(rest.partition('.')[0], names)}")
    changed, inner = dict(arms[names[name]]), rest.removeprefix(f"{name}.")
    changed.pop(inner, None)
    _put(changed, inner, value)
    return [changed if i == names[name] else arm for i, arm in enumerate(arms)]


def _report(options: Study, given: Path | None) -> int:
    """The page of `given`, of --out, or of the folder of the study that is named."""
    from weightless.study.records import is_evidence, read_evidence, told_of

    folder = Path(options.out) if options.out else given
    if folder is None:
        folder = Path("runs") / str(load_toml(recipe_path(options.study, STUDIES)).get("name", ""))
    if not is_evidence(folder):
        raise WeightlessError(f"{folder} holds no study.json: run the study first, or name its folder")
    evidence = read_evidence(folder)
    print(told_of(evidence))
    _write(evidence, folder)
    return 0


def _write(evidence: Evidence, folder: Path) -> None:
    from weightless.study.writeup import write

    print(f"report: {write(evidence, folder)}")


def _run(options: Study, study: StudyFile, arms: list[Arm], mismatch: Any, folder: Path) -> int:
    """The trials of a search, if there is one; then the units that are named; then the page."""
    from weightless.study.records import as_made, evidence_of, told_of, write_evidence
    from weightless.study.units import forget_failures, units_of
    from weightless.study.working import check_before, claim

    chosen = [] if _is_trial(options, study) else _chosen(options, units_of(study, arms, folder))
    if study.search is not None:
        from weightless.study.searching import check_package

        check_package()
    check_before([unit.arm for unit in chosen] or arms)
    claim(study, arms, folder)
    if study.search is not None:
        arms = _searched(options, study, arms, folder)
        if _is_trial(options, study):
            return 0
        chosen = _chosen(options, units_of(study, arms, folder))
    if options.retry:
        for unit in chosen:
            forget_failures(unit)

    def now() -> Evidence:
        units = units_of(study, arms, folder)

        def gather() -> Evidence:
            return as_made(evidence_of(study, units, mismatch, _command(options), _tried(study, folder)), folder)

        return write_evidence(gather, folder)

    try:
        _work(options, arms, chosen, folder, now)
    finally:
        evidence = now()
    print(told_of(evidence))
    return 0 if options.unit else _ended(evidence, folder)


def _is_trial(options: Study, study: StudyFile) -> bool:
    return study.search is not None and options.unit.startswith(SEARCH)


def _tried(study: StudyFile, folder: Path) -> list[Cell]:
    if study.search is None:
        return []
    from weightless.study.searching import tried_cells

    return tried_cells(study, folder)


def _searched(options: Study, study: StudyFile, arms: Sequence[Arm], folder: Path) -> list[Arm]:
    """Trials until all have ended (one, for a launched unit of the search); the arms with the best one."""
    from weightless.study.launching import launched_trials
    from weightless.study.searching import arms_of_search, n_ended, one_trial, open_search, search_on
    from weightless.study.units import units_of
    from weightless.study.working import corpora_of

    first = units_of(study, arms, folder)[0]
    corpus = corpora_of([first], folder)[first.arm.data]
    width = _width(options, arms)
    open_search(study, folder)
    if _is_trial(options, study):
        one_trial(study, folder, corpus)
    else:
        if options.how != "local" or width > 1:
            assert study.search is not None
            n_left = study.search.trials - n_ended(study, folder)
            launched_trials(n_left, folder, options.how, width, options.resources())
        search_on(study, folder, corpus)
    return arms_of_search(study, folder)


def _work(options: Study, arms: Sequence[Arm], chosen: list[Unit], folder: Path, now: Callable[[], Evidence]) -> None:
    from weightless.study.launching import launched
    from weightless.study.working import corpora_of, work

    corpora = corpora_of(chosen, folder)
    width = _width(options, arms)
    if options.unit or (options.how == "local" and width == 1):
        work(chosen, corpora, now)
    else:
        launched(chosen, folder, options.how, width, options.resources())


def _width(options: Study, arms: Sequence[Arm]) -> int:
    from weightless.study.launching import width_for

    return options.parallel or (width_for(arms) if options.how == "local" else 0)


def _ended(evidence: Evidence, folder: Path) -> int:
    """The page; an error for cells that failed, since a study with holes is not done."""
    _write(evidence, folder)
    failed = [cell for cell in evidence.cells if cell.status == "failed"]
    if failed:
        first = failed[0]
        raise WeightlessError(
            f"{len(failed)} of {len(evidence.cells)} cells failed, as {first.arm} (seed {first.seed}): {first.reason}; "
            "--retry tries them again"
        )
    return 0


def _chosen(options: Study, units: list[Unit]) -> list[Unit]:
    """The units that the command line names."""
    names = {unit.arm.of or unit.arm.name for unit in units} | {unit.arm.name for unit in units}
    for name in options.only:
        if name not in names:
            raise ConfigError(f"the study has no arm {name!r}: {nearest(name, names)}")
    if options.unit:
        found = [unit for unit in units if f"{unit.arm.name}/{unit.seed}" == options.unit]
        if not found:
            known = [f"{unit.arm.name}/{unit.seed}" for unit in units]
            raise ConfigError(f"--unit {options.unit}: the study has no such unit: {nearest(options.unit, known)}")
        return found
    return [unit for unit in units if not options.only or {unit.arm.name, unit.arm.of} & {*options.only}]


def _command(options: Study) -> str:
    """What makes the study again."""
    words = ["weightless", "study", options.study]
    for name in ("out", "text", "validation"):
        words += [f"--{name}", value] if (value := getattr(options, name)) else []
    words += ["--seeds", *map(str, options.seeds)] if options.seeds else []
    words += ["--set", *options.set] if options.set else []
    return shlex.join(words)


def _print_plan(study: StudyFile, units: list[Unit], mismatch: Any) -> None:
    from rich.table import Table

    from weightless.base.units import human_seconds
    from weightless.cli.tables import print_table
    from weightless.study.planning import costs_of

    costs = costs_of(study, units)
    table = Table()
    for name in ("arm", "family"):
        table.add_column(name)
    for name in ("runs", "left", "tokens", "FLOPs", "time of one", "from"):
        table.add_column(name, justify="right")
    for cost in costs:
        tokens, flops = (f"{v:.3g}" if math.isfinite(v) else "-" for v in (cost.tokens, cost.flops))
        seconds = human_seconds(cost.seconds) if math.isfinite(cost.seconds) else "-"
        table.add_row(cost.arm, cost.family, str(cost.n_runs), str(cost.n_left), tokens, flops, seconds, cost.source)
    print_table(table)
    for arm, shares in mismatch.items():
        told = ", ".join(f"{name} {share:+.2%}" for name, share in shares.items())
        print(f"{arm}: {told}")
    known = [cost for cost in costs if math.isfinite(cost.seconds)]
    n, n_left = sum(c.n_runs for c in costs), sum(c.n_left for c in costs)
    flops = sum(c.flops * c.n_runs for c in costs if math.isfinite(c.flops))
    left = human_seconds(sum(cost.seconds_left for cost in known))
    unknown = f", and {len(costs) - len(known)} arm(s) of unknown time" if len(known) < len(costs) else ""
    print(f"{n} runs, {n_left} left: {left} of training on one process{unknown}; {flops:.3g} FLOPs in all")
    if study.search is not None:
        print(f"before them {study.search.trials} trials of the search, each of about the time of one")
