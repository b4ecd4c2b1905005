"""Floor 8.  Dashboards of other people for the metrics of a training, several at once; each gets our lines of JSONL.

    --track wandb,tensorboard       exactly these; one that is not installed is an error
    --track none                    none of them
    nothing                         Weights & Biases, where it is installed (trackers.py), unless --no_wandb

    tensorboard   FOLDER/tensorboard, event files             `tensorboard --logdir FOLDER/tensorboard`
    trackio       FOLDER/trackio (TRACKIO_DIR: elsewhere)     `trackio show --project weightless`
    mlflow        FOLDER/mlflow.db (MLFLOW_TRACKING_URI)      `mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db`

All write to disk and open no connection unless their own environment variables say otherwise.  Nothing is imported or
written before the first line of metrics, because a training that is refused leaves nothing.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from weightless.base.config import is_text
from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.lab.trackers import tracker

Line = Mapping[str, Any]
NONE, WANDB = "none", "wandb"


class Dashboard(Protocol):
    """Called with each line of metrics, and told the final figures."""

    def __call__(self, line: dict[str, Any]) -> None: ...

    def summarise(self, figures: dict[str, Any]) -> None: ...


class Started:
    """What the adapters share: they start with the first line, and say at the end where the record lies."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder, self.config, self.step = folder, config, 0

    def __call__(self, line: dict[str, Any]) -> None:
        self.step = int(line["step"])
        self.log({name: value for name, value in numbers(line).items() if name != "step"})

    def summarise(self, figures: dict[str, Any]) -> None:
        """The final figures, as metrics of the last step under final/."""
        self.log({f"final/{name}": value for name, value in numbers(figures).items()})

    def log(self, values: Mapping[str, float]) -> None:
        """Write numbers of step `self.step`."""
        raise AssertionError("each has its own")

    def finish(self, is_done: bool) -> None:
        """Close the record, if one was begun."""
        raise AssertionError("each has its own")


class TensorBoard(Started):
    """Event files; those of an interrupted training are gone on with, and what it wrote beyond is superseded."""

    @cached_property
    def writer(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        made = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step)
        told = "\n".join(f"    {name} = {value!r}" for name, value in self.config.items())
        made.add_text("configuration", told, self.step)
        return made

    def log(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, self.step)
        self.writer.flush()

    def finish(self, is_done: bool) -> None:
        if "writer" in self.__dict__:
            self.writer.close()
            _say("TensorBoard", f"{self.folder / 'tensorboard'}; `tensorboard --logdir` shows it")


class Trackio(Started):
    """A local SQLite file; TRACKIO_SPACE_ID or TRACKIO_SERVER_URL send it elsewhere, as trackio says."""

    @cached_property
    def run(self) -> Any:
        os.environ.setdefault("TRACKIO_DIR", str((self.folder / "trackio").resolve()))
        import trackio  # type: ignore[import-not-found]

        told = {name: value for name, value in self.config.items() if value is not None}
        quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        return trackio.init(project="weightless", name=self.folder.name, config=told, **quiet)

    def log(self, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=self.step)

    def finish(self, is_done: bool) -> None:
        if "run" in self.__dict__:
            self.run.finish()
            where = os.environ["TRACKIO_DIR"]
            _say("trackio", f"{where}; `TRACKIO_DIR={where} trackio show --project weightless` shows it")


class Mlflow(Started):
    """A run of the experiment weightless in a SQLite file, or at MLFLOW_TRACKING_URI."""

    @cached_property
    def client(self) -> Any:
        from mlflow.tracking import MlflowClient  # type: ignore[import-not-found]

        local = f"sqlite:///{(self.folder / 'mlflow.db').resolve()}"
        return MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or local)

    @cached_property
    def run_id(self) -> str:
        known = self.client.get_experiment_by_name("weightless")
        experiment = known.experiment_id if known is not None else self.client.create_experiment("weightless")
        made = self.client.create_run(experiment, run_name=self.folder.name).info.run_id
        for name, value in self.config.items():
            self.client.log_param(made, name, str(value)[:500])
        return made

    def log(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run_id, name, value, step=self.step)

    def finish(self, is_done: bool) -> None:
        if "run_id" in self.__dict__:
            self.client.set_terminated(self.run_id, "FINISHED" if is_done else "FAILED")
            _say("MLflow", f"run {self.run_id} of experiment weightless in {self.client.tracking_uri}")


