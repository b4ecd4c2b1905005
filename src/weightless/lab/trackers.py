"""Metrics to somebody else's dashboard as well; ours are always written as JSONL.  Lazy and offline by default."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from weightless.base.config import is_text
from weightless.base.errors import ConfigError, WeightlessError, nearest

Mode = Literal["offline", "online", "disabled"]
MODES: tuple[Mode, ...] = get_args(Mode)


class Tracker:
    """A run of Weights & Biases: called with each line of metrics, and told the final figures.

    It starts at the first line, because a training that is refused leaves nothing.
    """

    def __init__(self, folder: Path, mode: Mode, config: dict[str, Any]) -> None:
        self.folder, self.config = folder, config
        self.mode: Mode = mode

    @cached_property
    def run(self) -> Any:
        import wandb  # type: ignore[import-not-found]

        name, where = self.folder.name, str(self.folder.resolve())  # its service may stand in another folder
        try:
            return wandb.init(project="weightless", name=name, dir=where, mode=self.mode, config=self.config)
        except Exception as error:  # whatever its many parts raise: no login, no network
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WeightlessError(
                f"Weights & Biases does not start in mode {self.mode!r} ({reason}): leave WANDB_MODE "
                "out to log offline, or give --no_wandb"
            ) from error

    def __call__(self, line: dict[str, Any]) -> None:
        self.run.log(_known(line), step=line["step"])

    def summarise(self, figures: dict[str, Any]) -> None:
        """What the run's overview shows: bytes touched, final losses."""
        self.run.summary.update(_known(figures))

    def finish(self, exit_code: int) -> None:
        """End the run, if one was begun, and say where an offline one lies."""
        if "run" not in self.__dict__:
            return
        self.run.finish(exit_code=exit_code)
        if self.mode == "offline":
            print(
                f"Weights & Biases: logged offline in {Path(self.run.dir).parent}; `wandb sync` uploads it, and "
                "WANDB_MODE=online logs live after `wandb login`",
                file=sys.stderr,
            )


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@contextmanager
def tracker(folder: Path, wanted: bool, config: dict[str, Any]) -> Iterator[Tracker | None]:
    """A Tracker, or None when Weights & Biases is not wanted, not installed, or cannot write to such a folder.

    It runs in mode "offline" unless WANDB_MODE says otherwise, logged in or not.  ConfigError for another mode.
    """
    if not wanted or importlib.util.find_spec("wandb") is None:
        yield None
        return
    if not is_text(where := str(folder.resolve())):
        print(f"Weights & Biases: not logged, because {where!r} is no UTF-8, which it cannot write to", file=sys.stderr)
        yield None
        return
    mode = os.environ.get("WANDB_MODE", "offline")
    if mode not in MODES:
        raise ConfigError(f"WANDB_MODE={mode}: {nearest(mode, MODES)}; or give --no_wandb")
    found, code = Tracker(folder, mode, config), 1
    try:
        yield found
        code = 0
    finally:
        found.finish(code)
