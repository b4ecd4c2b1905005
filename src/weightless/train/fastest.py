"""How a long training computes when nobody says how: compiled and in bf16, where that is there and gives the same loss.

A budget of seconds promises the best model that the time allows, and no two such runs have the same bits; one of steps
promises the same bits again.  So `fastest = "auto"` is as written for steps, for less than LONG seconds (compiling is a
minute or two, outside the clock), where `compile` or `autocast` was asked for by name, and where the processor has no
instructions for bf16, no compiler is there, or a teacher's loss is computed in float32.  Else both are switched on.

The first batch is computed both ways.  Where compiling fails, or the losses are not the same to ROOM, all of it is
computed as written.  What was decided is part of the record, and of the checkpoint: a training that goes on computes
as it began.
Errors: CorruptFileError for a checkpoint that tells nonsense.  Floor 6 (train).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.layers.layer import Record
from weightless.train.config import TrainConfig
from weightless.train.passes import Passes, check_compilable, has_bf16_instructions
from weightless.train.shares import Share

LONG = 900.0
"""Seconds of a budget from which on compiling pays."""
ROOM = 0.02
"""Nats by which the mean of the first batch may differ: products with 8 bits of mantissa move it by a thousandth."""
COMPUTED = "computed"
"""Its name in the checkpoint and in the run's record."""


def passes_for(
    model: Any, config: TrainConfig, is_taught: bool, share: Share, saved: Mapping[str, Any] | None
) -> Passes:
    """The passes that `config` asks for, or the fastest; `saved` is the state of the checkpoint that is continued."""
    asked = config.compile or config.autocast != "none" or config.fastest != "auto"
    if saved is not None and not asked:
        told = saved.get(COMPUTED)
        if told is None:
            return Passes(model, config, is_taught, share)
        if not isinstance(told, dict) or told.get("autocast") not in ("none", "bf16"):
            raise CorruptFileError("the checkpoint does not say how it was computed; start the run anew")
        kept = replace(config, compile=bool(told.get("compile")), autocast=told["autocast"])
        return Fastest(model, kept, share, str(told.get("detail", "")))
    if asked or is_taught or not _pays(model, config, share):
        return Passes(model, config, is_taught, share)
    return Fastest(model, replace(config, compile=True, autocast="bf16"), share)


def _pays(model: Any, config: TrainConfig, share: Share) -> bool:
    """Whether both are there, in one process, and the budget is long."""
    if config.device != "cpu" or share.world > 1 or (config.seconds or 0.0) < LONG or not has_bf16_instructions():
        return False
    try:
        check_compilable(model, config.device)
    except ConfigError:
        return False
    return True


class Fastest(Passes):
    """Compiled passes in bf16 that are given up where they do not give the loss of plain ones."""

    def __init__(self, model: Any, config: TrainConfig, share: Share, detail: str = "") -> None:
        super().__init__(model, config, False, share)
        self.detail = detail

    def losses(self, p: Mapping[str, torch.Tensor], *arrays: torch.Tensor, record: Any = None) -> torch.Tensor:
        """`model.losses`; the first time, both ways."""
        if not self.detail:
            self._hold(p, arrays)
        return super().losses(p, *arrays, record=record)

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {
            COMPUTED: {"compile": self.config.compile, "autocast": self.config.autocast, "detail": self.detail},
        }

    def told(self) -> dict[str, dict[str, Any]]:
        """The assertions of the run's record."""
        return super().told() | ({COMPUTED: {"ok": True, "detail": self.detail}} if self.detail else {})

    def _hold(self, p: Mapping[str, torch.Tensor], arrays: tuple[torch.Tensor, ...]) -> None:
        with torch.no_grad():
            plain = float(self.model.losses(p, *arrays, record=Record()).mean())
        try:
            fast = float(super().losses(p, *arrays, record=Record()).mean().detach())
        except ConfigError as error:
            self._give_up(str(error))
            return
        told = f"a mean of {fast:.4f} nats of the first batch, {plain:.4f} as written"
        if not abs(fast - plain) <= ROOM:
            self._give_up(told)
            return
        self.detail = f"compiled and in bf16, which a budget of {self.config.seconds:g} seconds is for; {told}"

    def _give_up(self, why: str) -> None:
        self.detail = f"as written, in float32, after a trial of compiled products in bf16: {why}"
        print(f"computed {self.detail}", file=sys.stderr)
        self.computed, self.config = self.model, replace(self.config, compile=False, autocast="none")
        self.n_passes = self.n_compiled = self.n_runs = 0
