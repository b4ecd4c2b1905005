"""Floor 9.  What a study will take, before it takes it: runs, FLOPs, tokens, seconds, arm by arm.

Seconds of a run come from the first of these that there is, and the plan says from which:

    finished     the mean of the arm's finished cells
    budget       train.seconds
    finished *   the finished cells of another arm, times the ratio of training FLOPs
    probe        one batch forward and backward, timed after a first one, times the steps; the optimizer and the
                 validations are not in it
    probe *      the probe of another arm, times the ratio of training FLOPs

FLOPs per token are those of the ledger (`program.cost.training_flops`), tokens those that the steps will see.  A family
that is counted takes neither, and what it takes is known when a cell of it is done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from weightless.models.catalog import Composed, family
from weightless.program.compose import NEURAL
from weightless.program.cost import training_flops
from weightless.study.arms import Arm
from weightless.study.cells import Cell
from weightless.study.study_file import Study
from weightless.study.units import Unit, cell_of

PROBE_SECONDS = 60.0
"""No further arm is probed when probing has taken so long."""


@dataclass(frozen=True)
class Cost:
    """What one run of an arm takes; NaN where nobody knows it beforehand."""

    arm: str
    family: str
    n_runs: int
    n_left: int
    tokens: float
    flops: float
    seconds: float
    source: str

    @property
    def seconds_left(self) -> float:
        return self.n_left * self.seconds if self.n_left else 0.0


def costs_of(study: Study, units: Sequence[Unit]) -> list[Cost]:
    """One line for each arm, in the order of the study."""
    arms = {unit.arm.name: unit.arm for unit in units}
    cells = {name: [cell_of(unit) for unit in units if unit.arm.name == name] for name in arms}
    budgets = {name: _budget(arm, study.seeds[0]) for name, arm in arms.items()}
    per_run = _seconds(study, arms, cells, budgets)
    out = []
    for name, arm in arms.items():
        tokens, flops = budgets[name]
        n_left = sum(cell.status not in ("done", "diverged", "failed") for cell in cells[name])
        out.append(Cost(name, arm.model.family, len(cells[name]), n_left, tokens, flops, *per_run[name]))
    return out


def _training(arm: Arm, seed: int) -> tuple[Any, Any, Any]:
    """(family, its Config, its TrainConfig or None) of what is trained of an arm."""
    config = arm.model.build_config(arm.data.vocab_size)
    loop, room = arm.model.build_training(config, seed), family(arm.model.family)
    if loop is not None and isinstance(room, Composed):
        return *config.part(NEURAL), loop
    return room, config, loop


def _budget(arm: Arm, seed: int) -> tuple[float, float]:
    """(tokens, FLOPs) of one run."""
    room, config, loop = _training(arm, seed)
    if loop is None or loop.num_steps is None:
        return math.nan, math.nan
    tokens = float(loop.num_steps * loop.positions_per_step)
    return tokens, tokens * training_flops(room.decode_program(config))


def _seconds(
    study: Study, arms: Mapping[str, Arm], cells: Mapping[str, list[Cell]], budgets: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, str]]:
    found: dict[str, tuple[float, str]] = {}
    for name, arm in arms.items():
        times = [c.figures["train_seconds"] for c in cells[name] if c.is_done and "train_seconds" in c.figures]
        loop = _training(arm, study.seeds[0])[2]
        if times:
            found[name] = fmean(times), "finished"
        elif loop is not None and loop.seconds is not None:
            found[name] = loop.seconds, "budget"
    began = time.monotonic()
    for name, arm in arms.items():
        known = [other for other in found if math.isfinite(budgets[other][1])]
        if name in found or not math.isfinite(budgets[name][1]):
            found.setdefault(name, (math.nan, "unknown"))
        elif any(found[other][1] == "finished" for other in known) or time.monotonic() - began > PROBE_SECONDS:
            found[name] = _scaled(name, known, found, budgets)
        else:
            found[name] = _probed(arm, study.seeds[0]), "probe"
    return found


def _scaled(
    name: str, known: list[str], found: Mapping[str, tuple[float, str]], budgets: Mapping[str, tuple[float, float]]
) -> tuple[float, str]:
    """From the arm whose FLOPs are nearest, of those that were run or probed themselves."""
    flops = budgets[name][1]
    own = [other for other in known if found[other][1] == "finished"] or [o for o in known if found[o][1] == "probe"]
    if not own:
        return math.nan, "unknown"
    other = min(own, key=lambda other: abs(math.log(budgets[other][1] / flops)))
    seconds, source = found[other]
    return seconds * flops / budgets[other][1], f"{source} *"


def _probed(arm: Arm, seed: int) -> float:
    """Seconds of all its steps, by one batch of noise, forward and backward, after one that is thrown away."""
    import torch

    from weightless.train.initialise import initial_parameters

    room, config, loop = _training(arm, seed)
    model, before = room.Model(config), torch.get_num_threads()
    if loop.threads:
        torch.set_num_threads(loop.threads)
    try:
        params = initial_parameters(model.tensors(), 0, loop.device)
        draw = torch.Generator().manual_seed(0)
        tokens = torch.randint(config.vocab_size, (loop.batch_size, loop.context + 1), generator=draw)
        prepared = model.prepare(tokens.flatten().numpy(), 0)
        whole = params | {key: torch.from_numpy(value).to(loop.device) for key, value in prepared.items()}
        tokens, took = tokens.to(loop.device), 0.0
        for _ in range(2):
            began = time.perf_counter()
            model.losses(whole, tokens[:, :-1], tokens[:, 1:]).mean().backward()
            took = time.perf_counter() - began
    finally:
        torch.set_num_threads(before)
    return took * loop.grad_accumulation * loop.num_steps