ADAPTERS: Mapping[str, tuple[str, Callable[[Path, dict[str, Any]], Started]]] = {
    "tensorboard": ("tensorboard", TensorBoard),
    "trackio": ("trackio", Trackio),
    "mlflow": ("mlflow", Mlflow),
}
"""By name: the module that has to be there, and the adapter."""


def numbers(values: Line) -> dict[str, float]:
    """What a curve can be drawn of: finite numbers, and truths as 0 and 1."""
    return {
        name: float(value) for name, value in values.items() if isinstance(value, (int, float)) and math.isfinite(value)
    }


def names_of(track: str) -> list[str]:
    """The dashboards that --track names, each once; ConfigError for one that is unknown or not installed."""
    names = [name.strip() for name in track.split(",") if name.strip()]
    known = [WANDB, *ADAPTERS, NONE]
    for name in names:
        if name not in known:
            raise ConfigError(f"--track {name}: {nearest(name, known)}")
        module = ADAPTERS[name][0] if name in ADAPTERS else name
        if name != NONE and importlib.util.find_spec(module) is None:
            raise ConfigError(f"--track {name}: {module} is not installed; pip install {module}, or leave it out")
    if NONE in names and len(names) > 1:
        raise ConfigError(f"--track {track}: none stands alone")
    return [name for name in dict.fromkeys(names) if name != NONE]


@contextmanager
def dashboards(
    folder: Path, track: str, wants_wandb: bool, config: dict[str, Any]
) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """All of them as one, with `summarise`; None when there are none.  `wants_wandb` counts where `track` is empty."""
    names = names_of(track)
    if names and not is_text(where := str(folder.resolve())):
        raise ConfigError(
            f"--track {track}: {where!r} is no UTF-8, which dashboards cannot write to: name another --out"
        )
    with ExitStack() as stack:
        found: list[Dashboard] = []
        log = stack.enter_context(tracker(folder, WANDB in names if track else wants_wandb, config))
        found += [log] if log is not None else []
        found += [stack.enter_context(_running(name, folder, config)) for name in names if name in ADAPTERS]
        yield Several(found) if found else None


class Several:
    """Dashboards that get the same lines."""

    def __init__(self, dashboards: Sequence[Dashboard]) -> None:
        self.dashboards = dashboards

    def __call__(self, line: dict[str, Any]) -> None:
        for one in self.dashboards:
            one(line)

    def summarise(self, figures: dict[str, Any]) -> None:
        """Tell all of them the final figures."""
        for one in self.dashboards:
            one.summarise(figures)


@contextmanager
def _running(name: str, folder: Path, config: dict[str, Any]) -> Iterator[Dashboard]:
    """An adapter that is finished whatever happens; what its package raises is told in one line."""
    adapter, is_done = ADAPTERS[name][1](folder, config), False
    try:
        yield _Guarded(name, adapter)
        is_done = True
    finally:
        adapter.finish(is_done)


class _Guarded:
    """An adapter whose own errors, whatever they are, become one line that names it."""

    def __init__(self, name: str, adapter: Started) -> None:
        self.name, self.adapter = name, adapter

    def __call__(self, line: dict[str, Any]) -> None:
        self._told(self.adapter, line)

    def summarise(self, figures: dict[str, Any]) -> None:
        self._told(self.adapter.summarise, figures)

    def _told(self, do: Callable[[dict[str, Any]], None], values: dict[str, Any]) -> None:
        try:
            do(values)
        except Exception as error:  # of many parts that are not ours: a server that is gone, a full disk
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WeightlessError(
                f"{self.name} does not log ({reason}): leave it out of --track; the checkpoint and metrics.jsonl stay"
            ) from error


def _say(name: str, where: str) -> None:
    print(f"{name}: logged in {where}", file=sys.stderr)
