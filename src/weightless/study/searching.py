"""Floor 9.  A search instead of a grid: Optuna's TPE proposes, and what is worse than the median on its way is stopped.

    STUDY/search.db            the trials (SQLite), which all processes on the folder share
    STUDY/cells/trial-007-s0/  a trial is a unit like any other, of the first seed; killed, it is taken up again

A trial is judged by its validation loss, along its curve too: the n-th validation of one is compared with the n-th of
the others.  One that diverged counts as DIVERGED nats, one that failed does not count.  When all trials have ended, the
best one becomes the arm "best", and "base" and "best" are run with every seed: the loss of the best of many trials is
the luck of one seed as well, so the search alone is no evidence.  The trials are kept under `tried`.
Errors: WeightlessError without the package optuna, or when no trial has ended with a loss.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.folder_lock import InUse
from weightless.base.progress import progress
from weightless.data.shards.corpus import Corpus
from weightless.study.arms import Arm, arm_with, arms_of, value_at
from weightless.study.cells import Cell
from weightless.study.leases import lease
from weightless.study.study_file import Parameter, Search, Study
from weightless.study.units import Unit, cell_of, do_unit
from weightless.study.working import patient_lock
from weightless.train.metrics import read_metrics

STORAGE, BEST, TRIAL = "search.db", "best", "trial"
DIVERGED = 100.0
"""Nats: from here on a training counts as diverged (train/divergence.py)."""
WARM_UP, WATCH_SECONDS = 2, 0.5
"""Validations of a trial before it may be stopped; seconds between two looks at its curve."""
LOCK_SECONDS = 60.0


def arms_of_search(study: Study, folder: Path) -> list[Arm]:
    """base and best; until the trials have ended, "best" stands at the lower ends, for what is checked beforehand."""
    search = _search(study)
    corners = [{key: value} for key, p in search.parameters.items() for value in (p.choices or (p.low, p.high))]
    for corner in corners:
        arm_with(study, "a corner of the search", corner).recipe(study, study.seeds[0])
    (base,) = arms_of(study)[0]
    found = best_setting(study, folder) if (folder / STORAGE).exists() else None
    if found is None:
        found = {key: p.choices[0] if p.choices else p.low for key, p in search.parameters.items()}
    best = arm_with(study, BEST, found, "the best of the search")
    whole = arm_with(study, "base", {})
    setting = {key: value for key in search.parameters if (value := value_at(base, key)) is not None}
    return [dataclasses.replace(whole, setting=setting), best]


def _search(study: Study) -> Search:
    if study.search is None:
        raise WeightlessError("this study has no [search]")
    return study.search


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise WeightlessError("a search needs the package optuna: ./do setup search") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _opened(study: Study, folder: Path, seed: int = 0) -> Any:
    """Optuna's study of the folder, made if it is not there."""
    optuna, search = _optuna(), _search(study)
    pruner = optuna.pruners.MedianPruner(search.prune_after, WARM_UP) if search.prune else optuna.pruners.NopPruner()
    return optuna.create_study(
        storage=_storage((folder / STORAGE).absolute()),
        study_name=study.name,
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=pruner,
        direction="minimize",
        load_if_exists=True,
    )


def check_package() -> None:
    """WeightlessError when Optuna is not there."""
    _optuna()


@functools.cache
def _storage(path: Path) -> Any:
    """One connection for each file."""
    waits = {"connect_args": {"timeout": LOCK_SECONDS}}
    return _optuna().storages.RDBStorage(f"sqlite:///{path}", engine_kwargs=waits)


def open_search(study: Study, folder: Path) -> None:
    """Make the storage, by one process alone; the others find it."""
    with patient_lock(folder, "search"):
        _opened(study, folder)


def best_setting(study: Study, folder: Path) -> dict[str, Any] | None:
    """What the best trial has, when all have ended; WeightlessError when none has a loss."""
    open_search(study, folder)
    trials = _opened(study, folder).get_trials(deepcopy=False)
    ended = [trial for trial in trials if trial.state.is_finished()]
    if len(ended) < _search(study).trials:
        return None
    known = [trial for trial in ended if trial.state.name == "COMPLETE" and trial.value < DIVERGED]
    if not known:
        raise WeightlessError(f"{folder}: no trial of the search ended with a loss: choose other [search.parameters]")
    return dict(min(known, key=lambda trial: (trial.value, trial.number)).params)


def search_on(study: Study, folder: Path, corpus: Corpus) -> None:
    """Trials, until all have ended, here or in other processes."""
    ended = n_ended(study, folder)
    with progress("search", _search(study).trials, "trials", ended) as tick:
        while ended < _search(study).trials:
            if not one_trial(study, folder, corpus):
                threading.Event().wait(WATCH_SECONDS)
            now = n_ended(study, folder)
            tick(now - ended)
            ended = now


def n_ended(study: Study, folder: Path) -> int:
    """Trials that have ended, in whatever way."""
    return sum(trial.state.is_finished() for trial in _opened(study, folder).get_trials(deepcopy=False))


