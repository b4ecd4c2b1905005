"""Metrics to somebody else's dashboard as well; ours are always written as JSONL.  Lazy and offline by default."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def tracker(folder: Path, wanted: bool, config: dict[str, Any]) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """A callback for the loop's metrics, or None when Weights & Biases is not wanted or not installed.

    It runs in mode "offline" unless WANDB_MODE says otherwise; `wandb sync` uploads a run later.
    """
    if not wanted or importlib.util.find_spec("wandb") is None:
        yield None
        return
    import wandb  # type: ignore[import-not-found]

    started: list[Any] = []  # at the first line, because a training that is refused leaves nothing

    def log(line: dict[str, Any]) -> None:
        if not started:
            mode = os.environ.get("WANDB_MODE", "offline")
            name, where = folder.name, str(folder)
            started.append(wandb.init(project="weightless", name=name, dir=where, mode=mode, config=config))
        started[0].log({k: v for k, v in line.items() if v is not None}, step=line["step"])

    try:
        yield log
    finally:
        for run in started:
            run.finish()