def one_trial(study: Study, folder: Path, corpus: Corpus) -> bool:
    """Do a trial that nobody works on, or a new one; False when there is none for this process now."""
    for number, params in _begun(study, folder):
        try:
            unit = _unit(study, folder, number, params)
        except ConfigError as error:  # between two corners that can be built may lie a value that cannot
            print(f"trial {number} cannot be built, and counts as failed: {error}", file=sys.stderr)
            _opened(study, folder).tell(number, state=_optuna().trial.TrialState.FAIL)
            return True
        with lease(unit.leases, unit.name) as is_ours:
            if is_ours and _is_open(study, folder, number):
                with suppress(InUse):  # its owner was asleep, and not lost
                    _ended(study, folder, number, unit, corpus)
                    return True
    return False


def _begun(study: Study, folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, parameters) of the trials that have not ended, then of a new one while some are left."""
    for trial in _opened(study, folder).get_trials(deepcopy=False):
        if not trial.state.is_finished():
            yield trial.number, {key: trial.params[key] for key in trial.params}
    with patient_lock(folder, "search"):  # the number of trials is the seed of the next: one at a time
        n_trials = len(_opened(study, folder).get_trials(deepcopy=False))
        if n_trials >= _search(study).trials:
            return
        trial = _opened(study, folder, _search(study).seed * 100_003 + n_trials).ask()
        found = {key: _suggested(trial, key, p) for key, p in _search(study).parameters.items()}
    yield trial.number, found


def _suggested(trial: Any, key: str, p: Parameter) -> Any:
    if p.choices:
        return trial.suggest_categorical(key, list(p.choices))
    if type(p.low) is int and type(p.high) is int:
        return trial.suggest_int(key, p.low, p.high, log=p.log)
    return trial.suggest_float(key, p.low, p.high, log=p.log)


def _unit(study: Study, folder: Path, number: int, params: dict[str, Any]) -> Unit:
    arm = arm_with(study, f"{TRIAL}-{number:03d}", params)
    return Unit(arm, study.seeds[0], arm.recipe(study, study.seeds[0]), folder)


def _is_open(study: Study, folder: Path, number: int) -> bool:
    return not _opened(study, folder).get_trials(deepcopy=False)[number].state.is_finished()


def _ended(study: Study, folder: Path, number: int, unit: Unit, corpus: Corpus) -> None:
    """Run the trial, and tell the search how it ended."""
    optuna, watch = _optuna(), _Watch(study, folder, number, unit)
    try:
        with watch.watching():
            do_unit(unit, corpus)
    except KeyboardInterrupt:
        if not watch.stopped:
            raise
    cell, shared = cell_of(unit), _opened(study, folder)
    if cell.status == "done":
        shared.tell(number, cell.figures.get("val_loss", cell.figures["nats_per_token"]))
    elif cell.status == "diverged":
        shared.tell(number, DIVERGED)
    else:
        state = optuna.trial.TrialState
        shared.tell(number, state=state.PRUNED if watch.stopped else state.FAIL)


class _Watch:
    """Tells the search the validation losses of a training as they come, and interrupts it when it is to be stopped."""

    def __init__(self, study: Study, folder: Path, number: int, unit: Unit) -> None:
        self.study, self.folder, self.number, self.unit = study, folder, number, unit
        self.ended, self.stopped = threading.Event(), False

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.ended.set()
            thread.join()

    def _watch(self) -> None:
        optuna, shared = _optuna(), _opened(self.study, self.folder)
        frozen = shared.get_trials(deepcopy=False)[self.number]
        trial, told = optuna.trial.Trial(shared, frozen._trial_id), len(frozen.intermediate_values)
        while not self.ended.wait(WATCH_SECONDS):
            losses = self._losses()
            for i, loss in enumerate(losses[told:], told):
                trial.report(loss, i)
                told += 1
                if trial.should_prune():
                    self.stopped = True
                    os.kill(os.getpid(), signal.SIGINT)  # the loop saves and stops
                    return

    def _losses(self) -> list[float]:
        path = self.unit.folder / "metrics.jsonl"
        lines = read_metrics(path) if path.exists() else []
        return [line["val_loss"] for line in lines if line["val_loss"] is not None]


def tried_cells(study: Study, folder: Path) -> list[Cell]:
    """The trials so far; what was stopped on the way says so."""
    found: list[Cell] = []
    if not (folder / STORAGE).exists():
        return found
    for trial in _opened(study, folder).get_trials(deepcopy=False):
        cell = cell_of(_unit(study, folder, trial.number, dict(trial.params)))
        if trial.state.name == "PRUNED":
            losses = trial.intermediate_values
            told = f"stopped after validation {max(losses) + 1}, worse than the median" if losses else "stopped"
            cell = dataclasses.replace(cell, status="stopped", reason=told)
        found.append(cell)
    return found
